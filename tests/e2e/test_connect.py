# SPDX-License-Identifier: Apache-2.0
"""A guest with an explicit HTTP proxy of its own: the target of CONNECT is judged, and read."""

import json

import pytest

import world

API, FILES, EVIL = "api.example.com", "files.example.com", "evil.example.net"
PROXY = "http://x:y@echo.example.com:%d" % world.PROXY
TO_PROXY = {"action": "allow", "destination": "echo.example.com"}


def policy(*rules):
    return {"policy": {"default_egress": "deny", "rules": [TO_PROXY] + list(rules)}}


def allow(host, **more):
    return dict({"action": "allow", "destination": host, "protocol": "tcp", "ports": ["443"]}, **more)


def reached(lab, host):
    return [e for e in lab.seen("http") if host in e["head"]]


# Parity: S09, lesson 35.
def test_S09_lesson_35_a_secret_goes_through_connect(weir, lab):
    r = weir.sh("curl -sS -m 20 -x %s -H \"Authorization: Bearer $LAB_TOKEN\" https://%s/x" % (
        PROXY, API), policy=policy(allow(API)), flags=["--secret", "LAB_TOKEN@" + API])
    assert r.rc == 0 and r.json["token_in"] == ["header"], r
    assert lab.token not in r.out + r.err, "the reply was not scrubbed"
    assert r.find("secret", event="used", host=API), r
    assert [e for e in r.find("http", method="CONNECT") if e["host"] == API
            and e["status"] == 200 and e["verdict"] == "allow"], r
    assert [e for e in r.find("tls", sni=API) if e["verdict"] == "allow"], r
    assert r.find("http", method="GET", host=API, path="/x"), r


# Parity: weak-3.
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("url", ["https://%s/" % EVIL, "https://%s:8443/" % API,
                                 "http://%s/" % EVIL])
def test_weak_3_a_target_that_no_rule_allows(weir, lab, url, intercept):
    r = weir.sh("curl -sS -m 10 -x %s %s" % (PROXY, url), policy=policy(allow(API)),
                intercept=intercept)
    assert "\"status\":403" in r.out or r.rc not in (0, 28), r
    assert [e for k in ("http", "flow") for e in r.find(k, verdict="deny")], r
    assert not reached(lab, EVIL) and not lab.asked(EVIL), lab.seen()


# Parity: n28.
def test_n28_rules_by_request_hold_inside(weir, lab):
    rules = policy(allow(API, http={"methods": ["GET"], "paths": ["/x/**"]}))
    r = weir.sh("curl -sS -m 10 -o /dev/null -w '%%{http_code} ' -x %s https://%s/x/1; "
                "curl -sS -m 10 -o /dev/null -w '%%{http_code} ' -x %s https://%s/y; "
                "curl -sS -m 10 -o /dev/null -w '%%{http_code} ' -x %s -d a https://%s/x/1" % (
                    (PROXY, API) * 3), policy=rules, intercept=True)
    assert r.out.split() == ["200", "403", "403"], r


def test_the_server_name_is_the_targets(weir, lab):
    """CONNECT for one host, TLS for another: refused, whoever stands behind the target."""
    code = ("import socket, ssl; s = socket.create_connection(('echo.example.com', {0}))\n"
            "s.sendall(b'CONNECT {1}:443 HTTP/1.1\\r\\nHost: {1}:443\\r\\n"
            "Proxy-Authorization: Basic eDp5\\r\\n\\r\\n')\n"
            "print(s.recv(4096).split()[1].decode())\n"
            "t = ssl._create_unverified_context().wrap_socket(s, server_hostname='{2}')\n"
            "t.sendall(b'GET / HTTP/1.1\\r\\nHost: {2}\\r\\n\\r\\n'); print(t.recv(4096))\n").format(
                world.PROXY, API, FILES)
    r = weir.run("/usr/bin/python3", "-c", code, policy=policy(allow(API), allow(FILES)),
                 intercept=True)
    assert r.out.startswith("200\n") and "b'HTTP/1.1 200" not in r.out, r
    assert not reached(lab, FILES), lab.seen()


def test_credentials_for_the_proxy_are_the_guests(weir, lab):
    r = weir.sh("curl -sS -m 10 -o /dev/null -w '%%{http_connect}' -x http://echo.example.com:%d "
                "https://%s/" % (world.PROXY, API), policy=policy(allow(API)), intercept=True)
    assert r.out.strip() == "407", r
    assert r.find("http", method="CONNECT", status=407), json.dumps(r.events)


# Parity: weak-3.
@pytest.mark.parametrize("how", ["flag", "file"])
def test_weak_3_a_proxy_on_a_port_of_its_own(weir, lab, how):
    """Where nothing else makes weir look at first bytes, it looks where it is told a proxy is."""
    flags = (["--http-proxy-port", str(world.PROXY_ODD)] if how == "flag" else
             ["--config", weir.file("h.json", {"http": {"proxy_ports": [world.PROXY_ODD]}})])
    proxy = PROXY.replace(str(world.PROXY), str(world.PROXY_ODD))
    r = weir.sh("curl -sSk -m 10 -o /dev/null -w '%%{http_code} ' -x %s https://%s/x; "
                "curl -sS -m 10 -o /dev/null -w '%%{http_connect} ' -x %s https://%s/; "
                "curl -sS -m 10 -o /dev/null -w '%%{http_code} ' -x %s http://%s/" % (
                    proxy, API, proxy, EVIL, proxy, EVIL), policy=policy(allow(API)), flags=flags)
    assert r.out.split() == ["200", "403", "403"], r
    assert not reached(lab, EVIL) and not lab.asked(EVIL), lab.seen()


@pytest.mark.parametrize("version,why", [("--http1.1", "inside TLS"), ("--http2", "inside TLS")])
def test_a_proxy_inside_tls_is_refused_and_told_why(weir, lab, version, why):
    """curl -x https://...: the 405 says what would do."""
    r = weir.sh("curl -sSv -m 10 --proxy-insecure %s -x https://%s:443 https://%s/ 2>&1" % (
        version, FILES, API), policy=policy(allow(API), allow(FILES)), intercept=True)
    assert "405" in r.out and not reached(lab, API), r
    assert why in r.find("http", method="CONNECT", status=405)[0]["detail"], r
