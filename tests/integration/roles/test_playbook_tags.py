"""Each tag of each playbook runs its phase and the guards, on the oldest and the newest ansible-core."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import cores
from tools.collection_tree import CHECKOUT

from .stage import Ansible

GUARD = "mde.offline.internal_playbook : Refuse variables of the playbook that are not valid"
# The tasks that only one phase of a playbook has.
PHASES = {
    ("endpoints", "configure"): (
        "mde.offline.endpoint : Write the managed configuration",
        "mde.offline.endpoint : Update the definitions to what the mirror publishes",
    ),
    ("endpoints", "preflight"): ("mde.offline.endpoint : Measure the requirements of the agent",),
    ("endpoints", "remove"): ("mde.offline.endpoint : Remove the settings of the role",),
    ("endpoints", "verify"): ("mde.offline.endpoint : Collect the health of the host",),
    ("health", "verify"): ("Collect the health of the endpoint",),
    ("diagnose", "verify"): ("Diagnose the endpoint",),
    ("preflight", "preflight"): ("Measure the requirements of the agent",),
}
# The tasks that run with each tag, because they check the variables or prove the result.
ALWAYS = {
    "endpoints": (
        "mde.offline.endpoint : Take the role's variables",
        "mde.offline.endpoint : Verify that the host updates from the mirror",
    ),
    "health": ("Collect the health of the endpoint", "mde.offline.internal_playbook : Fail on findings"),
    "diagnose": ("Diagnose the endpoint", "mde.offline.internal_playbook : Fail on findings"),
    "preflight": ("Measure the requirements of the agent", "mde.offline.internal_playbook : Fail on findings"),
}


@pytest.fixture(params=[cores.LINES[0], cores.LINES[-1]])
def host(request: pytest.FixtureRequest, ansible: Ansible, tmp_path: Path) -> Ansible:
    """An endpoint without an agent, on which every task runs and none fails the host."""
    ansible.program = [str(cores.ansible_playbook(request.param))]
    ansible.hosts["endpoints"] = {
        "e": {
            "endpoint_mdatp": "/nowhere/mdatp",
            "endpoint_managed_file": str(tmp_path / "mdatp_managed.json"),
            "endpoint_mirror": "http://127.0.0.1:1",
            "endpoint_fail_on": "never",
        }
    }
    return ansible


def test_each_tag_that_is_documented_is_tested() -> None:
    page = (CHECKOUT / "docs" / "playbooks.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert {(playbook, tag) for playbook, tag in documented if playbook in ALWAYS} == set(PHASES)


@pytest.mark.parametrize(("playbook", "tag"), PHASES, ids=" ".join)
def test_a_tag_runs_its_phase_and_the_guards(host: Ansible, playbook: str, tag: str) -> None:
    state = "absent" if tag == "remove" else "present"
    run = host.playbook(f"mde.offline.{playbook}", "--tags", tag, mde_fail_on="never", endpoint_state=state)
    assert run.status == 0, run.output
    done = {line[6:].rstrip(" *").rstrip("]") for line in run.output.splitlines() if line.startswith("TASK [")}
    wanted = {GUARD, *PHASES[playbook, tag], *(ALWAYS[playbook] if tag != "remove" else ALWAYS[playbook][:1])}
    assert wanted - done == set(), run.output
    others = {task for key, tasks in PHASES.items() if key[0] == playbook for task in tasks} - wanted
    # A host on which something is wrong is measured to explain it.
    others -= {"mde.offline.endpoint : Measure the requirements of the agent"}
    assert others & done <= ({"mde.offline.endpoint : Collect the health of the host"} if tag == "preflight" else set())
