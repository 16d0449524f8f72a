# SPDX-License-Identifier: Apache-2.0
"""Real clients behind an intercepting weir, against a server that speaks h2 and HTTP/1.1.

Each reports what it got, and the server what it saw: the answer is the server's, the
certificate weir's, and the protocol the one that the client would have had without weir.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile

import pytest

from conftest import TOP, sanitized

U = "https://h2.example.com"
NPM = os.environ.get("WEIR_NPM", os.path.join(TOP, "build", "npm")) + "/node_modules"

PROTOS = pytest.mark.parametrize("how, proto", [("--http1.1", "h1"), ("--http2", "h2")])

absent = pytest.mark.netns("a client that the machine's root file system has not")
heavy = pytest.mark.skipif(sanitized(), reason="a heavy client: only with the plain build")


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=program + " is not installed")


def python_has(*modules):
    p = subprocess.run(["/usr/bin/python3", "-c", "import " + ", ".join(modules)], check=False,
                       stderr=subprocess.DEVNULL)
    return pytest.mark.skipif(p.returncode != 0, reason="python3 has no " + ", ".join(modules))


def npm_has(name):
    return pytest.mark.skipif(not os.path.isdir(os.path.join(NPM, name)),
                              reason="%s is not fetched: sh tests/npm.sh" % name)


def python(weir, code, **kw):
    return weir.run("/usr/bin/python3", "-B", weir.file("client.py", code), intercept=True, **kw)


def node(weir, code, **kw):
    return weir.sh("NODE_PATH=%s exec node %s" % (NPM, weir.file("client.js", code)), intercept=True, **kw)


def one(h2, path, proto, **want):
    """The server saw exactly this request, by this protocol."""
    seen = h2.seen(path=path)
    assert len(seen) == 1, (path, seen)
    assert seen[0]["proto"] == proto, seen[0]
    for k, v in want.items():
        assert seen[0][k] == v, (k, seen[0])
    return seen[0]


# ---- curl -------------------------------------------------------------------------------------


# Parity: weak-10.
@PROTOS
def test_curl(weir, h2, how, proto):
    r = weir.sh("curl -sS %s -d hello -w '\\n%%{http_version}\\n' %s/curl; "
                "curl -sS %s -T /etc/hostname -o /dev/null -w '%%{http_code}\\n' %s/up" % (how, U, how, U),
                intercept=True)
    assert r.rc == 0 and r.out.split("\n")[-3:-1] == ["2" if proto == "h2" else "1.1", "200"], r
    one(h2, "/curl", proto, body="hello")


@PROTOS
def test_curl_big_bodies(weir, h2, how, proto):
    r = weir.sh("curl -sS %s %s/bytes/20000000 | sha256sum; head -c 5000000 /dev/zero | "
                "curl -sS %s --data-binary @- %s/up" % (how, U, how, U), intercept=True)
    import data
    assert data.sha256(20000000) in r.out, r
    one(h2, "/up", proto, body_size=5000000, body_sha256=hashlib.sha256(bytes(5000000)).hexdigest())


def test_curl_prior_knowledge(weir, h2):
    """Without TLS nothing is negotiated: the client begins with the preface."""
    r = weir.sh("curl -sS --http2-prior-knowledge -d hello http://h2.example.com/prior", intercept=True)
    assert r.rc == 0, r
    one(h2, "/prior", "h2", body="hello", tls=False)


# Parity: weak-10.
@pytest.mark.parametrize("host, proto", [("h1only", "h1"), ("h2only", "h2")])
def test_curl_gets_what_the_server_has(weir, h2, host, proto):
    r = weir.sh("curl -sS https://%s.example.com/mirrored" % host, intercept=True)
    assert r.rc == 0, r
    one(h2, "/mirrored", proto)


def test_curl_parallel_on_one_connection(weir, h2):
    r = weir.sh("curl -sS --http2 --parallel --parallel-max 20 %s | grep -o '\"proto\":\"h2\"' | wc -l"
                % " ".join("%s/p%d" % (U, i) for i in range(40)), intercept=True)
    assert r.out.strip() == "40", r
    assert len({e["path"] for e in h2.seen() if e["path"].startswith("/p")}) == 40


@pytest.mark.parametrize("how", ["--http1.1", "--http2"])
def test_curl_forms_of_replies(weir, h2, how):
    r = weir.sh("curl -sS %(h)s -i %(u)s/hints; curl -sS %(h)s -N %(u)s/sse; curl -sS %(h)s -i %(u)s/trailers; "
                "curl -sS %(h)s -i -r 5-9 %(u)s/bytes/100 | head -1; curl -sS %(h)s -I %(u)s/bytes/77; "
                "curl -sS %(h)s -L '%(u)s/redirect?to=/landed'; for c in gzip deflate br; do "
                "curl -sS %(h)s --compressed \"%(u)s/coded/$c?text=plain-$c\"; done"
                % {"h": how, "u": U}, intercept=True)
    for want in ('"hints":true', "data: event 2", "body of a reply with trailers", " 206", ": 77",
                 '"path":"/landed"', "plain-gzip", "plain-deflate", "plain-br"):
        assert want in r.out, (want, r)


def test_a_cut_is_a_cut(weir, h2):
    r = weir.sh("for h in --http1.1 --http2; do curl -sS $h -m 10 %s/reset; echo \" $?\"; done" % U,
                intercept=True)
    ends = [x.split()[-1] for x in r.out.splitlines() if x.strip()]
    assert len(ends) == 2 and "0" not in ends and "28" not in ends, r


# ---- Python -------------------------------------------------------------------------------------


@python_has("requests")
def test_requests(weir, h2):
    r = python(weir, """
import requests
s = requests.Session()
print([s.post("%s/requests%%d" %% n, data=b"x" * n).json()["body"]["size"] for n in (0, 10, 300000)])
print(s.get("%s/coded/gzip?text=unzipped").text, s.get("%s/sse", stream=True).text.count("data:"))
""" % (U, U, U))
    assert r.out == "[0, 10, 300000]\nunzipped 3\n", r
    one(h2, "/requests10", "h1")


@python_has("urllib3")
def test_urllib3_and_urllib(weir, h2):
    r = python(weir, """
import ssl, urllib.request, urllib3, json
http = urllib3.PoolManager()
r = http.request("POST", "%s/urllib3", body=b"hello")
print(r.status, json.loads(r.data)["body"]["text"])
print(json.load(urllib.request.urlopen("%s/urllib"))["method"])
""" % (U, U))
    assert r.out == "200 hello\nGET\n", r


@python_has("httpx", "h2")
@pytest.mark.parametrize("http2", [False, True])
def test_httpx(weir, h2, http2):
    r = python(weir, """
import httpx
with httpx.Client(http2=%r) as c:
    r = c.post("%s/httpx", content=b"h" * 70000)
    print(r.http_version, r.json()["body"]["size"])
    print([c.get("%s/n%%d" %% i).status_code for i in range(5)])
""" % (http2, U, U))
    assert r.out == "HTTP/%s 70000\n[200, 200, 200, 200, 200]\n" % ("2" if http2 else "1.1"), r
    one(h2, "/httpx", "h2" if http2 else "h1")


@python_has("aiohttp")
def test_aiohttp(weir, h2):
    r = python(weir, """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as s:
        async def get(i):
            async with s.get("%s/aio%%d" %% i) as r:
                return (await r.json())["path"]
        print(sorted(await asyncio.gather(*(get(i) for i in range(8)))))
        async with s.ws_connect("%s/ws?say=hi") as w:
            first = await w.receive_str()
            await w.send_str("over aiohttp")
            print(first, await w.receive_str())
asyncio.run(main())
""" % (U, U.replace("https", "wss")))
    want = str(["/aio%d" % i for i in range(8)]) + "\n"
    assert r.out == want + ("hi over aiohttp\n" if h2.websocket else ""), r


@python_has("websockets")
def test_websockets(weir, h2):
    if not h2.websocket:
        pytest.skip("node-ws is not installed")
    r = python(weir, """
import asyncio, websockets
async def main():
    async with websockets.connect("wss://h2.example.com/ws?say=hi") as w:
        out = [await w.recv()]
        for m in ("text", bytes(range(256)), "x" * 200000, ""):
            await w.send(m)
            out.append(await w.recv())
        await (await w.ping())
        await w.send("close")
        try:
            await w.recv()
        except websockets.ConnectionClosed as e:
            print(out == ["hi", "text", bytes(range(256)), "x" * 200000, ""], e.rcvd.code, e.rcvd.reason)
asyncio.run(main())
""")
    assert r.out == "True 4000 as you asked\n", r
    assert [e["event"] for e in h2.seen("ws")][:5] == ["open", "text", "binary", "text", "text"]


@python_has("grpc")
def test_grpc_python(weir, h2):
    r = python(weir, """
import grpc
same = lambda b: b
with grpc.secure_channel("h2.example.com:443", grpc.ssl_channel_credentials()) as ch:
    unary = ch.unary_unary("/lab.Echo/Unary", same, same)
    reply, call = unary.with_call(b"hello", metadata=[("authorization", "Bearer x")], timeout=20)
    print(reply, dict(call.trailing_metadata())["x-trailer"])
    print([len(x) for x in ch.stream_stream("/lab.Echo/Both", same, same)(iter([b"a" * 70000, b"b"]), timeout=20)])
    try:
        ch.unary_unary("/lab.Echo/Fail", same, same)(b"", timeout=20)
    except grpc.RpcError as e:
        print(e.code().name, e.details())
""")
    assert r.out == "b'hello' Bearer x\n[70000, 1]\nPERMISSION_DENIED not you\n", r
    assert all(e["proto"] == "h2" for e in h2.seen()), h2.seen()


# ---- Node -----------------------------------------------------------------------------------------


@needs("node")
def test_node_fetch_and_https(weir, h2):
    r = node(weir, """
(async () => {
  const r = await fetch('%s/fetch', { method: 'POST', body: 'b'.repeat(70000) });
  console.log((await r.json()).body.size);
  require('https').get('%s/https', (q) => { console.log(q.statusCode); q.resume(); });
})();
""" % (U, U))
    assert r.out == "70000\n200\n", r


# Parity: weak-10.
@needs("node")
def test_node_http2(weir, h2):
    """A hundred streams of one session, trailers, and an end in order."""
    r = node(weir, """
const c = require('http2').connect('%s');
let left = 100, good = 0;
for (let i = 0; i < 100; i++) {
  const q = c.request({ ':path': '/s' + i, ':method': 'POST' });
  let s = '';
  q.on('data', (b) => { s += b; });
  q.on('end', () => {
    if (JSON.parse(s).body.size === i * 700) good++;
    if (--left === 0) {
      const t = c.request({ ':path': '/trailers' });
      t.on('trailers', (h) => { console.log(good, h['x-digest'], h['x-more']); c.close(); });
      t.resume();
    }
  });
  q.end(Buffer.alloc(i * 700));
}
""" % U)
    assert r.out == "100 abc yes\n", r
    assert {e["proto"] for e in h2.seen()} == {"h2"}


@needs("node")
@npm_has("undici")
def test_undici_h2(weir, h2):
    r = node(weir, """
const { Agent, request } = require('undici');
const ca = require('fs').readFileSync(process.env.NODE_EXTRA_CA_CERTS);
request('%s/undici', { dispatcher: new Agent({ allowH2: true, connect: { ca } }) })
  .then((r) => r.body.json()).then((j) => { console.log(j.proto); process.exit(0); });
""" % U)
    assert r.out == "h2\n", r


# Parity: weak-10.
@needs("node")
@npm_has("@grpc/grpc-js")
def test_grpc_js(weir, h2):
    r = node(weir, """
const g = require('@grpc/grpc-js');
const same = (b) => b;
const form = (path, stream) => ({ path, requestStream: stream, responseStream: stream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same });
const C = g.makeGenericClientConstructor({ Unary: form('/lab.Echo/Unary', false),
  Both: form('/lab.Echo/Both', true), Fail: form('/lab.Echo/Fail', false) }, 'Echo');
const ca = require('fs').readFileSync(process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH);
const c = new C('h2.example.com:443', g.credentials.createSsl(ca));
c.Unary(Buffer.from('hello'), (e, r) => {
  console.log(e ? e.message : String(r));
  c.Fail(Buffer.alloc(0), (f) => {
    console.log(f.code, f.details);
    const s = c.Both();
    const got = [];
    s.on('data', (b) => got.push(b.length));
    s.on('status', (t) => { console.log(got.join(), t.code, t.metadata.get('x-trailer')[0]); c.close(); });
    s.write(Buffer.alloc(100000));
    s.write(Buffer.alloc(5));
    s.end();
  });
});
""")
    assert r.out == "hello\n7 not you\n100000,5 0 none\n", r
    assert all(e["proto"] == "h2" for e in h2.seen()), h2.seen()


# ---- packages ---------------------------------------------------------------------------------------


def tgz(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            t.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@needs("npm")
@absent
def test_npm_install(weir, h2):
    """A registry of plain files: what npm asks of one, and its check of what it gets."""
    folder = h2.static + "/npm"
    os.makedirs(folder + "/-", exist_ok=True)
    manifest = {"name": "weir-lab-pkg", "version": "1.0.0", "main": "index.js"}
    package = tgz({"package/package.json": json.dumps(manifest),
                   "package/index.js": "module.exports = 'from npm';\n" + "// x\n" * 50000})
    with open(folder + "/-/weir-lab-pkg-1.0.0.tgz", "wb") as f:
        f.write(package)
    dist = {"tarball": U + "/static/npm/-/weir-lab-pkg-1.0.0.tgz",
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()}
    with open(folder + "/weir-lab-pkg", "w", encoding="ascii") as f:
        json.dump({"name": "weir-lab-pkg", "dist-tags": {"latest": "1.0.0"},
                   "versions": {"1.0.0": dict(manifest, dist=dist)}}, f)
    r = weir.sh("mkdir %(t)s/npm && cd %(t)s/npm && HOME=%(t)s npm_config_cache=%(t)s/cache npm install "
                "--no-audit --no-fund --no-update-notifier --registry %(u)s/static/npm/ weir-lab-pkg && "
                "node -p 'require(\"weir-lab-pkg\")'" % {"t": weir.tmp, "u": U}, intercept=True, timeout=120)
    assert r.rc == 0 and r.out.endswith("from npm\n"), r
    one(h2, "/static/npm/-/weir-lab-pkg-1.0.0.tgz", "h1")


@python_has("pip")
@absent
def test_pip_install(weir, h2):
    folder = h2.static + "/simple/weir-lab"
    os.makedirs(folder, exist_ok=True)
    name = "weir_lab-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        z.writestr("weir_lab.py", "text = 'from pip'\n")
        info = "weir_lab-1.0.dist-info/"
        z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: weir-lab\nVersion: 1.0\n")
        z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\n"
                                   "Tag: py3-none-any\n")
        z.writestr(info + "RECORD", "weir_lab.py,,\n%sMETADATA,,\n%sWHEEL,,\n%sRECORD,,\n" % ((info,) * 3))
    with open(os.path.join(folder, name), "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    with open(folder + "/index.html", "w", encoding="ascii") as f:
        f.write('<!DOCTYPE html><html><body><a href="%s#sha256=%s">%s</a></body></html>' % (name, digest, name))
    r = weir.sh("cd %(t)s && HOME=%(t)s /usr/bin/python3 -m pip install -q --no-cache-dir --disable-pip-version-check "
                "--root-user-action ignore --target %(t)s/pip --index-url %(u)s/static/simple/ weir-lab && "
                "PYTHONPATH=%(t)s/pip /usr/bin/python3 -c 'import weir_lab; print(weir_lab.text)'"
                % {"t": weir.tmp, "u": U}, intercept=True, timeout=120)
    assert r.rc == 0 and r.out.endswith("from pip\n"), r


# Over HTTP/2 only a push that fits the client's socket: where that is full in the midst of a body, git's libcurl
# of Debian 12 (7.88) sends up to 64 KiB twice, with weir and without. Large bodies: test_http_bodies.py.
@pytest.mark.parametrize("version, proto, size", [("HTTP/1.1", "h1", 3000000), ("HTTP/2", "h2", 12000)])
def test_git_clone_and_push(weir, h2, version, proto, size):
    branch = "b-" + proto
    r = weir.sh("export HOME=%(t)s GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a "
                "GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.version "
                "GIT_CONFIG_VALUE_0=%(v)s; cd %(t)s && git clone -q %(u)s/git/repo.git c && cd c && "
                "wc -c < large.bin && head -c %(n)d /dev/urandom > more.bin && git checkout -q -b %(b)s && "
                "git add . && git commit -q -m more && git push -q origin %(b)s && git ls-remote origin %(b)s"
                % {"t": weir.tmp, "u": U, "v": version, "b": branch, "n": size}, intercept=True, timeout=120)
    assert r.rc == 0 and r.out.startswith("2000000\n") and "refs/heads/" + branch in r.out, r
    assert {e["proto"] for e in h2.seen()} == {proto}, h2.seen()


# ---- Java and Go ----------------------------------------------------------------------------------------

JAVA = """
import java.io.*;
import java.net.*;
import java.net.http.*;

public class Client {
    public static void main(String[] a) throws Exception {
        HttpResponse<String> r = HttpClient.newHttpClient().send(
            HttpRequest.newBuilder(URI.create("%(u)s/java")).POST(
                HttpRequest.BodyPublishers.ofString("from java")).build(),
            HttpResponse.BodyHandlers.ofString());
        System.out.println(r.version() + " " + r.statusCode());
        HttpURLConnection c = (HttpURLConnection) new URL("%(u)s/https-url").openConnection();
        System.out.println(c.getResponseCode());
    }
}
""" % {"u": U}


# Parity: T08, weak-15.
@heavy
@needs("javac")
@absent
def test_java(weir, h2):
    with open(weir.tmp + "/Client.java", "w", encoding="ascii") as f:
        f.write(JAVA)
    subprocess.run(["javac", "Client.java"], cwd=weir.tmp, check=True)
    r = weir.sh("cd %s && java -XX:-UsePerfData Client" % weir.tmp, intercept=True, timeout=120)
    assert r.rc == 0 and r.out == "HTTP_2 200\n200\n", r
    one(h2, "/java", "h2", body="from java")
    one(h2, "/https-url", "h1")


# Parity: T08.
@heavy
@needs("keytool")
@pytest.mark.parametrize("password", ["changeit", None])
@absent
def test_java_key_stores(weir, h2, password):
    """A JVM with a PKCS 12 store of its own, with a password or without: made here, found by JAVA_HOME."""
    home = weir.tmp + "/jvm"
    os.makedirs(home + "/lib/security")
    store = home + "/lib/security/cacerts"
    subprocess.run(["keytool", "-importcert", "-noprompt", "-alias", "lab", "-file", weir.lab.ca,
                    "-keystore", store, "-storetype", "PKCS12", "-storepass", password or "changeit",
                    *([] if password else ["-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE",
                                           "-J-Dkeystore.pkcs12.macAlgorithm=NONE"])],
                   check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    before = open(store, "rb").read()
    r = weir.sh("keytool -list -keystore %s -storetype PKCS12 -storepass changeit" % store, intercept=True,
                env={"JAVA_HOME": home}, timeout=120)
    assert "weir-sandbox-ca" in r.out and "2 entries" in r.out and r.out.count("trustedCertEntry") == 2, r
    assert open(store, "rb").read() == before


GO = """
package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

func main() {
	r, err := http.Post("%s/go", "text/plain", strings.NewReader("from go"))
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := io.ReadAll(r.Body)
	fmt.Println(r.Proto, r.StatusCode, strings.Contains(string(b), "from go"))
	r, err = http.Get("%s/trailers")
	if err == nil {
		io.Copy(io.Discard, r.Body)
		fmt.Println(r.Trailer.Get("X-Digest"))
	}
}
""" % (U, U)


# Parity: T08.
@heavy
@needs("go")
def test_go(weir, h2):
    with open(weir.tmp + "/main.go", "w", encoding="ascii") as f:
        f.write(GO)
    env = dict(os.environ, GO111MODULE="off", GOCACHE=os.path.join(TOP, "build", "go-cache"), HOME=weir.tmp,
               CGO_ENABLED="0")
    subprocess.run(["go", "build", "-o", "client", "main.go"], cwd=weir.tmp, env=env, check=True, timeout=600)
    r = weir.run(weir.tmp + "/client", intercept=True)
    assert r.out == "HTTP/2.0 200 true\nabc\n", r
    one(h2, "/go", "h2", body="from go")


# ---- others, by the roots they read ------------------------------------------------------------------------

OTHERS = {
    "wget": "wget -qO- %s/other",
    "ruby": "ruby -rnet/http -e 'puts Net::HTTP.get(URI(\"%s/other\"))'",
    "perl": "perl -MHTTP::Tiny -e 'print HTTP::Tiny->new(verify_SSL => 1)->get(\"%s/other\")->{content}'",
    "php": "php -r 'echo file_get_contents(\"%s/other\");'",
    "deno": "deno eval 'console.log(await (await fetch(\"%s/other\")).text())'",
    "openssl": "printf 'GET /other HTTP/1.1\\r\\nHost: h2.example.com\\r\\nConnection: close\\r\\n\\r\\n' | "
               "openssl s_client -quiet -verify_return_error -connect h2.example.com:443 "
               "-servername h2.example.com #%s",
    "gnutls-cli": "printf 'GET /other HTTP/1.0\\r\\nHost: h2.example.com\\r\\n\\r\\n' | gnutls-cli --logfile=/dev/null "
                  "h2.example.com #%s",
}


# Parity: T08.
@pytest.mark.parametrize("program", [pytest.param(p, marks=absent) if p in ("ruby", "perl", "php", "deno") else p
                                     for p in OTHERS])
def test_others(weir, h2, program):
    if not shutil.which(program):
        pytest.skip(program + " is not installed")
    if program == "perl" and subprocess.run(["perl", "-MIO::Socket::SSL", "-e1"], check=False,
                                            stderr=subprocess.DEVNULL).returncode:
        pytest.skip("perl has no IO::Socket::SSL")
    r = weir.sh(OTHERS[program] % U, intercept=True)
    assert '"path":"/other"' in r.out, r


# Parity: T08.
def test_without_variables(weir, h2):
    """What a program reads that keeps no environment: bundle and hashed folder."""
    r = weir.sh("env -i PATH=$PATH curl -sS %(u)s/a; env -i PATH=$PATH curl -sS --cacert /nothing --capath "
                "/etc/ssl/certs %(u)s/b; env -i PATH=$PATH curl -sS --capath /etc/ssl/certs %(u)s/c; "
                "env -i PATH=$PATH openssl verify -no-CAfile -CApath /etc/ssl/certs /run/weir/ca.pem; "
                "env -i PATH=$PATH openssl verify -no-CAfile -CApath /etc/ssl/certs "
                "$(ls /etc/ssl/certs/*.pem | grep -v weir | head -1)" % {"u": U}, intercept=True)
    assert '"path":"/a"' in r.out and '"path":"/c"' in r.out, r
    assert r.out.count(": OK") == 2, r


# Parity: T08.
@pytest.mark.netns("files of the host")
def test_the_host_is_not_changed(weir, h2):
    def look():
        return subprocess.run("ls -laR /etc/ssl /usr/local/share/ca-certificates /etc/chromium; sha256sum "
                              "/etc/ssl/certs/ca-certificates.crt", shell=True, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    before = look()
    r = weir.sh("touch /etc/ssl/certs/written; ls /etc/ssl/certs | grep -c weir; curl -sS %s/ > /dev/null" % U,
                intercept=True)
    assert r.rc == 0 and r.out == "1\n", r
    assert look() == before and not os.path.exists("/etc/ssl/certs/written")


# ---- a browser --------------------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html><html><body><p id="out">nothing yet</p><script>
(async () => {
  const out = {};
  out.fetch = (await (await fetch('/from-page', { method: 'POST', body: 'posted' })).json()).proto;
  out.coded = await (await fetch('/coded/br?text=brotli')).text();
  out.socket = await new Promise((done) => {
    const w = new WebSocket('wss://' + location.host + '/ws?say=hi');
    const got = [];
    w.onmessage = (m) => {
      got.push(m.data);
      if (got.length === 1) w.send('from the page');
      else done(got.join('|'));
    };
    w.onerror = () => done('error');
    w.onclose = (e) => done('closed ' + e.code);
  });
  document.getElementById('out').textContent = JSON.stringify(out);
  fetch('/release?key=page');
})();
</script><img src="/hold?key=page"></body></html>
"""


# Parity: T08, weak-15.
@heavy
@needs("chromium")
@pytest.mark.parametrize("host", ["h2.example.com", "h2ws.example.com"])
@absent
def test_chromium(weir, h2, host):
    if not h2.websocket:
        pytest.skip("node-ws is not installed")
    with open(h2.static + "/page.html", "w", encoding="ascii") as f:
        f.write(PAGE)
    r = weir.sh("HOME=%s exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
                "--disable-background-networking --disable-component-update --disable-sync "
                "--user-data-dir=%s/chromium --dump-dom https://%s/static/page.html 2>/dev/null"
                % (weir.tmp, weir.tmp, host), intercept=True, timeout=120)
    assert '{"fetch":"h2","coded":"brotli","socket":"hi|from the page"}' in r.out, r
    one(h2, "/from-page", "h2", body="posted")
