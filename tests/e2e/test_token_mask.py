# SPDX-License-Identifier: Apache-2.0
"""Tokens that the sandbox asks for itself (OAuth 2, RFC 6749): mask_tokens.

The endpoint is a server of the test's own in the lab. The sandbox calls it with the placeholder
of a client secret; what comes back are placeholders, which work where the configuration says.
"""

import gzip
import json
import subprocess
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

import pytest
from conftest import SLACK
from listener import HttpsServer
from test_reload import Live
from test_secret_process import kill


SECRET = "client-secret-4711-of-the-agent"
REFRESH = "refresh.token/of~the-agent+0815"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ3aG8gdGhlIHVzZXIgaXMifQ.c2lnbmVkIGJ5IHRoZSBpc3N1ZXI"
ENDPOINT, API, PORT = "files.example.com", "api.example.com", 8443

# Asks what it is told, one line of JSON each, and writes what came as one line of JSON.
CLIENT = """
import json, os, ssl, sys, http.client, urllib.parse
for line in sys.stdin:
    q = json.loads(line)
    try:
        c = http.client.HTTPSConnection(q['host'], q.get('port', 443), timeout=30)
        body = q.get('form')
        head = dict(q.get('head', {}))
        if body is not None:
            body = urllib.parse.urlencode({k: v.format(**os.environ) for k, v in body.items()})
            head['Content-Type'] = 'application/x-www-form-urlencoded'
        c.request('GET' if body is None else 'POST', q['path'], body, head)
        r = c.getresponse()
        data = r.read()
        print(json.dumps({'status': r.status, 'head': dict(r.getheaders()), 'length': len(data),
                          'text': data.decode('latin-1')}), flush=True)
    except OSError as e:
        print(json.dumps({'status': 0, 'text': repr(e)}), flush=True)
"""


class Endpoint(HttpsServer):
    """Answers with .body (JSON when it is a dict), however it is to be sent."""

    def __init__(self, token):
        self.asked, self.status, self.head, self.chunks = [], 200, {}, 0
        self.body = {"access_token": token, "token_type": "Bearer", "expires_in": 3600,
                     "refresh_token": REFRESH, "id_token": JWT, "scope": "read"}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.asked.append(dict({k: v[0] for k, v in parse_qs(form).items()},
                                        path=self.path, auth=self.headers["Authorization"]))
                data = outer.body
                if isinstance(data, dict):
                    data = json.dumps(data).encode()
                if outer.head.get("Content-Encoding") == "gzip":
                    data = gzip.compress(data)
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                for name, value in outer.head.items():
                    self.send_header(name, value)
                if not outer.chunks:
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    return
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for i in range(0, len(data), outer.chunks):
                    piece = data[i:i + outer.chunks]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_):
                pass

        super().__init__(ENDPOINT, PORT, Handler)


@pytest.fixture
def endpoint(lab):
    e = Endpoint(lab.token)
    yield e
    e.stop()


class Agent(Live):
    def __init__(self, weir, lab, name, mask=True, at=("body:client_secret",), **kw):
        self.lab = lab
        secret = {"env": "CLIENT_SECRET", "hosts": [ENDPOINT], "at": list(at), "mask_tokens": mask,
                  "from": "file:" + weir.file("value-" + name, SECRET + "\n")}
        super().__init__(weir, "/usr/bin/python3", "-c", CLIENT, name=name,
                         policy={"policy": {"default_egress": "allow"}}, stdin=subprocess.PIPE,
                         flags=["--config", weir.file(name + ".json", {"secrets": [secret]}),
                                "--tls-intercept-port", "443", "--tls-intercept-port", str(PORT)], **kw)

    def ask(self, **q):
        self.p.stdin.write(json.dumps(q).encode() + b"\n")
        self.p.stdin.flush()
        answer = json.loads(self.p.stdout.readline())
        assert SECRET not in json.dumps(answer)
        return answer

    def buy(self, path="/oauth/token", **form):
        return self.ask(host=ENDPOINT, port=PORT, path=path,
                        form=form or {"grant_type": "authorization_code", "code": "a-code",
                                      "client_secret": "{CLIENT_SECRET}"})

    def use(self, token, host=API):
        answer = self.ask(host=host, path="/x", head={"Authorization": "Bearer " + token})
        try:
            return answer["status"], json.loads(answer["text"]).get("authorized")
        except ValueError:
            return answer["status"], None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def clean(self, *values):
        """None of it is in the record."""
        with open(self.p.audit_path, "rb") as f:
            text = f.read()
        assert not any(v.encode() in text for v in values)


HOSTS = {"hosts": [API]}


@pytest.mark.parametrize("how", ["length", "chunked", "gzip", "gzip-chunked"])
def test_p9_3_18_masked_tokens_work_where_they_may(weir, lab, endpoint, how):
    """The sandbox gets placeholders, which are the tokens for the API, and nothing elsewhere."""
    endpoint.head = {"Content-Encoding": "gzip"} if "gzip" in how else {}
    endpoint.chunks = 7 if "chunked" in how else 0
    with Agent(weir, lab, "mask-" + how, HOSTS) as a:
        answer = a.buy()
        got = json.loads(answer["text"])
        assert answer["status"] == 200 and endpoint.asked[-1]["client_secret"] == SECRET
        assert got["expires_in"] == 3600 and got["scope"] == "read" and set(got) == set(endpoint.body)
        assert "Content-Encoding" not in answer["head"], answer
        for key, value in (("access_token", lab.token), ("refresh_token", REFRESH), ("id_token", JWT)):
            assert got[key] != value and value not in answer["text"]
        assert int(answer["head"].get("Content-Length", answer["length"])) == answer["length"]
        assert a.use(got["access_token"]) == (200, True)
        assert a.use(got["access_token"], "evil.example.net")[0] == 403
        assert a.use(got["refresh_token"])[0] == 403, "a refresh token is for its endpoint alone"
        # A refresh token buys others, and they are masked without the client's secret, too.
        more = json.loads(a.buy(grant_type="refresh_token", refresh_token=got["refresh_token"])["text"])
        assert endpoint.asked[-1]["refresh_token"] == REFRESH
        assert more == got, "the same tokens keep their placeholders"
    a.clean(SECRET, lab.token, REFRESH, JWT)
    assert {e["name"] for e in a.events("secret") if e["event"] == "masked"} == {
        "access_token", "refresh_token", "id_token"}


def test_p9_3_18_masked_tokens_outlive_the_tlsproxy(weir, lab, endpoint):
    with Agent(weir, lab, "mask-heir", HOSTS) as a:
        got = json.loads(a.buy()["text"])
        kill(a.p)
        assert a.use(got["access_token"]) == (200, True)
        again = json.loads(a.buy(grant_type="refresh_token", refresh_token=got["refresh_token"])["text"])
        assert again["access_token"] == got["access_token"]
    a.clean(lab.token, REFRESH)


def test_p9_3_18_masked_token_ends_when_it_is_said_to(weir, lab, endpoint):
    """Then the placeholder goes out as it is: the server refuses it, and the client asks anew."""
    endpoint.body["expires_in"] = ends = int(2 * SLACK)
    with Agent(weir, lab, "mask-ends", HOSTS) as a:
        got = json.loads(a.buy()["text"])
        assert a.use(got["access_token"]) == (200, True)
        time.sleep(ends + 1)
        assert a.use(got["access_token"]) == (200, False)
        assert "Bearer " + got["access_token"] in lab.seen("http")[-1]["head"]
        assert a.use(got["access_token"], "evil.example.net")[0] == 403
        more = json.loads(a.buy()["text"])
        assert more["access_token"] != got["access_token"]
        assert a.use(more["access_token"]) == (200, True)


@pytest.mark.parametrize("what", ["html", "broken", "twice", "deflated", "cut", "long", "short", "many"])
def test_p9_3_18_reply_that_cannot_be_masked_is_refused(weir, lab, endpoint, what):
    token = lab.token
    endpoint.body = {
        "html": b"<p>your token is %s</p>" % token.encode(),
        "broken": b'{"access_token": "%s"' % token.encode(),
        "twice": b'{"access_token": "%s", "access_token": "x"}' % token.encode(),
        "deflated": b'{"access_token": "%s"}' % token.encode(),
        "cut": b'{"access_token": "%s"}' % token.encode(),
        "long": {"access_token": token, "filling": "x" * 70000},
        "short": {"access_token": token, "id_token": "short"},
        "many": {"access_token": token, "others": [{"access_token": "%s%d" % (token, i)} for i in range(9)]},
    }[what]
    endpoint.head = {"deflated": {"Content-Encoding": "x-own"}, "cut": {"Content-Encoding": "br"}}.get(what, {})
    endpoint.status = 503 if what == "html" else 200
    with Agent(weir, lab, "mask-no-" + what, HOSTS) as a:
        answer = a.buy()
        assert answer["status"] == 502 and token not in json.dumps(answer), answer
    a.clean(token)


def test_p9_3_18_endpoint_by_its_path_alone(weir, lab, endpoint):
    """A client without a secret (PKCE): the path says it. One with two readings says it, too."""
    with Agent(weir, lab, "mask-path", dict(HOSTS, paths=["/oauth/*"])) as a:
        # Not one, and nothing of ours in it.
        assert json.loads(a.buy("/public", grant_type="x")["text"])["access_token"] == lab.token
        for path in ("/oauth/token", "/x/..%2foauth/token", "//oauth/token"):
            got = json.loads(a.buy(path, grant_type="authorization_code", code="x")["text"])
            assert got["access_token"] != lab.token, path
        assert a.use(got["access_token"]) == (200, True)


def test_p9_3_18_fields_and_places_can_be_named(weir, lab, endpoint):
    endpoint.body = {"data": [{"token": lab.token, "expires_at": "2100-01-01T00:00:00Z"}], "id_token": JWT}
    mask = {"hosts": [API], "fields": ["token"], "at": ["header:X-Key"]}
    with Agent(weir, lab, "mask-fields", mask) as a:
        got = json.loads(a.buy()["text"])
        assert got["id_token"] == JWT
        token = got["data"][0]["token"]
        assert token != lab.token
        assert a.use(token)[0] == 403
        answer = a.ask(host=API, path="/x", head={"X-Key": token})
        assert answer["status"] == 200
        assert "X-Key: " + lab.token in lab.seen("http")[-1]["head"]
        assert lab.token not in answer["text"], "what the server repeats is the placeholder again"


def test_p9_3_18_oldest_token_makes_room(weir, lab, endpoint):
    """Sixty-four stay; the first is a violation then, not a value."""
    with Agent(weir, lab, "mask-many", HOSTS) as a:
        first = None
        for i in range(66):
            endpoint.body = {"access_token": "%s-%d" % (lab.token, i)}
            got = json.loads(a.buy()["text"])["access_token"]
            first = first or got
        assert a.use(first)[0] == 403
        assert a.use(got)[0] == 200
        assert "Bearer %s-65" % lab.token in lab.seen("http")[-1]["head"]


def test_p9_3_18_tokens_go_with_their_secret(weir, lab, endpoint):
    """A secret that changes keeps its tokens; one that is removed takes them along, for good."""
    with Agent(weir, lab, "mask-gone", HOSTS) as a:
        got = json.loads(a.buy()["text"])
        change = subprocess.run([*weir.prefix, weir.program, "ctl", "mask-gone", "secret", "set", "CLIENT_SECRET"],
                                input="another-client-secret-0815\n", text=True, capture_output=True,
                                check=False, env=weir.environment(None))
        assert change.returncode == 0, change
        a.buy()
        assert endpoint.asked[-1]["client_secret"] == "another-client-secret-0815"
        assert a.use(got["access_token"]) == (200, True)
        assert a.ctl("secret", "rm", "CLIENT_SECRET").returncode == 0
        assert a.use(got["access_token"])[0] == 403
        kill(a.p)
        # Nobody knows it any more: it is a text like any other.
        assert a.use(got["access_token"]) == (200, False)
