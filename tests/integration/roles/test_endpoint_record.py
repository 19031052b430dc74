"""The role endpoint removes settings that it wrote and that the inventory no longer names, and no other settings."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent
from tests.support.ansible_runs import Ansible, ModuleRuns, Run

SECRET = "hunter2"
PROXY = {"cloudService": {"proxy": f"http://user:{SECRET}@proxy.corp:3128/"}}
ACCEPT = {"proxy_credentials": "The proxy of the test has no other way."}
TAKEN_BACK = "cloudService.definitionUpdatesInterval is no longer wanted and taken back. Its value was 7200."
NOTE = "No record of earlier settings existed for this file"


class Host:
    """A host without an agent, and its managed configuration."""

    def __init__(self, ansible: Ansible, folder: Path) -> None:
        self.ansible = ansible
        self.path, self.record = folder / "managed" / "mdatp_managed.json", folder / "state" / "endpoint.json"
        ansible.hosts["endpoints"] = {
            "e": {
                "endpoint_mdatp": "/nowhere/mdatp",
                "endpoint_managed_file": str(self.path),
                "endpoint_record_file": str(self.record),
                "endpoint_mirror": "http://127.0.0.1:1",
                "endpoint_mirror_check": False,
                "endpoint_fail_on": "never",
                "endpoint_update": False,
                "endpoint_preflight": "never",
            }
        }

    def run(self, *options: str, **variables: Any) -> Run:
        played = self.ansible.roles("endpoint", "endpoints", *options, **variables)
        assert played.status == 0, played.output
        return played

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text(encoding="utf-8")))

    def set(self, section: str, **values: Any) -> None:
        content = self.content
        content.setdefault(section, {}).update(values)
        self.path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def host(ansible: Ansible, tmp_path: Path) -> Host:
    return Host(ansible, tmp_path)


def test_settings_that_are_taken_out_of_the_inventory_are_taken_out_of_the_host(host: Host, tmp_path: Path) -> None:
    more = {"edr": {"groupIds": "a"}, "antivirusEngine": {"scanArchives": False, "enforcementLevel": "real_time"}}
    full = {"endpoint_config": {**PROXY, **more}, "endpoint_accept": ACCEPT, "endpoint_update_interval": 7200}
    first = host.run(**full)
    assert NOTE not in first.output
    assert (stat.S_IMODE(host.record.stat().st_mode), stat.S_IMODE(host.record.parent.stat().st_mode)) == (0o600, 0o755)
    assert not list(host.path.parent.glob("*endpoint*"))
    host.set("antivirusEngine", scanArchives=True)  # A value that the role did not write stays.
    host.set("cloudService", diagnosticLevel="required")
    before, known = host.path.read_bytes(), host.record.read_bytes()

    rehearsal = host.run("--check", "--diff")
    assert (host.path.read_bytes(), host.record.read_bytes()) == (before, known)
    taken = host.run("--diff")
    for played in (rehearsal, taken):
        assert TAKEN_BACK in played.flat()
        assert 'edr.groupIds is no longer wanted and taken back. Its value was "a".' in played.flat()
        assert "cloudService.proxy is no longer wanted" in played.flat()
        assert "scanArchives is no longer wanted" not in played.flat()
        assert '-    "definitionUpdatesInterval": 7200' in played.output
        assert SECRET not in played.output
        assert played.recap["e"].changed >= 1
    assert host.content["antivirusEngine"]["scanArchives"] is True
    assert host.content["antivirusEngine"]["enforcementLevel"] == "real_time"
    assert host.content["cloudService"] == {"automaticDefinitionUpdateEnabled": True, "diagnosticLevel": "required"}
    assert "edr" not in host.content
    assert SECRET not in host.record.read_text(encoding="utf-8")

    runs = ModuleRuns(tmp_path)
    host.ansible.hosts["endpoints"]["e"]["ansible_python_interpreter"] = runs.interpreter
    again = host.run()
    assert (again.recap["e"].changed, runs.taken()) == (0, 1), again.output
    assert "[WARNING]" not in again.output
    host.run(endpoint_config={"antivirusEngine": {"enforcementLevel": None}})
    assert "enforcementLevel" not in host.content["antivirusEngine"]


def test_a_host_of_version_0_1_0_loses_only_what_a_variable_promises(host: Host) -> None:
    host.run(endpoint_update_interval=7200, endpoint_config={"edr": {"groupIds": "a"}})
    host.record.unlink()
    first = host.run()
    assert NOTE in first.flat()
    assert TAKEN_BACK in first.flat()
    assert "definitionUpdatesInterval" not in host.content["cloudService"]
    assert host.content["edr"] == {"groupIds": "a"}
    again = host.run()
    assert again.recap["e"].changed == 0, again.output
    assert NOTE not in again.output
    host.set("cloudService", definitionUpdatesInterval=3600)  # The role did not write this value.
    assert host.run().recap["e"].changed == 0
    assert host.content["cloudService"]["definitionUpdatesInterval"] == 3600


def test_absent_takes_back_what_was_recorded_and_the_record(host: Host) -> None:
    host.run(endpoint_config={"edr": {"groupIds": "a"}}, endpoint_enforcement_level="real_time")
    host.set("features", moduleHeartbeat="enabled")
    moved = {"endpoint_state": "absent", "endpoint_mirror": "http://other.example.com"}
    rehearsal = host.run("--check", **moved)
    assert host.record.exists()
    gone = host.run(**moved)
    for played in (rehearsal, gone):
        assert played.recap["e"].changed == 1
        assert "The host is configured for" not in played.flat()
    assert host.content == {
        "antivirusEngine": {"enforcementLevel": "real_time"},
        "features": {"moduleHeartbeat": "enabled"},
    }
    assert not host.record.exists()
    assert host.run(**moved).recap["e"].changed == 0


def test_hosts_that_share_a_record_do_not_take_back_from_each_other(ansible: Ansible, tmp_path: Path) -> None:
    hosts = {name: Agent(tmp_path / name) for name in ("one", "two", "three")}
    shared = {"endpoint_record_file": str(tmp_path / "endpoint.json"), "endpoint_mirror": "http://127.0.0.1:1"}
    shared |= {"endpoint_fail_on": "never", "endpoint_update": False, "endpoint_preflight": "never"}
    ansible.hosts["endpoints"] = {
        name: agent.variables(**shared, endpoint_config={"edr": {"groupIds": name}}) for name, agent in hosts.items()
    }
    ansible.roles("endpoint", "endpoints")
    again = ansible.roles("endpoint", "endpoints")
    assert [counts.changed for counts in again.recap.values()] == [0, 0, 0], again.output


@pytest.mark.parametrize("kind", ["broken", "other", "link", "fifo", "owner", "writable", "folder"])
def test_a_record_that_is_not_roots_is_ignored_and_replaced(host: Host, tmp_path: Path, kind: str) -> None:
    if kind == "owner" and os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can give files to other users")
    host.run(endpoint_config={"edr": {"groupIds": "a"}})
    forged = json.loads(host.record.read_text(encoding="utf-8"))
    victim = tmp_path / "victim"
    victim.write_text(host.record.read_text(encoding="utf-8"), encoding="utf-8")
    victim.chmod(0o640)
    if kind == "broken":
        host.record.write_text(f'{{"{SECRET}" 1}}', encoding="utf-8")
    elif kind == "other":
        host.record.write_text(json.dumps({**forged, "format": 2}), encoding="utf-8")
    elif kind in ("link", "fifo"):
        host.record.unlink()
        host.record.symlink_to(victim) if kind == "link" else os.mkfifo(host.record)
    elif kind == "owner":
        os.chown(host.record, 65534, 65534)
    else:
        (host.record if kind == "writable" else host.record.parent).chmod(0o777)
    first = host.run()
    assert "is ignored" in first.flat()
    assert SECRET not in first.output
    assert host.content["edr"] == {"groupIds": "a"}
    assert (stat.S_IMODE(victim.stat().st_mode), victim.read_text(encoding="utf-8")) == (
        0o640,
        json.dumps(forged, indent=2) + "\n",
    )
    found = host.record.lstat()
    assert (stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (
        stat.S_IFREG,
        0o600,
        os.geteuid(),
    )
    again = host.run()
    assert again.recap["e"].changed == 0, again.output
    assert "is ignored" not in again.flat()
