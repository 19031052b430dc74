"""The register of faults: which exist, which requests a fault applies to, and how often it happens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, Dict

from .wire import Content, Exchange, Response

if TYPE_CHECKING:
    from .service import DownloadService

# The kinds of requests. The kind "redirect" of a fault stands for both redirects.
KINDS = ("info-redirect", "info", "package-redirect", "package")

Options = Dict[str, Any]
ContentFault = Callable[["DownloadService", Exchange, Content, Options], None]
ResponseFault = Callable[["DownloadService", Exchange, Response, Options], None]

CONTENT_FAULTS: dict[str, ContentFault] = {}
RESPONSE_FAULTS: dict[str, ResponseFault] = {}
CONNECTION_FAULTS = ("refuse_handshake", "stall_handshake")


def _publish(service: DownloadService, exchange: Exchange, options: Options) -> None:
    """Another release is published while this request is in progress."""
    unit = exchange.unit
    assert unit is not None
    service.publish(**{"platform": unit.platform, "arch": unit.arch, "ring": unit.ring, **options})


ACTIONS = {"publish": _publish}


def content_fault(function: ContentFault) -> ContentFault:
    CONTENT_FAULTS[function.__name__] = function
    return function


def response_fault(function: ResponseFault) -> ResponseFault:
    RESPONSE_FAULTS[function.__name__] = function
    return function


class Fault:
    """A fault, the requests that it applies to, and how often it remains active."""

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
            raise ValueError(f"unknown fault {name!r}; the faults are: {', '.join(fault_names())}")
        if kind is not None and kind not in (*KINDS, "redirect"):
            raise ValueError(f"unknown kind {kind!r}; the kinds are: {', '.join((*KINDS, 'redirect'))}")
        self.name, self.kind, self.platform, self.arch, self.ring = name, kind, platform, arch, ring
        self.times, self.skip, self.options = times, skip, options or {}
        # Set when the fault is cleared; responses that this fault stalls wait for it.
        self.cleared = threading.Event()

    def applies(self, exchange: Exchange) -> bool:
        """Whether this fault applies to the request; counts the request if so. The caller holds the service's lock."""
        unit = exchange.unit
        if self.name in CONNECTION_FAULTS or unit is None:
            return False
        if self.kind is not None and exchange.kind != self.kind and not exchange.kind.endswith("-" + self.kind):
            return False
        wanted = ((self.platform, unit.platform), (self.arch, unit.arch), (self.ring, unit.ring))
        return not any(want is not None and want != have for want, have in wanted) and self.count()

    def count(self) -> bool:
        """Counts one request against `skip` and `times`; false if the fault leaves this request alone."""
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
    return sorted([*ACTIONS, *CONTENT_FAULTS, *RESPONSE_FAULTS, *CONNECTION_FAULTS])
