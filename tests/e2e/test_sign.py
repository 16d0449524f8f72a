# SPDX-License-Identifier: Apache-2.0
"""Signed requests: what arrives is signed with the real key, which the sandbox never had.

The client is botocore (or a shell) with placeholders for credentials; what the lab's servers
wrote down is checked with botocore's own signer and the real key.
"""

import hashlib
import hmac
import json
import textwrap
from urllib.parse import parse_qs, urlsplit

import pytest

ID, KEY = "AKIAREALREALREALREAL", "real/real+realrealrealrealrealrealrealKEY"
TOKEN, HOOK = "FwoGrealrealrealrealrealtoken//////////realreal=", "whsec_realrealrealreal"
HOST = "api.example.com"

CLIENT = """
import os, sys, json
import botocore.parsers
import botocore.session
from botocore.config import Config
env = os.environ
s = botocore.session.get_session()
s.set_credentials(env["AWS_ACCESS_KEY_ID"], OTHER_KEY or env["AWS_SECRET_ACCESS_KEY"],
                  env.get("AWS_SESSION_TOKEN") if "token" in sys.argv else None)
def client(name):
    return s.create_client(name, region_name="eu-central-1", endpoint_url="https://api.example.com",
                           config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"},
                                         signature_version="s3v4" if name == "s3" else None,
                                         parameter_validation=False))
"""


@pytest.fixture
def botocore():
    return pytest.importorskip("botocore", reason="python3-botocore is not installed")


def config(weir):
    """A configuration file with a credential of AWS and a webhook's secret."""
    def value(name, text):
        return "file:" + weir.file(name, text + "\n")

    secrets = [
        {"env": "AWS_ACCESS_KEY_ID", "from": value("id", ID), "hosts": [HOST]},
        {"env": "AWS_SESSION_TOKEN", "from": value("token", TOKEN), "hosts": [HOST]},
        {"env": "AWS_SECRET_ACCESS_KEY", "from": value("key", KEY), "hosts": [HOST],
         "sign": {"type": "aws_sigv4", "access_key_id": "AWS_ACCESS_KEY_ID",
                  "session_token": "AWS_SESSION_TOKEN"}},
        {"env": "HOOK_SECRET", "from": value("hook", HOOK), "hosts": [HOST],
         "sign": {"type": "hmac", "header": "X-Signature", "timestamp_header": "X-Timestamp",
                  "signs": "{method}\n{path}\n{timestamp}\n{body}", "format": "sha256={hex}"}}]
    return ["--config", weir.file("c.json", {"secrets": secrets})]


def sdk(weir, script, *args, key=""):
    path = weir.file("client.py", "OTHER_KEY = %r\n%s%s" % (key, CLIENT, textwrap.dedent(script)))
    return weir.run("/usr/bin/python3", "-B", path, *args, policy=None, flags=config(weir))


def arrived(lab):
    """The requests that the API saw: first line, fields by lower-case name, body."""
    out = []
    for e in lab.seen("http", server=HOST):
        lines = e["head"].split("\r\n")
        fields = {}
        for line in lines[1:]:
            name, colon, v = line.partition(":")
            if colon:
                fields[name.strip().lower()] = v.strip()
        out.append((lines[0].split(" "), fields, e["body"].encode("latin-1")))
    return out


def expected(first, fields, body, signed, day_scope, query=False):
    """The signature that botocore makes for what arrived."""
    from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    date, region, service = day_scope
    target = first[1]
    if query:
        target = target.replace("&X-Amz-Signature=" + parse_qs(urlsplit(target).query)["X-Amz-Signature"][0], "")
    kind = S3SigV4QueryAuth if query else S3SigV4Auth if service == "s3" else SigV4Auth
    auth = kind(Credentials(ID, KEY), service, region)
    request = AWSRequest(method=first[0], url="https://%s%s" % (fields["host"], target), data=body,
                         headers={n: fields[n] for n in signed if n != "host"})
    request.context["timestamp"] = date
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def check_header(request):
    first, fields, body = request
    auth = fields["authorization"]
    assert auth.startswith("AWS4-HMAC-SHA256 "), auth
    parts = dict(p.strip().split("=", 1) for p in auth[17:].split(","))
    cred_id, _, region, service, _ = parts["Credential"].split("/")
    assert cred_id == ID, auth
    want = expected(first, fields, body, parts["SignedHeaders"].split(";"),
                    (fields["x-amz-date"], region, service))
    assert parts["Signature"] == want, (first, fields)
    return service


def nothing_inside(r, lab):
    for value in (KEY, TOKEN, HOOK):
        assert value not in r.out + r.err and value.encode() not in r.record
    # A key only signs: it stands in no request either.
    assert KEY not in lab.seen_text() and HOOK not in lab.seen_text()


def test_p9_3_18_s3_put_and_get(weir, lab, botocore):
    """A path with everything in it, a body by its hash, a session token."""
    r = sdk(weir, """
        c = client("s3")
        try:
            c.put_object(Bucket="b", Key="a b/ü+=&~%41.txt", Body=b"hello", Metadata={"x": "a  b"})
        except botocore.parsers.ResponseParserError:
            pass  # the lab answers in JSON
        print(c.get_object(Bucket="b", Key="dir//../x", Range="bytes=0-9")["ResponseMetadata"]["HTTPStatusCode"])
    """, "token")
    assert r.rc == 0 and r.out == "200\n", r
    seen = arrived(lab)
    assert [q[0][0] for q in seen] == ["PUT", "GET"], seen
    for q in seen:
        assert check_header(q) == "s3"
        assert q[1]["x-amz-security-token"] == TOKEN
    assert seen[0][2] == b"hello"
    used = {(e["secret"], e["place"]) for e in r.find("secret", event="used")}
    assert ("AWS_SECRET_ACCESS_KEY", "header") in used and ("AWS_SESSION_TOKEN", "header") in used, r
    assert not r.find("secret", event="violation"), r
    nothing_inside(r, lab)


def test_p9_3_18_body_is_part_of_the_signature(weir, lab, botocore):
    """DynamoDB: no hash in the head, so the body is; small, and larger than every buffer."""
    r = sdk(weir, """
        c = client("dynamodb")
        c.list_tables()
        c.put_item(TableName="t", Item={"k": {"S": "x" * 700000}})
        print("done")
    """)
    assert r.rc == 0 and r.out == "done\n", r
    seen = arrived(lab)
    assert len(seen) == 2
    # The lab keeps the first 64 KiB of a body; its digest says that all of it came.
    assert check_header(seen[0]) == "dynamodb"
    whole = json.dumps({"TableName": "t", "Item": {"k": {"S": "x" * 700000}}}).encode()
    assert lab.seen("http", server=HOST)[1]["body_sha256"] == hashlib.sha256(whole).hexdigest()
    first, fields, _ = seen[1]
    assert check_header((first, fields, whole)) == "dynamodb"


def test_p9_3_18_presigned(weir, lab, botocore):
    r = sdk(weir, """
        import urllib.request
        url = client("s3").generate_presigned_url("get_object", {"Bucket": "b", "Key": "a b"}, 60)
        print(urllib.request.urlopen(url).status)
    """, "token")
    assert r.rc == 0 and r.out == "200\n", r
    (request,) = arrived(lab)
    first, fields, body = request
    q = parse_qs(urlsplit(first[1]).query)
    cred_id, _, region, service, _ = q["X-Amz-Credential"][0].split("/")
    assert cred_id == ID and q["X-Amz-Security-Token"] == [TOKEN], first
    assert q["X-Amz-Signature"] == [expected(first, fields, body, q["X-Amz-SignedHeaders"][0].split(";"),
                                             (q["X-Amz-Date"][0], region, service), query=True)]
    assert any(e["place"] == "query" for e in r.find("secret", event="used", secret="AWS_SECRET_ACCESS_KEY")), r


def test_p9_3_18_another_key_is_refused(weir, lab, botocore):
    """Who does not hold the key's placeholder gets no signature, though the id be right."""
    r = sdk(weir, """
        try:
            client("s3").get_object(Bucket="b", Key="k")
        except Exception as e:
            print(e.response["ResponseMetadata"]["HTTPStatusCode"])
    """, key="guessed/guessed/guessed")
    assert r.out == "403\n", r
    assert not arrived(lab)
    (v,) = r.find("secret", event="violation")
    assert v["secret"] == "AWS_SECRET_ACCESS_KEY" and "placeholder" in v["detail"], v
    nothing_inside(r, lab)


def test_p9_3_18_chunk_signatures_are_refused(weir, lab):
    r = weir.sh(
        "curl -sS -X PUT --aws-sigv4 aws:amz:eu-central-1:s3 --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\""
        " -H 'X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD' -d x https://api.example.com/b/k",
        policy=None, flags=config(weir))
    assert "chunk by chunk" in r.out, r
    assert not arrived(lab)


def test_p9_3_18_curl(weir, lab, botocore):
    """Another client's canonical form, with a query."""
    r = weir.sh(
        "curl -sS -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:es"
        " --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\""
        " -d '{\"q\": 1}' 'https://api.example.com/index/_search?a=1&b=2'",
        policy=None, flags=config(weir))
    assert r.out == "200", r
    (request,) = arrived(lab)
    assert check_header(request) == "es"


def test_p9_3_18_the_key_itself_goes_nowhere(weir, lab):
    r = weir.sh("curl -sS -H \"X-Key: $AWS_SECRET_ACCESS_KEY\" https://api.example.com/x",
                policy=None, flags=config(weir))
    assert '"status": 403' in r.out or "place not allowed" in r.out, r
    assert not arrived(lab)


def signature(method, path, time, body):
    text = "%s\n%s\n%s\n%s" % (method, path, time, body)
    return "sha256=" + hmac.new(HOOK.encode(), text.encode(), hashlib.sha256).hexdigest()


def test_p9_3_18_hmac(weir, lab):
    """Signed by the client with the placeholder; made here from the bare placeholder; refused."""
    script = (
        "sig() { printf '%s\\n%s\\n%s\\n%s' POST /hook \"$1\" \"$2\" |"
        " openssl dgst -sha256 -hmac \"$HOOK_SECRET\" | sed 's/.* //'; };"
        "post() { curl -sS -o /dev/null -w '%{http_code}\\n' -H \"X-Signature: $1\" $3 -d \"$2\""
        " https://api.example.com/hook; };"
        "post \"sha256=$(sig 1700000000 '{}')\" '{}' '-H X-Timestamp:1700000000';"
        "post \"$HOOK_SECRET\" body '-H X-Timestamp:1700000001';"
        "post \"$HOOK_SECRET\" later;"
        "post \"sha256=$(sig 1700000000 '{}')\" '{ }' '-H X-Timestamp:1700000000'")
    r = weir.sh(script, policy=None, flags=config(weir))
    assert r.out.split() == ["200", "200", "200", "403"], r
    seen = arrived(lab)
    assert len(seen) == 3
    for (first, fields, body), time in zip(seen, ("1700000000", "1700000001", None)):
        assert time in (None, fields["x-timestamp"])
        assert fields["x-signature"] == signature("POST", "/hook", fields["x-timestamp"], body.decode())
    (v,) = r.find("secret", event="violation")
    assert v["secret"] == "HOOK_SECRET", v
    nothing_inside(r, lab)


def test_p9_3_18_http2(weir, h2, botocore):
    """The host that is signed is :authority."""
    secrets = [
        {"env": "AWS_ACCESS_KEY_ID", "from": "file:" + weir.file("id", ID), "hosts": ["h2.example.com"]},
        {"env": "AWS_SECRET_ACCESS_KEY", "from": "file:" + weir.file("key", KEY), "hosts": ["h2.example.com"],
         "sign": {"type": "aws_sigv4", "access_key_id": "AWS_ACCESS_KEY_ID"}}]
    r = weir.sh(
        "curl -sS --http2 --aws-sigv4 aws:amz:us-east-1:es --user"
        " \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -d body 'https://h2.example.com/x?a=2&b=1'",
        policy={"default_egress": "allow"}, flags=["--config", weir.file("c.json", {"secrets": secrets})])
    assert r.rc == 0, r
    (e,) = h2.seen(path="/x?a=2&b=1")
    assert e["proto"] == "h2", e
    fields = dict(e["headers"], host=e["authority"])
    assert check_header((["POST", e["path"]], fields, b"body")) == "es"
