"""An HTTP client that enforces the settings for hosts, TLS, proxy, redirects, time limits and speed."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import email.utils
import http.client
import io
import re
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Iterator
from urllib.parse import unquote, urljoin, urlsplit

from . import VERSION
from .cancel import Cancel
from .errors import MirrorError
from .masking import masked
from .settings import SourceSettings

MAX_REDIRECTS = 8
CHUNK = 256 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
_BUFFER = 64 * 1024
_GATHER_SECONDS = 0.25
# How long to wait for the rest of a response in order to use its connection again.
_DRAIN_SECONDS = 1.0


def shown(url: str) -> str:
    """An address for messages: without user, password and query (signed addresses have their secret in the query)."""
    scheme, sign, rest = masked(url, address=True, hidden="").partition("://")
    return scheme + sign + re.split("[?#]", rest[1:] if rest.startswith("@") else rest)[0]


class BandwidthLimit:
    """The limits that all downloads of a run share: simultaneous downloads, and bytes per second (0: no limit)."""

    def __init__(self, parallel: int, bytes_per_second: int, cancel: Cancel) -> None:
        # Held only while bytes are transferred, so that another package is received while one is verified.
        self.slot = threading.BoundedSemaphore(parallel)
        self._speed = bytes_per_second
        self._cancel = cancel
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    @property
    def chunk(self) -> int:
        """How many bytes to read at once, so that the pauses stay short."""
        return max(1024, min(CHUNK, self._speed // 8)) if self._speed else CHUNK

    def spend(self, count: int) -> None:
        if not self._speed:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._speed
            pause = self._free_at - now
        self._cancel.sleep(pause)


class Connections:
    """Makes the clients of one source. Raises `MirrorError` if its certificate or key cannot be used."""

    def __init__(self, source: SourceSettings, cancel: Cancel) -> None:
        self.source = source
        self.cancel = cancel
        self._tls = Tls(source)

    def client(self) -> Client:
        return Client(self.source, self._tls, self.cancel)


class Client:
    """Makes requests for one unit and keeps connections open between them. Not for two threads at once."""

    def __init__(self, source: SourceSettings, tls: Tls, cancel: Cancel) -> None:
        self._source = source
        self._tls = tls
        self._cancel = cancel
        self._open: dict[tuple[str, str, int], _Connection] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Iterator[Response]:
        """The response to a request, after redirects. Its status is not checked; see `Response.expect`."""
        seen: list[str] = []
        while True:
            self._check_address(url, seen)
            seen.append(url)
            # The `with` of the caller closes this one too.
            # pylint: disable-next=contextmanager-generator-missing-cleanup
            with self._request(method, url, headers or {}) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                target = answer.header("Location")
                if method != "HEAD":
                    answer.drain()
            if not target:
                raise MirrorError(
                    "http_status",
                    f"{shown(url)} answered with status {answer.status} and without a Location header",
                    "The service or a proxy in front of it is at fault: open the address by hand from this host.",
                )
            url = self._joined(url, target)

    @staticmethod
    def _joined(url: str, target: str) -> str:
        """The target of a redirect."""
        # Spaces and non-ASCII bytes are mistakes of a server; they would break the request line.
        target = "".join(c if 32 < ord(c) < 127 else f"%{ord(c) & 0xFF:02X}" for c in target)
        try:
            return urljoin(url, target)
        except ValueError:
            raise _no_address(url) from None

    def _check_address(self, url: str, seen: list[str]) -> None:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
            # The codec refuses names that are not valid in DNS.
            usable = parts.scheme in ("http", "https") and bool(host.encode("idna")) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _no_address(seen[-1] if seen else url)
        if not seen:
            return
        if url in seen or len(seen) > MAX_REDIRECTS:
            raise MirrorError(
                "redirect_loop",
                f"{shown(seen[0])} redirects in a circle or more than {MAX_REDIRECTS} times",
                "Check source.url; if it is right, the service or a proxy in front of it is at fault: try again later.",
            )
        if parts.scheme == "http" and urlsplit(seen[-1]).scheme == "https":
            raise MirrorError(
                "redirect_refused",
                f"{shown(seen[-1])} redirects from https to plain http ({shown(url)})",
                "Packages are not fetched over an unprotected connection. Look for a proxy that rewrites addresses.",
            )
        if not any(_host_matches(host, allowed) for allowed in self._source.allowed_hosts):
            raise MirrorError(
                "redirect_refused",
                "{} redirects to {}, which is not among the allowed hosts ({})".format(
                    shown(seen[-1]), host, ", ".join(self._source.allowed_hosts)
                ),
                "If that host is right, add it to source.allowedHosts; else look for a proxy that rewrites addresses.",
            )

    @contextlib.contextmanager
    def _request(self, method: str, url: str, headers: dict[str, str]) -> Iterator[Response]:
        parts = urlsplit(url)
        key = (parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80))
        sent = {
            "User-Agent": f"mde-mirror/{VERSION}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-cache",
            **headers,
        }
        self._cancel.check()
        try:
            connection, answer = self._ask(key, method, url, sent)
            with contextlib.ExitStack() as cleanup:
                cleanup.callback(connection.close)
                cleanup.callback(answer.close)
                with self._cancel.closing(connection.socket):
                    yield answer
                if answer.complete:
                    answer.close()
                    cleanup.pop_all()
                    self._open[key] = connection
        except (OSError, http.client.HTTPException) as error:
            self._cancel.check()
            raise self._explain(error, url) from error

    def _ask(
        self, key: tuple[str, str, int], method: str, url: str, headers: dict[str, str]
    ) -> tuple[_Connection, Response]:
        connection = self._open.pop(key, None)
        if connection is not None:
            try:
                return connection, connection.ask(method, url, headers)
            except (OSError, http.client.HTTPException):
                # A server may close an idle connection at any time. Only the failure of a new connection is an error.
                connection.close()
                self._cancel.check()
        connection = _Connection(key, self._source, self._tls, self._cancel)
        try:
            return connection, connection.ask(method, url, headers)
        except BaseException:
            connection.close()
            raise

    def _explain(self, error: OSError | http.client.HTTPException, url: str) -> MirrorError:
        where = shown(url)
        if isinstance(error, _ProxyUnreachable):
            return MirrorError(
                "proxy",
                f"the proxy cannot be reached at {error}",
                "Check source.proxy, and the route and the firewall between this host and the proxy.",
                retriable=True,
            )
        if isinstance(error, _ProxyRefused):
            return MirrorError(
                "proxy",
                f"the proxy refused the connection to {where}: {error}",
                "Check source.proxy (address, user, password) and that the proxy allows this host.",
                retriable=error.passing,
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return MirrorError(
                "tls",
                f"the certificate of {where} is not trusted: {error.verify_message}",
                "If a private CA signed it, name the file of that CA in source.caFile; if it is expired or not valid "
                "yet, check the clock of this host; otherwise something intercepts the traffic.",
            )
        if isinstance(error, _TooSlow):
            return MirrorError(
                "too_slow",
                f"{where} sends {error}",
                f"A download slower than source.minSpeed ({self._source.min_speed} bytes a second) is stopped. Lower "
                "the setting if the connection really is that slow.",
                retriable=True,
            )
        if isinstance(error, (TimeoutError, socket.timeout)):
            return MirrorError(
                "timeout",
                f"{where} did not answer in time (source.timeout {self._source.timeout:g} s, source.connectTimeout "
                f"{self._source.connect_timeout:g} s)",
                "Check the route and the firewall on the way to that host; on a slow line, raise source.timeout.",
                retriable=True,
            )
        if isinstance(error, ssl.SSLError):
            return MirrorError(
                "tls",
                f"no TLS connection to {where}: {error.reason or error}",
                "Check that the server offers TLS 1.2 or later on that port, and source.clientCert if it asks for one.",
                retriable=True,
            )
        if isinstance(error, socket.gaierror):
            return MirrorError(
                "connection",
                f"the name of {where} cannot be resolved: {error.strerror}",
                "Check the name servers of this host, or set source.proxy if a proxy resolves names.",
                retriable=True,
            )
        if isinstance(error, http.client.IncompleteRead):
            return truncated(where, "the connection ended early")
        what = str(error) or type(error).__name__
        return MirrorError(
            "connection",
            f"the connection to {where} failed: {what}",
            "Check the route and the firewall on the way to that host, and whether a proxy (source.proxy) is needed.",
            retriable=True,
        )


def _no_address(url: str) -> MirrorError:
    return MirrorError(
        "redirect_refused",
        f"{shown(url)} redirects to something that is not a web address",
        "The service or a proxy in front of it is at fault: open the address by hand from this host.",
    )


def truncated(where: str, what: str) -> MirrorError:
    return MirrorError(
        "truncated",
        f"{where} stopped before the end: {what}",
        "The next try resumes from there. If this persists, look for a proxy with a size or time limit.",
        retriable=True,
    )


class Response:
    """The response to a request, after its header was read.

    `url` is its address; `shown` is the address for messages. `length` is the announced length of the body in bytes;
    None if it is missing or not valid. `received` is the number of bytes that were read of the body.
    """

    def __init__(self, response: http.client.HTTPResponse, url: str, stream: _Stream, source: SourceSettings) -> None:
        self._response = response
        self._stream = stream
        self._source = source
        self.url = url
        self.shown = shown(url)
        self.status = response.status
        self.received = 0
        self.length = self._announced()
        # Most responses are heads, redirects or small texts, so the buffer is allocated at the first read.
        self._buffer = memoryview(b"")
        self._failure: Exception | None = None

    def header(self, name: str) -> str:
        # http.client gives non-ASCII bytes as surrogates or latin-1, which cannot be printed everywhere.
        return (self._response.headers.get(name) or "").encode("ascii", "replace").decode("ascii")

    def _announced(self) -> int | None:
        if self._response.chunked:
            return None
        text = self.header("Content-Length").strip()
        return int(text) if text.isdigit() and len(text) < 20 else None

    @property
    def complete(self) -> bool:
        """True when the connection can serve another request."""
        return self.received == self.length and not self._response.will_close

    def expect(self, *statuses: int) -> None:
        """Raises `MirrorError` for any other status, with the pause of Retry-After."""
        if self.status in statuses:
            return
        reason = "".join(c for c in self._response.reason or "" if c.isprintable())[:60]
        hint = {
            401: "The service asks for credentials: check source.clientCert, and look for a proxy on the route.",
            403: "The service or a proxy in front of it forbids this. Have the address allowed for this host.",
            404: "Check source.url; the service has nothing at this address.",
            407: "The proxy asks for credentials: check source.proxy.",
        }.get(self.status, "The service has a fault. If it persists, open the address by hand from this host.")
        raise MirrorError(
            "http_status",
            f"{self.shown} answered with status {self.status} {reason}".rstrip(),
            hint,
            retriable=self.status in _PASSING_STATUSES,
            retry_after=self._retry_after(),
        )

    def _retry_after(self) -> float | None:
        text = self.header("Retry-After").strip()
        if text.isdigit():
            return float(text[:9])
        # Both dates are from the clock of the service; the clock of this host does not matter.
        until, sent = (_http_date(value) for value in (text, self.header("Date")))
        return max(0.0, until - sent) if until is not None and sent is not None else None

    def lasting_date(self) -> str:
        """Last-Modified if it is a strong validator, else "".

        It is weak when it is less than a minute before the Date of the response (RFC 9110, section 8.8.2.2).
        """
        text = self.header("Last-Modified").strip()
        changed, sent = (_http_date(value) for value in (text, self.header("Date")))
        return text if changed is not None and sent is not None and sent - changed >= 60 else ""

    def read(self, limit: int) -> memoryview:
        """Up to `limit` bytes of the body, or nothing at its end. The buffer is valid until the next call.

        TLS returns 16 KiB at a time. Several such pieces are collected for a short time, so that hashing and writing
        cost less. Bytes that were received before a failure are returned first.
        """
        limit = min(limit, CHUNK) if self.length is None else min(limit, CHUNK, self.length - self.received)
        if self._failure is not None:
            raise self._failure
        if not self._buffer:
            self._buffer = memoryview(bytearray(CHUNK))
        size, until = 0, time.monotonic() + _GATHER_SECONDS
        while size < limit and (size == 0 or time.monotonic() < until):
            try:
                count = self._read_into(self._buffer[size:limit])
            except (OSError, http.client.HTTPException) as error:
                if size == 0:
                    raise
                self._failure = error
                break
            if count == 0:
                break
            size += count
        self.received += size
        return self._buffer[:size]

    def _read_into(self, buffer: memoryview) -> int:
        if self._response.chunked:
            # Only content counts as progress, because chunk extensions and trailers can be endless.
            self._stream.content_due_in(self._source.timeout)
            data = self._response.read1(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        stream: Any = self._response.fp
        return int(stream.readinto1(buffer)) if stream is not None else 0

    def read_whole(self, limit: int, patience: float | None = None) -> bytes:
        """The whole body of a small response. At most `limit` + 1 bytes are read; the caller checks the size."""
        self._stream.must_end_in(min(self._source.timeout, patience or self._source.timeout))
        parts: list[bytes] = []
        while self.received <= limit:
            data = self.read(limit + 1 - self.received)
            if not data:
                if self.length is not None and self.received < self.length:
                    raise truncated(self.shown, f"{self.received} of {self.length} bytes were received")
                break
            parts.append(bytes(data))
        return b"".join(parts)

    def close(self) -> None:
        self._response.close()

    def drain(self) -> None:
        """Reads the rest of a short body that is not needed, so that the connection can be used again."""
        if self.length is not None and self.length <= _BUFFER:
            with contextlib.suppress(MirrorError, OSError, http.client.HTTPException):
                self.read_whole(_BUFFER, _DRAIN_SECONDS)


def _host_matches(host: str, allowed: str) -> bool:
    return host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:]))


def _http_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


class _ProxyUnreachable(OSError):
    def __init__(self, address: str, error: OSError) -> None:
        super().__init__(f"{address}: {error.strerror or error}")


class _ProxyRefused(OSError):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"status {status} {reason}".rstrip())
        self.passing = status in _PASSING_STATUSES


class _TooSlow(OSError):
    def __init__(self, speed: float) -> None:
        super().__init__(f"{speed:.0f} bytes a second")


class _Stream(io.RawIOBase):
    """Reads a socket with a deadline and with a minimum speed.

    Only the time spent waiting for bytes counts for the speed, so a slow disk or the rate limit of this program does
    not make a server seem too slow.
    """

    def __init__(self, sock: socket.socket, source: SourceSettings) -> None:
        super().__init__()
        # Keeps the socket open as long as this stream, as `makefile` does for its own.
        self._hold: Any = sock.makefile("rb", buffering=0)
        self._sock = sock
        self._source = source
        self._end: float | None = None
        self._due: float | None = None
        self._limit = 0.0
        self._waited = 0.0
        self._came = 0

    def must_end_in(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._waited, self._came = 0.0, 0

    def content_due_in(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        started = time.monotonic()
        if self._due is not None and started > self._due:
            raise socket.timeout("timed out")
        left = self._source.timeout
        if self._end is not None:
            left = min(left, self._end - started)
            if left <= 0:
                raise socket.timeout("timed out")
        if left != self._limit:
            # settimeout() is a system call, which is worth avoiding in the innermost loop.
            self._sock.settimeout(left)
            self._limit = left
        count = self._sock.recv_into(buffer)
        self._waited += time.monotonic() - started
        self._came += count
        if self._waited >= self._source.timeout:
            speed = self._came / self._waited
            self._waited, self._came = 0.0, 0
            if count and speed < self._source.min_speed:
                raise _TooSlow(speed)
        return count

    def close(self) -> None:
        if not self.closed:
            self._hold.close()
        super().close()


class _HttpResponse(http.client.HTTPResponse):
    """A response that is read through `_Stream`."""

    def __init__(self, sock: socket.socket, source: SourceSettings, method: str) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.stream = _Stream(sock, source)
        self.fp = io.BufferedReader(self.stream, _BUFFER)


class _Connection:
    """A connection to one host, through the proxy if there is one."""

    def __init__(self, key: tuple[str, str, int], source: SourceSettings, tls: Tls, cancel: Cancel) -> None:
        scheme, host, port = key
        self._source = source
        self._cancel = cancel
        proxy = urlsplit(source.proxy) if source.proxy else None
        self._whole_address = bool(proxy) and scheme == "http"
        self._proxy_authorization = _basic(proxy.username, proxy.password) if proxy and proxy.username else None
        address = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        try:
            sock = socket.create_connection(address, timeout=source.connect_timeout)
        except OSError as error:
            if proxy:
                raise _ProxyUnreachable("{}:{}".format(*address), error) from error
            raise
        try:
            with cancel.closing(sock):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(source.timeout)
                if proxy and scheme == "https":
                    self._open_tunnel(sock, host, port)
                if scheme == "https":
                    sock = tls.context().wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        self.socket = sock
        default_port = 443 if scheme == "https" else 80
        name = f"[{host}]" if ":" in host else host
        self._host = name if port == default_port else f"{name}:{port}"

    def ask(self, method: str, url: str, headers: dict[str, str]) -> Response:
        parts = urlsplit(url)
        target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        if self._whole_address:
            target = f"{parts.scheme}://{self._host}{target}"
            if self._proxy_authorization:
                headers = {**headers, "Proxy-Authorization": self._proxy_authorization}
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with self._cancel.closing(self.socket):
            self.socket.settimeout(self._source.timeout)
            self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            response = _HttpResponse(self.socket, self._source, method)
            response.stream.must_end_in(self._source.timeout)
            response.begin()
            response.stream.must_end_in(None)
        return Response(response, url, response.stream, self._source)

    def close(self) -> None:
        self.socket.close()

    def _open_tunnel(self, sock: socket.socket, host: str, port: int) -> None:
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
        if self._proxy_authorization:
            lines.append(f"Proxy-Authorization: {self._proxy_authorization}")
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        # Byte by byte: the bytes after the head belong to the TLS layer and must stay in the socket.
        head = b""
        end = time.monotonic() + self._source.timeout
        while not head.endswith(b"\r\n\r\n"):
            sock.settimeout(max(0.01, end - time.monotonic()))
            byte = sock.recv(1)
            if not byte or len(head) > _BUFFER:
                raise _ProxyRefused(0, "no valid response")
            head += byte
        sock.settimeout(self._source.timeout)
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if not 200 <= status < 300:
            raise _ProxyRefused(status, "".join(c for c in " ".join(words[2:]) if c.isprintable())[:60])


def _basic(user: str | None, password: str | None) -> str:
    pair = "{}:{}".format(unquote(user or ""), unquote(password or ""))
    return "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")


class Tls:
    """The TLS context of a source, shared by its connections.

    Loading the certificates of the system takes longer than all the rest of a sync that finds nothing new. For a source
    with an http address, they are loaded only when a redirect leads to https. Files that the settings name are read at
    once.
    """

    def __init__(self, source: SourceSettings) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        if urlsplit(source.url).scheme != "http" or source.ca_file or source.client_cert:
            self.context()

    def context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = _tls_context(self._source)
            return self._context


def _tls_context(source: SourceSettings) -> ssl.SSLContext:
    """TLS 1.2 or later; certificates are checked against `caFile` alone if it is given, else the system's."""
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
    except (OSError, ValueError) as error:
        raise MirrorError(
            "tls",
            f"source.caFile {source.ca_file} cannot be used: {error.strerror if isinstance(error, OSError) else error}",
            "It must contain one or more certificates in PEM format and be readable by the user who runs the sync.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if source.client_cert:
        try:
            # OpenSSL would ask for the passphrase of a key on the terminal; an empty one makes it fail instead.
            context.load_cert_chain(source.client_cert, source.client_key, password="")
        except (OSError, ValueError) as error:
            raise MirrorError(
                "tls",
                "source.clientCert {} cannot be used: {}".format(
                    source.client_cert, getattr(error, "strerror", None) or error
                ),
                "Both files must be in PEM format, belong together, have no passphrase, and be readable by the user "
                "who runs the sync.",
            ) from None
    return context
