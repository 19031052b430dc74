"""A sync without faults: what it downloads, keeps and reports, and the effect of each setting."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.engine import COMMAND, ENGINE, FIRST, LONGEST, PRODUCTION, SECOND, SIZE, THIRD, UNITS, until
from tests.support.web import Proxy
from tools.collection_tree import CHECKOUT

BACKS = tuple(path.replace("/arch", "_back/arch") for path in UNITS)


# -- downloads --------------------------------------------------------------------------------------------------------


def test_a_first_sync_of_everything(unsynced, service):
    unsynced.configure(downloadMacUpdates=True)
    run = unsynced.sync_well()
    everything = {*UNITS, *(path.replace("linux", "mac") for path in UNITS)}
    assert run.outcomes() == dict.fromkeys(everything, "updated")
    assert set(unsynced.folders()) == everything
    assert run.report["changed"] is True
    for unit in run.units.values():
        assert unit["before"] is None
        assert unit["after"] == {"definitions_version": FIRST, "engine_version": ENGINE}
        assert unit["bytes"] > SIZE * 0.9
        assert unit["error"] is None
    for path in everything:
        assert json.loads((unsynced.root / path / "manifest.json").read_bytes()) == {
            "EngineVersion": ENGINE,
            "DefinitionVersion": FIRST,
        }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"downloadPreviewUpdates": False}, [path for path in UNITS if "preview" not in path]),
        ({"architectures": ["arm64"]}, [path for path in UNITS if "arm64" in path]),
        (
            {"downloadLinuxUpdates": False, "downloadMacUpdates": True, "architectures": ["x86_64"]},
            ["mac/preview/arch_x86_64", "mac/production/arch_x86_64"],
        ),
    ],
)
def test_only_the_units_in_the_settings_are_followed(unsynced, service, changes, expected):
    unsynced.configure(**changes)
    unsynced.sync_well()
    assert sorted(unsynced.folders()) == sorted(expected)
    assert len({exchange.unit for exchange in service.requests}) == len(expected)


def test_nothing_new_needs_one_request_for_each_unit(filled, service):
    run = filled.sync_well()
    assert run.report["changed"] is False
    assert run.outcomes() == dict.fromkeys(UNITS, "unchanged")
    asked = sorted((exchange.kind, exchange.unit) for exchange in service.requests)
    units = sorted({unit for _kind, unit in asked})
    assert len(units) == len(UNITS)
    assert asked == [("info", unit) for unit in units] + [("info-redirect", unit) for unit in units]
    again = filled.tree()
    filled.sync_well()
    changed = {name for name, content in filled.tree().items() if again[name] != content}
    assert all(name == "status.json" or name.startswith(".state/") for name in changed)


def test_only_new_packages_are_downloaded(filled, service):
    service.publish(SECOND, size=SIZE, arch="arm64", ring="preview")
    run = filled.sync_well()
    assert {path for path, outcome in run.outcomes().items() if outcome == "updated"} == {"linux/preview/arch_arm64"}
    assert len(service.asked("package", "GET")) == 1


def under_way(service, kind):
    return sum(exchange.kind == kind and not exchange.finished for exchange in service.requests)


@pytest.mark.parametrize("kind", ["info-redirect", "info", "package-redirect", "package"])
def test_units_are_processed_in_parallel(filled, service, kind):
    filled.configure(source={"timeout": 10 * LONGEST})
    service.publish(SECOND, size=SIZE)
    service.fault("stall", kind=kind)
    with filled.start("sync") as process:
        assert until(lambda: under_way(service, kind) == len(UNITS))
        service.clear_faults()
        assert process.wait(LONGEST) == 0
    filled.check()


def test_parallel_limits_simultaneous_downloads(filled, service):
    filled.configure(parallel=2, source={"timeout": 10 * LONGEST})
    service.publish(SECOND, size=SIZE)
    service.fault("stall", kind="package", after=SIZE // 2)
    with filled.start("sync") as process:
        assert until(lambda: under_way(service, "package") == 2)
        assert not service.wait_for(lambda: under_way(service, "package") > 2, 1)
        service.clear_faults()
        assert process.wait(LONGEST) == 0
    assert {filled.served(path).definitions for path in UNITS} == {SECOND}


def test_the_rate_limit_is_for_all_downloads_together(filled, service):
    """Unit tests check that the limit does not reduce the speed too much."""
    filled.configure(rateLimit=100_000)
    service.publish(SECOND, size=SIZE * 2)
    run = filled.sync_well()
    assert run.seconds > 8 * SIZE / 100_000 * 0.7


# -- stored releases --------------------------------------------------------------------------------------------------


def test_n_1_is_the_release_that_was_served_before(filled, service):
    assert set(filled.folders()) == set(UNITS)
    before = filled.snapshot()
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    assert {path: filled.served(back) for path, back in zip(UNITS, BACKS)} == before
    service.publish(THIRD, size=SIZE)
    filled.sync_well()
    assert {filled.served(path).definitions for path in BACKS} == {SECOND}
    filled.sync_well()
    assert {filled.served(path).definitions for path in BACKS} == {SECOND}


def test_n_1_needs_no_copy(filled, service):
    service.publish(SECOND, size=SIZE)
    old = (filled.root / PRODUCTION / "updates.zip").stat().st_ino
    filled.sync_well()
    assert (filled.root / BACKS[0] / "updates.zip").stat().st_ino == old


def test_n_1_can_be_disabled(filled, service):
    filled.configure(backupPreviousUpdates=False)
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    assert set(filled.folders()) == set(UNITS)


def test_retention_keeps_a_number_of_releases_and_all_linked_ones(filled, service):
    filled.configure(retain=2)
    for number in range(4):
        service.publish(f"1.443.{600 + number}.0", size=SIZE, ring="production")
        filled.sync_well()
    assert filled.served().definitions == "1.443.603.0"
    assert filled.served("linux/production_back/arch_x86_64").definitions == "1.443.602.0"
    # The preview ring still serves the first release.
    assert filled.served("linux/preview/arch_x86_64").definitions == FIRST
    kept = list((filled.root / ".releases" / "linux-x86_64").iterdir())
    assert len(kept) == 3


def test_a_newer_engine_with_the_same_definitions_is_a_release(filled, service):
    service.publish(FIRST, "1.1.25120.1", size=SIZE)
    assert filled.sync_well().outcomes() == dict.fromkeys(UNITS, "updated")
    assert json.loads(filled.served().manifest)["EngineVersion"] == "1.1.25120.1"


# -- output ------------------------------------------------------------------------------------------------------------


def test_check_changes_nothing_and_reports_what_would_change(filled, service):
    service.publish(SECOND, size=SIZE, ring="production")
    before = filled.tree()
    run = filled.sync("--check")
    assert run.status == 0
    assert run.report["changed"] is True
    assert run.outcomes()[PRODUCTION] == "updated"
    assert run.outcomes()["linux/preview/arch_x86_64"] == "unchanged"
    assert run.units[PRODUCTION]["after"]["definitions_version"] == SECOND
    assert filled.tree() == before
    assert not service.asked("package")


def test_check_before_the_first_sync_creates_nothing(unsynced):
    run = unsynced.sync("--check")
    assert run.status == 0
    assert not unsynced.root.exists() or not unsynced.folders()


def test_status_reports_what_is_served(filled, service):
    service.publish(SECOND, size=SIZE, ring="production")
    filled.sync_well()
    for status in (filled.status(), filled.run("status", "--json").report):
        channels = {
            "{platform}/{channel}/arch_{arch}".format(**channel): channel
            for channel in status["channels"]
            if not channel["channel"].endswith("_back")
        }
        assert set(channels) == set(UNITS)
        reported, served = channels[PRODUCTION], filled.served()
        assert (reported["definitions_version"], reported["engine_version"]) == (SECOND, ENGINE)
        assert (reported["sha256"], reported["bytes"]) == (served.sha256, len(served.zip))
        assert (filled.root / reported["path"]).resolve() == (filled.root / PRODUCTION).resolve()
        assert reported["back"]["definitions_version"] == FIRST
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reported["definitions_date"])
        assert status["last_sync"]["result"] == "ok"
        assert status["last_success"]
    assert SECOND in filled.run("status").stdout


def test_the_output_has_plain_lines_with_advice(filled, service):
    service.publish(SECOND, size=SIZE)
    service.fault("status", kind="package", platform="linux", arch="x86_64", ring="production", code=404)
    run = filled.run("sync")
    assert run.status == 1
    units = filled.run("status", "--json").report["last_sync"]["units"]
    (error,) = [unit["error"] for unit in units if unit["error"]]
    assert error["hint"] in run.text
    assert error["message"] in run.text
    assert SECOND in run.text
    assert "\x1b" not in run.text
    assert "\r" not in run.text
    assert error["message"] in Path(filled.settings["logFilePath"]).read_text()


def test_a_log_that_cannot_be_written_does_not_stop_the_sync(filled, service, tmp_path):
    filled.configure(logFilePath=str(tmp_path / "no" / "such" / "folder" / "log"))
    service.publish(SECOND, size=SIZE)
    filled.sync_well()


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"downloadFoldr": "/srv/x"}, ["downloadFoldr"]),
        ({"source": {"proxi": "http://p:1"}}, ["proxi"]),
        ({"verify": {"minByte": 1}}, ["minByte"]),
        ({"downloadLinuxUpdates": "yes"}, ["downloadLinuxUpdates", "yes"]),
        ({"architectures": "x86_64"}, ["architectures"]),
        ({"architectures": ["sparc"]}, ["architectures", "sparc"]),
        ({"retain": "3"}, ["retain"]),
        ({"retain": True}, ["retain"]),
        ({"parallel": 0}, ["parallel"]),
        ({"rateLimit": -1}, ["rateLimit"]),
        ({"source": {"timeout": "30s"}}, ["timeout"]),
        ({"source": {"caFile": "/no/such/ca.pem"}}, ["caFile", "/no/such/ca.pem"]),
        ({"source": {"url": "ftp://example.com/"}}, ["url"]),
        ({"source": {"type": "carrier pigeon"}}, ["type"]),
        ({"source": {"allowedHosts": "example.com"}}, ["allowedHosts"]),
        ({"one": 1, "two": 2}, ["one", "two"]),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(unsynced, service, changes, named):
    unsynced.configure(**changes)
    for run in (unsynced.run("sync"), unsynced.sync()):
        assert run.status == 2
        assert all(name in run.text for name in named), run.text
    assert run.report["errors"][0]["code"] == "settings"
    assert run.report["errors"][0]["hint"]
    assert not unsynced.root.exists()
    assert not service.requests


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x01", '{"retain": 1, "retain": 2}'])
def test_invalid_settings_files(unsynced, content):
    unsynced.settings_file.write_text(content)
    result = run_plain("sync", "--settings", str(unsynced.settings_file))
    assert result.returncode == 2
    assert str(unsynced.settings_file) in result.stderr
    assert "Traceback" not in result.stderr
    assert not unsynced.root.exists()


def run_plain(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=LONGEST, check=False)


@pytest.mark.parametrize(
    "arguments", [(), ("no-such-verb",), ("sync", "--no-such-option"), ("sync", "--settings", "/no/such")]
)
def test_wrong_usage(arguments):
    result = run_plain(*arguments)
    assert result.returncode == 2
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr


def test_the_settings_file_of_microsofts_script_works_without_changes(unsynced, tmp_path):
    """The six keys in UTF-8 with a byte order mark, as PowerShell writes it."""
    six = {key: value for key, value in unsynced.settings.items() if key != "source"}
    assert len(six) == 6
    unsynced.settings_file.write_text("\ufeff" + json.dumps(six, indent=4), encoding="utf-8")
    result = run_plain("status", "--settings", str(unsynced.settings_file))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("bounds", [{"minBytes": 10 * SIZE}, {"maxBytes": SIZE // 2}])
def test_sizes_out_of_bounds(unsynced, bounds):
    unsynced.configure(verify=bounds)
    run = unsynced.sync()
    assert run.status == 1
    assert {unit["error"]["code"] for unit in run.units.values()} == {"size_out_of_bounds"}
    assert not unsynced.folders()


def test_expected_members(unsynced):
    unsynced.configure(verify={"expectedMembers": ["libmpengine.so", "mp*base.vdm"]})
    unsynced.sync_well()


# -- network ----------------------------------------------------------------------------------------------------------


def test_a_proxy_with_a_password(filled, service):
    secret = "s3cr/t pass"
    service.publish(SECOND, size=SIZE)
    connections = service.connections
    with Proxy("mirror", secret) as proxy:
        filled.configure(source={"proxy": f"http://mirror:s3cr%2Ft%20pass@127.0.0.1:{proxy.port}"})
        synced = filled.run("sync")
        assert synced.status == 0, synced.text
        in_json = filled.sync_well()
        status = filled.run("status", "--json")
        assert set(proxy.tunnels) == {f"127.0.0.1:{service.port}"}
        assert len(proxy.tunnels) == service.connections - connections
    assert filled.served().definitions == SECOND
    written = filled.everything_written() + (synced.text + in_json.text + status.text).encode()
    for form in (secret, "s3cr%2Ft%20pass", proxy.credentials):
        assert form.encode() not in written


def test_a_proxy_that_refuses(filled, service):
    service.publish(SECOND, size=SIZE)
    with Proxy("mirror", "right") as proxy:
        filled.configure(source={"proxy": f"http://mirror:wr0ng-s3cret@127.0.0.1:{proxy.port}"})
        run = filled.sync()
        assert proxy.refused >= len(UNITS)
    assert run.status == 1
    assert "proxy" in run.error()["message"]
    assert "wr0ng-s3cret" not in run.text
    assert b"wr0ng-s3cret" not in filled.everything_written()
    assert not service.requests


def test_a_proxy_that_cannot_be_reached(filled):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        filled.configure(source={"proxy": f"http://user:s3cret@127.0.0.1:{free.getsockname()[1]}"})
        run = filled.sync()
    assert run.status == 1
    assert {unit["outcome"] for unit in run.units.values()} == {"failed"}
    assert "s3cret" not in run.text
    assert b"s3cret" not in filled.everything_written()


def test_the_password_of_an_invalid_proxy_is_not_shown(unsynced):
    unsynced.configure(source={"proxy": "htp://user:s3cret@proxy:3128"})
    run = unsynced.run("sync")
    assert run.status == 2
    assert "source.proxy" in run.text
    assert "s3cret" not in run.text


def test_proxy_variables_of_the_environment_are_ignored(filled, service):
    """Only `source.proxy` is used, so that runs of the timer and of a user use the same proxy."""
    service.publish(SECOND, size=SIZE)
    nowhere = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy"), "http://127.0.0.1:9")
    filled.sync_well(env={**os.environ, **nowhere})


def test_a_client_certificate(filled, service, authority, server_certificate):
    client = authority.issue("client")
    service.publish(SECOND, size=SIZE)
    service.tls = server_certificate.server_context(client_ca=authority.cert)
    without = filled.sync()
    assert without.status == 1
    assert {unit["error"]["code"] for unit in without.units.values()} <= {"tls", "connection"}
    filled.configure(source={"clientCert": str(client.cert), "clientKey": str(client.key)})
    filled.sync_well()
    assert filled.served().definitions == SECOND


@pytest.mark.parametrize("key", ["caFile", "clientCert"])
def test_a_file_without_a_certificate(filled, service, tmp_path, key):
    broken = tmp_path / "broken.pem"
    broken.write_text("this is not a certificate")
    filled.configure(source={key: str(broken)})
    run = filled.sync()
    assert run.status in (1, 2)
    assert str(broken) in run.text
    assert not service.requests


def test_a_path_with_spaces_and_umlauts(unsynced, service):
    unsynced.set_root(unsynced.directory / "ein Spiegel für alle")
    unsynced.sync_well()
    assert set(unsynced.folders()) == set(UNITS)


def test_a_root_that_is_a_link(filled, service, tmp_path):
    filled.root.rename(tmp_path / "elsewhere")
    filled.root.symlink_to(tmp_path / "elsewhere")
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    assert filled.root.is_symlink()
    assert filled.served().definitions == SECOND


def test_a_moved_root_still_serves(filled, tmp_path):
    filled.set_root(filled.root.rename(tmp_path / "moved"))
    filled.check(UNITS)
    assert filled.sync_well().outcomes() == dict.fromkeys(UNITS, "unchanged")


def test_files_that_the_command_did_not_create_are_kept(filled, service):
    theirs = [
        filled.root / name for name in ("index.html", "lost+found/x", "linux/README", "linux/production/notes.txt")
    ]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    service.publish(SECOND, size=SIZE)
    filled.sync_well()
    assert all(path.read_text() == "mine" for path in theirs)


def test_units_that_are_no_longer_followed_are_still_served(filled, service):
    preview = filled.snapshot([path for path in UNITS if "preview" in path])
    filled.configure(downloadPreviewUpdates=False, retain=1)
    for definitions in (SECOND, THIRD, "1.443.1001.0"):
        service.publish(definitions, size=SIZE)
        filled.sync_well()
    assert filled.snapshot(preview) == preview


# -- the oldest Python of a mirror host --------------------------------------------------------------------------------


def oldest_python():
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for python in [*sorted(pyenv.glob("3.8.*/bin/python")), shutil.which("python3.8")]:
        # The shims of pyenv exist for all versions, but fail for versions that are not selected.
        if python and subprocess.run([str(python), "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(python)
    return None


def test_the_oldest_python(unsynced, service):
    python = oldest_python()
    if python is None:
        pytest.skip("NOT TESTED: there is no Python 3.8 on this machine")
    command = [python, str(CHECKOUT / "tools" / "mde_mirror_dev.py")]
    unsynced.sync_well(command=command)
    service.publish(SECOND, size=SIZE)
    service.fault("truncate", kind="package", times=2)
    unsynced.configure(source={"retries": 1})
    unsynced.sync_well(command=command)
    assert unsynced.run("verify", command=command).status == 0
    service.fault("status", kind="info", code=404)
    assert unsynced.sync(command=command).status == 1
