"""The role endpoint with endpoint_state=absent removes its own settings and keeps all others, also on broken hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.agent import Agent
from tests.support.ansible_runs import Ansible

MIRROR = "http://127.0.0.1:1"
OURS = f"{MIRROR}/linux/production/"
THEIRS = "http://other.example.com/linux/production/"


def host(path: Path, content: Any = None, **variables: Any) -> dict[str, Any]:
    """A host without an agent. The role must remove its settings from the file also on such a host."""
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return {
        "endpoint_managed_file": str(path),
        "endpoint_record_file": str(path.with_name("record.json")),
        "endpoint_mdatp": "/nowhere/mdatp",
        "endpoint_mirror": MIRROR,
        **variables,
    }


def offline(address: str, **more: Any) -> dict[str, Any]:
    return {
        "antivirusEngine": {
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateFallbackToCloud": False,
            "offlineDefinitionUpdateUrl": address,
            **more,
        },
        "cloudService": {"automaticDefinitionUpdateEnabled": True},
        "features": {"offlineDefinitionUpdateVerifySig": "enabled"},
    }


def test_what_the_role_set_goes_and_nothing_else(ansible: Ansible, tmp_path: Path) -> None:
    theirs = {"cloudService": {"diagnosticLevel": "required"}, "edr": {"groupIds": "Größe"}}
    tuned = offline(OURS, scanArchives=False, maximumOnDemandScanThreads=4)
    tuned["cloudService"]["definitionUpdatesInterval"] = 7200
    ours = {"antivirusEngine": {"scanArchives": False, "maximumOnDemandScanThreads": 8}}
    files = {
        "bare": (offline(OURS), {}, {}),
        "slash": (offline(OURS.rstrip("/")), {}, {}),
        "level": (
            offline(OURS, enforcementLevel="real_time"),
            {"endpoint_enforcement_level": "real_time"},
            {"antivirusEngine": {"enforcementLevel": "real_time"}},
        ),
        "tuned": (
            tuned,
            {"endpoint_config": ours, "endpoint_update_interval": 14400},
            {
                "antivirusEngine": {"maximumOnDemandScanThreads": 4},
                "cloudService": {"definitionUpdatesInterval": 7200},
            },
        ),
        "moved": (offline(THEIRS), {}, offline(THEIRS)),
        "unnamed": (offline(THEIRS), {"endpoint_mirror": ""}, {}),
        "foreign": (theirs, {}, theirs),
        "nothing": (None, {}, None),
    }
    paths = {name: tmp_path / name / "mdatp_managed.json" for name in (*files, "broken", "returned")}
    hosts = {name: host(paths[name], before, **variables) for name, (before, variables, _after) in files.items()}
    hosts["broken"] = host(paths["broken"], '{"edr": {},}')
    agent = Agent(tmp_path / "agent")
    hosts["returned"] = host(paths["returned"], theirs, endpoint_mdatp=str(agent.command), endpoint_fail_on="never")
    ansible.hosts["endpoints"] = hosts
    only = ("--limit", "returned")
    assert (
        ansible.roles("endpoint", "endpoints", *only, endpoint_update=False, endpoint_mirror_check=False)
        .recap["returned"]
        .changed
        == 1
    )
    assert json.loads(paths["returned"].read_text(encoding="utf-8")) != theirs
    files["returned"] = (theirs, {}, theirs)
    before = {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    rehearsal = ansible.roles("endpoint", "endpoints", "--check", "--diff", endpoint_state="absent")
    assert {name: path.read_bytes() for name, path in paths.items() if path.exists()} == before
    changing = {"bare", "slash", "level", "tuned", "unnamed", "returned"}
    assert {name for name, counts in rehearsal.recap.items() if counts.changed} == changing, rehearsal.output
    assert f'-    "offlineDefinitionUpdateUrl": "{OURS}"' in rehearsal.output

    gone = ansible.roles("endpoint", "endpoints", endpoint_state="absent")
    assert {name for name, counts in gone.recap.items() if counts.changed} == changing, gone.output
    assert {name for name, counts in gone.recap.items() if counts.failed} == {"broken"}
    assert f"The host is configured for {THEIRS}" in gone.flat()
    assert "It was not changed" in gone.flat()
    assert "state: replaced" in gone.flat()
    assert paths["broken"].read_bytes() == before["broken"]
    found = {name: json.loads(paths[name].read_text(encoding="utf-8")) for name in files if paths[name].exists()}
    assert found == {name: after for name, (_before, _variables, after) in files.items() if after is not None}

    again = ansible.roles("endpoint", "endpoints", endpoint_state="absent")
    assert {name for name, counts in again.recap.items() if counts.changed} == set(), again.output
