// SPDX-License-Identifier: Apache-2.0
// What the HTTP/2 origin serves: see the table in ../README.md. The same by h2 and by HTTP/1.1.
'use strict';
const fs = require('fs');
const path = require('path');
const zlib = require('zlib');
const crypto = require('crypto');
const { spawn, spawnSync } = require('child_process');

const BODY_MAX = 64 << 20; // bytes of a body that are kept for an answer
exports.BODY_MAX = BODY_MAX;

const urlOf = (req) => new URL(req.url === '*' ? '/*' : req.url, 'http://x');
const pathOf = (req) => urlOf(req).pathname;
exports.pathOf = pathOf;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- data.py's stream of bytes -----------------------------------------------------

let block = null;
function* blocks(config, from, size) { // a prime number of bytes, each time with its number in front
  if (!block) block = fs.readFileSync(config.block);
  let at = from;
  while (size > 0) {
    const number = Math.floor(at / block.length), offset = at % block.length;
    const b = Buffer.from(block);
    b.writeBigUInt64BE(BigInt(number), 0);
    const piece = b.subarray(offset, Math.min(block.length, offset + size));
    yield piece;
    at += piece.length;
    size -= piece.length;
  }
}

async function write(res, b) {
  if (!res.write(b)) {
    await new Promise((done) => {
      res.once('drain', done);
      res.once('close', done);
    });
  }
  return !res.destroyed && !(res.stream && res.stream.destroyed);
}

async function bytes(req, res, { config }, size, args) {
  let from = 0, to = size - 1, status = 200;
  const range = /^bytes=(\d*)-(\d*)$/.exec(req.headers.range || '');
  if (range && (range[1] || range[2])) {
    from = range[1] ? Number(range[1]) : Math.max(0, size - Number(range[2]));
    to = range[1] && range[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
    status = from > to ? 416 : 206;
  }
  const head = { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' };
  if (status === 416) {
    res.writeHead(416, { ...head, 'content-range': 'bytes */' + size });
    return res.end();
  }
  if (status === 206) head['content-range'] = `bytes ${from}-${to}/${size}`;
  if (!args.has('chunked')) head['content-length'] = to - from + 1;
  res.writeHead(status, head);
  if (req.method !== 'HEAD') {
    for (const b of blocks(config, from, to - from + 1)) if (!await write(res, b)) return undefined;
  }
  return res.end();
}

// ---- codings ---------------------------------------------------------------------------

const CODERS = {
  gzip: (b) => zlib.gzipSync(b),
  deflate: (b) => zlib.deflateSync(b),
  'raw-deflate': (b) => zlib.deflateRawSync(b),
  br: (b) => zlib.brotliCompressSync(b, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }),
  zstd: (b) => zstd(b, ['-q', '-c']),
  members: (b) => Buffer.concat([zlib.gzipSync(b.subarray(0, b.length >> 1)),
    zlib.gzipSync(b.subarray(b.length >> 1))]),
};
const DECODERS = {
  gzip: (b) => zlib.gunzipSync(b), 'x-gzip': (b) => zlib.gunzipSync(b),
  deflate: (b) => zlib.inflateSync(b), br: (b) => zlib.brotliDecompressSync(b),
  zstd: (b) => zstd(b, ['-q', '-d', '-c']), identity: (b) => b,
};

function zstd(input, args) {
  const p = spawnSync('zstd', args, { input, maxBuffer: BODY_MAX * 4 });
  if (p.status !== 0) throw new Error('zstd: ' + (p.error || p.stderr));
  return p.stdout;
}

// What the header says: the two special names are forms of an ordinary coding.
const CALLED = { 'raw-deflate': 'deflate', members: 'gzip' };

function coded(req, res, names, body, args, config) {
  let b = body.size ? body.kept : Buffer.from(args.get('text') || '');
  if (args.has('size')) b = Buffer.concat([...blocks(config, 0, Number(args.get('size')))]);
  const plain = b.length, digest = crypto.createHash('sha256').update(b).digest('hex');
  for (const n of names) b = CODERS[n](b);
  const head = {
    'content-type': args.get('type') || 'text/plain', 'x-plain-size': plain, 'x-plain-sha256': digest,
    'content-encoding': names.map((n) => CALLED[n] || n).join(', '), vary: 'Accept-Encoding',
  };
  if (!args.has('chunked')) head['content-length'] = b.length;
  res.writeHead(200, head);
  if (req.method === 'HEAD') return res.end();
  return res.end(b);
}

// Pieces of a coded body, each flushed, with time between them.
async function codedDrip(res, name, args) {
  const make = { gzip: zlib.createGzip, deflate: zlib.createDeflate, br: zlib.createBrotliCompress }[name];
  const z = make();
  res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': name });
  z.on('data', (b) => res.write(b));
  z.on('end', () => res.end());
  for (let i = 0; i < Number(args.get('n') || 3); i++) {
    z.write(`data: ${args.get('text') || 'event'} ${i}\n\n`);
    z.flush(name === 'br' ? zlib.constants.BROTLI_OPERATION_FLUSH : zlib.constants.Z_SYNC_FLUSH);
    await sleep(Number(args.get('ms') || 20));
  }
  z.end();
}

// ---- answers -----------------------------------------------------------------------------

function json(req, res, object, status = 200, headers = {}) {
  const text = JSON.stringify(object) + '\n';
  res.writeHead(status, {
    'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers,
  });
  res.end(req.method === 'HEAD' ? undefined : text);
}

function echo(req, res, body, ctx, extra = {}) {
  const trailers = {};
  for (const [k, v] of ctx.entry.trailers || []) trailers[k.toLowerCase()] = v;
  json(req, res, {
    ...ctx.entry, trailers, ...extra,
    body: { size: body.size, sha256: body.sha256, text: body.kept.subarray(0, 65536).toString('latin1') },
  });
}

async function sse(res, args, headers) {
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  for (let i = 0; i < Number(args.get('n') || 3); i++) {
    const text = args.get('text') || headers.authorization || 'event';
    if (!await write(res, `id: ${i}\ndata: ${text} ${i}\n\n`)) return;
    await sleep(Number(args.get('ms') || 20));
  }
  res.end();
}

// One or more informational heads before the real one: ?n=
function hints(req, res, args) {
  for (let i = 0; i < Number(args.get('n') || 1); i++) {
    if (res.stream) res.stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' });
    else res.socket.write('HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n');
  }
  json(req, res, { hints: true });
}

function trailers(req, res, args) {
  res.writeHead(200, { 'content-type': 'text/plain', trailer: 'x-digest, x-more' });
  res.write('body of a reply with trailers\n');
  res.addTrailers({ 'x-digest': 'abc', 'x-more': args.get('text') || 'yes' });
  res.end();
}

function many(req, res, args) {
  const head = { 'content-type': 'text/plain' };
  for (let i = 0; i < Number(args.get('n') || 10); i++) {
    head['x-many-' + i] = 'v'.repeat(Number(args.get('size') || 10));
  }
  res.writeHead(200, head);
  res.end('many\n');
}

// Ends that are not whole.
function broken(req, res, how, args) {
  const code = Number(args.get('code') || 2);
  res.writeHead(200, { 'content-type': 'text/plain', 'content-length': 1000 });
  res.write('ten bytes.');
  setTimeout(() => {
    if (!res.stream) return res.socket.destroy();
    if (how === 'goaway') {
      const session = res.stream.session;
      session.goaway(code);
      return setTimeout(() => session.destroy(), 50);
    }
    return res.stream.close(code);
  }, 50);
}

// The connection ends under the request, once for each key; asked again it is answered.
const hungUp = new Set();

function hangUp(req, res, ctx, args) {
  const key = args.get('key') || '', session = res.stream && res.stream.session;
  if (hungUp.has(key) || !session) return json(req, res, { again: true });
  hungUp.add(key);
  switch (args.get('how')) {
    case 'goaway': // not processed, it says
      session.goaway(0, res.stream.id - 2);
      return setTimeout(() => session.destroy(), 50);
    case 'close': return session.socket.destroySoon(); // a close in order, of TLS only
    default: return session.socket._parent.resetAndDestroy(); // not even that
  }
}

function trace(req, res, ctx) {
  const e = ctx.entry;
  const text = `${e.method} ${e.path} HTTP/${e.version}\r\n` +
    e.headers.map(([k, v]) => `${k}: ${v}\r\n`).join('') + '\r\n';
  res.writeHead(200, { 'content-type': 'message/http', 'content-length': Buffer.byteLength(text) });
  res.end(text);
}

// A reply that waits until somebody asks for /release?key=, at most half a minute: it holds a page's load.
const held = new Map();

function hold(req, res, args) {
  const key = args.get('key') || '';
  const timer = setTimeout(() => release(key), 30000);
  held.set(key, () => {
    clearTimeout(timer);
    json(req, res, { released: true });
  });
}

function release(key) {
  const go = held.get(key);
  held.delete(key);
  if (go) go();
}

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' };

function file(req, res, root, name) {
  let full = path.normalize(path.join(root, decodeURIComponent(name)));
  if (!full.startsWith(path.normalize(root))) return json(req, res, { error: 'outside' }, 404);
  if (full.endsWith('/') || (fs.existsSync(full) && fs.statSync(full).isDirectory())) {
    full = path.join(full, 'index.html');
  }
  if (!fs.existsSync(full)) return json(req, res, { error: 'no such file' }, 404);
  const b = fs.readFileSync(full);
  res.writeHead(200, {
    'content-type': TYPES[path.extname(full)] || 'application/octet-stream', 'content-length': b.length,
  });
  return res.end(req.method === 'HEAD' ? undefined : b);
}

// ---- git: the CGI program of git itself --------------------------------------------------

function git(req, res, body, ctx, name) {
  const p = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH, GIT_PROJECT_ROOT: ctx.config.git, GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: req.method, PATH_INFO: decodeURIComponent(name),
      QUERY_STRING: urlOf(req).search.slice(1), CONTENT_TYPE: req.headers['content-type'] || '',
      CONTENT_LENGTH: String(body.size), HTTP_CONTENT_ENCODING: req.headers['content-encoding'] || '',
      GIT_PROTOCOL: req.headers['git-protocol'] || '', REMOTE_ADDR: '192.0.2.1', REMOTE_USER: 'lab',
      GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const out = [];
  p.stdout.on('data', (b) => out.push(b));
  p.on('close', () => {
    const all = Buffer.concat(out), end = all.indexOf('\r\n\r\n');
    const head = {};
    let status = 200;
    for (const line of all.subarray(0, end).toString('latin1').split('\r\n')) {
      const i = line.indexOf(': ');
      if (line.slice(0, i).toLowerCase() === 'status') status = parseInt(line.slice(i + 2), 10);
      else if (i > 0) head[line.slice(0, i).toLowerCase()] = line.slice(i + 2);
    }
    res.writeHead(status, { ...head, 'content-length': all.length - end - 4 });
    res.end(all.subarray(end + 4));
  });
  p.stdin.on('error', () => {});
  p.stdin.end(body.kept);
}

// ---- gRPC, below /lab.Echo/: messages come back as they came ------------------------------

function grpc(req, res, method) {
  if (method === 'Fail') { // a head that is the end as well
    const head = { 'content-type': 'application/grpc', 'grpc-status': '7', 'grpc-message': 'not%20you' };
    if (res.stream) {
      res.stream.respond({ ':status': 200, ...head }, { endStream: true });
    } else {
      res.writeHead(200, head);
      res.end();
    }
    return;
  }
  const auth = req.headers.authorization;
  res.writeHead(200, { 'content-type': 'application/grpc', ...(auth ? { 'x-got': auth } : {}) });
  if (res.stream) res.flushHeaders && res.flushHeaders();
  req.on('data', (b) => res.write(b));
  req.on('error', () => {});
  req.on('end', () => {
    res.addTrailers({ 'grpc-status': '0', 'grpc-message': 'ok', 'x-trailer': auth || 'none' });
    res.end();
  });
}

// Reads slowly, a piece every `ms`, so that what is on its way has to wait; the digest is the answer.
function sip(req, res, args) {
  const hash = crypto.createHash('sha256');
  let size = 0;
  req.on('data', (b) => {
    hash.update(b);
    size += b.length;
    req.pause();
    setTimeout(() => req.resume(), Number(args.get('ms') || 1));
  });
  req.on('error', () => {});
  req.on('end', () => json(req, res, { body: { size, sha256: hash.digest('hex') } }));
}

// True when the answer is made while the request is read.
exports.streaming = (req, res, ctx) => {
  const p = pathOf(req);
  if (p.startsWith('/lab.Echo/')) {
    grpc(req, res, p.slice('/lab.Echo/'.length));
    return true;
  }
  if (p === '/mirror') { // full duplex: each piece comes back at once
    res.writeHead(200, { 'content-type': 'application/octet-stream' });
    req.on('error', () => {});
    req.pipe(res);
    return true;
  }
  if (p === '/sip') {
    sip(req, res, urlOf(req).searchParams);
    return true;
  }
  if (p === '/at-once') { // an answer before the body has come
    json(req, res, { early: true }, Number(urlOf(req).searchParams.get('status') || 413));
    req.resume();
    return true;
  }
  return false;
};

exports.answer = (req, res, body, ctx) => {
  const url = urlOf(req), p = url.pathname, args = url.searchParams;
  const part = p.split('/');
  if (req.method === 'TRACE') return trace(req, res, ctx);
  switch (part[1]) {
    case 'bytes': return bytes(req, res, ctx, Number(part[2]), args);
    case 'coded': return coded(req, res, part[2].split(','), body, args, ctx.config);
    case 'coded-drip': return codedDrip(res, part[2], args);
    case 'decode': {
      const names = (req.headers['content-encoding'] || 'identity').split(',').map((x) => x.trim());
      const b = names.reverse().reduce((x, n) => DECODERS[n](x), body.kept);
      return echo(req, res, body, ctx, {
        decoded: { size: b.length, sha256: crypto.createHash('sha256').update(b).digest('hex'),
          text: b.subarray(0, 65536).toString('latin1') },
      });
    }
    case 'sse': return sse(res, args, req.headers);
    case 'trailers': return trailers(req, res, args);
    case 'hints': return hints(req, res, args);
    case 'many': return many(req, res, args);
    case 'redirect':
      res.writeHead(Number(args.get('code') || 302), { location: args.get('to') || '/echo', 'content-length': 0 });
      return res.end();
    case 'status': {
      const status = Number(part[2]);
      res.writeHead(status, status === 304 ? { etag: '"lab"', 'content-length': 1234 } : {});
      return res.end();
    }
    case 'reset': case 'goaway': return broken(req, res, part[1], args);
    case 'delay': return setTimeout(() => json(req, res, { late: true }), Number(args.get('ms') || 50));
    case 'hang-up': return hangUp(req, res, ctx, args);
    case 'hold': return hold(req, res, args);
    case 'release':
      release(args.get('key') || '');
      return echo(req, res, body, ctx);
    case 'reply': // the body as a reply of a given type: what a server would say back
      res.writeHead(200, { 'content-type': args.get('type') || 'text/plain',
        ...(args.has('chunked') ? {} : { 'content-length': body.kept.length }) });
      return res.end(body.kept);
    case 'static': return file(req, res, ctx.config.static, p.slice('/static'.length));
    case 'git': return git(req, res, body, ctx, p.slice('/git'.length));
    default: return echo(req, res, body, ctx);
  }
};
