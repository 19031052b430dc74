"""The simulated download service: its releases, its faults, and the records of the requests that it received."""

from __future__ import annotations

import datetime
import email.utils
import itertools
import re
import ssl
import threading
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

from . import content_faults, response_faults  # noqa: F401  # importing the modules registers the faults
from .faults import ACTIONS, CONNECTION_FAULTS, CONTENT_FAULTS, RESPONSE_FAULTS, Fault
from .handler import Server
from .packages import ARCHITECTURES, PLATFORMS, RINGS, Release, Unit, build_package
from .versions import versions_xml
from .wire import Body, Content, Exchange, Response

LINK_IDS = {"2144709": "linux", "2120136": "mac"}
STOP_CHECK = 0.05


class DownloadService:
    """The service on loopback, with a second listener without TLS for control requests and for the fault `redirect`."""

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
        # These settings may be changed while the service runs. A new `tls` applies to new connections.
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
        self._servers = [Server(self, port, control=False), Server(self, control_port, control=True)]
        self._threads: list[threading.Thread] = []

    # Addresses

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
        """The value for the setting `source.url` of a mirror."""
        return self.origin + "/fwlink/"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}/-/"

    # Start and stop

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

    # Control

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
        """Publishes a release for each unit that matches the arguments; None matches all. Versions may decrease."""
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
        """Applies a fault to the matching requests from now on: always or `times` times, after the first `skip`."""
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
        """The requests so far; `kind` and `method` select among them."""
        with self.changed:
            return [
                exchange
                for exchange in self.requests
                if kind in (None, exchange.kind) and method in (None, exchange.method)
            ]

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Waits until `condition` is true. It is evaluated whenever a request begins, makes progress or ends."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    # Called by the HTTP handlers

    def begin(self, method: str, target: str, headers: dict[str, str]) -> Exchange:
        exchange = Exchange(next(self._numbers), method, target, headers)
        self.identify(exchange)
        with self.changed:
            self.requests.append(exchange)
            self.changed.notify_all()
        return exchange

    def identify(self, exchange: Exchange) -> None:
        """Sets the kind and the unit of a request; a subclass may serve other addresses."""
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

    def applicable_faults(self, exchange: Exchange) -> list[Fault]:
        with self.changed:
            found = [fault for fault in self._faults if fault.applies(exchange)]
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

    def respond(self, exchange: Exchange) -> Response:
        """The response to a request, with the faults that apply to it."""
        faults = self.applicable_faults(exchange)
        for fault in faults:
            if fault.name in ACTIONS:
                ACTIONS[fault.name](self, exchange, fault.options)
        response = self.documented_response(exchange, faults)
        for fault in faults:
            if fault.name in RESPONSE_FAULTS:
                response.released = fault.cleared
                RESPONSE_FAULTS[fault.name](self, exchange, response, fault.options)
        exchange.status = response.status
        return response

    def documented_response(self, exchange: Exchange, faults: list[Fault]) -> Response:
        """The response that the documentation describes, with content faults; a subclass may serve other content."""
        unit, query = exchange.unit, exchange.query
        if unit is not None:
            with self.changed:
                exchange.release = self.current.get(unit)
                if exchange.kind == "package":
                    versions = (query.get("packageVersion", ""), query.get("engineVersion", ""))
                    exchange.release = self.history.get((unit, *versions))
        release = exchange.release
        if unit is None or release is None:
            return Response(404, {"Content-Type": "text/plain"}, Body(b"there is nothing at this address\n"))
        if exchange.kind.endswith("-redirect"):
            wanted = {"ostype": unit.platform, "arch": unit.arch, "ring": unit.ring}
            if exchange.kind == "info-redirect":
                path, wanted = "/packages", {"action": "info", **wanted}
            else:
                path = "/packages/content/updates.zip"
                wanted.update(packageVersion=release.definitions, engineVersion=release.engine)
            return Response(302, {"Location": f"{self.origin}{path}?{urllib.parse.urlencode(wanted)}"}, Body())
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
        return representation(exchange, content)


def representation(exchange: Exchange, content: Content) -> Response:
    """A response with the whole content, with the requested range, or with status 416."""
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
        return Response(200, headers, content.body)
    headers["Accept-Ranges"] = "bytes"
    requested = re.fullmatch(r"bytes=(\d*)-(\d*)", exchange.headers.get("range", "").strip())
    condition = exchange.headers.get("if-range")
    if requested is None or requested.group() == "bytes=-" or condition not in (None, content.etag, modified):
        return Response(200, headers, content.body)
    whole = content.body.size
    first, last = requested.groups()
    start = int(first) if first else max(0, whole - int(last))
    stop = min(whole, int(last) + 1) if first and last else whole
    if start >= stop:
        return Response(416, {"Content-Range": f"bytes */{whole}"}, Body())
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{whole}"
    return Response(206, headers, content.body.part(start, stop))
