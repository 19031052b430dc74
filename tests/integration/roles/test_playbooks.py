"""The playbooks by their names, as a user runs them: all in order, with broken and missing hosts, with --limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from simulators.static_web_server import StaticWebServer
from tests.support.agent import NEW, OLD, Agent
from tests.support.ansible_runs import Ansible
from tests.support.role_mirror import mirror_variables


@pytest.fixture
def fleet(ansible: Ansible, service: DownloadService, served: StaticWebServer, tmp_path: Path) -> tuple[Ansible, Agent]:
    """One mirror, and two endpoints that can reach both the mirror over HTTP and the cloud."""
    agents = [Agent(tmp_path / name, "--cloud", service.url) for name in ("one", "two")]
    ansible.hosts["mirrors"] = {"m": mirror_variables(tmp_path / "mirror", service.url)}
    ansible.hosts["endpoints"] = {agent.root.name: agent.variables(endpoint_mirror=served.url) for agent in agents}
    return ansible, agents[1]


def report(ansible: Ansible) -> dict[str, Any]:
    return dict(json.loads((ansible.folder / "report.json").read_text(encoding="utf-8")))


def by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def test_the_whole_way(fleet: tuple[Ansible, Agent], service: DownloadService, served: StaticWebServer) -> None:
    ansible, two = fleet

    site = ansible.playbook("mde.offline.site", mde_report="report.json", mde_serial=1)
    assert site.status == 0, site.output
    found = report(ansible)
    assert found["verdict"] == "ok"
    assert found["totals"]["endpoints_ok"] == 2
    assert found["totals"]["mirrors_ok"] == 1
    assert {host["definitions_version"] for host in found["hosts"]} == {OLD}
    assert {host["source"] for host in found["hosts"]} == {f"{served.url}/linux/production/"}
    # A table, line by line, and no escaped line breaks.
    assert "ENDPOINT" in site.task("Report")
    assert "\\n" not in site.task("Report")

    service.publish(NEW, platform="linux", ring="production")
    synced = ansible.playbook("mde.offline.sync")
    assert (synced.status, synced.recap["m"].changed) == (0, 1), synced.output
    assert f"linux/production/x86_64: updated, definitions {NEW}" in synced.flat()

    # One host updates from the mirror and one from the cloud; one is unreachable, and on one no module can run.
    assert ansible.playbook("mde.offline.endpoints", "--limit", "one").status == 0
    two.simulate("break", "silent_cloud_fallback", "from_cloud")
    ansible.hosts["endpoints"]["away"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    ansible.hosts["endpoints"]["mute"] = {"ansible_python_interpreter": "/nowhere/python"}
    service.fault("status", kind="package", code=404)
    service.publish("1.449.118.0", platform="linux", ring="production")
    assert ansible.playbook("mde.offline.sync").status == 2

    health = ansible.playbook("mde.offline.health", mde_report=str(ansible.folder / "report.json"))
    assert health.status == 2, health.output
    found = report(ansible)
    hosts = by_name(found["hosts"])
    assert {name: host["verdict"] for name, host in hosts.items()} == {
        "one": "ok",
        "two": "error",
        "away": "error",
        "mute": "error",
    }
    assert hosts["one"]["definitions_version"] == NEW
    assert "source_not_mirror" in [finding["id"] for finding in hosts["two"]["findings"]]
    assert (hosts["away"]["answer"], hosts["mute"]["answer"]) == ("unreachable", "failed")
    mirror = by_name(found["mirrors"])["m"]
    assert [finding["id"] for finding in mirror["findings"]] == ["mirror_sync_failed"]
    assert {channel["definitions_version"] for channel in mirror["channels"]} == {NEW}
    shown = health.task("Report")
    for line in found["lines"]:
        assert line.strip().replace("'", "''") in shown
    for finding in found["findings"]:
        assert finding["hint"] in " ".join(" ".join(found["lines"]).split())

    part = ansible.playbook("mde.offline.health", "--limit", "one", mde_report="report.json")
    assert part.status == 0, part.output
    assert [host["name"] for host in report(ansible)["hosts"]] == ["one"]
    assert report(ansible)["mirrors"] == []

    tolerant = ansible.playbook("mde.offline.health", "--limit", "away", mde_fail_on="never", mde_report="report.json")
    assert tolerant.status == 0, tolerant.output
    assert report(ansible)["totals"]["unreachable"] == 1
