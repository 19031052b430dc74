"""Faults of the response: status, headers, framing, speed, and connections that break."""

from __future__ import annotations

import email.utils
import re
import time
import urllib.parse
from typing import TYPE_CHECKING

from .faults import Options, response_fault
from .wire import FOREVER, Exchange, Response

if TYPE_CHECKING:
    from .service import DownloadService


@response_fault
def status(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """An error status. `retry_after` sends Retry-After in seconds, with `retry_date` as an HTTP date."""
    code = options.get("code", 500)
    response.become(code, "text/html", f"<html><body><h1>{code} something is wrong</h1></body></html>".encode())
    if "retry_after" in options:
        after = options["retry_after"]
        moment = email.utils.formatdate(time.time() + float(after), usegmt=True) if options.get("retry_date") else after
        response.headers["Retry-After"] = str(moment)
    if "headers" in options:
        response.headers.update(options["headers"])


@response_fault
def html(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """The login page of a captive portal, with status 200."""
    response.become(200, "text/html", b"<html><body>Please sign in to the network.</body></html>" * 50)


@response_fault
def empty(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """Status 200 and an empty body."""
    response.become(200, response.headers.get("Content-Type", "application/octet-stream"), b"")


def _cut_position(response: Response, options: Options) -> int:
    after: int = options.get("after", response.body.size // 2)
    return after


@response_fault
def truncate(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """The correct Content-Length, but the connection is closed `after` so many body bytes (default: half of them)."""
    response.cut, response.ending = _cut_position(response, options), "close"


@response_fault
def reset(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """A TCP reset `after` so many body bytes (default: half of them)."""
    response.cut, response.ending = _cut_position(response, options), "reset"


@response_fault
def close(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """The connection is closed before a response is sent."""
    response.raw_head, response.cut, response.ending = b"", 0, "close"


@response_fault
def not_http(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """The greeting of a mail server in place of an HTTP response."""
    response.raw_head, response.cut, response.ending = b"220 mail.example.com ESMTP\r\n" * 3, 0, "close"


@response_fault
def informational(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """Interim responses (status 100) without end, and no final response."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    response.raw_head, response.cut, response.ending = interim * options.get("count", 1000), 0, "close"
    response.head_drip = (len(interim), options.get("seconds", 0.05))


@response_fault
def many_headers(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """More header fields than a client should accept."""
    response.headers.update({f"X-Header-{number}": "x" * 1000 for number in range(options.get("count", 500))})


@response_fault
def stall(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """A pause of `seconds`, or until the fault is cleared: before the headers, or `after` so many body bytes."""
    response.stall_seconds = options.get("seconds", FOREVER)
    if "after" in options:
        response.stall_at = options["after"]
    else:
        response.stall_before_head = True


@response_fault
def drip(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """The body is sent `bytes` at a time, with a pause of `seconds` that is too short for a read timeout."""
    response.body_drip = (options.get("bytes", 10), options.get("seconds", 0.2))


@response_fault
def drip_head(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """The headers are sent `bytes` at a time, with a pause of `seconds`."""
    response.head_drip = (options.get("bytes", 1), options.get("seconds", 0.2))


@response_fault
def length(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """A Content-Length that is wrong by `delta`, or is `text`; the connection is closed after the whole body."""
    response.declared = options.get("text", response.body.size + options.get("delta", 1000))
    response.ending = "close"


@response_fault
def no_length(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """No Content-Length: closing the connection ends the body. With `after`, it is closed early."""
    response.framing, response.cut, response.ending = "close", options.get("after"), "close"


@response_fault
def chunked(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """Chunked transfer coding. `after` closes the connection early; `size` replaces the size of each chunk."""
    response.framing, response.chunk_size = "chunked", options.get("size")
    if "after" in options:
        response.cut, response.ending = options["after"], "close"


@response_fault
def redirect(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """A redirect: `to` is loop, endless, foreign, plain, nowhere, relative, or a URL."""
    to = options.get("to", "loop")
    regular = response.headers.get("Location", "")
    here = urllib.parse.urlsplit(regular or service.origin + exchange.target)
    location: str | None
    if to == "loop":
        location = service.origin + exchange.target
    elif to == "endless":
        location = f"{service.origin}{exchange.path}?{urllib.parse.urlencode({**exchange.query, 'n': exchange.number})}"
    elif to == "foreign":
        location = urllib.parse.urlunsplit(here._replace(netloc=f"localhost:{service.port}"))
    elif to == "plain":
        location = urllib.parse.urlunsplit(here._replace(scheme="http", netloc=f"127.0.0.1:{service.control_port}"))
    elif to == "relative":
        location = urllib.parse.urlunsplit(here._replace(scheme="", netloc=""))
    elif to == "nowhere":
        location = None
    else:
        location = to
    response.become(options.get("code", 302), "text/html", b"")
    if location is not None:
        response.headers["Location"] = location


@response_fault
def wrong_range(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """Status 206 with a Content-Range that differs from the requested range by `shift` bytes."""
    found = re.match(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    if found:
        start, stop, whole = (int(number) for number in found.groups())
        shift = options.get("shift", 1)
        response.headers["Content-Range"] = f"bytes {max(0, start - shift)}-{max(0, stop - shift)}/{whole}"


@response_fault
def unsatisfiable(service: DownloadService, exchange: Exchange, response: Response, options: Options) -> None:
    """Status 416 for a range that exists."""
    if "range" in exchange.headers:
        response.become(416, "text/plain", b"")
