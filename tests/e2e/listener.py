# SPDX-License-Identifier: Apache-2.0
"""TCP servers of a test's own: a thread for each connection, until they are closed."""

import os
import socket
import ssl
import threading
from http.server import ThreadingHTTPServer

import world


class Listener:
    """What becomes of a connection is `one`; an error of a connection ends that connection."""

    def __init__(self, *addresses):
        self.sockets = [socket.create_server(a, backlog=256,
                                             family=socket.AF_INET6 if ":" in a[0] else socket.AF_INET)
                        for a in addresses]
        for s in self.sockets:
            threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    @property
    def address(self):
        return self.sockets[0].getsockname()[:2]

    def _accept(self, s):
        while True:
            try:
                c, _ = s.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        try:
            self.one(c)
        except OSError:
            pass
        finally:
            c.close()

    def one(self, c):
        raise NotImplementedError

    def close(self):
        for s in self.sockets:
            s.shutdown(socket.SHUT_RDWR)
            s.close()


def tls_context(pem):
    """A server's, with the key and the certificates of this file."""
    x = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    x.load_cert_chain(pem)
    return x


class HttpsServer:
    """A host of the lab, with its certificate; what is asked is for a http.server handler."""

    def __init__(self, host, port, handler):
        self.server = ThreadingHTTPServer((world.v4(host), port), handler)
        context = tls_context("%s/pki/%s.pem" % (os.environ["LAB_DIR"], host))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
