"""The HTTP server: sends responses as the faults shaped them, and handles control requests."""

from __future__ import annotations

import email.utils
import http.server
import json
import socket
import socketserver
import ssl
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from .wire import FOREVER, Body, Exchange, Response

if TYPE_CHECKING:
    from .service import DownloadService

BLOCK = 1 << 18


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, service: DownloadService, port: int, control: bool) -> None:
        self.service, self.control = service, control
        self._open: dict[int, socket.socket] = {}
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        # HTTPServer.server_bind resolves the name of the address, which takes seconds if no name server answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def opened(self, connection: socket.socket) -> None:
        self._open[id(connection)] = connection

    def closed(self, connection: socket.socket) -> None:
        self._open.pop(id(connection), None)

    def hang_up(self) -> None:
        for connection in list(self._open.values()):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that disconnect or reject the certificate are expected; any other error is a bug in this program.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        self._clear_at = 0.0
        service = self.server.service
        self._accepted = self.request
        self.server.opened(self.request)
        if not self.server.control:
            fault = service.connection_fault()
            if fault is not None:
                if fault.name == "stall_handshake":
                    fault.cleared.wait(fault.options.get("seconds", FOREVER))
                raise ConnectionAbortedError(fault.name)
            if service.tls is not None:
                try:
                    self.request = service.tls.wrap_socket(self.request, server_side=True)
                except OSError:
                    with service.changed:
                        service.handshakes_failed += 1
                    raise
                self.server.closed(self._accepted)
                self.server.opened(self.request)
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self._accepted)
            self.server.closed(self.request)
            # The TLS socket has taken over the file descriptor of the accepted socket, so the server cannot close it.
            self.request.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: the records of the service contain every request."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        if self.server.control and self.path.startswith("/-/"):
            self._control()
            return
        service = self.server.service
        headers = {name.lower(): value for name, value in self.headers.items()}
        exchange = service.begin(self.command, self.path, headers)
        try:
            service.stopping.wait(service.latency)
            if self.command in ("GET", "HEAD"):
                response = service.respond(exchange)
            else:
                response = Response(405, {"Allow": "GET, HEAD"}, Body())
            try:
                self._send(exchange, response)
            except OSError:
                # The client disconnected.
                self.close_connection = True
            finally:
                response.body.close()
        finally:
            service.finish(exchange)

    def _send(self, exchange: Exchange, response: Response) -> None:
        if response.stall_before_head:
            response.released.wait(response.stall_seconds)
        head = self._head(response) if response.raw_head is None else response.raw_head
        if response.head_drip is not None:
            self._drip(head, *response.head_drip)
        else:
            self.connection.sendall(head)
        if self.command != "HEAD":
            self._send_body(exchange, response)
        if response.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # The reset is sent when the last reference to the socket is closed, and `rfile` is one of them.
            self.rfile.close()
            self.connection.close()
        if response.ending != "keep" or response.framing == "close":
            self.close_connection = True

    def _head(self, response: Response) -> bytes:
        reason = {int(known): known.phrase for known in http.HTTPStatus}.get(response.status, "Unheard Of")
        headers = {"Date": email.utils.formatdate(usegmt=True), "Server": "download-service", **response.headers}
        if response.framing == "length":
            headers["Content-Length"] = str(response.body.size if response.declared is None else response.declared)
        elif response.framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send_body(self, exchange: Exchange, response: Response) -> None:
        service, body = self.server.service, response.body
        limit = body.size if response.cut is None else min(response.cut, body.size)
        stall_at, place = response.stall_at, 0
        while place < limit:
            if stall_at is not None and place >= stall_at:
                response.released.wait(response.stall_seconds)
                stall_at = None
            block = BLOCK if not service.throttle else max(512, min(BLOCK, int(service.throttle / 50)))
            end = min(place + block, limit if stall_at is None else min(limit, stall_at))
            data = body.read(place, end)
            framed = data
            if response.framing == "chunked":
                size = f"{len(data):x}" if response.chunk_size is None else response.chunk_size
                framed = size.encode("latin-1") + b"\r\n" + data + b"\r\n"
            if response.body_drip is not None:
                self._drip(framed, *response.body_drip)
            else:
                self.connection.sendall(framed)
            service.progress(exchange, len(data))
            place = end
            self._pace(len(data))
        if response.framing == "chunked" and response.cut is None:
            self.connection.sendall(b"0\r\n\r\n")

    def _pace(self, count: int) -> None:
        """Limits this connection to the `throttle` of the service."""
        service = self.server.service
        if service.throttle:
            now = time.monotonic()
            self._clear_at = max(now, self._clear_at) + count / service.throttle
            service.stopping.wait(self._clear_at - now)

    def _drip(self, data: bytes, size: int, seconds: float) -> None:
        for place in range(0, len(data), size):
            self.connection.sendall(data[place : place + size])
            if self.server.service.stopping.wait(seconds):
                raise ConnectionAbortedError("the service stops")

    def _control(self) -> None:
        """Handles a control request: /-/releases, /-/faults or /-/requests, with JSON in both directions."""
        service = self.server.service
        size = int(self.headers.get("Content-Length") or 0)
        status = 200
        result: Any = None
        try:
            given = json.loads(self.rfile.read(size) or b"{}")
            endpoint = (self.command, self.path[3:].rstrip("/"))
            if endpoint == ("POST", "releases"):
                result = [release.as_json() for release in service.publish(**given)]
            elif endpoint == ("POST", "faults"):
                options = given.pop("options", {})
                result = service.fault(given.pop("name", ""), **given, **options).as_json()
            elif endpoint == ("DELETE", "faults"):
                service.clear_faults()
            elif endpoint == ("DELETE", "requests"):
                service.clear_requests()
            elif endpoint == ("GET", "releases"):
                result = [release.as_json() for release in service.current.values()]
            elif endpoint == ("GET", "faults"):
                result = [fault.as_json() for fault in service.faults]
            elif endpoint == ("GET", "requests"):
                result = [exchange.as_json() for exchange in service.asked()]
            else:
                status, result = 404, {"error": f"{self.command} {self.path} is not a control request"}
        except (ValueError, TypeError) as error:
            status, result = 400, {"error": str(error)}
        data = json.dumps(result).encode() + b"\n"
        response = Response(status, {"Content-Type": "application/json"}, Body(data))
        self.connection.sendall(self._head(response) + data)
