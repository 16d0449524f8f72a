# SPDX-License-Identifier: Apache-2.0
"""Real clients behind weir, TLS interception on and off, both address families."""

import json
import os
import shutil

import pytest

MODES = pytest.mark.parametrize("intercept", [False, True], ids=["opaque", "intercepted"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def trust(lab, intercept):
    """Opaque: the client must trust the lab's CA itself. Intercepted: weir has arranged for it."""
    if intercept:
        return ""
    return "export %s; " % " ".join("%s=%s" % (v, lab.ca) for v in (
        "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO"))


def arrived(lab, path, agent):
    return [e for e in lab.seen("http") if path in e["head"] and agent in e["head"].lower()]


@MODES
@FAMILIES
def test_curl(weir, lab, intercept, family):
    r = weir.sh(trust(lab, intercept) + "curl -sS%d -d hello https://api%d.example.com/curl; "
                "curl -sS -o /dev/null -w ' %%{ssl_verify_result} %%{http_version}' "
                "https://api.example.com/" % (family, family), intercept=intercept)
    assert r.rc == 0 and '"size": 5' in r.out and " 0 1.1" in r.out, r
    seen = arrived(lab, "/curl", "curl")
    assert seen and (":" in seen[0]["local"]) == (family == 6), seen


def test_guest_family_need_not_be_the_upstreams(weir):
    r = weir.sh("curl -sS4 http://v6only.example.com/ | head -c 12; "
                "curl -sS6 http://v4only.example.com/ | head -c 12")
    assert r.out.count('{"authorized') == 2, r


@MODES
def test_wget(weir, lab, intercept):
    r = weir.sh(trust(lab, intercept) + "wget -qO- %s https://api.example.com/wget" % (
        "" if intercept else "--ca-certificate=" + lab.ca), intercept=intercept)
    assert r.rc == 0 and '"method": "GET"' in r.out, r


@MODES
@FAMILIES
def test_python_requests(weir, lab, intercept, family):
    code = ("import requests; s = requests.Session(); u = 'https://api%d.example.com/requests'; "
            "print([s.post(u, data=b'x' * n).json()['body']['size'] for n in (0, 10, 100000)], "
            "s.get(u + '/chunked').status_code)" % family)
    r = weir.run("sh", "-c", trust(lab, intercept) + "exec /usr/bin/python3 -c \"$1\"", "sh", code,
                 intercept=intercept)
    assert r.out == "[0, 10, 100000] 200\n", r


@pytest.mark.skipif(not shutil.which("node"), reason="nodejs is not installed")
@MODES
def test_node_fetch(weir, lab, intercept):
    code = ("fetch('https://api.example.com/node',{method:'POST',body:'b'.repeat(70000)})"
            ".then(r=>r.json()).then(j=>console.log(j.body.size))")
    r = weir.run("sh", "-c", trust(lab, intercept) + "exec node -e \"$1\"", "sh", code,
                 intercept=intercept)
    assert r.out == "70000\n", r


@pytest.mark.skipif(not shutil.which("keytool") or
                    not os.path.exists("/etc/ssl/certs/java/cacerts"),
                    reason="no Java with the distribution's roots")
@pytest.mark.netns("a client that the machine's root file system has not")
def test_java_trusts_the_sandbox(weir):
    code = ("import java.net.*; import java.net.http.*; public class T { public static void main("
            "String[] a) throws Exception { System.out.println(HttpClient.newHttpClient().send("
            "HttpRequest.newBuilder(URI.create(\"https://api.example.com/\")).build(), "
            "HttpResponse.BodyHandlers.ofString()).statusCode()); } }")
    r = weir.sh("java -XX:-UsePerfData %s; keytool -list -cacerts -storepass changeit 2>/dev/null | "
                "grep -c weir-sandbox-ca" % weir.file("T.java", code), intercept=True)
    assert r.out.split() == ["200", "1"], r


@MODES
def test_git_clone_over_https(weir, lab, intercept):
    where = os.path.join(weir.tmp, "clone")
    r = weir.sh(trust(lab, intercept) + "git clone -q https://git.example.com/repo.git %s && "
                "cat %s/README && wc -c < %s/large.bin" % (where, where, where),
                intercept=intercept)
    assert r.rc == 0 and "hello from git\n2000000\n" == r.out, r


# Parity: lesson-24.
@FAMILIES
def test_ssh(weir, family):
    e = os.environ
    r = weir.sh("ssh -%d -i %s -o BatchMode=yes -o UserKnownHostsFile=%s -o HostKeyAlias="
                "ssh.example.com %s@ssh.example.com 'echo over ssh; cat | wc -c' < /bin/true" % (
                    family, e["LAB_SSH_KEY"], e["LAB_SSH_KNOWN_HOSTS"], e["LAB_SSH_USER"]))
    assert r.rc == 0 and "over ssh\n" in r.out, r


def test_dig(weir):
    r = weir.sh("dig +short api.example.com; dig +tcp +short api.example.com AAAA")
    assert len(r.out.split()) == 2, r


@MODES
def test_apt(weir, intercept):
    d = weir.tmp + "/apt"
    options = (" -o Dir::Etc::SourceList=%(d)s/list -o Dir::Etc::SourceParts=/dev/null "
               "-o Dir::State=%(d)s -o Dir::State::Status=/var/lib/dpkg/status "
               "-o Dir::Cache=%(d)s/cache -o APT::Sandbox::User=root" % {"d": d})
    r = weir.sh("mkdir -p %(d)s/lists/partial %(d)s/cache/archives/partial; cd %(d)s; "
                "echo 'deb [trusted=yes] http://deb.example.com/ ./' > list; "
                "apt-get %(o)s -q update && apt-get %(o)s -q download weir-lab-hello && "
                "dpkg-deb --fsys-tarfile weir-lab-hello_1.0_all.deb | tar -xO "
                "./usr/share/weir-lab-hello/hello | uniq -c" % {"d": d, "o": options},
                intercept=intercept)
    assert r.rc == 0 and "1000 hello from apt" in r.out, r


@MODES
def test_keep_alive_and_shapes_of_answers(weir, lab, intercept):
    u = "https://api.example.com"
    r = weir.sh(trust(lab, intercept) + "curl -sS -w '%%{num_connects}\\n' -o /dev/null %s/1 "
                "-o /dev/null %s/2 -o /dev/null %s/3; curl -sS %s/chunked; "
                "curl -sS %s/until-close | wc -c; curl -sSI %s/ | head -1; "
                "curl -sSL %s/redirect | head -c 12; curl -sS -o /dev/null -w '%%{http_code}' "
                "%s/status/204; curl -sS https://slow.example.com/head" % ((u,) * 8),
                intercept=intercept)
    assert r.rc == 0, r
    for want in ("1\n0\n0\n", "part4", "100000\n", "HTTP/1.1 200", '{"authorized', "204slow"):
        assert want in r.out, (want, r)


@MODES
def test_slow_and_parallel(weir, lab, intercept):
    urls = " ".join("https://api.example.com/p%d" % i for i in range(20))
    r = weir.sh(trust(lab, intercept) + "curl -sS 'https://slow.example.com/drip?n=10&ms=30'; "
                "curl -sS --parallel --parallel-max 20 %s | grep -c authorized" % urls,
                intercept=intercept)
    assert r.out == "..........20\n", r


@pytest.mark.parametrize("host", ["expired", "wrong-name", "self-signed"])
def test_bad_certificates_are_the_clients_to_refuse_when_opaque(weir, lab, host):
    r = weir.sh("curl -sS --cacert %s https://%s.example.com/" % (lab.ca, host))
    assert r.rc == 60, r


@pytest.mark.parametrize("host", ["expired", "wrong-name", "self-signed"])
def test_bad_certificates_are_refused_when_intercepted(weir, lab, host):
    """The client has no way to see the upstream's certificate: weir must not let it through."""
    r = weir.sh("curl -sS -i https://%s.example.com/" % host, intercept=True)
    assert not [e for e in lab.seen("http") if e["server"].startswith(host)], r
    assert r.rc != 0 or "502" in r.out.splitlines()[0], r
    assert [e for e in r.events if "certificate" in json.dumps(e)], r


@MODES
@pytest.mark.parametrize("path", ["/midbody", "/midchunk", "/empty", "/reset", "/garbage"])
def test_broken_servers_never_look_whole(weir, lab, intercept, path):
    r = weir.sh(trust(lab, intercept) + "curl -sS -f -m 10 https://broken.example.com%s" % path,
                intercept=intercept)
    assert r.rc not in (0, 28), r


@pytest.mark.parametrize("path", ["/twolengths", "/both", "/split"])
def test_contradictory_answers_are_not_passed_on(weir, path):
    r = weir.sh("curl -sS -i -m 10 https://broken.example.com%s" % path, intercept=True)
    assert "evil" not in r.out, r
    if path != "/split":  # the surplus after a whole answer is dropped
        assert r.rc != 0 or " 502" in r.out.splitlines()[0], r
