"""diagnosis_info, preflight_info and their playbooks, with the simulated agent in its faulty states."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.diagnosis import Diagnosis
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host

from tests.support.agent import UpdatingAgent, ids
from tests.support.ansible_runs import Ansible

MOUNTS = "/dev/sda1 / ext4 rw 0 0\n"


@pytest.fixture
def agent(agent: UpdatingAgent) -> UpdatingAgent:
    """An agent that has updated from its mirror, on a host with the mounts of a real host."""
    (agent.root / "proc/self").mkdir(parents=True)
    (agent.root / "proc/self/mounts").write_text(MOUNTS)
    agent.publish("1.450.1.0")
    agent.run("definitions", "update")
    return agent


def diagnose(agent: UpdatingAgent, timeout: int = 60) -> dict[str, Any]:
    result = Diagnosis(Mdatp(path=str(agent.command), timeout=timeout), Host(str(agent.root), environ={})).run()
    assert [entry for entry in result["findings"] if not entry["evidence"]] == []
    return result


def test_a_host_that_updates_has_no_findings(agent: UpdatingAgent) -> None:
    result = diagnose(agent)
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
def test_the_first_finding_in_a_bad_state(
    agent: UpdatingAgent, states: list[str], first: str, others: set[str]
) -> None:
    agent.simulate("break", *states)
    found = diagnose(agent, timeout=2 if "health_hangs" in states else 60)["findings"]
    assert found[0]["id"] == first, found
    assert others <= {entry["id"] for entry in found[1:]}
    assert found[0]["evidence"]
    assert found[0]["hint"]


def test_a_mirror_that_broke_after_the_update(agent: UpdatingAgent) -> None:
    for file in agent.mirror.rglob("manifest.json"):
        file.unlink()
    agent.simulate("break", "definitions_stale")
    assert ids(diagnose(agent)) == ["mirror_answer_unusable", "definitions_stale"]


def test_the_modules(agent: UpdatingAgent) -> None:
    agent.simulate("break", "passive")
    result = agent.module("diagnosis_info", "--check", managed_file=str(agent.managed_file), log_lines=3)
    assert (result["failed"], result["changed"]) == (False, False)
    assert "passive_mode" in ids(result)
    assert result["mirror"]["definitions_version"] == "1.450.1.0"
    assert [call["command"] for call in result["raw"]][-1] == "mdatp connectivity test"
    wrong = agent.module("diagnosis_info", log_lines=-1)
    assert wrong["failed"] is True
    assert "log_lines must be at least 0" in wrong["msg"]

    measured = agent.module("preflight_info")
    by_id = {entry["id"]: entry for entry in measured["requirements"]}
    assert by_id["agent_version"]["ok"] is True
    assert by_id["kernel"]["actual"] == os.uname().release
    errors = [entry for entry in measured["findings"] if entry["severity"] == "error"]
    assert measured["ready"] is (errors == [])
    assert (measured["changed"], measured["distribution"]["name"] != "") == (False, True)


def test_the_playbooks(agent: UpdatingAgent, tmp_path: Path) -> None:
    ansible = Ansible(tmp_path)
    ansible.hosts["endpoints"] = {
        "one": {"endpoint_mdatp": str(agent.command), "endpoint_managed_file": str(agent.managed_file)},
        "away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
    }
    agent.simulate("break", "daemon_down")
    done = ansible.playbook("mde.offline.diagnose")
    assert done.status != 0, done.output
    for said in ("daemon_unreachable", "What to do: ", "host_unreachable", "The verdict is error"):
        assert said in done.flat(), said
    agent.simulate("repair")
    done = ansible.playbook("mde.offline.diagnose", "--limit", "one")
    assert done.status == 0, done.output
    done = ansible.playbook("mde.offline.preflight", mde_fail_on="never")
    assert done.status == 0, done.output
    assert "Report the requirements that are not met" in done.flat()
    assert "host_unreachable" in done.flat()
