"""The whole role endpoint, run by ansible-core 2.16 with the Pythons of old hosts, in the C locale."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.agent import Agent, publish
from tests.support.ansible_runs import Ansible

DEFINITIONS = "1.450.1.0"


def test_the_role_from_nothing_to_proof_and_back(old_ansible: Ansible, tmp_path: Path) -> None:
    host, mirror = Agent(tmp_path / "Größe ☃ host", "--arch", "x86_64"), tmp_path / "Spiegel Größe"
    managed = host.managed_file
    publish(mirror, DEFINITIONS)
    variables = {
        "agent": str(host.command),
        "endpoint_managed_file": str(managed),
        "endpoint_record_file": str(host.record),
        "endpoint_mirror": str(mirror),
        "endpoint_enforcement_level": "real_time",
        "endpoint_config": {"antivirusEngine": {"scanArchives": False}},
        "endpoint_preflight": "always",
        # Requirements that the machine of the tests does not meet must not fail the role.
        "endpoint_fail_on": "never",
    }

    def play(*options: str, **more: str):
        content = {
            "name": "The role",
            "hosts": "localhost",
            "gather_facts": False,
            "environment": {"LANG": "C", "LC_ALL": "C"},
            "module_defaults": {
                "group/mde.offline.all": {"mdatp": "{{ agent }}", "timeout": 60},
                "mde.offline.definitions_update": {"wait": 20},
            },
            "roles": [{"role": "mde.offline.endpoint"}],
        }
        return old_ansible.playbook([content], *options, **{**variables, **more})

    def judged(results: list[dict]) -> list[str]:
        return next(result["msg"] for result in reversed(results) if isinstance(result.get("msg"), list))

    rehearsal = play("--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert not managed.exists()
    first = play("--diff")
    assert first.status == 0, first.output
    text = " ".join(judged(first.results))
    assert f"definitions {DEFINITIONS}" in text, text
    assert f"source {mirror}/linux/production" in " ".join(text.split())
    assert "not_installed" not in text
    written = json.loads(managed.read_text(encoding="utf-8"))
    assert written["antivirusEngine"]["offlineDefinitionUpdateUrl"] == f"{mirror}/linux/production"
    again = play()
    assert again.status == 0, again.output
    assert not any(result.get("changed") for result in again.results), again.output
    typo = play(endpoint_fail_on="sometimes")
    assert typo.status == 2
    assert "must be one of: error, warning, never" in typo.output
    gone = play(endpoint_state="absent")
    assert gone.status == 0, gone.output
    assert json.loads(managed.read_text(encoding="utf-8")) == {"antivirusEngine": {"enforcementLevel": "real_time"}}
