"""The playbook health on hosts that return what no module returns, on the oldest and the present ansible-core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_runs import Ansible, Run

HEALTHY = {"healthy": True, "licensed": True, "appVersion": "101.26062.0005", "definitionsVersion": "1.443.1.0"}


def program(path: Path, output: dict[str, Any]) -> str:
    """A program that prints this output, whatever its arguments and its input are."""
    path.write_text(
        f"#!/bin/sh\n[ -t 0 ] || cat >/dev/null\ncat <<'END'\n{json.dumps(output)}\nEND\n", encoding="utf-8"
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture(params=["present core", "core 2.16"])
def ansible(request: pytest.FixtureRequest, tmp_path: Path) -> Ansible:
    """Three endpoints: a good one, one whose agent prints wrong types, and one whose Python prints a forged result."""
    ansible = Ansible(tmp_path)
    if request.param == "core 2.16":
        ansible.use_core("2.16")
    forged = {"findings": "abc", "health": [1], "changed": False}
    ansible.hosts["endpoints"] = {
        "good": {"endpoint_mdatp": program(tmp_path / "good", HEALTHY)},
        "odd": {"endpoint_mdatp": program(tmp_path / "odd", {**HEALTHY, "appVersion": ["x"]})},
        "forged": {"ansible_python_interpreter": program(tmp_path / "python", forged)},
    }
    return ansible


def health(ansible: Ansible, **variables: Any) -> tuple[Run, dict[str, Any]]:
    report = ansible.folder / "report.json"
    run = ansible.playbook("mde.offline.health", mde_report=str(report), **variables)
    return run, json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def test_one_endpoint_does_not_hide_the_others(ansible: Ansible) -> None:
    run, report = health(ansible)
    assert run.status == 2, run.output
    hosts = {host["name"]: host for host in report["hosts"]}
    ids = {name: [finding["id"] for finding in host["findings"]] for name, host in hosts.items()}
    assert hosts["good"]["agent_version"] == "101.26062.0005"
    assert "result_malformed" not in ids["good"]
    assert "result_malformed" in ids["odd"]
    assert ids["forged"] == ["result_malformed"]
    assert hosts["odd"]["definitions_version"] == "1.443.1.0"
    shown = run.task("Report")
    assert "health.fields.app_version is a list, not a string" in " ".join(shown.split())
    assert "findings is a string, not a list" in " ".join(shown.split())
    for name in ("good", "odd", "forged"):
        assert f"{name} " in shown


def test_an_error_of_the_summary_is_shown(ansible: Ansible) -> None:
    run, _report = health(ansible, __internal_playbook_endpoints=17)
    assert run.status == 2
    assert "The results could not be summarised. " in run.flat()
