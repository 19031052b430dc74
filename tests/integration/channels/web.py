"""A web server on this host for as long as a test needs it."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import threading


class LocalServer(http.server.ThreadingHTTPServer):
    """Listens on a free port, with TLS where a context is given."""

    daemon_threads = True
    # The default of 5 is full at once where many ask and the thread that accepts gets no time; then clients wait.
    request_queue_size = 128

    def __init__(self, handler, context=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.requests = []
        self.scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def server_bind(self):
        # HTTPServer's own would look up the name of the address, which can take seconds without a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that breaks off, or does not trust the certificate, is what some tests are about."""


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
