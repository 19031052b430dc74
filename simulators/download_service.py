#!/usr/bin/env python3
"""Stand-in of Microsoft's definition download service: it speaks as documented, and misbehaves on demand.

    python3 simulators/download_service.py serve --directory DIR --ready-file DIR/ready.json
    python3 simulators/download_service.py publish --ready-file DIR/ready.json --definitions 1.443.509.0
    python3 simulators/download_service.py fault --ready-file DIR/ready.json status --kind package --option code=503
    python3 simulators/download_service.py requests --ready-file DIR/ready.json

Tests use the class `DownloadService`. It needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import datetime
import email.utils
import gzip
import hashlib
import http.server
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Callable, Dict, Iterator, NamedTuple

LINK_IDS = {"2144709": "linux", "2120136": "mac"}
PLATFORMS = ("linux", "mac")
ARCHITECTURES = ("x86_64", "arm64")
RINGS = ("production", "preview")

# What the kinds of requests are called in faults and records; "redirect" in a fault means both redirects.
KINDS = ("info-redirect", "info", "package-redirect", "package")

BLOCK = 1 << 18
FOREVER = 3600.0
STOP_CHECK = 0.05


# -- packages ----------------------------------------------------------------------------------------------------------

ENGINE_MEMBERS = ("libmpengine.so", "libmpengine.so.sig")
SIGNATURE_MEMBERS = ("mpasbase.vdm", "mpasdlta.vdm", "mpavbase.vdm", "mpavdlta.vdm")
MEMBER_SHARES = {
    "libmpengine.so": 0.2,
    "libmpengine.so.sig": 0.001,
    "mpasbase.vdm": 0.3,
    "mpasdlta.vdm": 0.02,
    "mpavbase.vdm": 0.45,
    "mpavdlta.vdm": 0.029,
}
VERSION_MEMBER = "version.json"
ZIP_TIME = (2025, 1, 1, 0, 0, 0)


def _noise(seed: str, size: int) -> Iterator[bytes]:
    """Bytes that no compression shrinks, the same for the same seed."""
    source = random.Random(seed)
    while size > 0:
        length = min(size, 1 << 20)
        yield source.getrandbits(8 * length).to_bytes(length, "little")
        size -= length


def build_package(
    path: Path,
    definitions_version: str,
    engine_version: str,
    platform: str = "linux",
    arch: str = "x86_64",
    ring: str = "production",
    size: int = 200_000,
    stored: bool = False,
) -> Path:
    """Writes a package of about `size` bytes, always the same for the same arguments, without holding it in memory."""
    versions = {
        "definitions": definitions_version,
        "engine": engine_version,
        "platform": platform,
        "arch": arch,
        "ring": ring,
    }
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with zipfile.ZipFile(staged, "w") as package:

        def member(name: str, blocks: Iterator[bytes]) -> None:
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = method
            info.external_attr = 0o100644 << 16
            with package.open(info, "w", force_zip64=size > 1 << 31) as stream:
                for block in blocks:
                    stream.write(block)

        member(VERSION_MEMBER, iter([json.dumps(versions, sort_keys=True).encode() + b"\n"]))
        for name, share in MEMBER_SHARES.items():
            version = engine_version if name in ENGINE_MEMBERS else definitions_version
            member(name, _noise(f"{name} {version} {platform} {arch} {ring}", max(64, int(size * share))))
    staged.replace(path)
    return path


def package_versions(package: Path | BinaryIO) -> dict[str, str]:
    """The versions that a package made by `build_package` says it is of."""
    with zipfile.ZipFile(package) as opened:
        versions: dict[str, str] = json.loads(opened.read(VERSION_MEMBER))
        return versions


class Unit(NamedTuple):
    """One address that Microsoft publishes packages at."""

    platform: str
    arch: str
    ring: str


class Release(NamedTuple):
    """What one unit offered at one time."""

    unit: Unit
    definitions: str
    engine: str
    date: str
    path: Path

    @property
    def etag(self) -> str:
        tag = hashlib.sha256(f"{self.unit}{self.definitions}{self.engine}{self.path.stat().st_size}".encode())
        return f'"{tag.hexdigest()[:16]}"'

    def as_json(self) -> dict[str, Any]:
        return {
            **self.unit._asdict(),
            "definitions": self.definitions,
            "engine": self.engine,
            "date": self.date,
            "bytes": self.path.stat().st_size,
        }


# -- answers -----------------------------------------------------------------------------------------------------------


class Body:
    """What an answer's body is read from; a file is never held in memory."""

    def __init__(self, data: bytes = b"", path: Path | None = None, start: int = 0, stop: int | None = None):
        self._data, self._path = data, path
        whole = len(data) if path is None else path.stat().st_size
        self._start = start
        self.size = (whole if stop is None else stop) - start
        self._stream: BinaryIO | None = None

    def part(self, start: int, stop: int) -> Body:
        return Body(self._data, self._path, self._start + start, self._start + stop)

    def read(self, start: int, stop: int) -> bytes:
        if self._path is None:
            return self._data[self._start + start : self._start + stop]
        if self._stream is None:
            self._stream = self._path.open("rb")
        self._stream.seek(self._start + start)
        return self._stream.read(stop - start)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class Content:
    """One representation before ranges are cut out of it: what content faults change."""

    def __init__(self, body: Body, media_type: str, etag: str | None, modified: float | None, ranges: bool):
        self.body = body
        self.media_type = media_type
        self.etag = etag
        self.modified = modified
        self.ranges = ranges
        self.encoding = ""

    def data(self) -> bytes:
        return self.body.read(0, self.body.size)

    def replace(self, data: bytes) -> None:
        self.body = Body(data)


class Answer:
    """One answer as it goes over the wire: what transport faults change."""

    def __init__(self, status: int, headers: dict[str, str], body: Body):
        self.status = status
        self.headers = headers
        self.body = body
        self.framing = "length"
        self.declared: int | str | None = None
        self.chunk_size: str | None = None
        self.cut: int | None = None
        self.ending = "keep"
        self.raw_head: bytes | None = None
        self.stall_at: int | None = None
        self.stall_before_head = False
        self.stall_seconds = FOREVER
        self.released = threading.Event()
        self.body_drip: tuple[int, float] | None = None
        self.head_drip: tuple[int, float] | None = None

    def become(self, status: int, media_type: str, data: bytes) -> None:
        self.status = status
        self.headers = {"Content-Type": media_type}
        self.body = Body(data)


class Exchange:
    """One request with what is known of it; tests read these records."""

    def __init__(self, number: int, method: str, target: str, headers: dict[str, str]):
        self.number = number
        self.time = time.time()
        self.method = method
        self.target = target
        parts = urllib.parse.urlsplit(target)
        self.path = parts.path
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.kind = ""
        self.unit: Unit | None = None
        self.release: Release | None = None
        self.status = 0
        self.faults: list[str] = []
        self.bytes_sent = 0
        self.finished = False

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "time": self.time,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "kind": self.kind,
            "unit": self.unit._asdict() if self.unit else None,
            "status": self.status,
            "faults": self.faults,
            "bytes_sent": self.bytes_sent,
            "finished": self.finished,
        }


# -- faults ------------------------------------------------------------------------------------------------------------

Options = Dict[str, Any]
ContentFault = Callable[["DownloadService", Exchange, Content, Options], None]
AnswerFault = Callable[["DownloadService", Exchange, Answer, Options], None]

ACTIONS: dict[str, Callable[[DownloadService, Exchange, Options], None]] = {}
CONTENT_FAULTS: dict[str, ContentFault] = {}
ANSWER_FAULTS: dict[str, AnswerFault] = {}
CONNECTION_FAULTS = ("refuse_handshake", "stall_handshake")


def _content(function: ContentFault) -> ContentFault:
    CONTENT_FAULTS[function.__name__] = function
    return function


def _answer(function: AnswerFault) -> AnswerFault:
    ANSWER_FAULTS[function.__name__] = function
    return function


class Fault:
    """A fault, the requests it is for, and how often it still happens."""

    def __init__(
        self,
        name: str,
        kind: str | None = None,
        platform: str | None = None,
        arch: str | None = None,
        ring: str | None = None,
        times: int | None = None,
        skip: int = 0,
        options: Options | None = None,
    ):
        if name not in fault_names():
            raise ValueError(f"unknown fault {name!r}; known are: {', '.join(fault_names())}")
        if kind is not None and kind not in (*KINDS, "redirect"):
            raise ValueError(f"unknown kind {kind!r}; known are: {', '.join((*KINDS, 'redirect'))}")
        self.name, self.kind, self.platform, self.arch, self.ring = name, kind, platform, arch, ring
        self.times, self.skip, self.options = times, skip, options or {}
        # Ends the stalls of this fault.
        self.cleared = threading.Event()

    def strikes(self, exchange: Exchange) -> bool:
        """Whether this fault happens to the request; counts it if so. Called under the service's lock."""
        unit = exchange.unit
        if self.name in CONNECTION_FAULTS or unit is None:
            return False
        if self.kind is not None and exchange.kind != self.kind and not exchange.kind.endswith("-" + self.kind):
            return False
        wanted = ((self.platform, unit.platform), (self.arch, unit.arch), (self.ring, unit.ring))
        return not any(want is not None and want != have for want, have in wanted) and self.count()

    def count(self) -> bool:
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            if self.times <= 0:
                return False
            self.times -= 1
        return True

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None and key != "cleared"}


def fault_names() -> list[str]:
    return sorted([*ACTIONS, *CONTENT_FAULTS, *ANSWER_FAULTS, *CONNECTION_FAULTS])


def _publish(service: DownloadService, exchange: Exchange, options: Options) -> None:
    """Another release lands while this request is under way."""
    unit = exchange.unit
    assert unit is not None
    service.publish(**{"platform": unit.platform, "arch": unit.arch, "ring": unit.ring, **options})


ACTIONS["publish"] = _publish


@_content
def corrupt(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Bytes in the middle of the last member are flipped; the zip's structure stays right."""
    data = bytearray(content.data())
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        name = options.get("member", package.namelist()[-1])
        info = package.getinfo(name)
    middle = info.header_offset + 30 + len(info.filename.encode()) + info.compress_size // 2
    for place in range(middle, middle + options.get("count", 4)):
        data[place] ^= 0xFF
    content.replace(bytes(data))


@_content
def garbage(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Noise of the right length."""
    content.replace(b"".join(_noise("garbage", content.body.size)))


@_content
def short_zip(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A package whose last bytes are missing, sent whole with the length that it has."""
    content.replace(content.data()[: -options.get("count", 1000)])


@_content
def prefix(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Foreign bytes before the zip, which most zip readers put up with."""
    content.replace(options.get("text", "<!-- prefix -->\n").encode() + content.data())


@_content
def trailing(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Foreign bytes after the zip."""
    content.replace(content.data() + options.get("text", "\n<!-- trailing -->\n").encode())


@_content
def encrypted(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A member says that it is encrypted."""
    data = bytearray(content.data())
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        last = package.infolist()[-1]
        entry = package.start_dir
        while struct.unpack_from("<L", data, entry + 42)[0] != last.header_offset:
            entry += 46 + sum(struct.unpack_from("<3H", data, entry + 28))
    data[last.header_offset + 6] |= 1
    data[entry + 8] |= 1
    content.replace(bytes(data))


@_content
def members(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """The zip holds a member more (`add`, for instance `../evil.so`) or less (`drop`), or a link (`link`)."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content.data())) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename != options.get("drop") and not options.get("drop_all"):
                new.writestr(info, old.read(info))
        if "add" in options:
            new.writestr(zipfile.ZipInfo(options["add"], ZIP_TIME), b"not from Microsoft\n")
        if "link" in options:
            link = zipfile.ZipInfo(options["link"], ZIP_TIME)
            link.external_attr = 0o120777 << 16
            new.writestr(link, b"/etc/passwd")
    content.replace(made.getvalue())


@_content
def streamed(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """No fault at all: a zip as streaming writers make it, with data descriptors, Zip64 records and a comment."""

    class Unseekable(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            made.extend(data)
            return len(data)

    made = bytearray()
    with zipfile.ZipFile(io.BytesIO(content.data())) as old, zipfile.ZipFile(Unseekable(), "w") as new:
        for info in old.infolist():
            with new.open(zipfile.ZipInfo(info.filename, ZIP_TIME), "w", force_zip64=True) as stream:
                stream.write(old.read(info))
        new.comment = b"made by a streaming writer"
    content.replace(bytes(made))


@_content
def gzipped(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A Content-Encoding that nobody asked for."""
    content.encoding = "gzip"
    content.replace(gzip.compress(content.data(), mtime=0))


@_content
def bomb(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A small zip that unpacks to something huge."""
    made = io.BytesIO(content.data())
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as package:
        info = zipfile.ZipInfo("mpavdlta.big", ZIP_TIME)
        info.compress_type = zipfile.ZIP_DEFLATED
        with package.open(info, "w") as stream:
            zeros = bytes(1 << 20)
            for _ in range(options.get("size", 1 << 30) >> 20):
                stream.write(zeros)
    content.replace(made.getvalue())


@_content
def change_etag(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Another ETag (and other bytes, with `bytes`) at every request."""
    content.etag = f'"changing-{exchange.number}"'
    if options.get("bytes"):
        content.replace(b"".join(_noise(f"changed {exchange.number}", content.body.size)))


@_content
def ignore_range(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """A request for a part is answered with the whole and status 200, though Accept-Ranges promised more."""
    content.ranges = False
    exchange.headers.pop("range", None)


@_content
def text(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Any text as the content."""
    content.media_type = options.get("type", content.media_type)
    content.replace(options["body"].encode("utf-8"))


@_content
def versions(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Versions XML with other fields: null leaves one out, `extra` adds raw XML."""
    assert exchange.release is not None
    content.replace(versions_xml(exchange.release, options))


@_content
def bad_xml(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    content.replace(b"<?xml version='1.0'?><versions><engine>1.1.25110.3002</engine><signatures date=")


@_content
def entity_bomb(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Ten levels of entities that each hold ten of the one before: about 10^10 characters."""
    entities = '<!ENTITY e0 "1">' + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 11))
    content.replace(
        f"<?xml version='1.0'?><!DOCTYPE versions [{entities}]><versions><engine>&e10;</engine>"
        "<signatures date='2026-02-03 08:15:42Z'>&e10;</signatures></versions>".encode()
    )


@_content
def external_entity(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Versions that come out of a file on the reader's machine."""
    assert exchange.release is not None
    system = options.get("system", "file:///etc/hostname")
    content.replace(
        f"<?xml version='1.0'?><!DOCTYPE versions [<!ENTITY x SYSTEM '{system}'>]><versions>"
        f"<engine>{exchange.release.engine}</engine><signatures>&x;</signatures></versions>".encode()
    )


@_content
def huge_xml(service: DownloadService, exchange: Exchange, content: Content, options: Options) -> None:
    """Right versions behind very many bytes of comment."""
    assert exchange.release is not None
    comment = b"<!--" + b"x" * options.get("size", 64 << 20) + b"-->"
    content.replace(comment + versions_xml(exchange.release, {}))


@_answer
def status(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """An error status; `retry_after` seconds, as an HTTP date with `retry_date`."""
    code = options.get("code", 500)
    answer.become(code, "text/html", f"<html><body><h1>{code} something is wrong</h1></body></html>".encode())
    if "retry_after" in options:
        after = options["retry_after"]
        moment = email.utils.formatdate(time.time() + float(after), usegmt=True) if options.get("retry_date") else after
        answer.headers["Retry-After"] = str(moment)
    if "headers" in options:
        answer.headers.update(options["headers"])


@_answer
def html(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """A captive portal's page with status 200."""
    answer.become(200, "text/html", b"<html><body>Please sign in to the network.</body></html>" * 50)


@_answer
def empty(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    answer.become(200, answer.headers.get("Content-Type", "application/octet-stream"), b"")


def _middle(answer: Answer, options: Options) -> int:
    after: int = options.get("after", answer.body.size // 2)
    return after


@_answer
def truncate(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """The right Content-Length, and the connection closed `after` fewer bytes."""
    answer.cut, answer.ending = _middle(answer, options), "close"


@_answer
def reset(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """A TCP reset `after` some bytes of the body."""
    answer.cut, answer.ending = _middle(answer, options), "reset"


@_answer
def close(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """The connection is closed without an answer."""
    answer.raw_head, answer.cut, answer.ending = b"", 0, "close"


@_answer
def not_http(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    answer.raw_head, answer.cut, answer.ending = b"220 mail.example.com ESMTP\r\n" * 3, 0, "close"


@_answer
def informational(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """Interim answers, one after the other, and never a final one."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    answer.raw_head, answer.cut, answer.ending = interim * options.get("count", 1000), 0, "close"
    answer.head_drip = (len(interim), options.get("seconds", 0.05))


@_answer
def many_headers(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """More headers than a client should take."""
    answer.headers.update({f"X-Header-{number}": "x" * 1000 for number in range(options.get("count", 500))})


@_answer
def stall(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """Silence before the headers, or `after` some bytes of the body, for so many `seconds` or until cleared."""
    answer.stall_seconds = options.get("seconds", FOREVER)
    if "after" in options:
        answer.stall_at = options["after"]
    else:
        answer.stall_before_head = True


@_answer
def drip(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """The body comes in tiny pieces, each soon enough to look alive."""
    answer.body_drip = (options.get("bytes", 10), options.get("seconds", 0.2))


@_answer
def drip_head(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """The headers come in tiny pieces."""
    answer.head_drip = (options.get("bytes", 1), options.get("seconds", 0.2))


@_answer
def length(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """A Content-Length that is wrong by `delta`, or any `text`; the body is sent as it is and the connection closed."""
    answer.declared = options.get("text", answer.body.size + options.get("delta", 1000))
    answer.ending = "close"


@_answer
def no_length(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """No Content-Length: the end of the connection is the end of the body, too early with `after`."""
    answer.framing, answer.cut, answer.ending = "close", options.get("after"), "close"


@_answer
def chunked(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """Chunked framing, broken off with `after`, or with any text as the `size` of each chunk."""
    answer.framing, answer.chunk_size = "chunked", options.get("size")
    if "after" in options:
        answer.cut, answer.ending = options["after"], "close"


@_answer
def redirect(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """A redirect of any kind: `to` is loop, endless, foreign, plain, nowhere, relative, or an address."""
    to = options.get("to", "loop")
    regular = answer.headers.get("Location", "")
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
    answer.become(options.get("code", 302), "text/html", b"")
    if location is not None:
        answer.headers["Location"] = location


@_answer
def wrong_range(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """A 206 whose Content-Range names other bytes than were asked for."""
    found = re.match(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    if found:
        start, stop, whole = (int(number) for number in found.groups())
        shift = options.get("shift", 1)
        answer.headers["Content-Range"] = f"bytes {max(0, start - shift)}-{max(0, stop - shift)}/{whole}"


@_answer
def unsatisfiable(service: DownloadService, exchange: Exchange, answer: Answer, options: Options) -> None:
    """416 to a request for a part that exists."""
    if "range" in exchange.headers:
        answer.become(416, "text/plain", b"")


# -- the service -------------------------------------------------------------------------------------------------------


def versions_xml(release: Release, changes: Options) -> bytes:
    """The answer of `action=info`; `changes` sets fields or, with null, leaves them out."""
    fields = {
        "engine": release.engine,
        "platform": "4.18.26010.5",
        "signatures": release.definitions,
        "date": release.date,
        "extra": "",
        "root": "versions",
        **changes,
    }
    root = fields["root"]
    lines = [f"<{root}>"]
    lines += [f"  <{name}>{fields[name]}</{name}>" for name in ("engine", "platform") if fields[name] is not None]
    if fields["signatures"] is not None:
        date = "" if fields["date"] is None else f' date="{fields["date"]}"'
        lines.append(f"  <signatures{date}>{fields['signatures']}</signatures>")
    return "\n".join([*lines, f"{fields['extra']}</{root}>", ""]).encode("utf-8")


class DownloadService:
    """The service on loopback, with a second plain listener that steers it and that https redirects can be lured to."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        control_port: int = 0,
        tls: ssl.SSLContext | None = None,
        latency: float = 0.0,
        throttle: float = 0.0,
        etag: bool = True,
        last_modified: bool = True,
        ranges: bool = True,
        platform_version: bool = True,
    ) -> None:
        self.directory = Path(directory)
        # The settings may be changed while the service runs: `tls` counts from the next connection on.
        self.tls, self.latency, self.throttle = tls, latency, throttle
        self.etag, self.last_modified, self.ranges = etag, last_modified, ranges
        self.platform_version = platform_version
        self.current: dict[Unit, Release] = {}
        self.history: dict[tuple[Unit, str, str], Release] = {}
        self.requests: list[Exchange] = []
        self.handshakes_failed = 0
        self.connections = 0
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)
        self._servers = [_Server(self, port, control=False), _Server(self, control_port, control=True)]
        self._threads: list[threading.Thread] = []

    # Where it is

    @property
    def port(self) -> int:
        return int(self._servers[0].server_address[1])

    @property
    def control_port(self) -> int:
        return int(self._servers[1].server_address[1])

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What goes into `source.url`."""
        return self.origin + "/fwlink/"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}/-/"

    # Its life

    def __enter__(self) -> DownloadService:
        for server in self._servers:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": STOP_CHECK}, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self.clear_faults()
        for server in self._servers:
            server.shutdown()
            server.server_close()
            server.hang_up()
        for thread in self._threads:
            thread.join(5)

    def start(self) -> DownloadService:
        return self.__enter__()

    def stop(self) -> None:
        self.__exit__(None, None, None)

    # Steering

    def publish(
        self,
        definitions: str,
        engine: str = "1.1.25110.3002",
        platform: str | None = None,
        arch: str | None = None,
        ring: str | None = None,
        size: int = 200_000,
        date: str | None = None,
        stored: bool = False,
    ) -> list[Release]:
        """Publishes a release at every unit that the arguments leave open; a lower version is a downgrade."""
        for version in (definitions, engine):
            if not re.fullmatch(r"[0-9]+(\.[0-9]+)+", version):
                raise ValueError(f"{version!r} is not a version such as 1.443.508.0")
        for given, known in ((platform, PLATFORMS), (arch, ARCHITECTURES), (ring, RINGS)):
            if given is not None and given not in known:
                raise ValueError(f"{given!r} is not one of {', '.join(known)}")
        date = date or datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
        made = []
        for unit in itertools.product(
            [platform] if platform else PLATFORMS, [arch] if arch else ARCHITECTURES, [ring] if ring else RINGS
        ):
            name = "-".join([*unit, definitions, engine, str(size), "stored" if stored else "deflated"]) + ".zip"
            path = self.directory / name
            if not path.exists():
                build_package(path, definitions, engine, *unit, size=size, stored=stored)
            made.append(Release(Unit(*unit), definitions, engine, date, path))
        with self.changed:
            for release in made:
                self.current[release.unit] = release
                self.history[release.unit, release.definitions, release.engine] = release
            self.changed.notify_all()
        return made

    def fault(
        self,
        name: str,
        *,
        kind: str | None = None,
        platform: str | None = None,
        arch: str | None = None,
        ring: str | None = None,
        times: int | None = None,
        skip: int = 0,
        **options: Any,
    ) -> Fault:
        """From now on `name` happens to the requests that match, `times` times or always, after `skip` were spared."""
        fault = Fault(name, kind, platform, arch, ring, times, skip, options)
        with self.changed:
            self._faults.append(fault)
        return fault

    @property
    def faults(self) -> list[Fault]:
        with self.changed:
            return list(self._faults)

    def clear_faults(self) -> None:
        with self.changed:
            for fault in self._faults:
                fault.cleared.set()
            self._faults.clear()

    def clear_requests(self) -> None:
        with self.changed:
            self.requests = []

    def asked(self, kind: str | None = None, method: str | None = None) -> list[Exchange]:
        """The requests so far, of one kind and method where given."""
        with self.changed:
            return [
                exchange
                for exchange in self.requests
                if kind in (None, exchange.kind) and method in (None, exchange.method)
            ]

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Waits until `condition` holds; it is looked at whenever a request comes, moves on or ends."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    # What the handlers ask

    def begin(self, method: str, target: str, headers: dict[str, str]) -> Exchange:
        exchange = Exchange(next(self._numbers), method, target, headers)
        self._recognise(exchange)
        with self.changed:
            self.requests.append(exchange)
            self.changed.notify_all()
        return exchange

    def _recognise(self, exchange: Exchange) -> None:
        query = exchange.query
        if exchange.path in ("/fwlink", "/fwlink/") and query.get("linkid") in LINK_IDS:
            ring = "preview" if query.get("engRing") == "3" and query.get("sigRing") == "1" else "production"
            exchange.unit = Unit(LINK_IDS[query["linkid"]], query.get("arch", "x86_64"), ring)
            exchange.kind = "info-redirect" if query.get("action") == "info" else "package-redirect"
        elif exchange.path in ("/packages", "/packages/content/updates.zip"):
            ring = query.get("ring", "production")
            exchange.unit = Unit(query.get("ostype", ""), query.get("arch", ""), ring)
            exchange.kind = "package" if exchange.path.endswith("zip") else "info"
        with self.changed:
            if exchange.unit is not None:
                exchange.release = self.current.get(exchange.unit)

    def struck(self, exchange: Exchange) -> list[Fault]:
        with self.changed:
            found = [fault for fault in self._faults if fault.strikes(exchange)]
        exchange.faults = [fault.name for fault in found]
        return found

    def connection_fault(self) -> Fault | None:
        with self.changed:
            self.connections += 1
            for fault in self._faults:
                if fault.name in CONNECTION_FAULTS and fault.count():
                    return fault
        return None

    def progress(self, exchange: Exchange, count: int) -> None:
        with self.changed:
            exchange.bytes_sent += count
            self.changed.notify_all()

    def finish(self, exchange: Exchange) -> None:
        with self.changed:
            exchange.finished = True
            self.changed.notify_all()

    def answer(self, exchange: Exchange) -> Answer:
        """The answer to a request, with the faults that strike it."""
        faults = self.struck(exchange)
        for fault in faults:
            if fault.name in ACTIONS:
                ACTIONS[fault.name](self, exchange, fault.options)
        answer = self._documented(exchange, faults)
        for fault in faults:
            if fault.name in ANSWER_FAULTS:
                answer.released = fault.cleared
                ANSWER_FAULTS[fault.name](self, exchange, answer, fault.options)
        exchange.status = answer.status
        return answer

    def _documented(self, exchange: Exchange, faults: list[Fault]) -> Answer:
        unit, query = exchange.unit, exchange.query
        if unit is not None:
            with self.changed:
                exchange.release = self.current.get(unit)
                if exchange.kind == "package":
                    versions = (query.get("packageVersion", ""), query.get("engineVersion", ""))
                    exchange.release = self.history.get((unit, *versions))
        release = exchange.release
        if unit is None or release is None:
            return Answer(404, {"Content-Type": "text/plain"}, Body(b"there is nothing at this address\n"))
        if exchange.kind.endswith("-redirect"):
            wanted = {"ostype": unit.platform, "arch": unit.arch, "ring": unit.ring}
            if exchange.kind == "info-redirect":
                path, wanted = "/packages", {"action": "info", **wanted}
            else:
                path = "/packages/content/updates.zip"
                wanted.update(packageVersion=release.definitions, engineVersion=release.engine)
            return Answer(302, {"Location": f"{self.origin}{path}?{urllib.parse.urlencode(wanted)}"}, Body())
        if exchange.kind == "info":
            xml = versions_xml(release, {} if self.platform_version else {"platform": None})
            content = Content(Body(xml), "text/xml; charset=utf-8", None, None, False)
        else:
            modified = release.path.stat().st_mtime if self.last_modified else None
            etag = release.etag if self.etag else None
            content = Content(Body(path=release.path), "application/zip", etag, modified, self.ranges)
        for fault in faults:
            if fault.name in CONTENT_FAULTS:
                CONTENT_FAULTS[fault.name](self, exchange, content, fault.options)
        return _represent(exchange, content)


def _represent(exchange: Exchange, content: Content) -> Answer:
    """Content as an answer: the whole, the part that was asked for, or 416."""
    headers = {"Content-Type": content.media_type}
    if content.encoding:
        headers["Content-Encoding"] = content.encoding
    if content.etag is not None:
        headers["ETag"] = content.etag
    modified = None if content.modified is None else email.utils.formatdate(content.modified, usegmt=True)
    if modified is not None:
        headers["Last-Modified"] = modified
    if not content.ranges:
        if "ignore_range" in exchange.faults:
            headers["Accept-Ranges"] = "bytes"
        return Answer(200, headers, content.body)
    headers["Accept-Ranges"] = "bytes"
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", exchange.headers.get("range", "").strip())
    condition = exchange.headers.get("if-range")
    if asked is None or asked.group() == "bytes=-" or condition not in (None, content.etag, modified):
        return Answer(200, headers, content.body)
    whole = content.body.size
    first, last = asked.groups()
    start = int(first) if first else max(0, whole - int(last))
    stop = min(whole, int(last) + 1) if first and last else whole
    if start >= stop:
        return Answer(416, {"Content-Range": f"bytes */{whole}"}, Body())
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{whole}"
    return Answer(206, headers, content.body.part(start, stop))


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, service: DownloadService, port: int, control: bool) -> None:
        self.service, self.control = service, control
        self._open: dict[int, socket.socket] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own would look up the name of the address, which can take seconds without a name server.
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
        # Clients that hang up or do not trust us are the daily bread of this service; the rest is a bug of ours.
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

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
            # A TLS socket took over the accepted one, so the server cannot close it for us.
            self.request.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The records tell more than a log."""

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
            self._steer()
            return
        service = self.server.service
        headers = {name.lower(): value for name, value in self.headers.items()}
        exchange = service.begin(self.command, self.path, headers)
        try:
            service.stopping.wait(service.latency)
            if self.command in ("GET", "HEAD"):
                answer = service.answer(exchange)
            else:
                answer = Answer(405, {"Allow": "GET, HEAD"}, Body())
            try:
                self._send(exchange, answer)
            except OSError:
                # The client hung up.
                self.close_connection = True
            finally:
                answer.body.close()
        finally:
            service.finish(exchange)

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        if answer.stall_before_head:
            answer.released.wait(answer.stall_seconds)
        head = self._head(answer) if answer.raw_head is None else answer.raw_head
        if answer.head_drip is not None:
            self._drip(head, *answer.head_drip)
        else:
            self.connection.sendall(head)
        if self.command != "HEAD":
            self._send_body(exchange, answer)
        if answer.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # The stream that the request was read from holds the socket open too, and only the last close resets.
            self.rfile.close()
            self.connection.close()
        if answer.ending != "keep" or answer.framing == "close":
            self.close_connection = True

    def _head(self, answer: Answer) -> bytes:
        reason = {int(known): known.phrase for known in http.HTTPStatus}.get(answer.status, "Unheard Of")
        headers = {"Date": email.utils.formatdate(usegmt=True), "Server": "download-service", **answer.headers}
        if answer.framing == "length":
            headers["Content-Length"] = str(answer.body.size if answer.declared is None else answer.declared)
        elif answer.framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send_body(self, exchange: Exchange, answer: Answer) -> None:
        service, body = self.server.service, answer.body
        limit = body.size if answer.cut is None else min(answer.cut, body.size)
        stall_at, place = answer.stall_at, 0
        while place < limit:
            if stall_at is not None and place >= stall_at:
                answer.released.wait(answer.stall_seconds)
                stall_at = None
            block = BLOCK if not service.throttle else max(512, min(BLOCK, int(service.throttle / 50)))
            end = min(place + block, limit if stall_at is None else min(limit, stall_at))
            data = body.read(place, end)
            framed = data
            if answer.framing == "chunked":
                size = f"{len(data):x}" if answer.chunk_size is None else answer.chunk_size
                framed = size.encode("latin-1") + b"\r\n" + data + b"\r\n"
            if answer.body_drip is not None:
                self._drip(framed, *answer.body_drip)
            else:
                self.connection.sendall(framed)
            service.progress(exchange, len(data))
            place = end
            self._pace(len(data))
        if answer.framing == "chunked" and answer.cut is None:
            self.connection.sendall(b"0\r\n\r\n")

    def _pace(self, count: int) -> None:
        """Keeps this connection at the service's throttle."""
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

    def _steer(self) -> None:
        """The control address: /-/releases, /-/faults and /-/requests, JSON both ways."""
        service = self.server.service
        size = int(self.headers.get("Content-Length") or 0)
        status = 200
        told: Any = None
        try:
            given = json.loads(self.rfile.read(size) or b"{}")
            door = (self.command, self.path[3:].rstrip("/"))
            if door == ("POST", "releases"):
                told = [release.as_json() for release in service.publish(**given)]
            elif door == ("POST", "faults"):
                options = given.pop("options", {})
                told = service.fault(given.pop("name", ""), **given, **options).as_json()
            elif door == ("DELETE", "faults"):
                service.clear_faults()
            elif door == ("DELETE", "requests"):
                service.clear_requests()
            elif door == ("GET", "releases"):
                told = [release.as_json() for release in service.current.values()]
            elif door == ("GET", "faults"):
                told = [fault.as_json() for fault in service.faults]
            elif door == ("GET", "requests"):
                told = [exchange.as_json() for exchange in service.asked()]
            else:
                status, told = 404, {"error": f"there is no {self.command} {self.path}"}
        except (ValueError, TypeError) as error:
            status, told = 400, {"error": str(error)}
        data = json.dumps(told).encode() + b"\n"
        answer = Answer(status, {"Content-Type": "application/json"}, Body(data))
        self.connection.sendall(self._head(answer) + data)


# -- the command -------------------------------------------------------------------------------------------------------


def _serve(chosen: argparse.Namespace) -> int:
    tls = None
    if chosen.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chosen.tls_cert, chosen.tls_key)
        if chosen.client_ca:
            tls.load_verify_locations(chosen.client_ca)
            tls.verify_mode = ssl.CERT_REQUIRED
    # Not a handler that sets an event: it would wait for ever if the signal came while the event is being waited for.
    signals = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    service = DownloadService(
        chosen.directory,
        port=chosen.port,
        control_port=chosen.control_port,
        tls=tls,
        latency=chosen.latency,
        throttle=chosen.throttle,
        etag=not chosen.no_etag,
        last_modified=not chosen.no_last_modified,
        ranges=not chosen.no_range,
    )
    with service:
        if chosen.definitions:
            service.publish(chosen.definitions, chosen.engine, size=chosen.size, stored=chosen.stored)
        ready = {"url": service.url, "control": service.control_url, "pid": os.getpid()}
        if chosen.ready_file:
            staged = chosen.ready_file.with_name(f"{chosen.ready_file.name}.{os.getpid()}")
            staged.write_text(json.dumps(ready) + "\n", encoding="utf-8")
            staged.replace(chosen.ready_file)
        print(json.dumps(ready), flush=True)
        signal.sigwait(signals)
    return 0


def _ask(chosen: argparse.Namespace, method: str, door: str, given: dict[str, Any] | None = None) -> int:
    control = chosen.control or json.loads(chosen.ready_file.read_text(encoding="utf-8"))["control"]
    data = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(control + door, data=data, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        print(json.load(error)["error"], file=sys.stderr)
        return 2
    except OSError as error:
        print(f"the service at {control} does not answer ({error}); is it still running?", file=sys.stderr)
        return 1
    for line in told or []:
        print(json.dumps(line))
    return 0


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)

    serve = verbs.add_parser("serve", help="run the service until SIGTERM or Ctrl-C")
    serve.add_argument("--directory", type=Path, required=True, help="where the packages are kept")
    serve.add_argument("--port", type=int, default=0, help="0: any free one")
    serve.add_argument("--control-port", type=int, default=0, help="0: any free one")
    serve.add_argument("--tls-cert")
    serve.add_argument("--tls-key")
    serve.add_argument("--client-ca", help="demand a client certificate of this authority")
    serve.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    serve.add_argument("--throttle", type=float, default=0.0, help="bytes per second and connection")
    serve.add_argument("--ready-file", type=Path, help="gets the addresses once the service answers")
    serve.add_argument("--no-etag", action="store_true")
    serve.add_argument("--no-last-modified", action="store_true")
    serve.add_argument("--no-range", action="store_true")

    reach = argparse.ArgumentParser(add_help=False)
    where = reach.add_mutually_exclusive_group(required=True)
    where.add_argument("--ready-file", type=Path, help="what `serve --ready-file` wrote")
    where.add_argument("--control", help="the control address")
    units = argparse.ArgumentParser(add_help=False)
    units.add_argument("--platform", choices=PLATFORMS)
    units.add_argument("--arch", choices=ARCHITECTURES)
    units.add_argument("--ring", choices=RINGS)

    publish = verbs.add_parser(
        "publish", parents=[reach, units], help="publish a release, everywhere if not told where"
    )
    for verb, default in ((serve, "1.443.508.0"), (publish, None)):
        verb.add_argument("--definitions", default=default, required=default is None, help="version")
        verb.add_argument("--engine", default="1.1.25110.3002", help="version")
        verb.add_argument("--size", type=int, default=200_000, help="bytes, about")
        verb.add_argument("--stored", action="store_true", help="do not deflate; quicker for big packages")
    publish.add_argument("--date", help="YYYY-MM-DD HH:MM:SSZ")

    fault = verbs.add_parser("fault", parents=[reach, units], help="make it misbehave")
    fault.add_argument("name", nargs="?", help="one of: " + ", ".join(fault_names()))
    fault.add_argument("--kind", choices=(*KINDS, "redirect"))
    fault.add_argument("--times", type=int, help="how often; without it always")
    fault.add_argument("--skip", type=int, default=0, help="spare so many requests first")
    fault.add_argument("--option", type=_value, action="append", default=[], metavar="NAME=VALUE")
    fault.add_argument("--clear", action="store_true", help="forget all faults")

    requests = verbs.add_parser("requests", parents=[reach], help="print the requests so far, one JSON object a line")
    requests.add_argument("--clear", action="store_true", help="forget them")
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.verb == "serve":
        if bool(chosen.tls_cert) != bool(chosen.tls_key):
            parser.error("--tls-cert and --tls-key go together")
        return _serve(chosen)
    if chosen.verb == "publish":
        names = ("definitions", "engine", "platform", "arch", "ring", "size", "date", "stored")
        return _ask(chosen, "POST", "releases", {name: getattr(chosen, name) for name in names})
    if chosen.verb == "requests":
        return _ask(chosen, "DELETE" if chosen.clear else "GET", "requests")
    if chosen.clear:
        return _ask(chosen, "DELETE", "faults")
    if not chosen.name:
        return _ask(chosen, "GET", "faults")
    given = {name: getattr(chosen, name) for name in ("name", "kind", "platform", "arch", "ring", "times", "skip")}
    return _ask(chosen, "POST", "faults", {**given, "options": dict(chosen.option)})


if __name__ == "__main__":
    sys.exit(main())
