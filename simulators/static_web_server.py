"""Serves the root of a mirror read-only over HTTP: follows symlinks, hides dot paths, lists no directories."""

from __future__ import annotations

import argparse
import http.server
import io
import signal
import socketserver
import ssl
import sys
import threading
import urllib.parse
from functools import partial
from pathlib import Path
from typing import Any


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files only: no directory listings, and no path with a component that begins with a dot."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> Any:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if any(part.startswith(".") for part in path.split("/")):
            self.send_error(404, "File not found")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> io.BytesIO | None:
        self.send_error(404, "File not found")
        return None

    def log_message(self, format: str, *args: Any) -> None:
        self.server.log(f"{self.log_date_time_string()} {format % args}")  # type: ignore[attr-defined]


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], root: Path, log_file: Path | None) -> None:
        super().__init__(address, partial(_Handler, directory=str(root)))
        self._log_file = log_file

    def server_bind(self) -> None:
        # HTTPServer.server_bind resolves the name of the address, which takes seconds if no name server answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that disconnect or reject the certificate are expected; any other error is a bug in this program.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)

    def log(self, line: str) -> None:
        if self._log_file is not None:
            with self._log_file.open("a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")


class StaticWebServer:
    """A web server in a thread: `with StaticWebServer(root) as server: server.url`."""

    def __init__(
        self,
        root: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        log_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = _Server((host, port), root, log_file)
        self._scheme = "https" if tls else "http"
        if tls:
            # The TLS handshake happens in the thread of each connection, so that a silent client does not block others.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}"

    def start(self) -> StaticWebServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> StaticWebServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.stop()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder to serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free port")
    parser.add_argument("--log", type=Path, help="file to write one line per request to")
    options = parser.parse_args(arguments)
    # sigwait() instead of a handler that sets an event: a signal during Event.wait() could deadlock.
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with StaticWebServer(options.root, options.host, options.port, options.log) as server:
        print(server.url, flush=True)
        signal.sigwait(signals)
    return 0


if __name__ == "__main__":
    sys.exit(main())
