"""Requests and responses of the simulated service, as faults change them before they are sent."""

from __future__ import annotations

import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any, BinaryIO

from .packages import Release, Unit

FOREVER = 3600.0


class Body:
    """A response body, read from bytes or from a file. A file is never held in memory."""

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
    """A complete representation, before a range is taken from it. Content faults change this object."""

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


class Response:
    """A response as it is sent, including how it is framed and interrupted. Response faults change this object."""

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
    """The record of one request. Tests read these records."""

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
