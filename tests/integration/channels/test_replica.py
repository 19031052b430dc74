"""Mirrors of mirrors: what arrives is what the other one's status names, and nothing else can."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket

import pytest

from .conftest import ARCHITECTURES, BACK, CANARY, PRODUCTION, SIZE, damage, folders, version

BIG = 400_000


@pytest.fixture
def upstream(mirror, front):
    """A web server before a mirror that serves release 1."""
    return front(mirror.root)


@pytest.fixture
def replica_of(station):
    def make(server, name="replica", **source):
        made = station(name, channels=[])
        made.configure(source={"type": "mirror", "url": server.url, "caFile": None, **source})
        return made

    return make


@pytest.fixture
def replica(upstream, replica_of):
    """A replica that serves release 1."""
    made = replica_of(upstream)
    shutil.copytree(upstream.root, made.root, symlinks=True)
    return made


def codes(run):
    return {path: unit["error"] and unit["error"]["code"] for path, unit in run.units.items()}


# -- what works --------------------------------------------------------------------------------------------------------


def test_tiers_serve_the_same_bytes(mirror, front, replica_of):
    middle = replica_of(front(mirror.root), "middle")
    middle.sync_well()
    bottom = replica_of(front(middle.root), "bottom")
    bottom.sync_well()
    mirror.publish(2)
    assert bottom.sync_well().report["changed"] is False
    for tier in (middle, bottom):
        tier.sync_well()
        assert tier.snapshot() == mirror.snapshot()
        assert [tier.name(path) for path in tier.folders()] == [mirror.name(path) for path in mirror.folders()]
        assert (tier.numbers("production"), tier.numbers("production_back")) == ([2, 2], [1, 1])
        dates = [{entry["definitions_date"] for entry in one.status()["channels"]} for one in (mirror, tier)]
        assert dates[0] == dates[1] != {None}
        tier.agree()


def test_nothing_new_costs_one_request(replica, upstream):
    run = replica.sync_well()
    assert run.report["changed"] is False
    assert [path for path, _range in upstream.requests] == ["status.json"]


def test_the_root_may_lie_below_a_path(mirror, front, replica_of, tmp_path):
    (tmp_path / "site" / "defender").mkdir(parents=True)
    (tmp_path / "site" / "defender" / "mde").symlink_to(mirror.root)
    server = front(tmp_path / "site")
    for slash in ("", "/"):
        made = replica_of(server, "replica" + slash.strip("/"), url=f"{server.url}defender/mde{slash}")
        made.sync_well()
        assert made.snapshot() == mirror.snapshot()


def test_extra_channels_are_followed(mirror, upstream, replica_of):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    made = replica_of(upstream)
    made.configure(channels=["canary"])
    made.sync_well()
    assert (made.numbers("production"), made.numbers("canary")) == ([2, 2], [1, 1])
    mirror.well("promote", "production", "canary")
    assert made.sync_well().outcomes()[CANARY] == "updated"
    assert (made.numbers("canary"), made.numbers("canary_back")) == ([2, 2], [1, 1])
    made.agree()


def test_a_path_that_is_not_served_fails_for_itself_alone(station, front, replica_of, service):
    one_armed = station("one-armed", architectures=["x86_64"])
    one_armed.publish(1)
    made = replica_of(front(one_armed.root))
    made.configure(channels=["nightly"])
    run = made.sync()
    assert run.status == 1
    assert codes(run) == {
        **dict(zip(folders("production"), (None, "not_offered"))),
        **dict.fromkeys(folders("nightly"), "not_offered"),
    }
    assert made.numbers("production") == [1, None]


def test_a_held_replica_stays(replica, mirror):
    replica.well("hold", "production", "--reason", "freeze")
    mirror.publish(2)
    assert set(replica.sync_well().outcomes().values()) == {"held"}
    assert replica.numbers("production") == [1, 1]
    replica.well("release", "production")
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]


def test_a_replica_rolls_back_by_itself(replica, mirror):
    mirror.publish(2)
    replica.sync_well()
    replica.well("rollback", "production")
    assert set(replica.sync_well().outcomes().values()) == {"held"}
    assert replica.numbers("production") == [1, 1]


def test_a_damaged_replica_is_repaired(replica):
    before = replica.snapshot()
    damage(replica.root / PRODUCTION)
    assert replica.sync_well().outcomes() == dict(zip(folders("production"), ("repaired", "unchanged")))
    assert replica.snapshot() == before


# -- over TLS ----------------------------------------------------------------------------------------------------------


def test_over_tls_with_a_private_authority(mirror, front, replica_of, authority, server_certificate):
    server = front(mirror.root, server_certificate.server_context())
    assert server.url.startswith("https://")
    strict = replica_of(server, "strict")
    run = strict.sync()
    assert run.status == 1
    assert set(codes(run).values()) == {"tls"}
    assert not strict.folders()
    made = replica_of(server, caFile=str(authority.cert))
    made.sync_well()
    assert made.snapshot() == mirror.snapshot()


def test_a_client_certificate_is_shown(mirror, front, replica_of, authority, server_certificate):
    server = front(mirror.root, server_certificate.server_context(client_ca=authority.cert))
    assert replica_of(server, "nobody", caFile=str(authority.cert)).sync().status == 1
    client = authority.issue("replica")
    made = replica_of(server, caFile=str(authority.cert), clientCert=str(client.cert), clientKey=str(client.key))
    made.sync_well()
    assert made.snapshot() == mirror.snapshot()


# -- a status that cannot be used --------------------------------------------------------------------------------------


def closes(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def stalls(handler):
    """Until the other side has had enough."""
    with contextlib.suppress(OSError):
        handler.connection.recv(1)
    return True


def says(data, status=200):
    return lambda handler: handler.answer(status, data) or True


STATUSES = {
    "a login page": (says(b"<html>Please log in</html>"), "bad_status"),
    "nothing": (says(b""), "bad_status"),
    "a list": (says(b"[]"), "bad_status"),
    "null": (says(b"null"), "bad_status"),
    "no channels": (says(b'{"format": 1}'), "bad_status"),
    "a format to come": (says(b'{"format": 2, "channels": []}'), "bad_status"),
    "channels that are no list": (says(b'{"format": 1, "channels": {}}'), "bad_status"),
    "channels that are no objects": (says(b'{"format": 1, "channels": [7]}'), "bad_status"),
    "a path that is none": (says(b'{"format": 1, "channels": [{"path": 1}]}'), "bad_status"),
    "no text": (says(b"\xff\xfe{\x00"), "bad_status"),
    "deeply nested": (says(b"[" * 100_000), "bad_status"),
    "a very long number": (says(b'{"format": ' + b"9" * 10_000 + b"}"), "bad_status"),
    "huge": (says(b'{"format": 1, "channels": [], "more": "' + b"x" * 5_000_000 + b'"}'), "bad_status"),
    "404": (says(b"gone", 404), "http_status"),
    "503": (says(b"later", 503), "http_status"),
    "403": (says(b"forbidden", 403), "http_status"),
    "broken off": (lambda handler: handler.file(b'{"format": 1, "channels": []}', cut=5) or True, "truncated"),
    "hung up": (closes, "connection"),
    "no answer": (stalls, "timeout"),
    "of a mirror that serves nothing": (says(b'{"format": 1, "channels": []}'), "not_offered"),
}


@pytest.mark.parametrize("fault", STATUSES)
def test_a_status_that_cannot_be_used_stops_everything_loudly(replica, mirror, upstream, fault):
    disturbance, code = STATUSES[fault]
    mirror.publish(2)
    before = replica.snapshot()
    upstream.disturb("status.json", disturbance)
    run = replica.sync()
    assert run.status == 1
    assert set(codes(run).values()) == {code}, run.text
    assert replica.snapshot() == before
    # Asked once for all units.
    assert [path for path, _range in upstream.requests] == ["status.json"]
    upstream.disturbances.clear()
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": None},
        {"sha256": "0" * 63},
        {"sha256": "../../../../etc/passwd"},
        {"definitions_version": None},
        {"definitions_version": "latest"},
        {"engine_version": 7},
    ],
)
def test_an_entry_that_cannot_be_used_counts_as_not_served(replica, mirror, upstream, changes):
    mirror.publish(2)
    fields = mirror.status()
    for entry in fields["channels"]:
        if entry["arch"] == "x86_64":
            entry.update(changes)
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    run = replica.sync()
    assert run.status == 1
    assert list(codes(run).values()) == ["not_offered", None]
    assert replica.numbers("production") == [1, 2]


@pytest.mark.parametrize("date", [None, 7, "yesterday", "0001-01-01T00:00:00", "9999-12-31T23:59:59Z", "\u0000"])
def test_a_strange_date_does_no_harm(replica, mirror, upstream, date):
    mirror.publish(2)
    fields = mirror.status()
    for entry in fields["channels"]:
        entry.update(definitions_date=date)
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]
    for verb in ("status", "metrics", "verify"):
        assert replica.run(verb).status == 0


def test_a_passing_fault_of_the_status_is_tried_again(replica, mirror, upstream):
    mirror.publish(2)
    replica.configure(source={"retries": 1})
    upstream.disturb("status.json", says(b"later", 503), times=1)
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]


def test_the_failure_of_the_status_is_not_multiplied_by_the_units(replica, upstream):
    replica.configure(channels=["canary", "pilot"], source={"retries": 1})
    upstream.disturb("status.json", says(b"later", 503))
    run = replica.sync()
    assert set(codes(run).values()) == {"http_status"}
    assert len(codes(run)) == 6
    assert len(upstream.requests) == 2


# -- packages that are not what the status names -----------------------------------------------------------------------


def another_package(server, mirror):
    """A whole, good package, but of another release."""
    data = (mirror.root / BACK / "updates.zip").read_bytes()
    server.disturb(f"{PRODUCTION}/updates.zip", lambda handler: handler.file(data) or True)


def one_bit(server, mirror):
    data = bytearray((mirror.root / PRODUCTION / "updates.zip").read_bytes())
    data[len(data) // 2] ^= 4
    server.disturb(f"{PRODUCTION}/updates.zip", lambda handler: handler.file(bytes(data)) or True)


def html(server, _mirror):
    server.disturb(f"{PRODUCTION}/updates.zip", says(b"<html>Please log in</html>"))


def short(server, _mirror):
    server.disturb(
        f"{PRODUCTION}/updates.zip",
        lambda handler: handler.file((server.root / PRODUCTION / "updates.zip").read_bytes(), cut=5000) or True,
    )


PACKAGES = {
    "another release": (another_package, ("versions_moved",)),
    "one bit": (one_bit, ("corrupt_package", "versions_moved")),
    "a login page": (html, ("not_a_package",)),
    "cut short": (short, ("truncated",)),
    "404": (lambda server, _mirror: server.disturb(f"{PRODUCTION}/updates.zip", says(b"", 404)), ("http_status",)),
}


@pytest.mark.parametrize("fault", PACKAGES)
def test_a_package_that_is_not_the_one_of_the_status_is_refused(replica, mirror, upstream, fault):
    spoil, expected = PACKAGES[fault]
    mirror.publish(2)
    before = replica.snapshot()
    spoil(upstream, mirror)
    run = replica.sync()
    assert run.status == 1
    assert run.error(PRODUCTION)["code"] in expected
    assert replica.numbers("production") == [1, 2]
    assert replica.served(PRODUCTION) == before[PRODUCTION]
    told = {entry["arch"]: entry for entry in replica.status()["last_sync"]["units"]}["x86_64"]
    assert told["before"]["definitions_version"] == version(1)
    assert told["offered"]["definitions_version"] == version(2)
    upstream.disturbances.clear()
    replica.sync_well()
    assert replica.snapshot(folders("production")) == mirror.snapshot(folders("production"))


def test_a_release_that_lands_between_status_and_package_is_fetched_at_the_next_try(replica, mirror, upstream):
    mirror.publish(2)
    replica.configure(source={"retries": 1})

    def land(_handler):
        mirror.publish(3)

    upstream.disturb(f"{PRODUCTION}/updates.zip", land, times=1)
    replica.sync_well()
    # The other architecture may have been fetched before.
    assert replica.serves(PRODUCTION) == 3
    replica.sync_well()
    assert replica.numbers("production") == [3, 3]
    replica.agree()


def test_without_further_tries_it_is_told_and_the_next_sync_fetches_it(replica, mirror, upstream):
    replica.configure(architectures=["x86_64"])
    mirror.publish(2)
    upstream.disturb(f"{PRODUCTION}/updates.zip", lambda _handler: mirror.publish(3) and False, times=1)
    run = replica.sync()
    assert codes(run) == {PRODUCTION: "versions_moved"}
    assert replica.serves(PRODUCTION) == 1
    replica.sync_well()
    assert replica.serves(PRODUCTION) == 3


# -- backwards ---------------------------------------------------------------------------------------------------------


def test_a_replica_never_goes_backwards(replica, mirror):
    mirror.publish(2)
    replica.sync_well()
    before = replica.snapshot()
    mirror.well("rollback", "production")
    run = replica.sync()
    assert run.status == 1
    assert set(codes(run).values()) == {"downgrade"}
    assert replica.snapshot() == before
    assert {unit["offered"]["definitions_version"] for unit in run.report["units"]} == {version(1)}
    replica.sync_well("--allow-downgrade")
    assert replica.numbers("production") == [1, 1]


def test_an_older_mirror_behind_the_same_address_is_refused(replica, mirror, upstream, station):
    mirror.publish(3)
    replica.sync_well()
    older = station("older")
    older.publish(2)
    upstream.root = older.root
    run = replica.sync()
    assert set(codes(run).values()) == {"downgrade"}
    assert replica.numbers("production") == [3, 3]


# -- broken off --------------------------------------------------------------------------------------------------------


def test_a_download_that_was_broken_off_is_carried_on(replica, mirror, upstream):
    replica.configure(architectures=["x86_64"])
    mirror.publish(2, size=BIG)
    path = f"{PRODUCTION}/updates.zip"
    data = (mirror.root / path).read_bytes()
    upstream.disturb(path, lambda handler: handler.file(data, cut=300_000) or True, times=1)
    assert codes(replica.sync()) == {PRODUCTION: "truncated"}
    upstream.requests.clear()
    run = replica.sync_well()
    assert dict(upstream.requests)[path] == "bytes=300000-"
    assert run.units[PRODUCTION]["bytes"] == len(data) - 300_000
    assert replica.served() == mirror.served()


def test_what_was_broken_off_is_not_spliced_with_another_release(replica, mirror, upstream):
    replica.configure(architectures=["x86_64"])
    mirror.publish(2, size=BIG)
    path = f"{PRODUCTION}/updates.zip"
    data = (mirror.root / path).read_bytes()
    upstream.disturb(path, lambda handler: handler.file(data, cut=300_000) or True, times=1)
    assert replica.sync().status == 1
    mirror.publish(3, size=BIG)
    upstream.requests.clear()
    replica.sync_well()
    assert dict(upstream.requests)[path] is None
    assert replica.served() == mirror.served()


def test_nothing_that_a_status_names_leads_out_of_the_root(replica, mirror, upstream, tmp_path):
    mirror.publish(2)
    fields = mirror.status()
    fields["channels"] += [
        {**fields["channels"][0], "path": path, "release": "../../../escaped"}
        for path in ("../../escaped", "/escaped", "linux/../../escaped/arch_x86_64")
    ]
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    replica.sync_well()
    assert not list(tmp_path.rglob("escaped"))
    assert {path.split("/")[0] for path in replica.folders()} == {"linux"}


def test_what_upstream_has_not_yet_written_to_its_disk_is_not_half_copied(replica, mirror, upstream):
    """The upstream mirror lost a package that its status still names."""
    mirror.publish(2)
    before = replica.snapshot()
    for arch in ARCHITECTURES:
        shutil.rmtree((mirror.root / folders("production", arch)[0]).resolve())
    run = replica.sync()
    assert set(codes(run).values()) == {"http_status"}
    assert replica.snapshot() == before
    mirror.service.publish(version(2), size=SIZE)
    mirror.sync_well()
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]
