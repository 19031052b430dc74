"""diagnosis_info, preflight_info and their playbooks, with the stand-in of the agent in its bad states."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis import Diagnosis
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import architecture

from simulators.download_service import build_package
from simulators.static_web_server import StaticWebServer

PROGRAM = Path(__file__).resolve().parents[3] / "simulators" / "mdatp.py"
ENGINE = "1.1.25110.3002"
MOUNTS = "/dev/sda1 / ext4 rw 0 0\n"


class Site:
    """One endpoint in a folder, with what a real root has, and its mirror."""

    def __init__(self, folder: Path, url: str) -> None:
        self.root, self.ring, self.url = folder / "endpoint", folder / "mirror/linux/production", url
        self.run("install", "--arch", architecture())
        self.managed = self.root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        engine = {"enforcementLevel": "real_time", "offlineDefinitionUpdate": "enabled"}
        engine.update({"offlineDefinitionUpdateUrl": url, "offlineDefinitionUpdateFallbackToCloud": False})
        self.managed.write_text(json.dumps({"antivirusEngine": engine}))
        (self.root / "proc/self").mkdir(parents=True)
        (self.root / "proc/self/mounts").write_text(MOUNTS)
        self.publish("1.450.1.0")
        self.mdatp("definitions", "update")

    def publish(self, definitions: str) -> None:
        folder = self.ring / f"arch_{architecture()}"
        build_package(folder / "updates.zip", definitions, ENGINE, arch=architecture(), size=20_000)
        manifest = {"EngineVersion": ENGINE, "DefinitionVersion": definitions}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def run(self, verb: str, *arguments: str) -> None:
        command = [sys.executable, str(PROGRAM), verb, "--root", str(self.root), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def mdatp(self, *arguments: str) -> None:
        subprocess.run([self.command, *arguments], check=False, stdout=subprocess.DEVNULL)

    @property
    def command(self) -> str:
        return str(self.root / "usr/bin/mdatp")

    def diagnose(self, **options: Any) -> dict[str, Any]:
        result = Diagnosis(Mdatp(path=self.command, timeout=2), Host(str(self.root), environ={}), **options).run()
        assert [entry for entry in result["findings"] if not entry["evidence"]] == []
        return result


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "mirror").mkdir()
    with StaticWebServer(tmp_path / "mirror") as server:
        yield Site(tmp_path, f"{server.url}/linux/production/")


def ids(result: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in result["findings"]]


def test_a_host_that_updates_has_no_findings(site: Site) -> None:
    result = site.diagnose()
    assert ids(result) == []
    assert [entry["outcome"] for entry in result["steps"] if entry["name"] == "connectivity"] == ["ok"]


@pytest.mark.parametrize(
    ("states", "first", "others"),
    [
        (["daemon_down"], "daemon_unreachable", set()),
        (["health_hangs"], "mdatp_hangs", set()),
        (["unlicensed"], "not_licensed", {"unhealthy"}),
        (["expired"], "agent_expired", {"unhealthy"}),
        (["managed_config_ignored"], "managed_config_not_applied", {"offline_updates_disabled"}),
        (["passive", "definitions_stale"], "passive_mode", {"definitions_stale"}),
        (["definitions_unavailable"], "definitions_unavailable", {"unhealthy"}),
        (["engine_not_loaded"], "engine_not_loaded", set()),
        (["conflicting_application"], "conflicting_applications", set()),
        (["tls_inspection"], "tls_inspected", set()),
        (["silent_cloud_fallback"], "mirror_unreachable", {"source_not_mirror"}),
        (["mirror_unreachable"], "mirror_unreachable", set()),
    ],
)
def test_what_comes_out_first_in_a_bad_state(site: Site, states: list[str], first: str, others: set[str]) -> None:
    site.run("break", *states)
    found = site.diagnose()["findings"]
    assert found[0]["id"] == first, found
    assert others <= {entry["id"] for entry in found[1:]}
    assert found[0]["evidence"]
    assert found[0]["hint"]


def test_a_mirror_that_broke_after_the_update(site: Site) -> None:
    for file in site.ring.rglob("manifest.json"):
        file.unlink()
    site.run("break", "definitions_stale")
    assert ids(site.diagnose()) == ["mirror_answer_unusable", "definitions_stale"]


def ansible(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        [sys.executable, "-m", "ansible", *arguments],
        env={**os.environ, **settings, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert " => {" in done.stdout, done.stdout + done.stderr
    found: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index(" => {") + 4)[0]
    return found


def test_the_modules(site: Site, tmp_path: Path) -> None:
    interpreter = json.dumps({"ansible_python_interpreter": sys.executable})
    arguments = {"mdatp": site.command, "managed_file": str(site.managed), "log_lines": 3}
    site.run("break", "passive")
    adhoc = ["adhoc", "localhost", "-e", interpreter, "-m"]
    done = ansible(tmp_path, *adhoc, "mde.offline.diagnosis_info", "-a", json.dumps(arguments), "--check")
    result = answer(done)
    assert (done.returncode, result["changed"]) == (0, False)
    assert "passive_mode" in ids(result)
    assert result["mirror"]["definitions_version"] == "1.450.1.0"
    assert [call["command"] for call in result["raw"]][-1] == "mdatp connectivity test"
    wrong = ansible(tmp_path, *adhoc, "mde.offline.diagnosis_info", "-a", json.dumps({"log_lines": -1}))
    assert wrong.returncode != 0
    assert "log_lines must be at least 0" in wrong.stdout

    measured = answer(
        ansible(tmp_path, *adhoc, "mde.offline.preflight_info", "-a", json.dumps({"mdatp": site.command}))
    )
    by_id = {entry["id"]: entry for entry in measured["requirements"]}
    assert by_id["agent_version"]["ok"] is True
    assert by_id["kernel"]["actual"] == os.uname().release
    errors = [entry for entry in measured["findings"] if entry["severity"] == "error"]
    assert measured["ready"] is (errors == [])
    assert (measured["changed"], measured["distribution"]["name"] != "") == (False, True)


def test_the_playbooks(site: Site, tmp_path: Path) -> None:
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    host = {"endpoint_mdatp": site.command, "endpoint_managed_file": str(site.managed)}
    hosts = {"one": host, "away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}
    inventory = {"all": {"vars": common, "children": {"endpoints": {"hosts": hosts}}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))

    def play(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        return ansible(tmp_path, "playbook", "-i", "inventory.json", f"mde.offline.{name}", *options)

    site.run("break", "daemon_down")
    done = play("diagnose")
    assert done.returncode != 0, done.stdout
    for said in ("daemon_unreachable", "What to do: ", "host_unreachable", "The verdict is error"):
        assert said in done.stdout, said
    site.run("mend")
    done = play("diagnose", "--limit", "one")
    assert done.returncode == 0, done.stdout + done.stderr
    done = play("preflight", "-e", "mde_fail_on=never")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What was found" in done.stdout
    assert "host_unreachable" in done.stdout
