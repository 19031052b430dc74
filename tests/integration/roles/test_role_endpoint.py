"""The role endpoint with a simulated agent: the configuration, the update, the verdict, and the removal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from tests.support.agent import NEW, OLD, Agent, publish
from tests.support.ansible_runs import Ansible, ModuleRuns


@pytest.fixture
def agent(ansible: Ansible, tmp_path: Path) -> Agent:
    made = Agent(tmp_path / "one host")
    ansible.hosts["endpoints"] = {"e": made.variables()}
    return made


def test_what_others_can_write_is_repaired(ansible: Ansible, agent: Agent, mirror: str) -> None:
    agent.manage({})
    agent.managed_file.chmod(0o666)
    agent.managed_file.parent.chmod(0o777)
    reported = ansible.roles("endpoint", "endpoints", "--tags", "verify", endpoint_mirror=mirror)
    assert "managed_file_writable" in reported.output
    rehearsal = ansible.roles("endpoint", "endpoints", "--check", "--diff", endpoint_mirror=mirror)
    assert '"mode": "0644"' in rehearsal.output or "mode: '0644'" in rehearsal.output, rehearsal.output
    assert agent.managed_file.stat().st_mode & 0o777 == 0o666
    first = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert (first.status, first.recap["e"].failed) == (0, 0), first.output
    assert "managed_file_writable" not in first.output
    modes = [place.stat().st_mode & 0o777 for place in (agent.managed_file, agent.managed_file.parent)]
    assert modes == [0o644, 0o755]

    chosen = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror, endpoint_managed_file_mode="0600")
    assert (chosen.status, agent.managed_file.stat().st_mode & 0o777) == (0, 0o600), chosen.output
    refused = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror, endpoint_managed_file_mode="0664")
    assert refused.status == 2
    assert "lets users other than root write" in refused.flat()
    assert agent.managed_file.stat().st_mode & 0o777 == 0o600


def test_from_fresh_to_protected_and_back(ansible: Ansible, agent: Agent, mirror: str, tmp_path: Path) -> None:
    address = f"{mirror}/linux/production/"

    rehearsal = ansible.roles("endpoint", "endpoints", "--check", "--diff", endpoint_mirror=mirror)
    assert rehearsal.status == 0, rehearsal.output
    assert rehearsal.recap["e"].changed > 0
    assert address in rehearsal.output
    assert not agent.managed_file.exists()

    agent.managed_file.parent.mkdir(parents=True, exist_ok=True)
    agent.managed_file.write_text('{"cloudService": {"diagnosticLevel": "required"}}', encoding="utf-8")
    first = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert first.status == 0, first.output
    assert agent.managed["antivirusEngine"]["offlineDefinitionUpdateUrl"] == address
    assert agent.managed["antivirusEngine"]["offlineDefinitionUpdateFallbackToCloud"] is False
    assert agent.managed["cloudService"]["diagnosticLevel"] == "required"
    assert agent.field("definitions_version") == OLD
    assert agent.field("definitions_update_source_uri") == address
    assert f"definitions {OLD}" in first.task("Verify that the host updates from the mirror")

    runs = ModuleRuns(tmp_path)
    ansible.hosts["endpoints"]["e"]["ansible_python_interpreter"] = runs.interpreter
    second = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert (second.status, second.recap["e"].changed) == (0, 0), second.output
    # One module run checks the file, the agent and the mirror, and nothing has to be configured or updated.
    assert runs.taken() == 1
    assert f"definitions {OLD}" in second.task("Verify that the host updates from the mirror")

    publish(tmp_path / "mirror/two words/srv", NEW)
    rehearsal = ansible.roles("endpoint", "endpoints", "--check", endpoint_mirror=mirror)
    assert (rehearsal.status, rehearsal.recap["e"].changed) == (0, 1), rehearsal.output
    assert agent.field("definitions_version") == OLD

    gone = ansible.roles("endpoint", "endpoints", endpoint_state="absent")
    assert (gone.status, gone.recap["e"].changed) == (0, 1), gone.output
    assert "offlineDefinitionUpdateUrl" not in agent.managed["antivirusEngine"]
    assert agent.managed["antivirusEngine"]["enforcementLevel"] == "real_time"
    assert agent.managed["cloudService"]["diagnosticLevel"] == "required"


def test_hosts_that_are_not_well_fail_and_say_why(ansible: Ansible, mirror: str, tmp_path: Path) -> None:
    """Many hosts in one run: the output names each fault at its host, and a fault does not affect other hosts."""
    broken = {
        "fine": [],
        "down": ["daemon_down"],
        "failing": ["update_fails"],
        "unmoved": ["update_without_effect"],
        "cut-off": ["mirror_unreachable"],
    }
    ansible.hosts["endpoints"] = {"absent": Agent(tmp_path / "absent").variables(endpoint_mdatp="/nowhere/mdatp")}
    for name, states in broken.items():
        made = Agent(tmp_path / name)
        if states:
            made.simulate("break", *states)
        ansible.hosts["endpoints"][name] = made.variables()
    old = Agent(tmp_path / "old", "--version", "101.23082.0011")
    ansible.hosts["endpoints"]["old"] = old.variables()
    passive = Agent(tmp_path / "passive")
    ansible.hosts["endpoints"]["passive"] = passive.variables(endpoint_enforcement_level="")
    strict = Agent(tmp_path / "strict")
    ansible.hosts["endpoints"]["strict"] = strict.variables(endpoint_enforcement_level="", endpoint_fail_on="warning")
    lenient = Agent(tmp_path / "lenient")
    lenient.simulate("break", "update_fails")
    ansible.hosts["endpoints"]["lenient"] = lenient.variables(endpoint_fail_on="never")

    done = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert done.status == 2, done.output
    failed = {host for host, counts in done.recap.items() if counts.failed}
    assert failed == {"absent", "down", "failing", "unmoved", "cut-off", "old", "strict"}, done.output

    shown = done.flat()
    for host, expected in {
        "absent": "not_installed",
        "down": "daemon_unreachable",
        "failing": "update_failed",
        "unmoved": "update_failed",
        "cut-off": "update_failed",
        "strict": "passive_mode",
    }.items():
        judged = rf"{host} does not update from the mirror as it should \([^)]*\b{expected}\b"
        assert re.search(judged, shown), done.output
    # Settings that the agent does not know are not written at all.
    assert "fatal: [old]" in done.task("Write the managed configuration")
    assert "nothing was written" in shown
    assert not old.managed_file.exists()
    assert "What to do: " in shown
    # A note says why hosts do not update by themselves. It appears only on such hosts, and does not fail them.
    assert "NOTE The agent updates by its own timer only with" in shown


def test_definitions_from_the_cloud_are_found_and_replaced(
    ansible: Ansible, agent: Agent, mirror: str, service: DownloadService
) -> None:
    """The version is right and the source is wrong: only another update shows whether the mirror works now."""
    agent.simulate("set", f"cloud={service.url}")
    agent.simulate("break", "silent_cloud_fallback")
    fallback = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert fallback.status == 2, fallback.output
    assert agent.field("definitions_version") == OLD
    assert "ERROR source_not_mirror" in fallback.output

    agent.simulate("repair")
    repaired = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert repaired.status == 0, repaired.output
    assert agent.field("definitions_update_source_uri") == f"{mirror}/linux/production/"


def test_addresses_and_arguments_that_cannot_work_are_refused_in_words(ansible: Ansible, agent: Agent) -> None:
    def refused(**variables: Any) -> str:
        done = ansible.roles("endpoint", "endpoints", **variables)
        assert done.status == 2, done.output
        assert not agent.managed_file.exists()
        return done.flat()

    assert "endpoint_mirror is not set" in refused()
    assert "Leave arch_* out" in refused(endpoint_mirror="http://mirror/linux/production/arch_x86_64")
    typo = refused(endpoint_mirror="http://mirror", endpoint_fail_on="sometimes", endpoint_enforcement_level="realtime")
    assert "value of endpoint_fail_on must be one of: error, warning, never, got: sometimes" in typo
    assert "endpoint_enforcement_level" in typo


def test_check_only(ansible: Ansible, agent: Agent, mirror: str) -> None:
    agent.simulate("break", "definitions_stale")
    done = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror, endpoint_update=False)
    assert done.status == 2, done.output
    assert "definitions_stale" in done.output
    assert agent.field("definitions_version") != OLD
