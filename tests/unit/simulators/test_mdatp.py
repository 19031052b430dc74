"""The simulated agent, tested through its command line: its output, its downloads, its faults."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from simulators.download_service import DownloadService, build_package
from simulators.mdatp import EVENTS, STATES, Endpoint, parser, run
from simulators.static_web_server import StaticWebServer
from tests.support.web import Handler, LocalServer, running
from tools import interpreters

PROGRAM = Path(__file__).resolve().parents[3] / "simulators" / "mdatp.py"
NEWEST, OFFLINE_2025, FIRST_OFFLINE, SAMPLE_2023 = (
    "101.26062.0005",
    "101.25032.0000",
    "101.24022.0001",
    "101.23062.0010",
)
VERSIONS = ["101.02.55", "101.85.27", SAMPLE_2023, FIRST_OFFLINE, OFFLINE_2025, "101.26052.0012", NEWEST]
ENGINE = "1.1.25110.3002"
FWLINK = "https://go.microsoft.com/fwlink/?linkid=2144709"

# The rows of the only complete table that is public (August 2023), in their order.
ROWS_2023 = [
    "healthy",
    "health_issues",
    "licensed",
    "engine_version",
    "app_version",
    "org_id",
    "log_level",
    "machine_guid",
    "release_ring",
    "product_expiration",
    "cloud_enabled",
    "cloud_automatic_sample_submission_consent",
    "cloud_diagnostic_enabled",
    "passive_mode_enabled",
    "behavior_monitoring",
    "real_time_protection_enabled",
    "real_time_protection_available",
    "real_time_protection_subsystem",
    "supplementary_events_subsystem",
    "tamper_protection",
    "automatic_definition_update_enabled",
    "definitions_updated",
    "definitions_updated_minutes_ago",
    "definitions_version",
    "definitions_status",
    "edr_early_preview_enabled",
    "edr_device_tags",
    "edr_group_ids",
    "edr_configuration_version",
    "edr_machine_id",
    "conflicting_applications",
    "network_protection_status",
    "network_protection_enforcement_level",
    "troubleshooting_mode",
]
BASE_DETAILS = [
    "automatic_definition_update_enabled",
    "definitions_updated",
    "definitions_updated_minutes_ago",
    "definitions_version",
    "definitions_status",
]
OFFLINE_DETAILS = [
    "definitions_update_source_uri",
    "definitions_update_fail_reason",
    "offline_definition_url_configured",
    "offline_definition_update",
    "offline_definition_update_verify_sig",
    "offline_definition_update_fallback_to_cloud",
]


class Machine:
    """A simulated endpoint and its commands."""

    def __init__(self, root: Path, *options: str, python: str = sys.executable) -> None:
        self.root = root
        made = subprocess.run(
            [python, str(PROGRAM), "install", "--root", str(root), *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (made.returncode, made.stderr) == (0, "")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `mdatp` in this process, which is faster than a separate process; other tests run the command itself."""
        reply = Endpoint(self.root).client(arguments)
        return subprocess.CompletedProcess(arguments, reply.code, reply.stdout, reply.stderr)

    def command(self, *arguments: str, name: str = "mdatp", **options: Any) -> subprocess.CompletedProcess[str]:
        command = [str(self.root / "usr/bin" / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)

    def sim(self, verb: str, *arguments: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert run(parser().parse_args([verb, "--root", str(self.root), *arguments])) == 0
        return said.getvalue().strip()

    def manage(self, content: dict[str, Any] | bytes) -> None:
        path = self.root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    def follow(self, url: str, fallback: bool | None = None, level: str = "real_time") -> None:
        engine: dict[str, Any] = {
            "enforcementLevel": level,
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateUrl": url,
        }
        if fallback is not None:
            engine["offlineDefinitionUpdateFallbackToCloud"] = fallback
        self.manage({"antivirusEngine": engine})

    def health(self, *arguments: str) -> dict[str, str]:
        """The values of a table, as text."""
        done = self.call("health", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if not line.startswith("ATTENTION")]
        return dict(re.split(r" *: ", line, maxsplit=1) for line in lines)

    def details(self) -> dict[str, str]:
        return self.health("--details", "definitions")

    def json(self, *arguments: str) -> dict[str, Any]:
        lines = self.call("health", *arguments, "--output", "json").stdout.splitlines()
        return json.loads(lines[-1])  # type: ignore[no-any-return]

    def update(self) -> subprocess.CompletedProcess[str]:
        return self.call("definitions", "update")

    @property
    def active_set(self) -> dict[str, str]:
        """The versions in the folder of the definitions in use."""
        state = json.loads((self.root / "var/opt/microsoft/mdatp/stand_in_state.json").read_text())
        folder = self.root / "var/opt/microsoft/mdatp/definitions.noindex" / state["folder"]
        assert (folder / "libmpengine.so").stat().st_size > 0
        return json.loads((folder / "version.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "endpoint's root", "--version", NEWEST)


def ring_of(root: Path, definitions: str, arch: str = "x86_64") -> Path:
    """Creates the folder `linux/production` of a mirror with one version."""
    ring = root / "linux" / "production"
    build_package(ring / f"arch_{arch}" / "updates.zip", definitions, ENGINE, arch=arch, size=20_000)
    return ring


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    root = tmp_path / "mirror"
    root.mkdir()
    with StaticWebServer(root) as server:
        yield root, f"{server.url.rstrip('/')}/linux/production/"


# -- health


@pytest.mark.parametrize(
    ("version", "lacking", "more"),
    [
        ("101.02.55", {"health_issues", "behavior_monitoring", "troubleshooting_mode"}, []),
        ("101.85.27", {"behavior_monitoring", "troubleshooting_mode"}, []),
        (SAMPLE_2023, set(), []),
        (OFFLINE_2025, set(), [("engine_version", "engine_load_status")]),
        (
            NEWEST,
            set(),
            [("engine_version", "engine_load_status"), ("passive_mode_enabled", "antivirus_enforcement_level")],
        ),
    ],
)
def test_each_version_of_the_agent_has_its_rows(
    tmp_path: Path, version: str, lacking: set[str], more: list[tuple[str, str]]
) -> None:
    expected = [name for name in ROWS_2023 if name not in lacking]
    for before, name in more:
        expected.insert(expected.index(before) + 1, name)
    if version == "101.02.55":  # 101.75.43 introduced network protection
        expected = [name for name in expected if not name.startswith("network_protection")]
    rows = Machine(tmp_path, "--version", version).health()
    assert list(rows) == expected
    assert rows["app_version"] == f'"{version}"'


def test_the_table_has_the_documented_layout(machine: Machine) -> None:
    for table in (machine.call("health").stdout, machine.call("health", "--details", "definitions").stdout):
        for line in table.splitlines():
            assert re.match(r"[a-z_]+ *$", line[:44])
            assert line[44:46] == ": "
            assert re.match(
                r'(true|false|unavailable|\d+|"[^"]*"|\[.*\]|[A-Z][a-z]{2} \d\d, \d{4} at [01]\d:\d\d:\d\d [AP]M)'
                r"( ?\[managed\])?$",
                line[46:],
            ), line


def test_dates_in_text_and_json_are_the_same_moments(machine: Machine) -> None:
    """Both forms of product_expiration are published for the same build."""
    machine.sim("set", "product_expiration=1712756068", "definitions_updated=2023-08-12T03:26:24Z", "date_zone=utc")
    machine.sim("set", "clock=2023-08-12T06:05:30Z")
    rows, document = machine.health(), machine.json()
    assert rows["product_expiration"] == "Apr 10, 2024 at 01:34:28 PM"
    assert document["productExpiration"] == "1712756068000"
    assert rows["definitions_updated"] == "Aug 12, 2023 at 03:26:24 AM"
    assert rows["definitions_updated_minutes_ago"] == "159"
    assert document["definitionsUpdatedMinutesAgo"] == 159
    machine.sim("set", "definitions_updated=2023-08-12T12:00:00Z", "clock=")
    assert machine.health()["definitions_updated"] == "Aug 12, 2023 at 12:00:00 PM"
    later = machine.command("health", "--field", "definitions_updated_minutes_ago", env={"MDATP_SIM_NOW": "1691841720"})
    assert later.stdout == "2\n"


def as_text(value: Any) -> str | None:
    """A value of the JSON document in the form of the table; None for values that the table shows in another way."""
    if isinstance(value, dict):
        snake = re.sub(r"[A-Z]", lambda found: "_" + found.group().lower(), value["$type"])
        return f'"{snake}"'
    if isinstance(value, str):
        return value if value == "unavailable" else None if re.fullmatch(r"\d{13}", value) else f'"{value}"'
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return json.dumps(value, separators=(",", ":"))
    return json.dumps(value)


@pytest.mark.parametrize(
    ("version", "state"),
    [(version, "") for version in VERSIONS]
    + [(NEWEST, state) for state in ("unlicensed", "rtp_unavailable", "definitions_updating")],
)
def test_text_and_json_agree(tmp_path: Path, version: str, state: str) -> None:
    machine = Machine(tmp_path, "--version", version)
    machine.manage(
        {
            "antivirusEngine": {"enforcementLevel": "real_time", "offlineDefinitionUpdateUrl": "http://m:1/linux/x/"},
            "cloudService": {"automaticDefinitionUpdateEnabled": False, "proxy": "http://proxy:3128/"},
            "edr": {"tags": [{"key": "GROUP", "value": "servers"}]},
        }
    )
    if state:
        machine.sim("break", state)
    for arguments in ([], ["--details", "definitions"]):
        rows, document = machine.health(*arguments), machine.json(*arguments)
        document.pop("$type", None)
        shown = {}
        for key, value in document.items():
            name = re.sub(r"[A-Z]", lambda found: "_" + found.group().lower(), key)
            managed = False
            if isinstance(value, dict) and "displayValue" in value:
                if not value["displayValue"]:
                    assert name not in rows
                    continue
                managed, value = value["isManaged"], value["value"]
            shown[name] = (as_text(value), managed)
        assert set(shown) == set(rows)
        for name, (text, managed) in shown.items():
            assert rows[name].endswith("[managed]") == managed, name
            if text is not None and name != "real_time_protection_subsystem":
                assert re.sub(r" ?\[managed\]$", "", rows[name]) == text, name


def test_json_of_2023_has_the_published_keys_and_formats(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "--version", SAMPLE_2023)
    done = machine.call("--output", "json", "health")
    assert done.stdout.count("\n") == 1
    document = json.loads(done.stdout)
    assert len(document) == 39
    assert document["$type"] == "getHealthAllResult"
    assert document["passiveModeEnabled"] == {"displayValue": True, "isManaged": False, "value": True}
    assert document["functionalityMode"] == {"displayValue": False, "isManaged": False, "value": "default"}
    assert document["proxy"] == {"displayValue": False, "isManaged": False, "value": "None"}
    assert document["definitionsStatus"] == {"$type": "upToDate"}
    assert re.fullmatch(r"\d{13}", document["definitionsUpdated"])


@pytest.mark.parametrize("version", VERSIONS)
def test_details_have_the_rows_of_offline_updates_from_101_24022_on(tmp_path: Path, version: str) -> None:
    machine = Machine(tmp_path, "--version", version)
    machine.manage(
        {
            "antivirusEngine": {
                "offlineDefinitionUpdate": "enabled",
                "offlineDefinitionUpdateUrl": "http://172.16.0.1:8000/linux/production/",
                "offlineDefinitionUpdateFallbackToCloud": False,
            },
            "cloudService": {"automaticDefinitionUpdateEnabled": True},
            "features": {"offlineDefinitionUpdateVerifySig": "enabled"},
        }
    )
    rows = machine.details()
    assert rows["automatic_definition_update_enabled"] == "true [managed]"
    if VERSIONS.index(version) < VERSIONS.index(FIRST_OFFLINE):
        assert list(rows) == BASE_DETAILS
        return
    expected = BASE_DETAILS + OFFLINE_DETAILS
    verify = '"enabled"'
    if version == NEWEST:
        expected.insert(-1, "engine_signature_verification")
        verify = '"DEPRECATED"'
        assert rows["engine_signature_verification"] == '"enabled"'
    assert list(rows) == expected
    assert rows["offline_definition_url_configured"] == '"http://172.16.0.1:8000/linux/production/" [managed]'
    assert rows["offline_definition_update"] == '"enabled" [managed]'
    assert rows["offline_definition_update_verify_sig"] == verify
    assert rows["offline_definition_update_fallback_to_cloud"] == "false[managed]"
    machine.sim("set", "fallback_marker= [managed]")
    assert machine.details()["offline_definition_update_fallback_to_cloud"] == "false [managed]"


def test_the_misspelt_key_in_the_preview_documentation_has_no_effect(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "--version", FIRST_OFFLINE)
    machine.manage({"antivirusEngine": {"offlineDefintionUpdateFallbackToCloud": True}})
    rows = machine.details()
    assert rows["offline_definition_update_fallback_to_cloud"] == "false"
    assert rows["offline_definition_update_verify_sig"] == '"disabled"'


def test_field_prints_only_the_value(machine: Machine) -> None:
    machine.manage({"antivirusEngine": {"enforcementLevel": "real_time"}})
    for name, printed in {
        "app_version": f'"{NEWEST}"',
        "healthy": "true",
        "health_issues": "[]",
        "passive_mode_enabled": "false",
        "managed_by": '""',
        "offline_definition_update": '"disabled"',
    }.items():
        assert machine.call("health", "--field", name).stdout == printed + "\n"
    unknown = machine.call("health", "--field", "wellness")
    assert unknown.returncode != 0
    assert "wellness" in unknown.stdout


@pytest.mark.parametrize("arguments", [["health", "--fields", "x"], ["health", "--output"], ["cure"], []])
def test_invalid_arguments_of_the_agent_are_refused(machine: Machine, arguments: list[str]) -> None:
    done = machine.command(*arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


# -- the managed configuration


@pytest.mark.parametrize(
    ("level", "passive", "rtp"),
    [
        ("real_time", "false", "true"),
        ("audit", "false", "true"),
        ("on_demand", "false", "false"),
        ("passive", "true", "false"),
    ],
)
def test_enforcement_levels(machine: Machine, level: str, passive: str, rtp: str) -> None:
    machine.manage({"antivirusEngine": {"enforcementLevel": level}})
    rows = machine.health()
    assert rows["passive_mode_enabled"] == f"{passive} [managed]"
    assert rows["real_time_protection_enabled"] == f"{rtp} [managed]"
    assert rows["antivirus_enforcement_level"] == f'"{level}" [managed]'
    assert rows["engine_load_status"] == ('"Engine load succeeded"' if rtp == "true" else '"Engine not loaded"')


def test_the_default_level_is_passive_in_newer_agents(tmp_path: Path) -> None:
    assert Machine(tmp_path / "old", "--version", "101.98.89").health()["real_time_protection_enabled"] == "true"
    assert Machine(tmp_path / "new", "--version", NEWEST).health()["passive_mode_enabled"] == "true"


def test_a_key_has_no_effect_on_an_agent_that_is_too_old_for_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "--version", OFFLINE_2025)
    machine.manage({"antivirusEngine": {"enforcementLevel": "audit"}})
    assert machine.health()["passive_mode_enabled"] == "true"


GOOD = {
    "antivirusEngine": {"enforcementLevel": "real_time"},
    "cloudService": {"automaticDefinitionUpdateEnabled": False},
}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(GOOD).encode()[:-1],
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        json.dumps([GOOD]).encode(),
        b"\xff\xfe",
        b"",
        json.dumps({"antivirusEngine": {"enforcementLevel": "realtime"}, "cloudService": True}).encode(),
        json.dumps({"cloudService": {"automaticDefinitionUpdateEnabled": "false"}}).encode(),
        json.dumps({"cloudservice": {"automaticDefinitionUpdateEnabled": False}}).encode(),
    ],
)
def test_a_file_that_cannot_be_parsed_is_not_applied(machine: Machine, content: bytes) -> None:
    machine.manage(GOOD)
    assert machine.health()["automatic_definition_update_enabled"] == "false [managed]"
    machine.manage(content)
    assert "[managed]" not in machine.call("health").stdout + machine.call("health", "--details", "definitions").stdout
    assert '"isManaged":true' not in machine.call("health", "--output", "json").stdout


# -- updates


def test_an_update_over_http_downloads_the_package_of_its_architecture(tmp_path: Path, web: tuple[Path, str]) -> None:
    root, url = web
    ring_of(root, "1.450.1.0"), ring_of(root, "1.450.2.0", arch="arm64")
    for arch, version in (("x86_64", "1.450.1.0"), ("arm64", "1.450.2.0")):
        machine = Machine(tmp_path / arch, "--arch", arch)
        assert machine.health()["definitions_status"] == '"out_of_date"'
        machine.follow(url)
        done = machine.update()
        assert (done.returncode, done.stdout) == (0, "Security intelligence is up to date\n")
        rows = machine.details()
        assert rows["definitions_version"] == f'"{version}"'
        assert rows["definitions_status"] == '"up_to_date"'
        assert rows["definitions_updated_minutes_ago"] == "0"
        assert rows["definitions_update_source_uri"] == f'"{url}"'
        assert rows["definitions_update_fail_reason"] == '""'
        assert machine.health()["engine_version"] == f'"{ENGINE}"'
        assert (machine.active_set["definitions"], machine.active_set["arch"]) == (version, arch)


def test_update_from_a_directory(machine: Machine, tmp_path: Path) -> None:
    ring = ring_of(tmp_path / "a share", "1.450.3.0")
    for source in (str(ring), f"{ring}/"):
        machine.follow(source)
        assert machine.update().returncode == 0
        assert machine.details()["definitions_update_source_uri"] == f'"{source}"'
    assert machine.active_set["definitions"] == "1.450.3.0"


def test_versions_are_read_from_the_manifest_if_the_package_has_none(machine: Machine, tmp_path: Path) -> None:
    package = tmp_path / "linux/preview/arch_x86_64/updates.zip"
    package.parent.mkdir(parents=True)
    with zipfile.ZipFile(package, "w") as made:
        made.writestr("x/libmpengine.so", b"engine")
        made.writestr("x/mpavbase.vdm", b"definitions")
    machine.follow(str(tmp_path / "linux/preview"))
    assert machine.update().returncode == 1
    assert "versions" in machine.details()["definitions_update_fail_reason"]
    (package.parent / "manifest.json").write_text('{"EngineVersion": "1.1.9.9", "DefinitionVersion": "1.460.0.0"}')
    assert machine.update().returncode == 0
    assert machine.details()["definitions_version"] == '"1.460.0.0"'
    assert machine.health()["engine_version"] == '"1.1.9.9"'


def test_the_same_version_from_another_source_changes_only_the_source(machine: Machine, tmp_path: Path) -> None:
    one, two = ring_of(tmp_path / "one", "1.450.3.0"), ring_of(tmp_path / "two", "1.450.3.0")
    machine.follow(str(one))
    machine.update()
    machine.sim("set", "definitions_updated=2026-01-01T00:00:00Z")
    before = machine.details()
    machine.follow(str(two))
    machine.update()
    after = machine.details()
    assert after["definitions_update_source_uri"] == f'"{two}"'
    assert after["definitions_updated"] == before["definitions_updated"]


def test_an_older_release_of_the_mirror_is_accepted(machine: Machine, tmp_path: Path) -> None:
    machine.follow(str(ring_of(tmp_path, "1.450.9.0")))
    machine.update()
    ring_of(tmp_path, "1.450.8.0")
    machine.update()
    assert machine.active_set["definitions"] == "1.450.8.0"


def test_an_older_release_of_the_mirror_is_refused_if_that_is_set(machine: Machine, tmp_path: Path) -> None:
    machine.follow(str(ring_of(tmp_path, "1.450.9.0")))
    machine.sim("set", "older_definitions=refuse")
    machine.update()
    ring_of(tmp_path, "1.450.8.0")
    done = machine.update()
    assert (done.returncode, machine.active_set["definitions"]) == (0, "1.450.9.0")
    ring_of(tmp_path, "1.450.10.0")
    machine.update()
    assert machine.active_set["definitions"] == "1.450.10.0"


def spoil_middle(package: Path) -> None:
    with package.open("r+b") as file:
        file.seek(package.stat().st_size // 2)
        file.write(b"\0" * 64)


def spoil_by_leaving_out(pattern: str) -> Callable[[Path], None]:
    def spoil(package: Path) -> None:
        with zipfile.ZipFile(package) as whole, zipfile.ZipFile(f"{package}.new", "w") as less:
            for name in whole.namelist():
                if not re.search(pattern, name):
                    less.writestr(name, whole.read(name))
        Path(f"{package}.new").replace(package)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_middle,
        lambda package: os.truncate(package, package.stat().st_size - 200),
        lambda package: package.write_bytes(b""),
        lambda package: package.write_bytes(b"<html>proxy login</html>" * 1000),
        lambda package: package.unlink(),
        spoil_by_leaving_out(r"mpengine"),
        spoil_by_leaving_out(r"\.vdm$"),
        lambda package: build_package(package, "1.450.2.0", ENGINE, arch="arm64", size=20_000),
        lambda package: build_package(package, "1.450.2.0", ENGINE, platform="mac", size=20_000),
    ],
    ids=["damaged", "short", "empty", "html", "missing", "no engine", "no definitions", "other arch", "other platform"],
)
def test_a_bad_package_is_refused_and_the_old_definitions_are_kept(
    machine: Machine, web: tuple[Path, str], spoil: Callable[[Path], None]
) -> None:
    root, url = web
    ring = ring_of(root, "1.450.1.0")
    machine.follow(url)
    machine.update()
    ring_of(root, "1.450.2.0")
    spoil(ring / "arch_x86_64" / "updates.zip")
    done = machine.update()
    assert done.returncode == 1
    reason = machine.details()["definitions_update_fail_reason"].strip('"')
    assert reason
    assert reason in done.stdout
    assert machine.details()["definitions_version"] == '"1.450.1.0"'
    assert machine.active_set["definitions"] == "1.450.1.0"
    machine.follow(str(ring))
    assert machine.update().returncode == 1
    assert machine.active_set["definitions"] == "1.450.1.0"
    ring_of(root, "1.450.3.0")
    assert machine.update().returncode == 0
    assert machine.details()["definitions_update_fail_reason"] == '""'
    assert machine.active_set["definitions"] == "1.450.3.0"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/linux/production/",
        "mirror:8000/linux/production/",
        "file:///srv/linux/production",
        "",
        "http://[bad/",
    ],
)
def test_an_unusable_source_is_a_failure_with_a_reason(machine: Machine, url: str) -> None:
    machine.follow(url)
    done = machine.update()
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert machine.details()["definitions_update_fail_reason"] != '""'
    assert machine.details()["definitions_version"] == '"1.445.553.0"'


def test_an_address_with_an_architecture_serves_only_that_one(tmp_path: Path, web: tuple[Path, str]) -> None:
    root, url = web
    ring_of(root, "1.450.1.0"), ring_of(root, "1.450.1.0", arch="arm64")
    codes = {}
    for arch in ("x86_64", "arm64"):
        machine = Machine(tmp_path / arch, "--arch", arch)
        machine.follow(url + "arch_x86_64/")
        codes[arch] = machine.update().returncode
    assert codes == {"x86_64": 0, "arm64": 1}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[DownloadService]:
    with DownloadService(tmp_path / "cloud") as service:
        service.publish("1.455.5.0", ENGINE, size=20_000)
        yield service


def test_the_fallback_hides_the_failure_of_a_mirror(tmp_path: Path, cloud: DownloadService) -> None:
    for arch in ("x86_64", "arm64"):
        machine = Machine(tmp_path / arch, "--arch", arch, "--cloud", cloud.url)
        machine.follow("http://127.0.0.1:1/linux/production/", fallback=False)
        assert machine.update().returncode == 1
        machine.follow("http://127.0.0.1:1/linux/production/", fallback=True)
        done = machine.update()
        assert (done.returncode, done.stderr) == (0, "")
        rows = machine.details()
        assert rows["definitions_update_source_uri"] == f'"{FWLINK}"'
        assert rows["definitions_update_fail_reason"] == '""'
        assert (machine.active_set["definitions"], machine.active_set["arch"]) == ("1.455.5.0", arch)
    machine.sim("set", "cloud=", "definitions_update_source_uri=before")
    assert machine.update().returncode == 1
    assert machine.details()["definitions_update_source_uri"] == '"before"'


def test_without_offline_updates_the_cloud_is_used(
    tmp_path: Path, cloud: DownloadService, web: tuple[Path, str]
) -> None:
    root, url = web
    ring_of(root, "1.450.1.0")
    machine = Machine(tmp_path / "endpoint", "--cloud", cloud.url)
    machine.manage({"antivirusEngine": {"offlineDefinitionUpdate": "disabled", "offlineDefinitionUpdateUrl": url}})
    machine.sim("set", "cloud_source_uri=https://mdav.eu.endpoint.security.microsoft.com/packages/?ostype=linux")
    assert machine.update().returncode == 0
    assert "mdav.eu" in machine.details()["definitions_update_source_uri"]
    assert machine.details()["definitions_version"] == '"1.455.5.0"'


def test_an_agent_without_offline_updates_never_contacts_the_mirror(tmp_path: Path, web: tuple[Path, str]) -> None:
    root, url = web
    ring_of(root, "1.450.1.0")
    machine = Machine(tmp_path / "endpoint", "--version", SAMPLE_2023)
    machine.follow(url)
    assert machine.update().returncode == 1
    assert machine.details()["definitions_version"] == '"1.445.553.0"'


class _Stalling(Handler):
    """A server that sends the first half of a package, sets an event, and then sends nothing until the test ends."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        server: Any = self.server
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body[: len(server.body) // 2])
        self.wfile.flush()
        server.sent.set()
        server.done.wait(120)


@pytest.fixture
def stalling(tmp_path: Path) -> Iterator[Any]:
    server: Any = LocalServer(_Stalling)
    server.body = build_package(tmp_path / "stalled.zip", "1.451.0.0", ENGINE, size=400_000).read_bytes()
    server.sent, server.done = threading.Event(), threading.Event()
    with running(server):
        yield server
        server.done.set()


def test_a_killed_download_keeps_the_old_definitions_and_leaves_no_files(
    machine: Machine, tmp_path: Path, stalling: Any
) -> None:
    ring = ring_of(tmp_path, "1.450.1.0")
    machine.follow(str(ring))
    machine.update()
    machine.follow(f"http://127.0.0.1:{stalling.server_port}/linux/production/")
    with subprocess.Popen([str(machine.root / "usr/bin/mdatp"), "definitions", "update"]) as update:
        try:
            assert stalling.sent.wait(60)
            assert machine.details()["definitions_version"] == '"1.450.1.0"'  # health works during the download
        finally:
            update.kill()
    assert update.returncode == -signal.SIGKILL
    assert machine.details()["definitions_update_source_uri"] == f'"{ring}"'
    assert machine.active_set["definitions"] == "1.450.1.0"
    machine.follow(str(ring_of(tmp_path, "1.450.2.0")))
    assert machine.update().returncode == 0
    sets = {path.name for path in (machine.root / "var/opt/microsoft/mdatp/definitions.noindex").iterdir()}
    assert len(sets) == 2  # the definitions in use, and those that came with the package


def test_a_stalled_download_ends_after_its_time_limit(machine: Machine, stalling: Any) -> None:
    machine.sim("set", "network_timeout=1")
    machine.follow(f"http://127.0.0.1:{stalling.server_port}/linux/production/")
    assert machine.update().returncode == 1
    assert "timed out" in machine.details()["definitions_update_fail_reason"]


def test_the_definitions_in_use_are_complete_after_a_kill_at_any_moment(machine: Machine, tmp_path: Path) -> None:
    chance = random.Random(2709)
    rings = [ring_of(tmp_path / name, version) for name, version in (("a", "1.450.1.0"), ("b", "1.450.2.0"))]
    machine.follow(str(rings[0]))
    machine.update()
    for round_number in range(12):
        machine.follow(str(rings[round_number % 2]))
        with subprocess.Popen([str(machine.root / "usr/bin/mdatp"), "definitions", "update"], stdout=-3) as update:
            with contextlib.suppress(subprocess.TimeoutExpired):
                update.wait(chance.uniform(0.03, 0.12))
            update.kill()
        assert machine.details()["definitions_version"] == f'"{machine.active_set["definitions"]}"'


def test_two_simultaneous_updates_succeed(machine: Machine, tmp_path: Path) -> None:
    machine.follow(str(ring_of(tmp_path, "1.450.1.0")))
    command = [str(machine.root / "usr/bin/mdatp"), "definitions", "update"]
    with subprocess.Popen(command, stdout=-3) as one, subprocess.Popen(command, stdout=-3) as two:
        assert (one.wait(60), two.wait(60)) == (0, 0)
    assert machine.active_set["definitions"] == "1.450.1.0"


# -- the timer


def test_the_timer_updates_only_in_real_time_mode_and_after_the_interval(machine: Machine, tmp_path: Path) -> None:
    ring = ring_of(tmp_path, "1.450.1.0")
    for level in ("passive", "on_demand", "audit"):
        machine.follow(str(ring), level=level)
        assert level in machine.sim("tick")
    assert machine.details()["definitions_version"] == '"1.445.553.0"'
    machine.follow(str(ring))
    assert machine.sim("tick", "--now", "2026-10-01T00:00:00Z") == "updated"
    ring_of(tmp_path, "1.450.2.0")
    assert "due in 1 seconds" in machine.sim("tick", "--now", "2026-10-01T07:59:59Z")
    assert machine.active_set["definitions"] == "1.450.1.0"
    assert machine.sim("tick", "--now", "2026-10-01T08:00:00Z") == "updated"
    assert machine.active_set["definitions"] == "1.450.2.0"
    managed: dict[str, dict[str, Any]] = {
        "antivirusEngine": {
            "enforcementLevel": "real_time",
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateUrl": str(ring),
        },
        "cloudService": {"definitionUpdatesInterval": 600, "automaticDefinitionUpdateEnabled": False},
    }
    machine.manage(managed)
    assert "disabled" in machine.sim("tick", "--now", "2026-10-02T00:00:00Z")
    managed["cloudService"]["automaticDefinitionUpdateEnabled"] = True
    machine.manage(managed)
    shutil.rmtree(ring)
    assert machine.sim("tick", "--now", "2026-10-02T00:00:00Z").startswith("update failed: ")
    assert "due in 599 seconds" in machine.sim("tick", "--now", "2026-10-02T00:00:01Z")


# -- faulty states


def healthy(machine: Machine) -> str:
    return machine.health()["healthy"]


def hangs(machine: Machine, *arguments: str) -> bool:
    command = [str(machine.root / "usr/bin/mdatp"), *arguments]
    with subprocess.Popen(command, stdout=-3, start_new_session=True) as call:
        try:
            call.wait(2)
        except subprocess.TimeoutExpired:
            return True
        finally:
            call.kill()
    return False


def wrapped(machine: Machine) -> bool:
    table = machine.call("health", "--details", "definitions").stdout
    continued = [line for line in table.splitlines() if line.startswith(" " * 46)]
    joined = table.replace("\n" + " " * 46, "")
    return bool(continued) and "/linux/production" in joined and max(map(len, table.splitlines())) <= 46 + 60


def test_only_newer_agents_report_out_of_date(tmp_path: Path) -> None:
    for version, status in ((FIRST_OFFLINE, "up_to_date"), (OFFLINE_2025, "out_of_date")):
        machine = Machine(tmp_path / version, "--version", version)
        machine.sim("break", "definitions_out_of_date")
        assert machine.health()["definitions_status"] == f'"{status}"'


SEEN: dict[str, Callable[[Machine], bool]] = {
    "daemon_down": lambda m: m.call("health").returncode != 0 and "connect to the daemon" in m.call("health").stdout,
    "unlicensed": lambda m: m.health()["org_id"] == "unavailable" and m.call("health").stdout.startswith("ATTENTION: "),
    "expired": lambda m: "missing license" in m.health()["health_issues"] and m.health()["org_id"] != "unavailable",
    "health_hangs": lambda m: hangs(m, "health") and m.update().returncode == 0,
    "update_hangs": lambda m: hangs(m, "definitions", "update") and healthy(m) == "true",
    "update_without_effect": lambda m: m.update().returncode == 0 and "1.450.1.0" in m.details()["definitions_version"],
    "update_fails": lambda m: m.update().returncode != 0 and m.details()["definitions_update_fail_reason"] != '""',
    "slow_health": lambda m: (
        m.update().returncode == 0
        and [m.details()["definitions_version"].strip('"') for _call in range(4)]
        == ["1.450.1.0", "1.450.1.0", "1.450.1.0", "1.450.2.0"]
    ),
    "passive": lambda m: m.health()["passive_mode_enabled"] == "true [managed]" and "passive" in m.sim("tick"),
    "engine_not_loaded": lambda m: (
        m.health()["engine_load_status"] == '"Engine not loaded"'
        and m.health()["real_time_protection_enabled"] == "true [managed]"
    ),
    "engine_not_available": lambda m: m.health()["health_issues"] == '["engine v1 not available"]',
    "rtp_unavailable": lambda m: m.health()["real_time_protection_enabled"] == "unavailable [managed]",
    "log_folder_permissions": lambda m: m.health()["health_issues"] == '["log folder permission issues"]',
    "conflicting_application": lambda m: m.health()["conflicting_applications"] != "[]",
    "managed_config_ignored": lambda m: "[managed]" not in m.call("health", "--details", "definitions").stdout,
    "mirror_unreachable": lambda m: (
        m.update().returncode != 0 and "connect" in m.details()["definitions_update_fail_reason"]
    ),
    "silent_cloud_fallback": lambda m: FWLINK in m.details()["definitions_update_source_uri"],
    "tls_inspection": lambda m: "[curl error 60]" in m.call("connectivity", "test").stdout,
    "no_json": lambda m: m.call("health", "--output", "json").returncode != 0 and healthy(m) == "true",
    "messages_on_stderr": lambda m: (
        m.sim("break", "daemon_down") == "" and m.call("health").stdout == "" and "daemon" in m.call("health").stderr
    ),
    "noise_on_stderr": lambda m: m.call("health").stderr != "" and m.call("health").returncode == 0,
    "wrapped_values": wrapped,
    "definitions_stale": lambda m: (
        m.health()["definitions_updated_minutes_ago"] == "14400" and m.health()["definitions_status"] == '"up_to_date"'
    ),
    "definitions_out_of_date": lambda m: m.health()["definitions_status"] == '"out_of_date"',
    "definitions_unavailable": lambda m: m.health()["definitions_status"] == '"unavailable"' and healthy(m) == "false",
    "definitions_updating": lambda m: m.health()["definitions_status"] == '"updating"' and healthy(m) == "false",
    "from_cloud": lambda m: FWLINK in m.details()["definitions_update_source_uri"],
}


@pytest.mark.parametrize("state", sorted({**STATES, **EVENTS}))
def test_every_faulty_state_is_visible_and_can_be_repaired(machine: Machine, tmp_path: Path, state: str) -> None:
    ring = ring_of(tmp_path / ("long" * 15), "1.450.1.0")
    machine.follow(str(ring))
    assert machine.update().returncode == 0
    ring_of(tmp_path / ("long" * 15), "1.450.2.0")
    machine.sim("break", state)
    assert SEEN[state](machine)
    machine.sim("repair")
    assert machine.update().returncode == 0
    assert machine.active_set["definitions"] == "1.450.2.0"
    rows = {**machine.health(), **machine.details()}
    assert (rows["healthy"], rows["health_issues"], rows["licensed"]) == ("true", "[]", "true")
    assert rows["definitions_status"] == '"up_to_date"'
    assert rows["definitions_update_source_uri"] == f'"{ring}"'
    assert machine.call("health").stderr == ""
    assert machine.json()["healthy"] is True


def test_states_are_listed_with_their_source(machine: Machine) -> None:
    listed = {line.split()[0]: line for line in machine.command("states", name="mdatp-sim").stdout.splitlines()}
    assert set(listed) == set(SEEN)
    assert all(re.search(r"\[(public|-)\]$", line) for line in listed.values())


def test_silent_cloud_fallback_downloads_from_the_cloud(
    tmp_path: Path, cloud: DownloadService, web: tuple[Path, str]
) -> None:
    root, url = web
    ring_of(root, "1.450.1.0")
    machine = Machine(tmp_path / "endpoint", "--cloud", cloud.url)
    machine.follow(url, fallback=False)
    machine.update()
    machine.sim("break", "silent_cloud_fallback")
    assert machine.update().returncode == 0
    rows = machine.details()
    assert rows["definitions_version"] == '"1.455.5.0"'
    assert rows["definitions_update_source_uri"] == f'"{FWLINK}"'
    assert rows["definitions_update_fail_reason"] == '""'


@pytest.mark.parametrize("command", [["health"], ["health", "--field", "licensed"], ["definitions", "update"]])
def test_the_licence_line_comes_first(machine: Machine, tmp_path: Path, command: list[str]) -> None:
    machine.follow(str(ring_of(tmp_path, "1.450.1.0")))
    machine.sim("break", "unlicensed")
    done = machine.call(*command)
    first, second = done.stdout.splitlines()[:2]
    assert first == "ATTENTION: No license found. Contact your administrator for help."
    assert not second.startswith("ATTENTION")
    assert done.returncode == 0


def test_the_json_form_of_unavailable_is_a_setting(machine: Machine) -> None:
    machine.sim("break", "unlicensed")
    assert machine.call("health", "--output", "json").stdout.startswith("ATTENTION")
    machine.sim("set", "json_attention=false")
    for choice, present, value in (("string", True, "unavailable"), ("null", True, None), ("absent", False, None)):
        machine.sim("set", f"json_unavailable={choice}")
        document = json.loads(machine.call("health", "--output", "json").stdout)
        assert ("orgId" in document, document.get("orgId")) == (present, value)


def test_the_agent_expires_with_time(machine: Machine) -> None:
    machine.sim("set", "product_expiration=2026-01-01T00:00:00Z", "clock=2025-12-31T23:59:59Z")
    assert machine.health()["licensed"] == "true"
    machine.sim("set", "clock=2026-01-01T00:00:01Z")
    assert machine.health()["health_issues"] == '["missing license"]'


def test_rows_can_be_replaced_and_added(machine: Machine) -> None:
    machine.sim("set", "row.real_time_protection_available=null", "row.brand_new=[1, 2]", "row.log_level=debug")
    rows = machine.health()
    assert rows["real_time_protection_available"] == "unavailable"
    assert rows["log_level"] == '"debug"'
    assert rows["brand_new"] == "[1, 2]"
    assert machine.json()["brandNew"] == [1, 2]


# -- connectivity


def test_connectivity(tmp_path: Path, cloud: DownloadService, web: tuple[Path, str]) -> None:
    root, url = web
    machine = Machine(tmp_path / "endpoint", "--cloud", cloud.url)
    line = re.compile(r"^Testing connection with (.+) \.\.\. \[(.+)\]$")

    def results() -> tuple[int, dict[str, str]]:
        done = machine.call("connectivity", "test")
        return done.returncode, dict(line.match(text).groups() for text in done.stdout.splitlines())  # type: ignore

    code, seen = results()
    assert code == 0
    assert set(seen.values()) == {"OK"}
    assert FWLINK in seen
    machine.follow(url)
    code, seen = results()
    assert code != 0
    assert seen[url].startswith("curl error")
    ring_of(root, "1.450.1.0")
    assert results() == (0, {**seen, url: "OK"})
    machine.sim("set", "cloud=")
    code, seen = results()
    assert code != 0
    assert [name for name, result in seen.items() if result == "OK"] == [url]


# -- the simulator itself


def test_a_second_installation_keeps_the_state_of_the_endpoint(machine: Machine, tmp_path: Path) -> None:
    machine.follow(str(ring_of(tmp_path, "1.450.1.0")))
    machine.update()
    before = {**machine.health(), **machine.details()}
    again = Machine(machine.root, "--cloud", "http://127.0.0.1:1/fwlink/")
    after = {**again.health(), **again.details()}
    assert after == before


def test_the_installed_command_and_the_program_print_the_same(machine: Machine, tmp_path: Path) -> None:
    machine.follow(str(ring_of(tmp_path, "1.450.1.0")))
    machine.sim("set", "clock=2026-02-04T00:00:00Z")
    for state in ("noise_on_stderr", "unlicensed", "update_fails", "daemon_down"):
        for arguments in (["definitions", "update"], ["health"], ["health", "--output", "json"], ["cure"], ["version"]):
            done, said = machine.command(*arguments), machine.call(*arguments)
            assert (done.stdout, done.stderr, done.returncode) == (said.stdout, said.stderr, said.returncode)
        assert machine.command("break", state, name="mdatp-sim").returncode == 0
    assert machine.command("tick", name="mdatp-sim").stdout == "nothing: the daemon is down\n"


def test_the_installed_copy_does_not_need_the_checkout(machine: Machine) -> None:
    alone = subprocess.run(
        [sys.executable, "-I", "-S", str(machine.root / "opt/microsoft/mdatp/sbin/mdatp_stand_in.py"), "states"],
        capture_output=True,
        check=False,
        text=True,
        env={},
        cwd="/",
    )
    assert alone.returncode == 0
    assert machine.command("health", env={}, cwd="/").returncode == 0
    assert (machine.root / "opt/microsoft/mdatp/sbin/wdavdaemonclient").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "colour=blue"], "colour"),
        (["set", "arch=mips"], "mips"),
        (["set", "clock=noon"], "noon"),
        (["set", "health_lag=many"], "many"),
        (["set", "json_attention=maybe"], "maybe"),
        (["set", "app_version=latest"], "latest"),
        (["set", "nonsense"], "nonsense"),
        (["break", "heart"], "heart"),
        (["repair", "fence"], "fence"),
        (["tick", "--now", "later"], "later"),
    ],
)
def test_invalid_arguments_of_the_simulator_are_explained(machine: Machine, arguments: list[str], said: str) -> None:
    done = machine.command(*arguments, name="mdatp-sim")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_endpoint_is_reported_with_its_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "break", "--root", str(tmp_path), "expired"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "install --root" in done.stderr


@pytest.mark.parametrize("version", ["3.6", "3.8"])
def test_the_simulator_runs_on_old_pythons(tmp_path: Path, version: str) -> None:
    python = interpreters.find(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    machine = Machine(tmp_path / "endpoint", python=str(python))
    with StaticWebServer(tmp_path) as server:
        ring_of(tmp_path, "1.450.1.0")
        machine.follow(f"{server.url.rstrip('/')}/linux/production/")
        assert machine.command("tick", name="mdatp-sim").stdout == "updated\n"
    assert machine.active_set["definitions"] == "1.450.1.0"
    seen = json.loads(machine.command("health", "--output", "json").stdout)
    assert seen["definitionsStatus"] == {"$type": "upToDate"}
