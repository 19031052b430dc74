"""Options of the role endpoint: requirements, a mounted mirror, defaults of the whole play, and no secrets."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.agent import OLD, Agent, publish
from tests.support.ansible_runs import Ansible, ModuleRuns

# This build is more than nine months old. The requirements refuse it, and the health does not.
FORMER = "101.24052.0002"


def test_requirements_are_measured_where_they_explain_something(ansible: Ansible, mirror: str, tmp_path: Path) -> None:
    hosts = {}
    for name in ("auto", "always", "never"):
        agent = Agent(tmp_path / name, "--version", FORMER)
        hosts[name] = agent.variables(endpoint_preflight=name, endpoint_fail_on="warning")
    hosts["gone"] = Agent(tmp_path / "gone").variables(endpoint_mdatp="/nowhere/mdatp")
    hosts["old"] = Agent(tmp_path / "old", "--version", "101.23082.0011").variables()
    runs = ModuleRuns(tmp_path)
    hosts["auto"]["ansible_python_interpreter"] = runs.interpreter
    ansible.hosts["endpoints"] = hosts

    first = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert first.status == 2
    assert {name for name, counts in first.recap.items() if counts.failed} == {"always", "gone", "old"}, first.output
    judged = first.task("Verify that the host updates from the mirror")
    parts = judged.replace("fatal: [", "ok: [").split("ok: [")[1:]
    text = {part.split("]")[0]: part.partition("[ERROR]")[0] for part in parts}
    assert "agent_release_old" in text["auto"]
    assert "endpoint_preflight: always, such errors fail" in " ".join(text["auto"].split())
    assert "agent_release_old" in text["always"]
    assert "agent_release_old" not in text["never"]
    assert "(not_installed" in " ".join(text["gone"].split())
    refused = " ".join(first.task("Report why the configuration was refused").split())
    assert "nothing was written" in refused
    assert "agent_too_old: Version of the agent" in refused

    runs.taken()
    second = ansible.roles("endpoint", "endpoints", "--limit", "auto,always", endpoint_mirror=mirror)
    assert {name for name, counts in second.recap.items() if counts.failed} == {"always"}, second.output
    assert runs.taken() == 1
    assert re.search(r"always does not update from the mirror as it should \([^)]*agent_release_old", second.flat())


def test_settings_that_were_refused_are_named_by_their_findings_alone(
    ansible: Ansible, mirror: str, tmp_path: Path
) -> None:
    hosts = {}
    for name, text in {"text": "not json", "wrong": '{"antivirusEngine": {"exclusions": 5}}'}.items():
        agent = Agent(tmp_path / name)
        agent.managed_file.parent.mkdir(parents=True, exist_ok=True)
        agent.managed_file.write_text(text, encoding="utf-8")
        hosts[name] = agent.variables(endpoint_preflight="never")
    ansible.hosts["endpoints"] = hosts

    done = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    reported = done.task("Report why the configuration was refused")

    assert "Finding: not_json" in reported
    assert "[wrong_type]" in reported
    # Findings that the message contains already are not repeated, and missing values are not shown.
    assert "Finding: wrong_type" not in reported
    assert "None" not in reported


def test_defaults_of_the_play_reach_all_modules(ansible: Ansible, mirror: str, tmp_path: Path) -> None:
    """Only the defaults name the agents. The agents that hang show that the defaults also set the time limits."""
    hosts = {}
    for name, state in {"fine": "", "mute": "health_hangs", "slow": "update_hangs"}.items():
        agent = Agent(tmp_path / name)
        if state:
            agent.simulate("break", state)
        hosts[name] = agent.variables(agent_command=str(agent.command))
        del hosts[name]["endpoint_mdatp"]
    ansible.hosts["endpoints"] = hosts
    play = {
        "hosts": "endpoints",
        "gather_facts": False,
        "module_defaults": {
            "group/mde.offline.endpoint": {"mdatp": "{{ agent_command }}", "timeout": 9},
            "mde.offline.definitions_update": {"wait": 3},
        },
        "roles": [{"role": "mde.offline.endpoint"}],
    }
    done = ansible.playbook([play], endpoint_mirror=mirror, endpoint_update_timeout=11)
    assert {name for name, counts in done.recap.items() if counts.failed} == {"mute", "slow"}, done.output
    assert "not_installed" not in done.output
    assert "mdatp health --output json did not finish within 9 seconds" in done.flat()
    assert "mdatp definitions update did not finish within 11 seconds" in done.flat()


def test_a_mirror_that_is_mounted_is_the_address(ansible: Ansible, tmp_path: Path) -> None:
    """The units are not in systemd's folder, so nothing is mounted, and the directory already contains the mirror."""
    if os.geteuid() != 0 or not shutil.which("systemd-escape"):
        pytest.skip("NOT TESTED: a mount by the role endpoint needs root and systemd-escape")
    directory, units = tmp_path / "mnt" / "mde", tmp_path / "units"
    units.mkdir()
    publish(directory, OLD)
    agent = Agent(tmp_path / "one")
    ansible.hosts["endpoints"] = {
        "e": agent.variables(
            endpoint_nfs_source="mirror.example.com:/srv/mde-mirror",
            endpoint_preflight="never",
            mirror_nfs_client_path=str(directory),
            mirror_nfs_client_unit_directory=str(units),
            mirror_nfs_client_package="",
        )
    }
    rehearsal = ansible.roles("endpoint", "endpoints", "--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert (list(units.iterdir()), agent.managed_file.exists()) == ([], False)
    first = ansible.roles("endpoint", "endpoints")
    assert first.status == 0, first.output
    unit = next(units.iterdir()).read_text(encoding="utf-8")
    assert "What=mirror.example.com:/srv/mde-mirror\n" in unit
    assert f"Where={directory}\n" in unit
    assert "Options=ro,nosuid,nodev,noexec," in unit
    assert agent.field("definitions_update_source_uri") == f"{directory}/linux/production"
    gone = ansible.roles("endpoint", "endpoints", endpoint_state="absent")
    assert gone.status == 0, gone.output
    assert list(units.iterdir()) == []
    assert agent.managed == {"antivirusEngine": {"enforcementLevel": "real_time"}}
    again = ansible.roles("endpoint", "endpoints", endpoint_state="absent")
    assert (again.status, again.recap["e"].changed) == (0, 0), again.output


def test_check_mode_on_a_fresh_host_and_no_secrets(ansible: Ansible, tmp_path: Path) -> None:
    """A host without agent and folders, and passwords where none are expected: in the variables and in an old file."""
    fresh = tmp_path / "fresh" / "etc" / "mdatp_managed.json"
    full = tmp_path / "full.json"
    full.write_text(json.dumps({"cloudService": {"proxy": "http://user:hidden-1@proxy:8080/"}}), encoding="utf-8")
    variables = {
        "endpoint_mdatp": "/nowhere/mdatp",
        "endpoint_mirror": "http://127.0.0.1:1",
        "endpoint_mirror_check": False,
    }
    variables["endpoint_record_file"] = str(tmp_path / "record.json")
    secret = {"cloudService": {"proxy": "http://user:hidden-2@proxy:8080/"}}
    ansible.hosts["endpoints"] = {
        "fresh": {**variables, "endpoint_managed_file": str(fresh)},
        "full": {**variables, "endpoint_managed_file": str(full)},
        "given": {**variables, "endpoint_managed_file": str(fresh), "endpoint_config": secret},
        "checked": {**variables, "endpoint_managed_file": str(fresh), "endpoint_mirror_check": True},
    }
    done = ansible.roles("endpoint", "endpoints", "--check", "--diff", "-vvv")
    failed = {name for name, counts in done.recap.items() if counts.failed}
    assert failed == {"full", "given", "checked"}, done.output
    assert done.recap["fresh"].changed == 1
    assert not fresh.parent.exists()
    assert "ERROR not_installed" in done.output
    assert "proxy_credentials" in done.output
    assert "hidden-" not in done.output, done.output
