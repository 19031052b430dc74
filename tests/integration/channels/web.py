"""A web server on loopback for the duration of a test."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import threading


class LocalServer(http.server.ThreadingHTTPServer):
    """Listens on a free port, with TLS if a context is given."""

    daemon_threads = True
    # The default backlog of 5 is too small for many clients on a busy machine.
    request_queue_size = 128

    def __init__(self, handler, context=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.requests = []
        self.scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def server_bind(self):
        # HTTPServer.server_bind resolves the name of the address, which takes seconds where no name server answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Ignores clients that disconnect or reject the certificate, because some tests do that on purpose."""


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
