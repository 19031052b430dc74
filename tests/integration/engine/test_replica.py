"""Mirrors of mirrors: a replica publishes exactly the packages that status.json of the other mirror lists."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import socket

import pytest

from tests.support.engine import (
    ARCHITECTURES,
    BACK,
    CANARY,
    HASTY,
    PATIENT,
    PRODUCTION,
    SIZE,
    Kills,
    damage,
    folders,
    linger,
    version,
)

BIG = 400_000


@pytest.fixture
def replica(upstream, replica_of):
    """A replica that serves release 1."""
    made = replica_of(upstream)
    shutil.copytree(upstream.root, made.root, symlinks=True)
    return made


def codes(run):
    return {path: unit["error"] and unit["error"]["code"] for path, unit in run.units.items()}


# -- without faults ----------------------------------------------------------------------------------------------------


def test_tiers_serve_the_same_bytes(mirror, web_server, replica_of):
    middle = replica_of(web_server(mirror.root), "middle")
    middle.sync_well()
    bottom = replica_of(web_server(middle.root), "bottom")
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


def test_nothing_new_needs_one_request(replica, upstream):
    run = replica.sync_well()
    assert run.report["changed"] is False
    assert [path for path, _range in upstream.requests] == ["status.json"]


def test_the_url_may_have_a_path(mirror, web_server, replica_of, tmp_path):
    (tmp_path / "site" / "defender").mkdir(parents=True)
    (tmp_path / "site" / "defender" / "mde").symlink_to(mirror.root)
    server = web_server(tmp_path / "site")
    for slash in ("", "/"):
        made = replica_of(server, "replica" + slash.strip("/"), url=f"{server.url}/defender/mde{slash}")
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


def test_a_unit_that_is_not_offered_fails_alone(new_mirror, web_server, replica_of, service):
    one_armed = new_mirror("one-armed", architectures=["x86_64"])
    one_armed.publish(1)
    made = replica_of(web_server(one_armed.root))
    run = made.sync()
    assert run.status == 1
    assert codes(run) == dict(zip(folders("production"), (None, "not_offered")))
    assert made.numbers("production") == [1, None]


def notes(run, path):
    return " ".join(run.units[path]["notes"])


def test_a_channel_that_the_other_mirror_does_not_have_is_fed_by_promotion(replica, mirror, upstream):
    replica.configure(channels=["nightly"])
    # No promotion has fed the channel yet. That is not a failure, and nothing is reported.
    assert set(replica.sync_well().units) == set(folders("production"))
    replica.well("promote", "production", "nightly")
    mirror.publish(2)
    run = replica.sync_well()
    assert run.outcomes() == {
        **dict.fromkeys(folders("production"), "updated"),
        **dict.fromkeys(folders("nightly"), "unchanged"),
    }
    assert replica.numbers("nightly") == [1, 1]
    assert all(run.units[path]["offered"] is None for path in folders("nightly"))
    replica.well("promote", "production", "nightly")
    assert (replica.numbers("nightly"), replica.numbers("nightly_back")) == ([2, 2], [1, 1])
    replica.agree()


def test_a_channel_that_a_promotion_fed_stays_local(replica, mirror):
    """Also if the other mirror offers that name later, and if the promotion is no longer in the history."""
    replica.configure(channels=["canary", "pilot"])
    replica.well("promote", "production", "canary")
    before = replica.snapshot(folders("canary"))
    mirror.publish(2)
    for channel in ("canary", "pilot"):
        mirror.well("promote", "production", channel)
    state = replica.root / ".state" / "channels.json"
    fields = json.loads(state.read_bytes())
    for path in folders("canary"):
        (promotion,) = fields["channels"][path]["history"]
        fields["channels"][path]["history"] = [{**promotion, "action": "hold"}, {**promotion, "action": "release"}]
    state.write_text(json.dumps(fields))
    for _again in range(2):
        run = replica.sync_well()
        assert replica.snapshot(folders("canary")) == before
        assert run.outcomes()[CANARY] == "unchanged"
        assert "does not follow" in notes(run, CANARY)
    # A name that no promotion has fed is followed.
    assert replica.numbers("pilot") == [2, 2]
    replica.agree()


def test_a_followed_channel_becomes_local_with_a_promotion(replica, mirror):
    mirror.well("promote", "production", "canary")
    replica.configure(channels=["canary"])
    replica.sync_well()
    mirror.publish(2)
    replica.sync_well()
    replica.well("promote", "production", "canary")
    mirror.publish(3)
    mirror.well("promote", "production", "canary")
    replica.sync_well()
    assert (replica.numbers("production"), replica.numbers("canary")) == ([3, 3], [2, 2])


def test_a_followed_channel_that_the_other_mirror_removed_is_kept(replica, mirror, upstream):
    mirror.well("promote", "production", "canary")
    replica.configure(channels=["canary"])
    replica.sync_well()
    fields = mirror.status()
    fields["channels"] = [entry for entry in fields["channels"] if entry["channel"] != "canary"]
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    run = replica.sync_well()
    assert run.outcomes()[CANARY] == "unchanged"
    assert "serves no channel of this name" in notes(run, CANARY)
    damage(replica.root / CANARY)
    # Production serves the same package, so it is repaired for both channels.
    assert replica.sync_well().outcomes()[PRODUCTION] == "repaired"
    replica.agree()


def test_channels_fail_if_the_status_cannot_be_read(replica, upstream):
    """It is unknown what the other mirror offers, so it is also unknown whether the channels are behind."""
    replica.configure(channels=["canary", "pilot"])
    replica.well("promote", "production", "canary")
    upstream.disturb("status.json", says(b"later", 503))
    run = replica.sync()
    assert codes(run) == {
        **dict.fromkeys([*folders("production"), *folders("pilot")], "http_status"),
        **dict.fromkeys(folders("canary")),
    }


# -- one package, several channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 8])
def test_a_package_of_several_channels_is_downloaded_once(mirror, web_server, replica_of, parallel):
    for channel in ("canary", "pilot"):
        mirror.well("promote", "production", channel)
    upstream = web_server(mirror.root)
    made = replica_of(upstream)
    made.configure(channels=["canary", "pilot"], parallel=parallel)
    run = made.sync_well()
    assert set(run.outcomes().values()) == {"updated"}
    assert made.snapshot() == mirror.snapshot()
    assert len(upstream.asked("updates.zip")) == len(ARCHITECTURES)
    assert sum(unit["bytes"] > 0 for unit in run.units.values()) == len(ARCHITECTURES)
    made.agree()


def test_a_later_promotion_on_the_other_mirror_needs_no_download(replica, mirror, upstream):
    replica.configure(channels=["canary"])
    mirror.well("promote", "production", "canary")
    run = replica.sync_well()
    assert run.outcomes()[CANARY] == "updated"
    assert upstream.asked("updates.zip") == []
    mirror.publish(2)
    replica.sync_well()
    upstream.requests.clear()
    mirror.well("promote", "production", "canary")
    replica.sync_well()
    assert (replica.numbers("canary"), replica.numbers("canary_back")) == ([2, 2], [1, 1])
    assert upstream.asked("updates.zip") == []


def test_if_the_download_for_one_channel_fails_the_other_one_tries(replica, mirror, upstream):
    replica.configure(channels=["canary"], architectures=["x86_64"])
    mirror.publish(2)
    mirror.well("promote", "production", "canary")
    upstream.disturb(f"{PRODUCTION}/updates.zip", says(b"gone", 404))
    run = replica.sync()
    assert run.outcomes()[CANARY] == "updated"
    # The second channel used the package of the first, or failed before it was stored.
    assert run.outcomes()[PRODUCTION] in ("updated", "failed")
    upstream.requests.clear()
    replica.sync_well()
    assert replica.serves(PRODUCTION) == 2
    assert upstream.asked("updates.zip") == []
    replica.agree()


# -- how far behind ---------------------------------------------------------------------------------------------------


def reported_lag(mirror):
    """The status of production, which is the same in status.json and in the output of the command."""
    entries = [mirror.status(), mirror.run("status", "--json").report]
    found = []
    for status in entries:
        entry = next(entry for entry in status["channels"] if entry["path"] == PRODUCTION)
        found.append((entry["offered"] and entry["offered"]["definitions_version"], entry["behind_since"]))
    assert found[0] == found[1]
    return found[0]


def test_a_held_replica_reports_how_far_behind_it_is(replica, mirror, upstream):
    assert replica.sync_well().units[PRODUCTION]["behind_seconds"] == 0
    assert reported_lag(replica) == (version(1), None)
    replica.well("hold", "production", "--reason", "freeze", "--by", "anna")
    mirror.publish(2)
    fields = mirror.status()
    for entry in fields["channels"]:
        entry["published"] = "2020-01-01T00:00:00Z"
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    unit = replica.sync_well().units[PRODUCTION]
    assert (unit["outcome"], unit["offered"]["definitions_version"]) == ("held", version(2))
    assert unit["behind_since"] == "2020-01-01T00:00:00Z"
    assert unit["behind_seconds"] > 0
    assert reported_lag(replica) == (version(2), "2020-01-01T00:00:00Z")
    # A later release on the other mirror does not reset the time.
    upstream.disturbances.clear()
    mirror.publish(3)
    replica.sync_well()
    assert reported_lag(replica) == (version(3), "2020-01-01T00:00:00Z")
    text = replica.run("status").stdout
    assert f"{version(3)} for" in text
    assert "held by anna: freeze" in text
    # A sync that cannot reach the other mirror does not reset it either.
    upstream.disturb("status.json", says(b"later", 503))
    run = replica.sync_well()
    assert run.units[PRODUCTION]["offered"] is None
    assert "not known" in notes(run, PRODUCTION)
    assert run.units[PRODUCTION]["behind_since"] == "2020-01-01T00:00:00Z"
    upstream.disturbances.clear()
    replica.well("unhold", "production")
    replica.sync_well()
    assert reported_lag(replica) == (version(3), None)


def test_a_failing_replica_reports_how_far_behind_it_is(replica, mirror, upstream):
    mirror.publish(2)
    upstream.disturb(f"{PRODUCTION}/updates.zip", says(b"gone", 404))
    run = replica.sync()
    unit = run.units[PRODUCTION]
    published = {entry["path"]: entry["published"] for entry in mirror.status()["channels"]}
    assert (unit["outcome"], unit["behind_since"]) == ("failed", published[PRODUCTION])
    assert reported_lag(replica) == (version(2), published[PRODUCTION])


def test_a_channel_that_was_rolled_back_is_behind_since_the_rollback(replica, mirror):
    mirror.publish(2)
    replica.sync_well()
    replica.well("rollback", "production")
    offered, since = reported_lag(replica)
    assert offered == version(2)
    assert since == {entry["path"]: entry["published"] for entry in replica.status()["channels"]}[PRODUCTION]


def test_the_request_for_a_held_unit_is_not_retried_and_affects_no_other(replica, mirror, upstream):
    """One architecture is held and the other follows; only the second request for status.json succeeds."""
    replica.configure(source={"retries": 1})
    replica.well("hold", "production", "--arch", "x86_64")
    mirror.publish(2)
    upstream.disturb("status.json", says(b"later", 503), times=1)
    run = replica.sync_well()
    assert run.outcomes() == dict(zip(folders("production"), ("held", "updated")))
    replica.well("hold", "production", "--arch", "arm64")
    upstream.disturb("status.json", says(b"later", 503))
    upstream.requests.clear()
    replica.sync_well()
    assert len(upstream.requests) == 2


def test_a_held_replica_does_not_change(replica, mirror):
    replica.well("hold", "production", "--reason", "freeze")
    mirror.publish(2)
    assert set(replica.sync_well().outcomes().values()) == {"held"}
    assert replica.numbers("production") == [1, 1]
    replica.well("unhold", "production")
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


def test_over_tls_with_a_private_authority(mirror, web_server, replica_of, authority, server_certificate):
    server = web_server(mirror.root, server_certificate.server_context())
    assert server.url.startswith("https://")
    strict = replica_of(server, "strict")
    run = strict.sync()
    assert run.status == 1
    assert set(codes(run).values()) == {"tls"}
    assert not strict.folders()
    made = replica_of(server, caFile=str(authority.cert))
    made.sync_well()
    assert made.snapshot() == mirror.snapshot()


def test_a_client_certificate_is_sent(mirror, web_server, replica_of, authority, server_certificate):
    server = web_server(mirror.root, server_certificate.server_context(client_ca=authority.cert))
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
    """Sends data until the client disconnects."""
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
    "channels that are not a list": (says(b'{"format": 1, "channels": {}}'), "bad_status"),
    "channels that are not objects": (says(b'{"format": 1, "channels": [7]}'), "bad_status"),
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
def test_an_unusable_status_is_an_error_of_all_units(replica, mirror, upstream, fault):
    disturbance, code = STATUSES[fault]
    mirror.publish(2)
    before = replica.snapshot()
    upstream.disturb("status.json", disturbance)
    if code == "timeout":
        replica.configure(source=HASTY)
    run = replica.sync()
    assert run.status == 1
    assert set(codes(run).values()) == {code}, run.text
    assert replica.snapshot() == before
    # One request for all units.
    assert [path for path, _range in upstream.requests] == ["status.json"]
    upstream.disturbances.clear()
    replica.configure(source=PATIENT)
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
def test_an_unusable_entry_counts_as_not_offered(replica, mirror, upstream, changes):
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


@pytest.mark.parametrize("date", [None, 7, "yesterday", "0001-01-01T00:00:00", "\u0000"])
def test_an_invalid_date_is_ignored(replica, mirror, upstream, date):
    mirror.publish(2)
    fields = mirror.status()
    for entry in fields["channels"]:
        entry.update(definitions_date=date)
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]
    for verb in ("status", "metrics", "verify"):
        assert replica.run(verb).status == 0


def test_a_temporary_fault_of_the_status_is_retried(replica, mirror, upstream):
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


# -- packages that differ from the status ------------------------------------------------------------------------------


def another_package(server, mirror):
    """A valid package of another release."""
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
def test_a_package_that_differs_from_the_status_is_refused(replica, mirror, upstream, fault):
    spoil, expected = PACKAGES[fault]
    mirror.publish(2)
    before = replica.snapshot()
    spoil(upstream, mirror)
    run = replica.sync()
    assert run.status == 1
    assert run.error(PRODUCTION)["code"] in expected
    assert replica.numbers("production") == [1, 2]
    assert replica.served(PRODUCTION) == before[PRODUCTION]
    last = replica.run("status", "--json").report["last_sync"]
    units = {entry["arch"]: entry for entry in last["units"]}["x86_64"]
    assert units["before"]["definitions_version"] == version(1)
    assert units["offered"]["definitions_version"] == version(2)
    upstream.disturbances.clear()
    replica.sync_well()
    assert replica.snapshot(folders("production")) == mirror.snapshot(folders("production"))


def test_a_release_between_status_and_package_is_downloaded_at_the_next_try(replica, mirror, upstream):
    mirror.publish(2)
    replica.configure(source={"retries": 1})

    def land(_handler):
        mirror.publish(3)

    upstream.disturb(f"{PRODUCTION}/updates.zip", land, times=1)
    replica.sync_well()
    # The other architecture may have been downloaded before.
    assert replica.serves(PRODUCTION) == 3
    replica.sync_well()
    assert replica.numbers("production") == [3, 3]
    replica.agree()


def test_without_retries_it_is_an_error_and_the_next_sync_downloads_it(replica, mirror, upstream):
    replica.configure(architectures=["x86_64"])
    mirror.publish(2)
    upstream.disturb(f"{PRODUCTION}/updates.zip", lambda _handler: mirror.publish(3) and False, times=1)
    run = replica.sync()
    assert codes(run) == {PRODUCTION: "versions_moved"}
    assert replica.serves(PRODUCTION) == 1
    replica.sync_well()
    assert replica.serves(PRODUCTION) == 3


# -- rollbacks ---------------------------------------------------------------------------------------------------------


def test_a_replica_never_serves_lower_versions(replica, mirror):
    mirror.publish(2)
    replica.sync_well()
    before = replica.snapshot()
    mirror.well("rollback", "production")
    run = replica.sync()
    assert run.status == 1
    assert set(codes(run).values()) == {"downgrade"}
    assert replica.snapshot() == before
    assert {unit["offered"]["definitions_version"] for unit in run.report["units"]} == {version(1)}
    assert {unit["behind_seconds"] for unit in run.report["units"]} == {0}
    replica.sync_well("--allow-downgrade")
    assert replica.numbers("production") == [1, 1]


def test_the_error_says_that_the_other_mirror_was_rolled_back_and_how_to_follow(replica, mirror):
    mirror.publish(2)
    replica.sync_well()
    mirror.well("rollback", "production", "--reason", "false positives", "--by", "anna")
    run = replica.sync()
    for path in folders("production"):
        error = run.error(path)
        assert "was rolled back there since" in error["message"]
        assert "neither signed nor read over TLS" in error["message"]
        assert "mde-mirror sync --allow-downgrade" in error["hint"]
        command = re.search(r"`mde-mirror (rollback [^`]+)`", error["hint"])[1]
        assert f"rollback production --to {mirror.name(path)}" in command
        replica.well(*command.split())
    assert replica.snapshot(folders("production")) == mirror.snapshot(folders("production"))
    assert set(replica.sync_well().outcomes().values()) == {"held"}


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (None, "does not show a hold"),
        ({}, "does not show a hold"),
        ({"kind": "hold", "reason": "freeze", "by": "ben"}, "is held there by ben: freeze"),
        ({"kind": "rollback"}, "was rolled back there"),
        ({"reason": "\x1b[2J\nhush" + "x" * 900, "by": 7}, "is held there: [2Jhushxxx"),
        ("held", "does not show a hold"),
    ],
)
def test_any_content_of_the_hold_of_the_other_mirror(replica, mirror, upstream, held, message):
    """The release is not stored here, so the only way to follow is a downgrade."""
    mirror.publish(2)
    mirror.publish(3)
    mirror.well("rollback", "production", "--to", version(2))
    shutil.rmtree(replica.root)
    mirror.well("unhold", "production")
    mirror.sync_well()
    replica.sync_well()
    mirror.well("rollback", "production", "--to", version(2))
    fields = mirror.status()
    for entry in fields["channels"]:
        entry["held"] = held
    upstream.disturb("status.json", says(json.dumps(fields).encode()))
    error = replica.sync().error(PRODUCTION)
    assert error["code"] == "downgrade"
    assert message in error["message"]
    assert len(error["message"]) < 600
    assert error["message"].isprintable()
    assert "rollback" not in error["hint"]
    assert "mde-mirror sync --allow-downgrade" in error["hint"]


@pytest.fixture
def encrypted(mirror, web_server, server_certificate, authority, replica_of):
    """Makes replicas over TLS: `encrypted(mirror)`."""

    def make(other=mirror, name="encrypted"):
        server = web_server(other.root, context=server_certificate.server_context())
        return replica_of(server, name, caFile=str(authority.cert))

    return make


def test_a_replica_over_tls_follows_a_rollback_and_what_comes_after_it(encrypted, mirror):
    replica = encrypted()
    mirror.publish(2)
    replica.sync_well()
    mirror.well("rollback", "production", "--reason", "false positives", "--by", "anna")

    run = replica.sync_well()

    assert replica.numbers("production") == [1, 1]
    assert {unit["outcome"] for unit in run.report["units"]} == {"updated"}
    assert "was rolled back" in run.text
    assert replica.history(PRODUCTION)[-1] == "rollback"
    (entry,) = [entry for entry in replica.status()["channels"] if entry["path"] == PRODUCTION]
    assert (entry["state"], entry["held"]) == ("follows", None)
    assert [gone["definitions_version"] for gone in entry["withdrawn"]] == [version(2)]
    assert replica.sync_well().report["changed"] is False
    # The release that was withdrawn does not become n-1.
    assert replica.serves("linux/production_back/arch_x86_64") == 1

    mirror.well("unhold", "production")
    mirror.publish(3)
    replica.sync_well()
    assert replica.numbers("production") == [3, 3]


def test_a_rollback_of_two_steps_reaches_a_replica_of_a_replica(encrypted, mirror):
    near = encrypted()
    for number in (2, 3):
        mirror.publish(number)
        near.sync_well()
    far = encrypted(near, "far")
    far.sync_well()
    mirror.well("rollback", "production", "--to", version(1))

    near.sync_well()
    far.sync_well()

    assert far.numbers("production") == near.numbers("production") == [1, 1]
    assert [hop["mirror_id"] for hop in far.status()["chain"]] == [m.status()["mirror_id"] for m in (near, mirror)]


def test_a_replica_that_missed_a_release_follows_the_rollback_too(encrypted, mirror):
    """The replica has release 2 when the other mirror goes from 3 to 1."""
    replica = encrypted()
    mirror.publish(2)
    replica.sync_well()
    mirror.publish(3)
    mirror.well("rollback", "production", "--to", version(1))

    replica.sync_well()

    assert replica.numbers("production") == [1, 1]


def test_an_older_mirror_with_the_same_url_is_refused(replica, mirror, upstream, new_mirror):
    mirror.publish(3)
    replica.sync_well()
    older = new_mirror("older")
    older.publish(2)
    upstream.root = older.root
    run = replica.sync()
    assert set(codes(run).values()) == {"downgrade"}
    assert replica.numbers("production") == [3, 3]


# -- interruptions ----------------------------------------------------------------------------------------------------


def broken_off(replica, mirror, upstream):
    """Makes the replica's download of release 2 end after 300000 bytes; returns the path and size of the package."""
    replica.configure(architectures=["x86_64"])
    mirror.publish(2, size=BIG)
    path = f"{PRODUCTION}/updates.zip"
    data = (mirror.root / path).read_bytes()
    upstream.disturb(path, lambda handler: handler.file(data, cut=300_000) or True, times=1)
    assert codes(replica.sync()) == {PRODUCTION: "truncated"}
    upstream.requests.clear()
    return path, len(data)


def test_an_interrupted_download_is_resumed(replica, mirror, upstream):
    path, size = broken_off(replica, mirror, upstream)
    run = replica.sync_well()
    assert dict(upstream.requests)[path] == "bytes=300000-"
    assert run.units[PRODUCTION]["bytes"] == size - 300_000
    assert replica.served() == mirror.served()


def test_an_interrupted_download_is_not_mixed_with_another_release(replica, mirror, upstream):
    path, _size = broken_off(replica, mirror, upstream)
    mirror.publish(3, size=BIG)
    replica.sync_well()
    assert dict(upstream.requests)[path] is None
    assert replica.served() == mirror.served()


@pytest.mark.slow
def test_kill_9_at_any_moment_of_a_replica_with_shared_packages(replica, mirror, upstream):
    """The run is killed while several channels wait for the same package; the next run continues."""
    chance = random.Random(5)
    replica.configure(channels=["canary", "pilot"])
    paths = [path for channel in ("production", "canary", "pilot") for path in folders(channel)]
    kills = Kills(rounds=8, wanted=2, first=2)
    for number in kills:
        mirror.publish(number, size=BIG)
        for channel in ("canary", "pilot"):
            mirror.well("promote", "production", channel)
        before = {path: replica.serves(path) for path in paths}
        upstream.requests.clear()
        process = replica.start("sync")
        while process.poll() is None and not upstream.asked("updates.zip"):
            pass
        linger(process, chance.uniform(0, 0.1))
        kills.strike(process)
        replica.check()
        # Never lower; the sync may first have completed the decision of the run before.
        assert all((before[path] or 0) <= (replica.serves(path) or 0) <= number for path in paths)
        if number % 2:
            continue
        replica.sync_well()
        assert {replica.serves(path) for path in paths} == {number}
        assert replica.snapshot(paths) == mirror.snapshot(paths)
        replica.agree()


def test_no_path_in_a_status_leads_outside_of_the_root(replica, mirror, upstream, tmp_path):
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


def test_a_package_that_is_missing_on_the_other_mirror_is_an_error(replica, mirror, upstream):
    """The other mirror lost a package that its status still lists."""
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
