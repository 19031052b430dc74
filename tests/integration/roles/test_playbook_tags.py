"""Each tag of each playbook runs its phase and the guards, on the oldest and the newest ansible-core."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.download_service import DownloadService
from tests.support import cores
from tests.support.ansible_runs import Ansible
from tests.support.nginx import Server, find
from tests.support.role_mirror import mirror_variables
from tools.collection_tree import CHECKOUT

GUARD = "mde.offline.internal_playbook : Refuse variables of the playbook that are not valid"
MIRROR = {
    "preflight": ("mde.offline.mirror : Preflight | Refuse values that cannot be used",),
    "install": ("mde.offline.mirror : Command | Install the command",),
    "configure": (
        "mde.offline.mirror : Settings | Validate the settings with the command and write them",
        "mde.offline.mirror_http : Configure | Write the site",
    ),
    "serve": ("mde.offline.mirror_http : Configure | Write the site",),
    "verify": ("mde.offline.mirror : Sync | Download, verify and publish new releases",),
    "remove": ("mde.offline.mirror : Remove | Remove the command, the settings, the keys and the link to the metrics",),
}
ENDPOINTS = {
    "configure": (
        "mde.offline.endpoint : Write the managed configuration",
        "mde.offline.endpoint : Update the definitions to what the mirror publishes",
    ),
    "preflight": ("mde.offline.endpoint : Measure the requirements of the agent",),
    "remove": ("mde.offline.endpoint : Remove the settings of the role",),
    "verify": ("mde.offline.endpoint : Collect the health of the host",),
}
PROOF_OF_MIRROR = "mde.offline.mirror : Verify | Check that every channel serves a release"
# The tasks that a phase of a playbook has beside those that run with each tag.
PHASES = {
    **{("mirror", tag): tasks for tag, tasks in MIRROR.items()},
    ("sync", "verify"): MIRROR["verify"],
    **{("endpoints", tag): tasks for tag, tasks in ENDPOINTS.items()},
    ("health", "verify"): ("Collect the health of the endpoint",),
    ("diagnose", "verify"): ("Diagnose the endpoint",),
    ("preflight", "preflight"): ("Measure the requirements of the agent",),
}
# The tasks that run with each tag, because they check the variables or prove the result.
ALWAYS = {
    "mirror": (
        "mde.offline.mirror : Refuse variables that are not valid",
        "mde.offline.mirror : Preflight | Refuse values that cannot be used",
        "mde.offline.mirror_http : Preflight | Check protocols and ports",
        "mde.offline.mirror_http : Verify | Look for the site and for status.json",
        "mde.offline.mirror : Verify | Look for the settings",
    ),
    "sync": ("mde.offline.mirror : Refuse variables that are not valid", PROOF_OF_MIRROR),
    "endpoints": (
        "mde.offline.endpoint : Read the role's variables",
        "mde.offline.endpoint : Verify that the host updates from the mirror",
    ),
    "health": ("Collect the health of the endpoint", "mde.offline.internal_playbook : Fail on findings"),
    "diagnose": ("Diagnose the endpoint", "mde.offline.internal_playbook : Fail on findings"),
    "preflight": ("Measure the requirements of the agent", "mde.offline.internal_playbook : Fail on findings"),
}
# The tasks that prove a result. They are listed only for phases after which there is a result.
PROOFS = {
    "configure": (PROOF_OF_MIRROR,),
    "serve": (PROOF_OF_MIRROR,),
    "verify": (PROOF_OF_MIRROR,),
    "again": (PROOF_OF_MIRROR, "mde.offline.mirror_http : Verify | Check the answer"),
}
# The parts of the playbook site.
PARTS = ("mirror", "endpoints", "health")
# The phases in the order in which a new host goes through them, and the first one once more on the finished host.
ORDER = ("preflight", "install", "configure", "serve", "verify", "again", "remove")


@pytest.fixture(params=[cores.LINES[0], cores.LINES[-1]])
def host(request: pytest.FixtureRequest, ansible: Ansible, tmp_path: Path) -> Ansible:
    """An endpoint without an agent, configured so that every task runs and no task fails."""
    ansible.use_core(request.param)
    ansible.hosts["endpoints"] = {
        "e": {
            "endpoint_mdatp": "/nowhere/mdatp",
            "endpoint_managed_file": str(tmp_path / "mdatp_managed.json"),
            "endpoint_record_file": str(tmp_path / "record.json"),
            "endpoint_mirror": "http://127.0.0.1:1",
            "endpoint_mirror_check": False,
            "endpoint_fail_on": "never",
        }
    }
    return ansible


@pytest.fixture
def mirrored(host: Ansible, service: DownloadService, tmp_path: Path) -> Iterator[Ansible]:
    """The same endpoint, and a mirror that nginx is to serve and that does not exist yet."""
    if not find("nginx"):
        pytest.skip("NOT TESTED: the tags of the playbooks of mirrors, because nginx is not installed")
    server = Server(tmp_path)
    shutil.rmtree(server.root)
    variables = {**server.variables(), **mirror_variables(tmp_path, service.url), "mirror_hosting": "http"}
    del variables["mirror_http_root"]
    host.hosts["mirrors"] = {"m": variables}
    yield host
    server.stop()


def tasks_of(host: Ansible, playbook: str, tag: str) -> set[str]:
    """The tasks that a playbook ran with this tag."""
    states = {"endpoint_state": "absent", "mirror_state": "absent"} if tag == "remove" else {}
    run = host.playbook(f"mde.offline.{playbook}", "--tags", tag, mde_fail_on="never", **states)
    assert run.status == 0, run.output
    return {line[6:].rstrip(" *").rstrip("]") for line in run.output.splitlines() if line.startswith("TASK [")}


def phases_of(playbook: str) -> dict[str, tuple[str, ...]]:
    parts = PARTS if playbook == "site" else (playbook,)
    found: dict[str, tuple[str, ...]] = {}
    for (part, tag), tasks in PHASES.items():
        if part in parts:
            found[tag] = found.get(tag, ()) + tasks
    return found


def test_each_tag_that_is_documented_is_tested() -> None:
    page = (CHECKOUT / "docs" / "playbooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)) == set(PHASES)
    assert "| `site` | those of `mirror`, `endpoints` and `health` |" in page


@pytest.mark.parametrize(("playbook", "tag"), [key for key in PHASES if key[0] not in ("mirror", "sync")], ids=" ".join)
def test_a_tag_runs_its_phase_and_the_guards(host: Ansible, playbook: str, tag: str) -> None:
    done = tasks_of(host, playbook, tag)
    wanted = {GUARD, *PHASES[playbook, tag], *(ALWAYS[playbook] if tag != "remove" else ALWAYS[playbook][:1])}
    assert wanted - done == set()
    others = {task for key, tasks in PHASES.items() if key[0] == playbook for task in tasks} - wanted
    # A host on which something is wrong is measured to explain it.
    others -= {"mde.offline.endpoint : Measure the requirements of the agent"}
    assert others & done <= ({"mde.offline.endpoint : Collect the health of the host"} if tag == "preflight" else set())


@pytest.mark.parametrize("playbook", ["mirror", "site"])
def test_the_phases_of_a_mirror_one_by_one(mirrored: Ansible, playbook: str) -> None:
    phases = phases_of(playbook)
    always = {task for part in PARTS if playbook in (part, "site") for task in ALWAYS[part]}
    for step in ORDER:
        tag = "preflight" if step == "again" else step
        done = tasks_of(mirrored, playbook, tag)
        wanted = {GUARD, *phases[tag], *PROOFS.get(step, ())}
        # After a removal, no role has a result to prove, but the playbook site still reports about the fleet.
        wanted |= (
            always if tag != "remove" else {ALWAYS["mirror"][0], *(ALWAYS["health"] if playbook == "site" else ())}
        )
        assert wanted - done == set(), f"{playbook} --tags {tag}"
        others = {task for tasks in phases.values() for task in tasks} - wanted
        # The endpoint has no agent, so it is measured and its health is collected to explain that.
        others -= {*ENDPOINTS["preflight"], *ENDPOINTS["verify"]}
        assert others & done == set(), f"{playbook} --tags {tag}"
        if step == "verify":
            assert tasks_of(mirrored, "sync", "verify") >= {GUARD, *PHASES["sync", "verify"], *ALWAYS["sync"]}
            assert not tasks_of(mirrored, "sync", "configure") & set(PHASES["sync", "verify"])
