// SPDX-License-Identifier: Apache-2.0
// WebSocket echo with permessage-deflate, by HTTP/1.1 upgrade and by extended CONNECT (RFC 8441).
// "/ws?say=TEXT" speaks first; a message "close" is answered with a close 4000; all else comes back as it was.
'use strict';
let lib = null;
try {
  lib = require('ws');
} catch (e) {
  lib = null; // the package is not installed: the rest works without
}

function serve(socket, entry, log) {
  const say = new URL(entry.path, 'http://x').searchParams.get('say');
  const auth = entry.headers.find(([k]) => k.toLowerCase() === 'authorization');
  log('ws', { ...entry, event: 'open', extensions: socket.extensions });
  if (say) socket.send(say);
  if (say === '' && auth) socket.send(auth[1]); // "?say=": what it was given
  socket.on('message', (data, binary) => {
    const b = Buffer.from(data);
    log('ws', {
      server: entry.server, session: entry.session, event: binary ? 'binary' : 'text', size: b.length,
      data: b.subarray(0, 65536).toString('latin1'),
    });
    if (!binary && b.toString() === 'close') return socket.close(4000, 'as you asked');
    return socket.send(b, { binary });
  });
  socket.on('ping', (b) => log('ws', { server: entry.server, event: 'ping', data: b.toString('latin1') }));
  socket.on('close', (code, reason) => log('ws', {
    server: entry.server, session: entry.session, event: 'close', code, data: reason.toString('latin1'),
  }));
  socket.on('error', (e) => log('ws', { server: entry.server, event: 'error', error: String(e.code || e) }));
}

const server = lib && new lib.WebSocketServer({
  noServer: true, perMessageDeflate: { threshold: 1 }, maxPayload: 256 << 20,
  handleProtocols: (offered) => [...offered][0],
});

exports.upgrade = (req, socket, head, entry, log) => {
  socket.on('error', () => {});
  if (!server) return socket.end('HTTP/1.1 501 No WebSocket\r\nConnection: close\r\n\r\n');
  return server.handleUpgrade(req, socket, head, (w) => serve(w, entry, log));
};

exports.connect = (req, res, describe, log) => {
  const stream = req.stream;
  const entry = describe();
  if (!lib || req.headers[':protocol'] !== 'websocket') {
    res.statusCode = 501;
    return res.end();
  }
  stream.respond({ ':status': 200 });
  stream.setNoDelay = () => stream; // a stream is used as if it were a socket
  const w = new lib.WebSocket(null);
  w.setSocket(stream, Buffer.alloc(0), { maxPayload: 256 << 20, skipUTF8Validation: false });
  return serve(w, { ...entry, path: req.headers[':path'], extended: true }, log);
};

exports.available = !!lib;
