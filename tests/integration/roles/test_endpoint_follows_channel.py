"""The role endpoint on hosts that are newer than their mirror, and on hosts whose mirror changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from simulators.static_web_server import StaticWebServer
from tests.support.agent import ENGINE, NEW, OLD, Agent, publish, publish_status, withdrawn
from tests.support.ansible_runs import Ansible, Run
from tests.support.role_mirror import mirror_variables

VERIFY = "Verify that the host updates from the mirror"
ROLLED_BACK = f"Definitions were rolled back from {NEW} to {OLD}."
CLOUD = "https://go.microsoft.com/fwlink/?linkid=2144709"


@dataclass(frozen=True)
class Case:
    """A host that has NEW, and a mirror that serves OLD."""

    lowered: bool
    # What status.json says about the channel; None for a mirror without status.json.
    status: dict[str, Any] | None = field(default_factory=dict)
    # The mirror that the host has used so far, below the folder of the test; empty for none.
    former: str = "{mirror}/linux/production"
    # The source of the definitions, if it is not this mirror.
    source: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    agent: dict[str, str] = field(default_factory=dict)
    # The findings and words in the message of a host that fails.
    fails: tuple[str, ...] = ()


CASES = {
    "withdrawn": Case(True, {"state": "follows", "withdrawn": withdrawn("1.449.116.0", NEW)}),
    "withdrawn_old": Case(
        False, {"state": "follows", "withdrawn": withdrawn(NEW), "age_hours": 300}, fails=("on_withdrawn_release",)
    ),
    "withdrawn_refused": Case(
        False,
        {"state": "rolled_back", "withdrawn": withdrawn(NEW)},
        agent={"older_definitions": "refuse"},
        fails=("on_withdrawn_release", "The agent may refuse definitions that are older"),
    ),
    "rolled_back": Case(True, {"state": "rolled_back", "held": {"kind": "rollback"}, "age_hours": 300}),
    "held": Case(True, {"held": {"kind": "hold", "reason": "bad batch"}, "age_hours": 300}),
    "held_refused": Case(
        False,
        {"state": "held", "held": {"kind": "hold"}},
        agent={"older_definitions": "refuse"},
        fails=("INFO ahead_of_mirror", "(update_failed; ", "The agent may refuse definitions that are older"),
    ),
    "lagging": Case(False, {"state": "follows", "withdrawn": withdrawn("1.449.99.0")}),
    "paused": Case(False, {"state": "paused"}),
    "no_status": Case(False, None),
    "always": Case(True, variables={"endpoint_lower": "always"}),
    "always_old": Case(False, {"age_hours": 300}, variables={"endpoint_lower": "always"}),
    "package": Case(True, former="", source=""),
    "cloud": Case(True, former="", source=CLOUD),
    "cloud_refused": Case(
        False,
        former="",
        source=CLOUD,
        agent={"older_definitions": "refuse"},
        fails=("source_not_mirror", "The agent may refuse definitions that are older"),
    ),
    "other_channel": Case(True, former="{mirror}/linux/preview"),
    "other_mirror": Case(False, former="{mirror}-former/linux/production"),
    "dead_mirror": Case(
        False,
        former="{mirror}-former/linux/production",
        agent={"definitions_update_fail_reason": "cannot connect"},
    ),
}


class Fleet:
    def __init__(self, ansible: Ansible, folder: Path) -> None:
        self.ansible, self.folder = ansible, folder
        self.agents: dict[str, Agent] = {}
        ansible.hosts["endpoints"] = {}

    def add(self, name: str, case: Case) -> None:
        mirror = self.folder / f"mirror-{name}"
        publish(mirror, OLD)
        if case.status is not None:
            publish_status(mirror, **case.status)
        agent = Agent(self.folder / name)
        former = case.former.format(mirror=mirror)
        if former:
            agent.manage(
                {
                    "enforcementLevel": "real_time",
                    "offlineDefinitionUpdate": "enabled",
                    "offlineDefinitionUpdateUrl": former,
                    "offlineDefinitionUpdateFallbackToCloud": False,
                },
                cloudService={"automaticDefinitionUpdateEnabled": True},
                features={"offlineDefinitionUpdateVerifySig": "enabled"},
            )
        state = {
            "definitions_version": NEW,
            "engine_version": ENGINE,
            "definitions_updated": "2100-01-01T00:00:00Z",
            "definitions_update_source_uri": former if case.source is None else case.source,
            **case.agent,
        }
        agent.simulate("set", *[f"{key}={value}" for key, value in state.items()])
        self.agents[name] = agent
        variables = {"endpoint_mirror": str(mirror), "endpoint_preflight": "never", **case.variables}
        self.ansible.hosts["endpoints"][name] = agent.variables(**variables)

    def run(self, *options: str, **variables: Any) -> Run:
        variables = {"endpoint_update_timeout": 60, **variables}
        play = {
            "hosts": "endpoints",
            "gather_facts": False,
            "module_defaults": {"mde.offline.definitions_update": {"wait": 2}},
            "roles": ["mde.offline.endpoint"],
        }
        return self.ansible.playbook([play], *options, **variables)


def said(run: Run) -> dict[str, str]:
    """The verdict about each host, on one line. Hosts that need different steps run the task one after another."""
    tasks = re.findall(rf"^TASK \[[^\n]*{VERIFY}\] \*+$(.*?)(?=^TASK|^PLAY|\Z)", run.output, re.M | re.S)
    parts = "".join(tasks).replace("fatal: [", "ok: [").split("ok: [")[1:]
    parts = [part.partition("[ERROR]")[0] for part in parts]
    return {part.split("]")[0]: " ".join(re.sub(r"['\"]?\n +(- ['\"]?)?|' ", " ", part).split()) for part in parts}


@pytest.fixture
def fleet(ansible: Ansible, tmp_path: Path) -> Fleet:
    return Fleet(ansible, tmp_path)


def test_hosts_go_down_only_where_that_is_meant(fleet: Fleet) -> None:
    for name, case in CASES.items():
        fleet.add(name, case)

    rehearsal = fleet.run("--check")
    assert rehearsal.status == 0, rehearsal.output
    verdicts = said(rehearsal)
    for name, case in CASES.items():
        meant = case.lowered or "refuse" in case.agent.values()
        assert (f"would be rolled back from {NEW} to {OLD}" in verdicts[name]) is meant, verdicts[name]
        assert fleet.agents[name].field("definitions_version") == NEW

    done = fleet.run()
    verdicts = said(done)
    assert {name for name, counts in done.recap.items() if counts.failed} == {
        name for name, case in CASES.items() if case.fails
    }, done.output
    for name, case in CASES.items():
        assert fleet.agents[name].field("definitions_version") == (OLD if case.lowered else NEW), verdicts[name]
        assert (ROLLED_BACK in verdicts[name]) is case.lowered, verdicts[name]
        assert all(words in verdicts[name] for words in case.fails), verdicts[name]
        noted = not case.lowered and "on_withdrawn_release" not in case.fails
        assert ("INFO ahead_of_mirror" in verdicts[name]) is noted, verdicts[name]
        wanted = fleet.ansible.hosts["endpoints"][name]["endpoint_mirror"] + "/linux/production"
        assert fleet.agents[name].managed["antivirusEngine"]["offlineDefinitionUpdateUrl"] == wanted

    again = fleet.run("--limit", ",".join(name for name, case in CASES.items() if not case.fails))
    assert again.status == 0, again.output
    assert not any(counts.changed for counts in again.recap.values()), again.output


def test_an_address_is_written_only_after_it_was_seen_to_work(fleet: Fleet) -> None:
    """The hosts work. The mirrors that they are to use next do not work, each with a different fault."""
    stays = Case(False, former="{mirror}-former/linux/production")
    wrong = ("channel", "address", "package", "page", "first")
    for name in (*wrong, "image", "good"):
        fleet.add(name, Case(False, former="") if name == "first" else stays)
    hosts = fleet.ansible.hosts["endpoints"]
    hosts["channel"]["endpoint_channel"] = "prod"
    for name in ("address", "first", "image"):
        hosts[name]["endpoint_mirror"] = "/nowhere"
    hosts["image"].update(endpoint_mirror_check=False, endpoint_update=False, endpoint_fail_on="never")
    package = "linux/production/arch_x86_64/updates.zip"
    (fleet.folder / "mirror-package" / package).unlink()
    (fleet.folder / "mirror-page" / package).write_text("<html>Log in</html>", encoding="utf-8")
    before = {name: agent.managed_file.exists() and agent.managed for name, agent in fleet.agents.items()}

    for options in (["--check"], []):
        run = fleet.run(*options)
        failed = {name for name, counts in run.recap.items() if counts.failed}
        assert failed == set(wrong), run.output
        for name in wrong:
            assert (fleet.agents[name].managed_file.exists() and fleet.agents[name].managed) == before[name]
        text = run.flat()
        assert f"The host keeps {fleet.folder}/mirror-channel-former/linux/production." in text
        assert "The host has no other address." in text
        assert "mirror_package_missing" in text
        assert "it is not a zip file" in text
    assert fleet.agents["image"].managed["antivirusEngine"]["offlineDefinitionUpdateUrl"] == "/nowhere/linux/production"
    assert "mirror-good/linux/production" in str(fleet.agents["good"].managed)


def test_a_check_of_the_site_knows_the_mirror_that_it_would_build(
    ansible: Ansible, service: DownloadService, served: StaticWebServer, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "endpoint")
    ansible.hosts["mirrors"] = {"m": mirror_variables(tmp_path / "mirror", service.url)}
    ansible.hosts["endpoints"] = {"e": agent.variables(endpoint_mirror=served.url, endpoint_preflight="never")}

    alone = ansible.playbook("mde.offline.endpoints", "--check")
    assert alone.status == 2, alone.output
    rehearsal = ansible.playbook("mde.offline.site", "--check")
    assert rehearsal.status == 0, rehearsal.output
    assert "NOTE An earlier play of this run would build or change the mirror" in rehearsal.flat()
    assert "ERROR mirror_answer_unusable" in rehearsal.output
    assert not agent.managed_file.exists()

    built = ansible.playbook("mde.offline.site")
    assert built.status == 0, built.output
    # The run would not change the mirror, so a channel that the mirror does not have is an error.
    typo = ansible.playbook("mde.offline.site", "--check", endpoint_channel="prod")
    assert typo.status == 2, typo.output
    assert "The mirror has these channels for x86_64: production" in typo.flat()
    fine = ansible.playbook("mde.offline.site", "--check")
    assert fine.status == 0, fine.output
