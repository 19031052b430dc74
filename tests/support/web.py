"""Servers on loopback for the duration of a test: web servers that tests can disturb, and a proxy."""

from __future__ import annotations

import base64
import contextlib
import http.server
import re
import select
import socket
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
    """Serves in a thread until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with HTTP/1.1, and prints no log."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, data, headers=None, cut=None):
        """Sends a response; with `cut`, only the first `cut` bytes of its body."""
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        if cut is not None:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(data[:cut])

    def log_message(self, *_arguments):
        pass


class _FileHandler(Handler):
    def do_GET(self):
        server = self.server
        path = self.path.lstrip("/").partition("?")[0]
        asked = self.headers.get("Range")
        server.requests.append((path, asked))
        server.targets.append((self.path, self.headers.get("Cache-Control")))
        for disturb in list(server.disturbances.get(path, [])):
            if disturb(self):
                return
        file = server.root / path
        if path.startswith(".") or not file.is_file():
            self.answer(404, b"not here")
        else:
            self.file(file.read_bytes(), asked)

    def file(self, data, asked=None, cut=None):
        """Sends a file, or the requested part of it; with `cut`, only the first `cut` bytes."""
        etag = f'"{hash(data) & 0xFFFFFFFF:x}"'
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        at = int(match[1]) if match and self.headers.get("If-Range", etag) == etag else 0
        status = 206 if at else 200
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
        self.answer(status, data[at:], headers, cut)


class MirrorServer(LocalServer):
    """Serves the root of a mirror. Tests disturb the responses of single paths."""

    def __init__(self, root, context=None):
        super().__init__(_FileHandler, context)
        self.root, self.disturbances = root, {}
        # The path and query of each request, and its Cache-Control header.
        self.targets = []

    def disturb(self, path, act, times=None):
        """`act(handler)` sends another response and returns True; if it returns None, the file is served.

        With `times`, only the first `times` requests are disturbed.
        """
        left = [times]

        def once(handler):
            if left[0] is not None:
                if left[0] == 0:
                    return False
                left[0] -= 1
            return act(handler)

        self.disturbances.setdefault(path, []).append(once)

    def asked(self, ending):
        """The requested paths with this ending."""
        return [path for path, _range in self.requests if path.endswith(ending)]


class Proxy:
    """A CONNECT proxy that requires a password."""

    def __init__(self, user, password):
        self.credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.tunnels, self.refused = [], 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _listen(self):
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        # If one side disconnects with unread data, the other side gets a reset.
        with client, contextlib.suppress(ConnectionError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            method, target, _version = head.split(b"\r\n", 1)[0].decode().split()
            if f"Proxy-Authorization: Basic {self.credentials}\r\n".encode() not in head:
                self.refused += 1
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            assert method == "CONNECT"
            self.tunnels.append(target)
            host, port = target.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                ends = {client: server, server: client}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        data = end.recv(65536)
                        if not data:
                            return
                        ends[end].sendall(data)
