// SPDX-License-Identifier: Apache-2.0
// The lab's HTTP/2 origin: one set of sites by h2, by HTTP/1.1 and in clear text, each request on the log.
//
//   node server.js CONFIG.json
//
// CONFIG: {"log": FILE, "block": FILE, "static": DIR, "git": DIR, "listen": [{"server": NAME,
// "addresses": [...], "pem": FILE, "alpn": "both"|"h2"|"h1", "connect": BOOL}]}. Prints "ready" when all
// listen. Port 443 speaks TLS, port 80 HTTP/1.1 or h2 with prior knowledge, told apart by the first bytes.
// What is served stands in sites.js. It ends with its standard input.
'use strict';
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const https = require('https');
const net = require('net');
const crypto = require('crypto');
const sites = require('./sites.js');
const ws = require('./websocket.js');

const config = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const logFd = fs.openSync(config.log, 'a');
const KEEP = 65536; // bytes of a body that go to the log

// One append for each line: other servers write to the same file.
function log(kind, fields) {
  fs.writeSync(logFd, JSON.stringify({ ...fields, kind, time: Date.now() / 1000 }) + '\n');
}

let sessions = 0;

// What is known of a connection, the same for both protocols.
function facts(socket, server) {
  if (!socket.labFacts) {
    socket.labFacts = {
      server, session: ++sessions, tls: !!socket.encrypted, sni: socket.servername || null,
      alpn: socket.alpnProtocol || null, client: socket.remoteAddress, local: socket.localAddress,
    };
  }
  return socket.labFacts;
}

function pairs(raw) {
  const out = [];
  for (let i = 0; i + 1 < raw.length; i += 2) out.push([raw[i], raw[i + 1]]);
  return out;
}

// Reads a body to its end; `done` gets its digest, size and beginning, or an error.
function readBody(req, done) {
  const hash = crypto.createHash('sha256');
  const kept = [];
  let size = 0, room = sites.BODY_MAX, told = false;
  const tell = (error) => {
    if (told) return;
    told = true;
    done(error, { size, sha256: hash.digest('hex'), kept: Buffer.concat(kept) });
  };
  req.on('data', (b) => {
    hash.update(b);
    size += b.length;
    if (room > 0) kept.push(b.subarray(0, room));
    room -= b.length;
  });
  req.on('end', () => tell(null));
  req.on('aborted', () => tell('aborted'));
  req.on('error', (e) => tell(String(e.code || e)));
  req.on('close', () => tell('closed'));
}

function describe(req, server) {
  const h2 = req.httpVersionMajor === 2;
  const socket = h2 ? req.stream.session && req.stream.session.socket : req.socket;
  const f = h2 ? req.stream.session.labFacts || facts(rawSocket(req.stream.session), server)
    : facts(socket, server);
  return {
    ...f, proto: h2 ? 'h2' : 'h1', version: req.httpVersion, stream: h2 ? req.stream.id : 0,
    method: req.method, path: req.url, authority: (h2 && req.authority) || req.headers.host || '',
    headers: pairs(req.rawHeaders),
  };
}

// A session hands out a proxy that refuses some members: the facts are kept on the session itself.
function rawSocket(session) {
  const s = session.socket;
  return {
    encrypted: !!session.encrypted, servername: s.servername, alpnProtocol: session.alpnProtocol,
    remoteAddress: s.remoteAddress, localAddress: s.localAddress,
  };
}

function serve(server) {
  return (req, res) => {
    const entry = describe(req, server);
    const ctx = { entry, config, log };
    res.on('error', () => {});
    if (sites.streaming(req, res, ctx)) { // answered while the body comes
      log('h2', { ...entry, streaming: true });
      return;
    }
    readBody(req, (error, body) => {
      entry.trailers = pairs(req.rawTrailers || []);
      log('h2', {
        ...entry, body_size: body.size, body_sha256: body.sha256,
        body: body.kept.subarray(0, KEEP).toString('latin1'), ...(error ? { broken: error } : {}),
      });
      if (error) return;
      try {
        sites.answer(req, res, body, ctx);
      } catch (e) {
        res.statusCode = 500;
        res.end(String(e.stack));
      }
    });
  };
}

function early(req, res, server) { // Expect: 100-continue
  if (sites.pathOf(req) === '/refuse-expect') {
    log('h2', { ...describe(req, server), refused: true });
    res.writeHead(417);
    res.end();
    return;
  }
  res.writeContinue();
  serve(server)(req, res);
}

function onSession(server) {
  return (session) => {
    const raw = rawSocket(session);
    session.labFacts = facts(raw, server);
    log('h2session', { ...session.labFacts });
    session.on('error', () => {});
    session.on('goaway', (code) => log('h2goaway', { ...session.labFacts, code }));
  };
}

function attach(s, server, connect) {
  s.on('request', serve(server));
  s.on('checkContinue', (q, r) => early(q, r, server));
  s.on('session', onSession(server));
  s.on('sessionError', () => {});
  s.on('clientError', (e, socket) => {
    log('h2bad', { server, error: String(e.code || e) });
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  });
  s.on('upgrade', (q, socket, head) => ws.upgrade(q, socket, head, { ...describe(q, server) }, log));
  if (connect) s.on('connect', (q, r) => ws.connect(q, r, () => describe(q, server), log));
  return s;
}

function secureServer(one) {
  const pem = fs.readFileSync(one.pem);
  const tls = { key: pem, cert: pem, minVersion: 'TLSv1.2' };
  let s;
  if (one.alpn === 'h1') {
    s = attach(https.createServer({ ...tls, ALPNProtocols: ['http/1.1'] }), one.server, false);
  } else {
    s = attach(http2.createSecureServer({
      ...tls, allowHTTP1: one.alpn === 'both', maxSessionInvalidFrames: 1000,
      settings: { maxConcurrentStreams: 250, enableConnectProtocol: !!one.connect },
    }), one.server, one.connect);
  }
  s.on('secureConnection', (c) => log('h2tls', {
    ...facts(c, one.server), tls_version: c.getProtocol(), cipher: c.getCipher().name,
    reused: c.isSessionReused(),
  }));
  s.on('tlsClientError', (e, c) => log('h2tls', {
    server: one.server, error: String(e.code || e), sni: c.servername || null,
  }));
  return s;
}

// Port 80: the preface of h2 begins as no request of HTTP/1 does.
function clearServer(one) {
  const h1 = attach(http.createServer(), one.server, false);
  const h2 = attach(http2.createServer({
    settings: { maxConcurrentStreams: 250, enableConnectProtocol: !!one.connect },
  }), one.server, one.connect);
  return net.createServer((c) => {
    c.on('error', () => {});
    c.once('readable', () => {
      const b = c.read();
      if (!b) return;
      c.unshift(b);
      (b.subarray(0, 3).toString('latin1') === 'PRI' ? h2 : h1).emit('connection', c);
    });
  });
}

let waiting = 0;
function listen(server, port, address) {
  waiting++;
  server.listen({ port, host: address, backlog: 1024, ipv6Only: address.includes(':') }, () => {
    if (--waiting === 0) process.stdout.write('ready\n');
  });
  server.on('error', (e) => {
    process.stderr.write('lab h2: ' + address + ':' + port + ': ' + e + '\n');
    process.exit(1);
  });
}

for (const one of config.listen) {
  for (const address of one.addresses) {
    listen(secureServer(one), 443, address);
    listen(clearServer(one), 80, address);
  }
}
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
