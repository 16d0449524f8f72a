# SPDX-License-Identifier: Apache-2.0
"""Bodies end to end: each byte once, in order, nothing lost, however they are cut and however slowly they are read.

The client (node, as the server is) sends random bytes, so that a piece that is lost, doubled or moved changes
the digest which the server answers with; what comes back is digested as well. Which protocol it is, is the
client's offer: weir speaks the same to the server. Mixed protocols do not occur on a flow; between the filter's
two sides they are tried in unit/tlsproxy/test_http2_bodies.c.
"""
import json

import pytest

CLIENT = """
const crypto = require('crypto'), http2 = require('http2'), https = require('https');
const host = 'h2.example.com', jobs = JSON.parse(process.argv[2]), proto = process.argv[3];
const session = proto === 'h2' ? http2.connect('https://' + host) : null;
const agent = new https.Agent({ keepAlive: true, maxSockets: 8 });
const sha = (b) => crypto.createHash('sha256').update(b).digest('hex');

function open(job, headers, answered) {
  if (!session) {
    const r = https.request({ host, path: job.path, method: 'POST', headers, agent }, (a) => {
      answered(a, a.statusCode);
    });
    return r;
  }
  const r = session.request({ ':method': 'POST', ':path': job.path, ...headers });
  r.on('response', (h) => answered(r, h[':status']));
  return r;
}

// The body in pieces of `cut` bytes (0: at once, -1: of any size), no faster than they are taken.
async function send(r, body, cut) {
  for (let at = 0; at < body.length;) {
    const n = cut === 0 ? body.length : cut > 0 ? cut : 1 + crypto.randomInt(40000);
    if (!r.write(body.subarray(at, at + n))) await new Promise((go) => r.once('drain', go));
    at += n;
  }
  r.end();
}

function run(job) {
  return new Promise((done) => {
    const body = crypto.randomBytes(job.size), back = [];
    const fail = (e) => done({ ...job, error: String(e) });
    const r = open(job, job.length ? { 'content-length': job.size } : {}, (a, status) => {
      a.on('data', (b) => back.push(b));
      a.on('error', fail);
      a.on('end', () => {
        const all = Buffer.concat(back);
        const got = job.path === '/mirror' ? { size: all.length, sha256: sha(all) }
          : status === 200 ? JSON.parse(all).body : {};
        if (status !== 200 || got.size !== job.size || got.sha256 !== sha(body)) {
          return fail('status ' + status + ', ' + got.size + ' bytes of ' + job.size);
        }
        done(null);
      });
    });
    r.on('error', fail);
    send(r, body, job.cut).catch(fail);
  });
}

async function main() {
  const bad = [];
  while (jobs.length) bad.push(...(await Promise.all(jobs.splice(0, 8).map(run))).filter((x) => x));
  console.log(JSON.stringify(bad));
  process.exit(0);
}
main();
"""

# Around what frames, records, buffers and windows hold.
SIZES = [0, 1, 16383, 16384, 16385, 65535, 65536, 65537, 262143, 262144, 262145, 1048577, 3000001]


def jobs(path, sizes, cuts, repeat=1):
    return [{"path": path, "size": n, "cut": cut, "length": length}
            for _ in range(repeat) for n in sizes for cut in cuts for length in (False, True)
            if not (cut > 0 and n > 300 * cut)]


@pytest.mark.parametrize("proto", ["h1", "h2"])
@pytest.mark.parametrize("what", ["whole", "slow", "mirror"])
def test_each_byte_once_and_in_order(weir, h2, proto, what):
    """Eight at a time: with Content-Length and without, whole and in pieces; read at once, slowly, and sent back."""
    todo = {"whole": jobs("/echo", SIZES, (0, -1, 1000)),
            "slow": jobs("/sip?ms=2", [65537, 262144, 700001], (0, -1)),
            "mirror": jobs("/mirror", [1, 65536, 262145, 2000001], (0, -1, 1000))}[what]
    r = weir.run("node", weir.file("bodies.js", CLIENT), json.dumps(todo), proto, intercept=True, timeout=120)
    assert r.rc == 0 and json.loads(r.out) == [], r
    seen = [e for e in h2.seen() if e["method"] == "POST"]
    assert len(seen) == len(todo) and {e["proto"] for e in seen} == {proto}, (len(seen), len(todo))
    told = r.find("http", method="POST")
    assert sorted(e["bytes_up"] for e in told) == sorted(j["size"] for j in todo)
