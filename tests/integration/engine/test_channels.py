"""The operations on channels and their lasting effects: promote, roll back, hold, unhold."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from tests.support.engine import (
    ARCHITECTURES,
    BACK,
    CANARY,
    ENGINE,
    LONGEST,
    PRODUCTION,
    SIZE,
    Kills,
    damage,
    folders,
    linger,
    until,
    version,
)

OTHER_ENGINE = "1.1.25120.1"


# -- promote -----------------------------------------------------------------------------------------------------------


def test_promote_serves_exactly_what_the_other_channel_serves(mirror):
    run = mirror.well("promote", "production", "canary", "--by", "anna")
    assert run.report["changed"] is True
    assert {unit["channel"] for unit in run.report["units"]} == {"canary"}
    for arch in ARCHITECTURES:
        ours, theirs = (mirror.root / folders(channel, arch)[0] for channel in ("production", "canary"))
        assert (ours / "updates.zip").stat().st_ino == (theirs / "updates.zip").stat().st_ino
    mirror.agree()
    again = mirror.well("promote", "production", "canary")
    assert again.report["changed"] is False
    assert mirror.history(CANARY) == ["promote"]
    assert mirror.history(CANARY, "by") == ["anna"]


def test_a_promoted_channel_waits_for_the_next_promotion(mirror):
    mirror.well("promote", "production", "canary")
    run = mirror.publish(2)
    assert run.outcomes()[CANARY] == "unchanged"
    assert (mirror.numbers("production"), mirror.numbers("canary")) == ([2, 2], [1, 1])
    mirror.well("promote", "canary", "pilot")
    mirror.well("promote", "production", "canary")
    assert (mirror.numbers("canary"), mirror.numbers("canary_back")) == ([2, 2], [1, 1])
    assert mirror.numbers("pilot") == [1, 1]
    mirror.agree()


def test_promote_a_release_by_its_definitions_version(mirror):
    mirror.publish(2)
    mirror.publish(3)
    mirror.well("promote", "production", "canary", "--release", version(2))
    assert mirror.numbers("canary") == [2, 2]
    mirror.agree()


def test_promote_a_release_by_its_name(mirror):
    name = mirror.name(PRODUCTION)
    mirror.publish(2)
    mirror.well("promote", "production", "canary", "--release", name, "--arch", "x86_64")
    assert mirror.numbers("canary") == [1, None]
    assert mirror.name(CANARY) == name
    # The name contains the SHA-256 of one package, so it cannot match packages of both architectures.
    mirror.refused("no_such_release", "promote", "production", "canary", "--release", name)


def test_one_architecture_alone(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    run = mirror.well("promote", "production", "canary", "--arch", "arm64")
    assert [unit["arch"] for unit in run.report["units"]] == ["arm64"]
    assert mirror.numbers("canary") == [1, 2]
    mirror.agree()


def test_one_platform_alone(mirror):
    mirror.configure(downloadMacUpdates=True)
    mirror.publish(2)
    mirror.well("promote", "production", "canary", "--platform", "mac")
    assert not (mirror.root / "linux" / "canary").exists()
    assert (mirror.root / "mac/canary/arch_arm64").is_symlink()


def test_two_packages_of_one_version_have_different_names(mirror):
    mirror.publish(2)
    mirror.publish(2, engine=OTHER_ENGINE)
    error = mirror.refused("no_such_release", "promote", "production", "canary", "--release", version(2))
    assert f"{version(2)}-{ENGINE}" in error["message"]
    assert f"{version(2)}-{OTHER_ENGINE}" in error["message"]


def test_a_version_of_both_rings_selects_the_package_of_the_channel(mirror):
    mirror.configure(downloadPreviewUpdates=True)
    mirror.publish(2)
    expected = mirror.snapshot(folders("production"))
    mirror.publish(3)
    assert mirror.name(PRODUCTION) != mirror.name("linux/preview/arch_x86_64")
    mirror.well("promote", "production", "canary", "--release", version(2))
    mirror.well("rollback", "production", "--to", version(2))
    for served, wanted in zip(mirror.snapshot(folders("production")).values(), expected.values()):
        assert served == wanted
    for served, wanted in zip(mirror.snapshot(folders("canary")).values(), expected.values()):
        assert served == wanted


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("no_such_channel", ["promote", "nightly", "canary"]),
        ("no_such_channel", ["promote", "production", "nightly"]),
        ("no_such_channel", ["promote", "production", "preview"]),
        ("no_such_channel", ["promote", "production", "../../etc"]),
        ("no_such_channel", ["promote", "pilot", "canary"]),
        ("no_such_channel", ["promote", "production", "canary", "--platform", "mac"]),
        ("no_such_release", ["promote", "production", "canary", "--release", "1.1.1.1"]),
        ("no_such_release", ["promote", "production", "canary", "--release", ".."]),
        ("no_such_release", ["rollback", "production", "--to", "1.1.1.1"]),
        ("no_previous", ["rollback", "production"]),
        ("no_such_channel", ["rollback", "nightly"]),
        ("no_such_channel", ["hold", "nightly"]),
        ("no_such_channel", ["unhold", "nightly"]),
        ("no_such_channel", ["unhold", "canary"]),
    ],
)
def test_an_impossible_operation_is_refused_and_changes_nothing(mirror, code, arguments):
    mirror.refused(code, *arguments)
    assert mirror.run(*arguments).status == 1
    mirror.agree()


def test_a_mirror_that_serves_nothing_yet(new_mirror):
    new_mirror().refused("no_such_channel", "promote", "production", "canary")


@pytest.mark.parametrize(
    "arguments", [["promote", "production"], ["rollback"], ["hold", "production", "--arch", "sparc"]]
)
def test_wrong_usage_has_its_own_exit_status(mirror, arguments):
    assert mirror.run(*arguments).status == 2


# -- roll back ---------------------------------------------------------------------------------------------------------


def test_rollback_serves_the_previous_release_and_stays_there(mirror):
    first = mirror.snapshot(folders("production"))
    mirror.publish(2)
    mirror.well("rollback", "production", "--reason", "false positives", "--by", "anna")
    assert mirror.snapshot(folders("production")) == first
    mirror.agree()
    for number in (3, 4):
        run = mirror.publish(number)
        assert run.outcomes() == dict.fromkeys(folders("production"), "held")
        assert mirror.snapshot(folders("production")) == first
    (hold,) = {json.dumps(entry["held"]) for entry in mirror.run("status", "--json").report["channels"]}
    assert (json.loads(hold)["reason"], json.loads(hold)["by"]) == ("false positives", "anna")
    assert "false positives" in mirror.run("status").text
    mirror.well("unhold", "production")
    assert mirror.snapshot(folders("production")) == first
    assert mirror.sync_well().outcomes() == dict.fromkeys(folders("production"), "updated")
    assert (mirror.numbers("production"), mirror.numbers("production_back")) == ([4, 4], [1, 1])
    assert mirror.history(PRODUCTION) == ["sync", "sync", "rollback", "release", "sync"]


def test_a_second_rollback_changes_nothing(mirror):
    mirror.publish(2)
    mirror.publish(3)
    mirror.well("rollback", "production")
    state = mirror.channels()
    again = mirror.well("rollback", "production", "--reason", "said twice")
    assert again.report["changed"] is False
    assert mirror.channels() == state
    # The same applies after the reason of the hold was changed.
    mirror.well("hold", "production", "--reason", "until friday")
    assert mirror.well("rollback", "production").report["changed"] is False
    assert mirror.numbers("production") == [2, 2]


def test_rollback_to_any_stored_release(mirror):
    for number in (2, 3):
        mirror.publish(number)
    mirror.well("rollback", "production", "--to", version(1))
    assert mirror.numbers("production") == [1, 1]
    assert mirror.well("rollback", "production", "--to", version(1)).report["changed"] is False
    mirror.well("rollback", "production", "--to", version(2))
    assert mirror.numbers("production") == [2, 2]
    mirror.well("rollback", "production", "--to", mirror.name(BACK), "--arch", "x86_64")
    assert mirror.numbers("production")[1] == 2
    mirror.agree()


def test_rollback_of_one_architecture(mirror):
    mirror.publish(2)
    mirror.well("rollback", "production", "--arch", "arm64")
    run = mirror.publish(3)
    assert run.outcomes() == dict(zip(folders("production"), ("updated", "held")))
    assert mirror.numbers("production") == [3, 1]
    assert mirror.well("rollback", "production").report["changed"] is True
    assert mirror.numbers("production") == [2, 1]


def test_rollback_of_a_promoted_channel(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    mirror.well("promote", "production", "canary")
    mirror.well("rollback", "canary", "--reason", "slow")
    assert (mirror.numbers("canary"), mirror.numbers("production")) == ([1, 1], [2, 2])
    assert "slow" in mirror.refused("held", "promote", "production", "canary")["message"]
    mirror.well("promote", "production", "canary", "--release", version(1))
    assert mirror.sync_well().outcomes()[CANARY] == "held"
    mirror.well("unhold", "canary")
    mirror.well("promote", "production", "canary")
    assert mirror.numbers("canary") == [2, 2]
    mirror.agree()


def test_n_1_is_never_a_release_that_was_rolled_back(mirror):
    mirror.configure(retain=10)
    mirror.publish(2)
    mirror.well("rollback", "production")
    assert mirror.numbers("production_back") == [1, 1]
    mirror.well("unhold", "production")
    for number in (3, 4):
        mirror.publish(number)
    mirror.well("rollback", "production")
    # Before release 3, the channel served release 1, because release 2 was rolled back.
    assert (mirror.numbers("production"), mirror.numbers("production_back")) == ([3, 3], [1, 1])


def test_n_1_of_a_channel_that_was_promoted_back_and_forth(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    mirror.well("promote", "production", "canary")
    mirror.well("promote", "production", "canary", "--release", version(1))
    mirror.well("rollback", "canary")
    assert (mirror.numbers("canary"), mirror.numbers("canary_back")) == ([2, 2], [2, 2])


@pytest.mark.parametrize("seed", range(2))
def test_n_1_after_any_rollback(mirror, seed):
    """Random operations: n-1 is always a release that the channel served, and never one that was rolled back."""
    chance = random.Random(seed)
    mirror.configure(retain=30, architectures=["x86_64"])
    path, newest = [1], 1
    for _step in range(12):
        if chance.random() < 0.5:
            newest += 1
            if mirror.channels()[PRODUCTION]["hold"]:
                mirror.well("unhold", "production", "--arch", "x86_64")
            mirror.publish(newest)
            path.append(newest)
        elif len(path) > 1:
            to = chance.choice(path[:-1])
            mirror.well("rollback", "production", "--to", version(to), "--arch", "x86_64")
            path = path[: path.index(to) + 1]
            assert mirror.serves(PRODUCTION) == to
            assert mirror.serves(BACK) == (path[-2] if len(path) > 1 else to)


# -- hold --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_held_channel_stays_across_ten_releases_and_its_release_is_never_pruned(mirror):
    """At the same time, another ring adds releases to the same pool."""
    mirror.configure(downloadPreviewUpdates=True, retain=1)
    mirror.sync_well()
    mirror.well("promote", "production", "canary")
    before = mirror.snapshot([*folders("production"), *folders("canary")])
    mirror.well("hold", "production", "--reason", "change freeze")
    mirror.well("hold", "canary")
    for number in range(2, 12):
        run = mirror.publish(number)
        assert {run.outcomes()[path] for path in before} == {"held"}
        assert {run.outcomes()[path] for path in folders("preview")} == {"updated"}
        assert mirror.snapshot(list(before)) == before
    assert mirror.stored() == [1, 10, 11]
    mirror.well("unhold", "production")
    mirror.sync_well()
    assert mirror.numbers("production") == [11, 11]
    assert mirror.numbers("production_back") == [1, 1]
    # The other channel is still held.
    assert mirror.snapshot(folders("canary")) == {path: before[path] for path in folders("canary")}
    mirror.agree()


def test_a_held_channel_reports_what_its_source_offers(mirror):
    """One request for each held unit, without retries; a failure of the request does not affect the sync."""
    service = mirror.service
    mirror.configure(source={"retries": 3})
    mirror.well("promote", "production", "canary")
    mirror.well("hold", "production")
    service.publish(version(2), size=SIZE)
    service.clear_requests()
    run = mirror.sync_well()
    assert run.outcomes() == {
        **dict.fromkeys(folders("production"), "held"),
        **dict.fromkeys(folders("canary"), "unchanged"),
    }
    assert len(service.asked("info")) == 2
    assert not service.asked("package")
    unit = run.units[PRODUCTION]
    assert unit["offered"]["definitions_version"] == version(2)
    since = unit["behind_since"]
    assert run.report["started"] <= since <= run.report["finished"]
    service.publish(version(3), size=SIZE)
    assert mirror.sync_well().units[PRODUCTION]["behind_since"] == since
    entry = {entry["path"]: entry for entry in mirror.status()["channels"]}
    assert (entry[PRODUCTION]["offered"]["definitions_version"], entry[PRODUCTION]["behind_since"]) == (
        version(3),
        since,
    )
    assert (entry[CANARY]["offered"], entry[CANARY]["behind_seconds"]) == (None, None)

    service.fault("status", kind="info", code=503)
    service.clear_requests()
    run = mirror.sync_well()
    assert len(service.asked("info")) == 2
    assert run.units[PRODUCTION]["offered"] is None
    assert "503" in run.units[PRODUCTION]["notes"][0]
    assert run.units[PRODUCTION]["behind_since"] == since
    service.clear_faults()
    mirror.well("unhold", "production")
    mirror.sync_well()
    entry = {entry["path"]: entry for entry in mirror.status()["channels"]}
    assert (entry[PRODUCTION]["behind_since"], entry[PRODUCTION]["behind_seconds"]) == (None, 0)


def test_a_second_hold_changes_nothing_unless_the_reason_is_new(mirror):
    assert mirror.well("hold", "production", "--reason", "freeze", "--by", "anna").report["changed"] is True
    assert mirror.well("hold", "production", "--reason", "freeze").report["changed"] is False
    assert mirror.well("hold", "production").report["changed"] is False
    assert mirror.well("hold", "production", "--reason", "longer freeze").report["changed"] is True
    assert mirror.well("unhold", "production").report["changed"] is True
    assert mirror.well("unhold", "production").report["changed"] is False
    assert mirror.history(PRODUCTION) == ["sync", "hold", "hold", "release"]


def test_the_history_records_who_did_what_and_when(mirror):
    mirror.well("promote", "production", "canary", "--by", "anna")
    mirror.publish(2)
    mirror.well("promote", "production", "canary", "--by", "ben")
    mirror.well("rollback", "canary", "--by", "carla")
    entries = mirror.channels()[CANARY]["history"]
    assert [(entry["action"], entry["by"]) for entry in entries] == [
        ("promote", "anna"),
        ("promote", "ben"),
        ("rollback", "carla"),
    ]
    assert [entry["release"].split(".")[2] for entry in entries] == ["501", "502", "501"]
    for entry in entries:
        time.strptime(entry["at"], "%Y-%m-%dT%H:%M:%SZ")


# -- check mode --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["promote", "production", "canary"],
        ["promote", "production", "pilot"],
        ["rollback", "production", "--reason", "bad"],
        ["rollback", "production", "--to", version(1)],
        ["hold", "canary", "--reason", "freeze"],
        ["unhold", "pilot"],
    ],
)
def test_check_changes_nothing_and_predicts_the_result(mirror, arguments):
    for channel in ("canary", "pilot"):
        mirror.well("promote", "production", channel)
    mirror.well("hold", "pilot", "--arch", "arm64")
    mirror.publish(2)
    mirror.publish(3)
    if arguments[2:] == ["pilot"]:
        mirror.well("unhold", "pilot")
    before = mirror.tree()
    foretold = mirror.well(*arguments, "--check")
    assert mirror.tree() == before
    happened = mirror.well(*arguments)
    for run in (foretold, happened):
        for unit in run.report["units"]:
            for stand in (unit["before"], unit["after"]):
                (stand["held"] or {}).pop("since", None)
    assert foretold.report == happened.report
    assert happened.report["changed"] is True


def test_check_needs_no_lock_and_creates_no_folders(new_mirror):
    made = new_mirror()
    assert made.run("promote", "production", "canary", "--check").status == 1
    assert not made.root.exists()


# -- damage ------------------------------------------------------------------------------------------------------------


def lose(folder):
    shutil.rmtree(folder.resolve())


@pytest.mark.parametrize("spoil", [damage, lose])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_damaged_release_stops_the_promotion_of_both_architectures(mirror, spoil, arch):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    before = mirror.snapshot(folders("canary"))
    spoil(mirror.root / folders("production", arch)[0])
    run = mirror.verb("promote", "production", "canary")
    assert run.status == 1
    assert run.report["errors"][0]["code"] in ("damaged", "no_such_release")
    assert arch in run.report["errors"][0]["message"]
    assert mirror.snapshot(folders("canary")) == before
    assert set(mirror.sync_well().outcomes().values()) == {"repaired", "unchanged"}
    mirror.well("promote", "production", "canary")
    mirror.agree()


@pytest.mark.parametrize("spoil", [damage, lose])
def test_a_rollback_to_a_damaged_release_is_refused(mirror, spoil):
    mirror.publish(2)
    before = mirror.snapshot(folders("production"))
    spoil(mirror.root / folders("production_back", "arm64")[0])
    run = mirror.verb("rollback", "production")
    assert (run.status, run.report["errors"][0]["code"]) == (1, "damaged")
    assert mirror.snapshot(folders("production")) == before
    assert not any(entry["hold"] for entry in mirror.channels().values())


def test_nothing_is_promoted_if_one_architecture_is_held(mirror):
    mirror.well("promote", "production", "canary")
    mirror.well("hold", "canary", "--arch", "arm64")
    mirror.publish(2)
    mirror.refused("held", "promote", "production", "canary")
    assert mirror.numbers("canary") == [1, 1]
    mirror.well("promote", "production", "canary", "--arch", "x86_64")
    assert mirror.numbers("canary") == [2, 1]


def test_a_promoted_channel_is_repaired_with_the_ring_that_serves_the_same(mirror):
    mirror.well("promote", "production", "canary")
    before = mirror.snapshot()
    damage(mirror.root / CANARY)
    run = mirror.sync_well()
    assert run.outcomes()[PRODUCTION] == "repaired"
    assert run.outcomes()[CANARY] in ("repaired", "unchanged")
    assert mirror.snapshot() == before
    mirror.agree()


def test_a_lost_link_of_a_promoted_channel_is_repaired(mirror):
    mirror.well("promote", "production", "canary")
    before = mirror.snapshot()
    (mirror.root / CANARY).unlink()
    assert mirror.sync_well().outcomes()[CANARY] == "repaired"
    assert mirror.snapshot() == before


def test_a_lost_promoted_release_is_an_error_of_its_unit_only(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    damage(mirror.root / CANARY)
    mirror.service.publish(version(3), size=SIZE)
    run = mirror.sync()
    assert run.status == 1
    assert run.error(CANARY)["code"] == "damaged"
    assert run.outcomes() == {
        **dict.fromkeys(folders("production"), "updated"),
        **dict(zip(folders("canary"), ("failed", "unchanged"))),
    }
    mirror.well("promote", "production", "canary")
    mirror.sync_well()
    mirror.agree()


def test_lost_state_is_rebuilt_with_the_promoted_channels(mirror):
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    before = mirror.snapshot()
    (mirror.root / ".state" / "channels.json").unlink()
    mirror.sync_well()
    assert mirror.snapshot() == before
    mirror.well("rollback", "production")
    assert mirror.numbers("production") == [1, 1]


# -- the status while a sync runs --------------------------------------------------------------------------------------


def channel_of(status, path):
    return next(entry for entry in status["channels"] if entry["path"] == path)


def test_the_status_follows_each_publication_of_a_running_sync(mirror, service):
    mirror.sync_well()
    before = mirror.status()
    fast, slow = folders("production")
    service.publish(version(2), size=SIZE)
    service.fault("stall", kind="package", arch="arm64")
    mirror.configure(source={"timeout": 10 * LONGEST})
    with mirror.start("sync") as process:
        assert until(lambda: mirror.serves(fast) == 2 or process.poll() is not None)
        assert until(
            lambda: channel_of(mirror.status(), fast)["definitions_version"] == version(2) or process.poll() is not None
        )
        status = mirror.status()
        assert process.poll() is None
        assert channel_of(status, fast)["sha256"] == mirror.served(fast).sha256
        assert channel_of(status, fast)["back"]["release"] == mirror.name(BACK)
        assert channel_of(status, slow)["sha256"] == mirror.served(slow).sha256
        assert (status["last_sync"], status["last_success"]) == (before["last_sync"], before["last_success"])
        service.clear_faults()
        process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    assert mirror.status()["last_sync"]["units"][1]["after"]["definitions_version"] == version(2)
    mirror.agree()


def test_a_status_that_a_killed_run_left_outdated_is_corrected_before_any_download(mirror, service):
    stale = (mirror.root / "status.json").read_bytes()
    mirror.publish(2)
    (mirror.root / "status.json").write_bytes(stale)
    service.publish(version(3), size=SIZE)
    service.fault("stall", kind="package")
    service.clear_requests()
    mirror.configure(source={"timeout": 10 * LONGEST})
    with mirror.start("sync") as process:
        assert until(lambda: service.asked("package") or process.poll() is not None)
        for path in folders("production"):
            assert channel_of(mirror.status(), path)["sha256"] == mirror.served(path).sha256
        service.clear_faults()
        process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    mirror.agree()


# -- pruning -----------------------------------------------------------------------------------------------------------


def test_a_release_of_any_channel_is_never_pruned(mirror):
    mirror.configure(retain=1, backupPreviousUpdates=True)
    mirror.well("promote", "production", "canary")
    for number in (2, 3, 4):
        mirror.publish(number)
    assert mirror.stored() == [1, 3, 4]
    mirror.well("promote", "production", "canary")
    for number in (5, 6):
        mirror.publish(number)
    # 1 is the n-1 of canary, 4 its release; 5 and 6 are production's.
    assert mirror.stored() == [1, 4, 5, 6]
    mirror.well("promote", "production", "canary")
    mirror.sync_well()
    assert mirror.stored() == [4, 5, 6]
    mirror.agree()


def test_a_channel_that_was_removed_from_the_settings_keeps_its_release(mirror):
    mirror.configure(retain=1)
    mirror.well("promote", "production", "canary")
    before = mirror.snapshot(folders("canary"))
    mirror.configure(channels=[])
    for number in (2, 3, 4):
        mirror.publish(number)
    assert mirror.snapshot(folders("canary")) == before


# -- simultaneous runs, kill -9 ---------------------------------------------------------------------------------------


def links(mirror, channel):
    """The releases that the folders of a channel and of its n-1 point at."""
    return {path: mirror.name(path) for path in mirror.folders() if path.split("/")[1].startswith(channel)}


def test_an_import_during_a_sync_ends_and_names_it(mirror, tmp_path):
    service, bundle = mirror.service, tmp_path / "bundle.tar"
    mirror.well("export", bundle)
    service.publish(version(2), size=SIZE)
    service.fault("stall", kind="package", times=1)
    service.clear_requests()
    mirror.configure(source={"timeout": 10 * LONGEST})
    with mirror.start("sync") as sync:
        assert until(lambda: service.asked("package"))
        for arguments in (["import", "--unsigned", bundle], ["sync"]):
            run = mirror.run(*map(str, arguments), "--json")
            assert run.status == 75, run.text
            assert run.report["errors"][0]["code"] == "locked"
            assert str(sync.pid) in run.report["errors"][0]["message"]
        assert sync.poll() is None
        service.clear_faults()
        sync.communicate(timeout=LONGEST)
    assert sync.returncode == 0
    mirror.agree()


def test_a_verb_waits_a_limited_time_for_another_session_and_names_it(mirror, patched):
    impatient = patched("from _mirror import session", "session.PATIENCE_SECONDS = 0.2")
    holder = "import fcntl, json, os, sys\nlock = open(sys.argv[1], 'r+')\nfcntl.flock(lock, fcntl.LOCK_EX)\n"
    holder += "lock.truncate(0)\n"
    holder += "lock.write(json.dumps({'pid': os.getpid(), 'host': 'h', 'since': 's'}))\nlock.flush()\n"
    holder += "print('locked', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(mirror.root / ".state" / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "locked\n"
        for arguments in VERBS_OF_CHANNELS:
            run = mirror.verb(*arguments, command=impatient)
            assert run.status == 75, run.text
            assert run.report["errors"][0]["code"] == "locked"
            assert str(other.pid) in run.report["errors"][0]["message"]
        with mirror.start("hold", "production", "--json") as patient:
            linger(patient, 0.5)
            other.communicate("")
            stdout, _stderr = patient.communicate(timeout=LONGEST)
    assert json.loads(stdout)["changed"] is True
    mirror.agree()


VERBS_OF_CHANNELS = (
    ["promote", "production", "canary"],
    ["rollback", "production", "--to", version(1)],
    ["hold", "production"],
    ["unhold", "production"],
)


@pytest.mark.parametrize(
    ("arguments", "present"),
    [(["release", "production"], "unhold"), (["export", "bundle.tar", "--lacking", "status.json"], "--base")],
)
def test_a_former_name_is_refused_with_the_present_one(mirror, arguments, present):
    run = mirror.run(*arguments)
    assert run.status == 2
    assert f"is now {present}" in run.stderr


def test_simultaneous_promotions_are_complete(mirror):
    mirror.publish(2)
    for one, other in ((1, 2), (2, 1)):
        verbs = [
            mirror.start("promote", "production", "canary", "--release", version(number)) for number in (one, other)
        ]
        outputs = ["".join(verb.communicate(timeout=LONGEST)) for verb in verbs]
        codes = [verb.returncode for verb in verbs]
        assert set(codes) <= {0, 75} and 0 in codes, outputs
        assert "Traceback" not in "".join(outputs)
        (served,) = set(mirror.numbers("canary"))
        assert served in ([one, other] if codes == [0, 0] else [(one, other)[codes.index(0)]])
        mirror.agree()


@pytest.mark.slow
def test_kill_9_at_any_moment_of_promote_and_rollback(mirror):
    """Clients see valid packages at any time; the next verb or sync completes the interrupted operation."""
    chance = random.Random(4)
    mirror.publish(2)
    mirror.well("promote", "production", "canary", "--release", version(1))
    begun = time.monotonic()
    mirror.well("promote", "production", "canary", "--release", version(2))
    whole = time.monotonic() - begun
    kills, current = Kills(rounds=12, wanted=6), 2
    for number in kills:
        current = 3 - current
        promote = ["promote", "production", "canary", "--release", version(current)]
        arguments = chance.choice([promote, ["rollback", "canary", "--to", version(current)]])
        wrote = mirror.state_writes()
        process = mirror.start(*arguments)
        if number % 3 == 0:
            linger(process, chance.uniform(0.2, 0.9) * whole)
        else:
            # Links and status.json are written immediately after the state.
            while not wrote() and process.poll() is None:
                pass
            linger(process, chance.uniform(0, 0.01))
        kills.strike(process)
        mirror.check()
        assert set(mirror.numbers("canary")) <= {1, 2}
        assert mirror.numbers("production") == [2, 2]
        if chance.random() < 0.5:
            mirror.sync_well()
        else:
            mirror.well(*arguments)
            assert mirror.numbers("canary") == [current, current]
        mirror.agree()
        mirror.well("unhold", "canary")
        mirror.well(*promote)


def test_after_a_kill_between_state_and_link_any_next_run_completes_the_operation(mirror):
    """The test creates the worst case itself: state and link of one architecture do not agree."""
    mirror.well("promote", "production", "canary")
    mirror.publish(2)
    mirror.well("promote", "production", "canary")
    for arguments in (["hold", "pilot"], ["hold", "production"], ["sync"]):
        link = mirror.root / CANARY
        old = os.readlink(mirror.root / folders("canary_back")[0])
        link.unlink()
        link.symlink_to(old)
        mirror.run(*arguments)
        assert mirror.numbers("canary") == [2, 2]
        mirror.agree()
