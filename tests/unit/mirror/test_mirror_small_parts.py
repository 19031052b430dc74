"""The small parts of the engine: retries, the rate limit, times, addresses and names."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import times, transport
from ansible_collections.mde.offline.plugins.module_utils._mirror.cancel import Cancel
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import Cancelled, MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.retry import retrying
from ansible_collections.mde.offline.plugins.module_utils._mirror.sources.microsoft import address
from ansible_collections.mde.offline.plugins.module_utils._mirror.units import (
    ARCHITECTURES,
    PLATFORMS,
    RINGS,
    Unit,
    unit_of_path,
)

# --- retries ----------------------------------------------------------------------------------------------------------


class Clock:
    """Replaces `Cancel`: records the pauses, and stops the run at the pause `stop_at`, if it is set."""

    def __init__(self, stop_at=None):
        self.pauses = []
        self.stop_at = stop_at

    def sleep(self, seconds):
        self.pauses.append(seconds)
        if len(self.pauses) == self.stop_at:
            raise Cancelled


class Service:
    """Fails with these errors, one after another, and then responds."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def passing(retry_after=None):
    return MirrorError("http_status", "status 503", "wait", retriable=True, retry_after=retry_after)


LASTING = MirrorError("downgrade", "lower", "look")


@pytest.mark.parametrize(
    ("retries", "failures", "calls", "succeeds"),
    [
        (3, 0, 1, True),
        (3, 1, 2, True),
        (3, 3, 4, True),
        (3, 4, 4, False),
        (0, 0, 1, True),
        (0, 1, 1, False),
        (100, 100, 101, True),
    ],
)
def test_tries_are_bounded(retries, failures, calls, succeeds):
    service, clock = Service(*(passing() for _ in range(failures))), Clock()
    if succeeds:
        assert retrying(service, retries, clock) == "answer"
    else:
        with pytest.raises(MirrorError, match="status 503"):
            retrying(service, retries, clock)
    assert service.calls == calls
    assert len(clock.pauses) == calls - 1


@pytest.mark.parametrize("error", [LASTING, ValueError("a bug")])
def test_what_does_not_pass_is_not_tried_again(error):
    service, clock = Service(error), Clock()
    with pytest.raises(type(error)):
        retrying(service, 5, clock)
    assert (service.calls, clock.pauses) == (1, [])


def test_pauses_grow_with_jitter_up_to_a_minute():
    seen = []
    for _ in range(20):
        clock = Clock()
        retrying(Service(*(passing() for _ in range(10))), 10, clock)
        for pause, full in zip(clock.pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]):
            assert full / 2 <= pause <= full
        seen.append(tuple(clock.pauses))
    assert len(set(seen)) > 1


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [(0.0, 0.5, 1.0), (0.1, 0.5, 1.0), (7.0, 7.0, 7.0), (120.0, 120.0, 120.0), (300.0, 300.0, 300.0)],
)
def test_retry_after_is_honoured(asked, low, high):
    clock = Clock()
    assert retrying(Service(passing(asked)), 1, clock) == "answer"
    assert low <= clock.pauses[0] <= high


def test_a_longer_retry_after_ends_the_run_with_advice():
    service, clock = Service(passing(86400.0)), Clock()
    with pytest.raises(MirrorError) as refused:
        retrying(service, 3, clock)
    assert (service.calls, clock.pauses) == (1, [])
    assert "86400" in refused.value.hint


def test_every_pause_is_reported_before_it_begins():
    reported, clock = [], Clock()
    retrying(Service(passing(), passing(9.0)), 3, clock, lambda error, pause: reported.append((error.message, pause)))
    assert reported == [("status 503", pause) for pause in clock.pauses]


def test_a_stop_ends_the_pause():
    service = Service(passing(), passing())
    with pytest.raises(Cancelled):
        retrying(service, 3, Clock(stop_at=2))
    assert service.calls == 2
    stopped = Cancel()
    stopped.set()
    with pytest.raises(Cancelled):
        retrying(Service(passing(250.0)), 1, stopped)


# --- the rate limit ---------------------------------------------------------------------------------------------------


class LineClock:
    """A clock that advances only during `sleep`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("count", [1, 1024, 12_500])
@pytest.mark.parametrize("idle", [0, 60])
def test_a_rate_limit_is_kept_to_the_byte(monkeypatch, count, idle):
    """Idle time is not credited to later bytes, and no pause is longer than the bytes require."""
    clock = LineClock()
    monkeypatch.setattr(transport, "time", clock)
    line = transport.BandwidthLimit(4, 100_000, clock)
    clock.sleep(idle)
    begun = clock.now
    for _ in range(50):
        line.spend(count)
    assert clock.now - begun == pytest.approx(50 * count / 100_000)


def test_without_a_rate_limit_nobody_waits():
    clock = LineClock()
    transport.BandwidthLimit(4, 0, clock).spend(10**9)
    assert clock.now == 1000.0


# --- times ------------------------------------------------------------------------------------------------------------

NOON = datetime.datetime(2026, 2, 3, 12, 0, 0, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    ("then", "age"),
    [
        ("2026-02-03T12:00:00Z", 0),
        ("2026-02-03T11:59:30Z", 30),
        ("2026-02-02T12:00:00Z", 86400),
        ("2024-02-29T12:00:00Z", 705 * 86400),
        ("2026-02-03T12:00:01Z", 0),
        ("2099-01-01T00:00:00Z", 0),
        ("2026-02-30T12:00:00Z", None),
        ("2026-02-03 12:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_an_age_is_never_negative_even_when_the_clock_was_set_back(monkeypatch, then, age):
    monkeypatch.setattr(times, "now", lambda: NOON)
    assert times.age_seconds(then) == age


def test_a_time_that_is_written_can_be_read():
    assert times.age_seconds(times.now_iso()) in range(60)


# --- addresses and names ----------------------------------------------------------------------------------------------

BASE = "https://go.microsoft.com/fwlink/"


@pytest.mark.parametrize(
    ("base", "unit", "info", "expected"),
    [
        (BASE, "linux/production/x86_64", False, BASE + "?linkid=2144709"),
        (BASE, "linux/production/x86_64", True, BASE + "?linkid=2144709&action=info"),
        (BASE, "linux/production/arm64", False, BASE + "?linkid=2144709&arch=arm64"),
        (BASE, "linux/preview/x86_64", False, BASE + "?linkid=2144709&engRing=3&sigRing=1"),
        (BASE, "linux/preview/arm64", True, BASE + "?linkid=2144709&arch=arm64&engRing=3&sigRing=1&action=info"),
        (BASE, "mac/production/x86_64", False, BASE + "?linkid=2120136"),
        (BASE, "mac/preview/arm64", True, BASE + "?linkid=2120136&arch=arm64&engRing=3&sigRing=1&action=info"),
        ("http://127.0.0.1:80", "linux/production/x86_64", False, "http://127.0.0.1:80?linkid=2144709"),
        (BASE + "?key=1%262", "mac/production/x86_64", True, BASE + "?key=1%262&linkid=2120136&action=info"),
        (BASE + "?", "mac/production/x86_64", False, BASE + "?linkid=2120136"),
    ],
)
def test_the_addresses_of_the_service(base, unit, info, expected):
    assert address(base, Unit(*unit.split("/")), info) == expected


@pytest.mark.parametrize(
    "unit",
    [Unit(platform, ring, arch) for platform in PLATFORMS for ring in RINGS for arch in ARCHITECTURES],
    ids=str,
)
def test_the_folder_of_a_unit_names_it(unit):
    assert unit_of_path(unit.path) == unit
    assert unit_of_path(unit.back_path).channel == unit.channel + "_back"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "linux",
        "linux/production",
        "linux/production/x86_64",
        "linux/production/arch_amd64",
        "windows/production/arch_x86_64",
        "linux//arch_x86_64",
        "linux/production/arch_x86_64/updates.zip",
        "/linux/production/arch_x86_64",
    ],
)
def test_other_folders_are_no_units(path):
    with pytest.raises(ValueError):
        unit_of_path(path)
