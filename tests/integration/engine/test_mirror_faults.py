"""Faults of the service: a fault of one unit does not affect other units, and no damaged package is published."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import pytest

from tests.support.engine import FIRST, HASTY, PATIENT, PRODUCTION, SECOND, SIZE, THIRD, UNITS

OTHERS = [path for path in UNITS if path != PRODUCTION]


@dataclass(frozen=True)
class Case:
    """A fault of one unit, and the correct error codes for it."""

    codes: str
    fault: str
    kind: str = "package"
    options: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)

    def __str__(self):
        parts = [self.kind, self.fault, *(f"{key}={value}" for key, value in self.options.items())]
        return "-".join(parts).replace("/", ":").replace(" ", "")[:60]


def case(codes, fault, kind="package", settings=None, **options):
    return Case(codes, fault, kind, options, settings or {})


def silent(codes, fault, kind="package", **options):
    """A fault that delays the response."""
    return case(codes, fault, kind, {"source": HASTY}, **options)


CASES = [
    # Statuses
    *(case("http_status", "status", kind, code=code) for code in (404, 500) for kind in ("info", "package")),
    *(case("http_status", "status", kind, code=code) for code in (403, 429) for kind in ("info-redirect", "package")),
    case("http_status", "status", "package-redirect", code=503, retry_after=1),
    case("http_status", "status", "package", code=204),
    case("http_status", "status", "package", code=206),
    case("http_status", "status", "package", code=304),
    case("http_status", "status", "info", code=205),
    case("http_status", "status", "info", code=999),
    # The body of the package
    case("truncated", "truncate"),
    case("truncated", "truncate", after=0),
    case("truncated", "truncate", after=SIZE - 1),
    case("connection truncated", "reset"),
    case("connection truncated", "reset", after=0),
    case("not_a_package", "html"),
    case("corrupt_package", "corrupt"),
    case("corrupt_package", "corrupt", member="libmpengine.so", count=1),
    case("not_a_package", "garbage"),
    case("not_a_package truncated", "empty"),
    case("corrupt_package", "short_zip"),
    case("corrupt_package", "short_zip", count=1),
    case("not_a_package corrupt_package", "prefix"),
    case("corrupt_package", "trailing"),
    case("corrupt_package", "trailing", text="\0"),
    case("corrupt_package unexpected_content", "encrypted"),
    case("unexpected_content corrupt_package", "members", add="../evil.so"),
    case("unexpected_content corrupt_package", "members", add="/etc/evil.so"),
    case("unexpected_content corrupt_package not_a_package", "members", drop_all=True),
    case("unexpected_content", "members", drop="libmpengine.so", settings={"verify": {"expectedMembers": ["lib*.so"]}}),
    case("unexpected_content size_out_of_bounds corrupt_package", "bomb", size=1 << 29),
    case("not_a_package corrupt_package", "gzipped"),
    case("size_out_of_bounds", "garbage", settings={"verify": {"minBytes": 4 * SIZE}}),
    # Framing
    case("truncated", "length", delta=1000),
    case("corrupt_package", "length", delta=-1000),
    case("truncated corrupt_package", "no_length", after=SIZE // 2),
    case("truncated corrupt_package not_a_package", "no_length", after=0),
    case("truncated", "chunked", after=SIZE // 2),
    case("truncated connection corrupt_package", "chunked", size="zz"),
    silent("truncated connection corrupt_package not_a_package timeout", "chunked", size="-5"),
    silent("truncated connection corrupt_package not_a_package timeout", "chunked", size="ffffffffffffffffffff"),
    case("connection truncated", "close"),
    case("connection truncated", "close", "info"),
    case("connection", "not_http"),
    case("connection", "many_headers"),
    # Time
    silent("timeout", "stall"),
    silent("timeout", "stall", "info"),
    silent("timeout", "stall", "package-redirect"),
    silent("timeout", "stall", after=SIZE // 2),
    silent("timeout", "stall", after=0),
    silent("too_slow", "drip", bytes=10, seconds=0.1),
    silent("timeout too_slow", "drip", "info", bytes=1, seconds=0.2),
    silent("timeout too_slow", "drip_head", bytes=1, seconds=0.2),
    silent("timeout too_slow", "drip_head", "package-redirect", bytes=1, seconds=0.2),
    silent("timeout connection", "informational"),
    # Versions
    case("bad_versions", "html", "info"),
    case("bad_versions truncated", "empty", "info"),
    case("bad_versions", "bad_xml", "info"),
    case("bad_versions", "entity_bomb", "info"),
    case("bad_versions", "external_entity", "info"),
    case("bad_versions", "huge_xml", "info"),
    case("bad_versions", "versions", "info", engine=None),
    case("bad_versions", "versions", "info", signatures=None),
    case("bad_versions", "versions", "info", signatures="-1.443.509.0"),
    case("bad_versions", "versions", "info", signatures=""),
    case("bad_versions", "versions", "info", signatures="../../../../tmp/x"),
    case("bad_versions", "versions", "info", engine="1.1.99999999999999999999"),
    case("bad_versions", "versions", "info", extra="<signatures>1.443.999.0</signatures>"),
    case("bad_versions", "versions", "info", root="html"),
    case("bad_versions", "text", "info", body='<?xml version="1.0" encoding="no-such"?><versions/>'),
    case("bad_versions", "garbage", "info"),
    case("truncated", "truncate", "info", after=20),
    case("connection truncated", "reset", "info", after=20),
    # Redirects
    case("redirect_loop", "redirect", "package-redirect", to="loop"),
    case("redirect_loop", "redirect", "info-redirect", to="loop"),
    case("redirect_loop", "redirect", "package-redirect", to="endless"),
    case("redirect_loop", "redirect", "package", to="loop"),
    case("redirect_refused", "redirect", "package-redirect", to="foreign"),
    case("redirect_refused", "redirect", "info-redirect", to="foreign"),
    case("redirect_refused", "redirect", "package-redirect", to="plain"),
    case("redirect_refused", "redirect", "info", to="plain"),
    case("redirect_refused", "redirect", "package-redirect", to="file:///etc/passwd"),
    case("redirect_refused", "redirect", "package-redirect", to="https://user@[::bad/"),
    case("redirect_refused", "redirect", "package-redirect", to="https://127.0.0.1:notaport/"),
    case("http_status", "redirect", "package-redirect", to="/no such/é place"),
    case("redirect_refused", "redirect", "package-redirect", to="https://127.0.0.1.example.com/"),
    case("redirect_refused http_status", "redirect", "package-redirect", to="nowhere"),
    # Time and order of releases
    case("versions_moved", "publish", "package-redirect", definitions=THIRD, size=SIZE),
    case("versions_moved", "publish", "package", definitions=THIRD, size=SIZE),
    case("downgrade", "publish", "info-redirect", definitions="1.443.99.0", size=SIZE),
    case("downgrade", "publish", "info-redirect", definitions=SECOND, engine="1.1.25100.1", size=SIZE),
]


@pytest.mark.parametrize("struck", CASES, ids=str)
def test_a_fault_of_one_unit_does_not_affect_other_units(filled, service, struck):
    filled.configure(**struck.settings)
    before = filled.snapshot()
    service.publish(SECOND, size=SIZE)
    service.fault(
        struck.fault,
        kind=struck.kind,
        platform="linux",
        arch="x86_64",
        ring="production",
        times=1 if struck.fault == "publish" else None,
        **struck.options,
    )

    run = filled.sync()

    assert run.status == 1, run.text
    assert run.report["result"] == "failed"
    assert run.outcomes()[PRODUCTION] == "failed"
    error = run.error()
    assert error["code"] in struck.codes.split(), error
    assert error["message"]
    assert error["hint"]
    assert run.units[PRODUCTION]["before"]["definitions_version"] == FIRST
    filled.check()
    assert filled.served() == before[PRODUCTION]
    assert filled.status()["last_sync"]["result"] == "failed"
    if "minBytes" not in struck.settings.get("verify", {}):
        assert {path: run.outcomes()[path] for path in OTHERS} == dict.fromkeys(OTHERS, "updated")
        assert {filled.served(path).definitions for path in OTHERS} == {SECOND}

    service.clear_faults()
    filled.configure(verify=None, source=PATIENT)
    service.publish(SECOND, size=SIZE)
    healed = filled.sync_well()
    assert healed.outcomes()[PRODUCTION] == "updated"
    assert {served.definitions for served in filled.snapshot(UNITS).values()} == {SECOND}
    assert filled.served("linux/production_back/arch_x86_64") == before[PRODUCTION]
    assert not list((filled.root / ".incoming").iterdir())


@pytest.mark.parametrize(
    "struck",
    [
        case("", "status", "info", code=503, retry_after=1),
        case("", "status", "package", code=500),
        case("", "status", "package-redirect", code=429, retry_after=2, retry_date=True),
        case("", "truncate"),
        case("", "reset"),
        case("", "html"),
        case("", "empty"),
        case("", "corrupt"),
        case("", "garbage"),
        silent("", "stall", after=SIZE // 2),
        case("", "bad_xml", "info"),
        case("", "close", "info-redirect"),
        case("", "publish", "package-redirect", definitions=THIRD, size=SIZE),
        case("", "publish", "package", definitions=THIRD, size=SIZE),
    ],
    ids=str,
)
def test_a_temporary_failure_is_retried(filled, service, struck):
    filled.configure(source={"retries": 2, **struck.settings.get("source", {})})
    service.publish(SECOND, size=SIZE)
    service.fault(
        struck.fault, kind=struck.kind, platform="linux", arch="x86_64", ring="production", times=1, **struck.options
    )
    run = filled.sync_well()
    assert [exchange for exchange in service.asked() if exchange.faults]
    assert run.outcomes() == dict.fromkeys(UNITS, "updated")
    assert filled.served().definitions == (THIRD if struck.fault == "publish" else SECOND)


def test_retry_after_is_respected(filled, service):
    filled.configure(source={"retries": 1})
    service.publish(SECOND, size=SIZE)
    service.fault("status", kind="info", times=1, code=503, retry_after=3)
    filled.sync_well()
    struck = next(exchange for exchange in service.asked("info") if exchange.faults)
    again = next(
        exchange
        for exchange in service.asked("info-redirect")
        if exchange.unit == struck.unit and exchange.time > struck.time
    )
    assert again.time - struck.time >= 3


def test_a_retry_after_that_is_too_long_is_an_error(filled, service):
    filled.configure(source={"retries": 3})
    service.fault("status", kind="info", code=503, retry_after=86400)
    run = filled.sync()
    assert run.status == 1
    assert "86400" in run.text
    assert len(service.asked("info")) == len(UNITS)


def test_the_number_of_retries_is_limited(filled, service):
    filled.configure(source={"retries": 2})
    service.publish(SECOND, size=SIZE)
    service.fault("status", kind="info", platform="linux", arch="x86_64", ring="production", code=500)
    assert filled.sync().status == 1
    assert len([exchange for exchange in service.asked("info") if exchange.faults]) == 3


@pytest.mark.parametrize(
    "harmless",
    [
        case("", "no_length"),
        case("", "chunked"),
        case("", "chunked", "info"),
        case("", "no_length", "info"),
        case("", "streamed"),
        case("", "length", text="a few"),
        case("", "redirect", "package-redirect", to="relative"),
        case("", "redirect", "package-redirect", to="relative", code=307),
        case("", "redirect", "info-redirect", to="relative", code=301),
        case("", "versions", "info", platform=None),
        case("", "versions", "info", date="2026-02-03T08:15:42Z"),
        case("", "versions", "info", date=None),
        case("", "versions", "info", extra="<later>1</later>"),
        case("", "change_etag"),
        case("", "drip", bytes=3000, seconds=0.05),
    ],
    ids=str,
)
def test_unusual_but_valid_responses_are_accepted(filled, service, harmless):
    service.publish(SECOND, size=SIZE)
    service.fault(harmless.fault, kind=harmless.kind, **harmless.options)
    assert filled.sync_well().outcomes() == dict.fromkeys(UNITS, "updated")
    assert {served.definitions for served in filled.snapshot(UNITS).values()} == {SECOND}


def test_a_downgrade_needs_the_option(filled, service):
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    service.publish(FIRST, size=SIZE)
    refused = filled.sync()
    assert refused.status == 1
    assert {unit["error"]["code"] for unit in refused.units.values()} == {"downgrade"}
    assert {served.definitions for served in filled.snapshot(UNITS).values()} == {SECOND}
    assert not service.asked("package", "GET")[4:], "a package was fetched that could not be published"
    filled.sync_well("--allow-downgrade")
    assert {served.definitions for served in filled.snapshot(UNITS).values()} == {FIRST}


def test_versions_are_compared_as_numbers(filled, service):
    """1.443.1000.0 is higher than 1.443.509.0, although it sorts before it as text."""
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    service.publish(THIRD, size=SIZE)
    filled.sync_well()
    assert filled.served().definitions == THIRD


def test_the_download_of_a_package_that_is_too_large_is_aborted(filled, service):
    filled.configure(verify={"maxBytes": 2 * SIZE})
    service.publish(SECOND, size=40 << 20, stored=True, platform="linux", arch="x86_64", ring="production")
    for framing in ("length", "chunked"):
        service.clear_faults()
        service.clear_requests()
        if framing == "chunked":
            service.fault("chunked", kind="package")
        run = filled.sync()
        assert run.error()["code"] == "size_out_of_bounds"
        assert sum(exchange.bytes_sent for exchange in service.asked("package")) < 20 << 20
        filled.check()


def tls_faults(service, authority, tmp_path):
    from simulators.certificates import Authority

    unknown = Authority(tmp_path / "unknown", "Another authority")
    return {
        "wrong host": authority.issue("other", ["mirror.example.com"]).server_context(),
        "expired": authority.issue("expired", ["127.0.0.1"], days=-1).server_context(),
        "unknown authority": unknown.issue("server", ["127.0.0.1"]).server_context(),
        "no TLS": None,
    }


@pytest.mark.parametrize("fault", ["wrong host", "expired", "unknown authority", "no TLS"])
def test_a_server_with_a_wrong_certificate(filled, service, authority, tmp_path, fault):
    before = filled.tree()
    service.publish(SECOND, size=SIZE)
    service.tls = tls_faults(service, authority, tmp_path)[fault]
    run = filled.sync()
    assert run.status == 1
    assert {unit["error"]["code"] for unit in run.units.values()} <= (
        {"tls"} if fault != "no TLS" else {"tls", "connection"}
    )
    assert all(unit["error"]["hint"] for unit in run.units.values())
    assert {path: served.definitions for path, served in filled.snapshot(UNITS).items()} == dict.fromkeys(UNITS, FIRST)
    assert {name for name in before if name.startswith("linux")} == {
        name for name in filled.tree() if name.startswith("linux")
    }
    assert not service.requests


@pytest.mark.parametrize("fault", ["refuse_handshake", "stall_handshake"])
def test_connections_that_fail(filled, service, fault):
    filled.configure(source=HASTY)
    service.fault(fault)
    run = filled.sync()
    codes = {unit["error"]["code"] for unit in run.units.values()}
    assert run.status == 1
    assert codes <= ({"timeout"} if fault == "stall_handshake" else {"connection", "tls"}), run.text
    filled.check(UNITS)


def test_a_port_without_a_server(filled):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        filled.configure(source={"url": f"https://127.0.0.1:{free.getsockname()[1]}/fwlink/"})
        run = filled.sync()
    assert run.status == 1
    assert {unit["error"]["code"] for unit in run.units.values()} == {"connection"}
    filled.check(UNITS)


def test_a_name_that_does_not_exist(filled):
    filled.configure(source={"url": "https://no-such-host.invalid/fwlink/"})
    run = filled.sync()
    assert run.status == 1
    assert {unit["error"]["code"] for unit in run.units.values()} <= {"connection", "timeout"}
    assert "no-such-host.invalid" in run.error()["message"]


def test_another_host_can_be_allowed_by_name(filled, service):
    filled.configure(source={"allowedHosts": ["127.0.0.1", "localhost"]})
    service.publish(SECOND, size=SIZE)
    service.fault("redirect", kind="redirect", to="foreign")
    filled.sync_well()
    assert filled.served().definitions == SECOND


def test_plain_http_only_with_an_explicit_url(filled, service):
    service.tls = None
    service.publish(SECOND, size=SIZE)
    filled.configure(source={"url": service.url, "caFile": None})
    assert service.url.startswith("http://")
    filled.sync_well()
    assert filled.served().definitions == SECOND
