"""Attacks by a cache or on the network path that a mirror must detect: freeze, mix and match, fast forward.

The names are those of The Update Framework's specification.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.support.engine import CANARY, ENGINE, PRODUCTION, SIZE, folders, version


def days(number, form="%Y-%m-%dT%H:%M:%SZ"):
    """The time that many days from now, as text."""
    return time.strftime(form, time.gmtime(time.time() + number * 86400))


def alarms(mirror, *options):
    run = mirror.run("status", *options, "--json")
    assert run.status == (1 if run.stderr else 0)
    assert len(run.stderr.splitlines()) == len(run.report["alarms"])
    return [(alarm["code"], alarm["path"]) for alarm in run.report["alarms"]]


def wind_back(mirror, hours, *names):
    """Makes the recorded times older."""
    file = mirror.root / ".state" / "last-sync.json"
    then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - hours * 3600))
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **dict.fromkeys(names, then)}))


def recorded(mirror):
    return json.loads((mirror.root / ".state" / "last-sync.json").read_bytes())


def served(service, **answer):
    """Publishes a release on the service for production on x86_64."""
    service.publish(answer.pop("definitions"), arch="x86_64", ring="production", size=SIZE, **answer)


# -- freeze ------------------------------------------------------------------------------------------------------------


def test_syncs_that_succeed_do_not_hide_old_definitions(mirror, service):
    served(service, definitions=version(2), date=days(-4))
    mirror.sync_well()
    assert alarms(mirror, "--max-age", "24") == [("definitions_old", PRODUCTION)]
    assert alarms(mirror, "--max-age", "24", "--max-definitions-age", "0") == []
    assert alarms(mirror, "--max-definitions-age", "97") == []
    assert alarms(mirror, "--max-definitions-age", "95") == [("definitions_old", PRODUCTION)]
    plain = mirror.run("status", "--json")
    assert (plain.status, plain.stderr) == (0, "")
    assert {entry["max_definitions_age_hours"] for entry in plain.report["channels"]} == {72}


def test_the_settings_say_the_limit_of_each_channel(mirror, service):
    mirror.well("promote", "production", "canary")
    served(service, definitions=version(2), date=days(-4))
    mirror.sync_well()
    for limit, codes in (
        (168, []),
        (0, []),
        ({"production": 120}, []),
        ({"canary": 1}, [("definitions_old", PRODUCTION)]),
        ({"production": 90, "canary": 0}, [("definitions_old", PRODUCTION)]),
    ):
        mirror.configure(maxDefinitionsAge=limit)
        assert alarms(mirror, "--max-age", "24") == codes, limit
    mirror.configure(maxDefinitionsAge={"canary": 200})
    limits = {
        entry["path"]: entry["max_definitions_age_hours"] for entry in mirror.run("status", "--json").report["channels"]
    }
    assert (limits[CANARY], limits[PRODUCTION]) == (200, 72)
    assert f'channel="canary",arch="x86_64"}} {200 * 3600}' in mirror.run("metrics").stdout


def test_a_date_in_the_future_that_an_older_version_took_raises_an_alarm(mirror):
    record = (mirror.root / PRODUCTION / "release.json").resolve()
    record.write_text(json.dumps({**json.loads(record.read_bytes()), "definitions_date": days(3)}))
    assert alarms(mirror, "--max-age", "24") == [("definitions_in_future", PRODUCTION)]


@pytest.mark.parametrize("hours", ["-1", "nan", "a day", ""])
def test_an_invalid_limit_is_wrong_usage(mirror, hours):
    assert mirror.run("status", f"--max-definitions-age={hours}").status == 2


def test_an_import_that_brings_nothing_newer_renews_nothing(mirror, new_mirror, tmp_path):
    bundle = tmp_path / "bundle.tar"
    mirror.well("export", bundle)
    island = new_mirror("island")
    island.well("import", "--unsigned", bundle)
    success = island.status()["current_as_of"]
    assert success == island.status()["last_import"] is not None
    wind_back(island, 200, "last_import", "last_renewal")
    assert island.well("import", "--unsigned", bundle).report["changed"] is False
    assert recorded(island)["last_import"] >= success
    assert island.run("status", "--json").report["current_as_of"] < success
    assert alarms(island, "--max-age", "168") == [("standstill", None)]
    mirror.publish(2)
    mirror.well("export", bundle)
    island.well("import", "--unsigned", bundle)
    assert alarms(island, "--max-age", "1") == []


def test_an_import_into_an_island_of_version_0_1_0_renews_nothing(mirror, new_mirror, tmp_path):
    bundle = tmp_path / "bundle.tar"
    mirror.well("export", bundle)
    island = new_mirror("island")
    island.well("import", "--unsigned", bundle)
    file = island.root / ".state" / "last-sync.json"
    file.write_text(json.dumps({"last_import": days(-9)}))
    island.well("import", "--unsigned", bundle)
    assert alarms(island, "--max-age", "168") == [("standstill", None)]


def test_an_import_that_takes_back_a_release_renews_nothing(mirror, new_mirror, tmp_path):
    older = tmp_path / "older.tar"
    mirror.well("export", older)
    island = new_mirror("island")
    mirror.publish(2)
    mirror.well("export", tmp_path / "newer.tar")
    island.well("import", "--unsigned", tmp_path / "newer.tar")
    wind_back(island, 30, "last_import", "last_renewal")
    island.well("import", "--unsigned", older, "--accept", "downgrade")
    assert alarms(island, "--max-age", "24") == [("standstill", None)]


def test_a_replica_is_as_current_as_the_other_mirror_says(mirror, upstream, replica_of):
    made = replica_of(upstream)
    old = json.loads((mirror.root / "status.json").read_bytes())
    old.update(generated=days(-3), last_success=days(-3), current_as_of=days(-3))
    stale = json.dumps(old).encode()
    upstream.disturb("status.json", lambda handler: handler.file(stale) or True)
    made.sync_well()
    # A cache on the way, or an attacker, repeats the old status: each sync succeeds.
    made.sync_well()
    assert made.status()["last_success"] == old["last_success"]
    assert alarms(made, "--max-age", "24") == [("standstill", None)]
    assert "check that mirror too" in made.run("status", "--max-age", "24").stderr
    upstream.disturbances.clear()
    mirror.sync_well()
    made.sync_well()
    assert alarms(made, "--max-age", "1") == []
    # An older status neither renews nor changes the recorded times.
    upstream.disturb("status.json", lambda handler: handler.file(stale) or True)
    made.sync_well()
    assert alarms(made, "--max-age", "1") == []


def test_what_is_unknown_of_the_other_mirror_is_as_of_now(mirror, upstream, replica_of):
    made = replica_of(upstream)
    fields = json.loads((mirror.root / "status.json").read_bytes())
    for name in ("generated", "last_success", "last_import", "current_as_of"):
        fields[name] = "yesterday"
    upstream.disturb("status.json", lambda handler: handler.file(json.dumps(fields).encode()) or True)
    made.sync_well()
    assert alarms(made, "--max-age", "1") == []
    fields["current_as_of"] = days(30)
    made.sync_well()
    assert alarms(made, "--max-age", "1") == []


def test_requests_ask_caches_to_look_again_and_packages_have_addresses_of_their_own(
    mirror, upstream, replica_of, service
):
    made = replica_of(upstream)
    made.sync_well()
    mirror.publish(2)
    made.sync_well()
    assert {said for _target, said in upstream.targets} == {"no-cache"}
    packages = [target for target, _said in upstream.targets if "updates.zip" in target]
    assert len(set(packages)) == len(packages) == 4
    assert {exchange.headers.get("cache-control") for exchange in service.asked()} == {"no-cache"}


def test_a_server_that_takes_the_query_for_a_part_of_the_name_is_asked_without(mirror, web_server, replica_of):
    server = web_server(mirror.root)
    server.disturb(
        f"{PRODUCTION}/updates.zip", lambda handler: "?" in handler.path and (handler.answer(404, b"") or True)
    )
    made = replica_of(server)
    made.sync_well()
    assert made.numbers("production") == [1, 1]


# -- mix and match -----------------------------------------------------------------------------------------------------


def relabelled(mirror, upstream, **fields):
    """Changes what the status of the other mirror says about the package of production on x86_64."""
    status = json.loads((mirror.root / "status.json").read_bytes())
    next(entry for entry in status["channels"] if entry["path"] == PRODUCTION).update(fields)
    upstream.disturb("status.json", lambda handler: handler.file(json.dumps(status).encode()) or True)


def test_an_old_package_under_new_versions_is_refused(mirror, upstream, replica_of):
    made = replica_of(upstream)
    made.sync_well()
    relabelled(mirror, upstream, definitions_version=version(7))
    before, asked = made.served(), len(upstream.requests)
    run = made.sync()
    assert (run.status, run.error(PRODUCTION)["code"]) == (1, "stale_package")
    assert version(1) in run.error(PRODUCTION)["message"] and version(7) in run.error(PRODUCTION)["message"]
    assert len(upstream.requests) == asked + 1, "the package was not fetched"
    assert made.served() == before
    # A refused package does not block the next release.
    upstream.disturbances.clear()
    mirror.publish(2)
    made.sync_well()
    assert made.numbers("production") == [2, 2]
    made.agree()


def test_microsofts_old_package_under_new_versions_is_refused(mirror, service, monkeypatch):
    mirror.publish(2)
    old = next(
        release
        for unit, release in service.current.items()
        if (unit.arch, unit.ring, unit.platform) == ("x86_64", "production", "linux")
    )
    served(service, definitions=version(3))
    # A cache has the package of release 2 under all addresses.
    service.history = {key: old if key[0] == old.unit else release for key, release in service.history.items()}
    run = mirror.sync()
    assert (run.status, run.error(PRODUCTION)["code"]) == (1, "stale_package")
    assert mirror.numbers("production") == [2, 2]
    # The operator accepts the package.
    run = mirror.sync("--accept", "stale_package")
    assert (run.status, run.units[PRODUCTION]["accepted"]) == (0, ["stale_package"])
    assert mirror.channels()[PRODUCTION]["history"][-1]["accepted"] == "stale_package"


def test_packages_are_remembered_beyond_pruning(mirror, upstream, replica_of):
    made = replica_of(upstream)
    made.configure(retain=1)
    for number in (1, 2, 3, 4, 5):
        mirror.publish(number)
        made.sync_well()
    assert made.stored() == [4, 5]
    digest = next(
        entry["sha256"] for entry in json.loads((made.root / ".state/published.json").read_bytes())["units"][PRODUCTION]
    )
    relabelled(mirror, upstream, definitions_version=version(9), sha256=digest)
    assert made.sync().error(PRODUCTION)["code"] == "stale_package"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"units": []}', '{"units": {"linux/production/arch_x86_64": [5, {}]}}']
)
def test_a_memory_that_cannot_be_read_is_begun_again(mirror, content):
    (mirror.root / ".state" / "published.json").write_text(content)
    mirror.publish(2)
    assert mirror.numbers("production") == [2, 2]
    mirror.publish(3)


def test_an_adopted_package_under_wrong_versions_is_not_remembered(mirror, new_mirror, service):
    """Microsoft's script may leave an old package under new versions."""
    made, before = new_mirror("adopted"), mirror.status()["channels"]
    service.publish(version(2), size=SIZE)
    for path in folders("production"):
        (made.root / path).mkdir(parents=True)
        (made.root / path / "updates.zip").write_bytes((mirror.root / path / "updates.zip").read_bytes())
        (made.root / path / "manifest.json").write_text(
            json.dumps({"EngineVersion": ENGINE, "DefinitionVersion": version(2)})
        )
    assert "adopted" in made.sync().outcomes().values()
    mirror.publish(3)
    assert made.sync().status == 0
    memory = json.loads((made.root / ".state" / "published.json").read_bytes())["units"]
    remembered = {entry["sha256"] for entries in memory.values() for entry in entries}
    assert remembered
    assert not remembered & {entry["sha256"] for entry in before}


def test_a_redirect_to_other_versions_than_announced_is_refused(mirror, service):
    served(service, definitions=version(2))
    service.fault(
        "redirect",
        kind="package-redirect",
        arch="x86_64",
        to=f"{service.origin}/packages/content/updates.zip?packageVersion={version(1)}",
    )
    run = mirror.sync()
    assert (run.status, run.error(PRODUCTION)["code"]) == (1, "versions_moved")
    assert version(1) in run.error(PRODUCTION)["message"]
    assert mirror.numbers("production") == [1, 1]


# -- fast forward ------------------------------------------------------------------------------------------------------

IMPLAUSIBLE = {
    "a date in the future": {"definitions": version(2), "date": days(2.1, "%Y-%m-%d %H:%M:%SZ")},
    "a date far in the future": {"definitions": version(2), "date": "2099-01-01T00:00:00Z"},
    "the last date": {"definitions": version(2), "date": "9999-12-31T23:59:59Z"},
    "another first number": {"definitions": "2.443.502.0"},
    "a large second number": {"definitions": "1.544.1.0"},
    "an enormous number": {"definitions": "999999999.0.0.0"},
}
PLAUSIBLE = {
    "tomorrow": {"definitions": version(2), "date": days(1, "%Y-%m-%d %H:%M:%SZ")},
    "an unreadable date": {"definitions": version(2), "date": "soon"},
    "a step of 100": {"definitions": "1.543.1.0"},
    "a large third number": {"definitions": "1.443.99999.0"},
}


@pytest.mark.parametrize("answer", IMPLAUSIBLE.values(), ids=IMPLAUSIBLE)
def test_versions_that_no_release_has_are_refused_and_block_nothing(mirror, service, answer):
    before = mirror.served()
    served(service, **answer)
    run = mirror.sync()
    assert (run.status, run.error(PRODUCTION)["code"]) == (1, "implausible_versions")
    assert mirror.served() == before
    if "date" in answer:
        assert "clock of this host" in run.error(PRODUCTION)["message"]
    assert all(exchange.unit.arch != "x86_64" for exchange in service.asked("package"))
    status = next(entry for entry in mirror.status()["channels"] if entry["path"] == PRODUCTION)
    assert (status["offered"], status["behind_since"]) == (None, None)
    mirror.publish(2)
    assert mirror.numbers("production") == [2, 2]
    mirror.agree()


@pytest.mark.parametrize("answer", PLAUSIBLE.values(), ids=PLAUSIBLE)
def test_versions_within_the_bounds_are_taken(mirror, service, answer):
    served(service, **answer)
    assert mirror.sync_well().outcomes()[PRODUCTION] == "updated"


def test_on_an_empty_mirror_only_the_date_counts(new_mirror, service):
    made = new_mirror()
    service.publish(version(2), size=SIZE)
    served(service, definitions="7.900.1.0", date="2099-01-01T00:00:00Z")
    assert made.sync().error(PRODUCTION)["code"] == "implausible_versions"
    served(service, definitions="7.900.1.0")
    assert made.sync_well().outcomes()[PRODUCTION] == "updated"


def test_each_architecture_is_judged_by_what_it_serves(mirror, service):
    served(service, definitions="1.700.1.0")
    service.publish(version(2), arch="arm64", ring="production", size=SIZE)
    run = mirror.sync()
    assert run.outcomes() == dict(zip(folders("production"), ("failed", "updated")))


def test_what_was_accepted_is_recorded_and_can_be_taken_back(mirror, service):
    mirror.publish(2)
    served(service, definitions="3.443.502.0")
    run = mirror.sync("--accept", "implausible_versions")
    assert (run.status, run.units[PRODUCTION]["accepted"]) == (0, ["implausible_versions"])
    assert mirror.channels()[PRODUCTION]["history"][-1]["accepted"] == "implausible_versions"
    # The acceptance is valid for one run only, and the error names the command that returns to valid versions.
    mirror.service.publish(version(3), size=SIZE)
    error = mirror.sync().error(PRODUCTION)
    assert error["code"] in ("implausible_versions", "downgrade")
    run = mirror.sync("--accept", "downgrade")
    assert run.status == 0, run.text
    assert mirror.numbers("production") == [3, 3]
    mirror.agree()


def test_the_message_of_a_downgrade_names_an_unusual_step(mirror, service):
    served(service, definitions="1.460.1.0")
    mirror.sync_well()
    served(service, definitions=version(2))
    message = mirror.sync().error(PRODUCTION)["message"]
    assert "from 1.443.501.0 to 1.460.1.0" in message
    assert "mde-mirror rollback" in message and "--accept downgrade" in message
    mirror.well("rollback", "production", "--arch", "x86_64")
    mirror.well("unhold", "production")
    mirror.sync_well()
    assert mirror.numbers("production", "x86_64") == [2]


def test_a_usual_step_is_not_named(mirror, service):
    served(service, definitions="1.450.1.0")
    mirror.sync_well()
    served(service, definitions=version(2))
    assert "unusual" not in mirror.sync().error(PRODUCTION)["message"]


def test_a_bundle_is_judged_alike(mirror, new_mirror, service, tmp_path):
    island = new_mirror("island")
    mirror.well("export", tmp_path / "one.tar")
    island.well("import", "--unsigned", tmp_path / "one.tar")
    served(service, definitions="1.700.1.0")
    mirror.sync("--accept", "implausible_versions")
    mirror.well("export", tmp_path / "jump.tar")
    island.refused("implausible_versions", "import", "--unsigned", tmp_path / "jump.tar")
    run = island.well("import", "--unsigned", tmp_path / "jump.tar", "--accept", "implausible_versions")
    assert {unit["arch"]: unit["accepted"] for unit in run.report["units"]} == {
        "x86_64": ["implausible_versions"],
        "arm64": [],
    }
    assert island.history(PRODUCTION, "release")[-1].startswith("1.700.1.0")
    assert island.channels()[PRODUCTION]["history"][-1]["accepted"] == "implausible_versions"
    island.refused("downgrade", "import", "--unsigned", tmp_path / "one.tar")
    island.well("import", "--unsigned", tmp_path / "one.tar", "--allow-downgrade")
    assert island.serves(PRODUCTION) == 1


def test_a_held_channel_does_not_lag_behind_versions_that_no_release_has(mirror, service):
    mirror.well("hold", "production")
    served(service, definitions="1.700.1.0")
    run = mirror.sync_well()
    assert run.outcomes()[PRODUCTION] == "held"
    assert run.units[PRODUCTION]["offered"] is None
    assert "1.700.1.0" in run.units[PRODUCTION]["notes"][0]


@pytest.mark.parametrize("verb", [["sync"], ["import", "--unsigned", "/nowhere"]])
@pytest.mark.parametrize("code", ["damaged", "", "downgrade,stale_package"])
def test_any_other_code_is_wrong_usage(mirror, verb, code):
    run = mirror.run(*verb, f"--accept={code}")
    assert run.status == 2
    assert "--accept" in run.stderr
