"""The role endpoint twice in one play with different values: whole, by tag, in check mode; no password is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import cores
from tests.support.ansible_runs import Ansible, Run

SECRET = "hunter2"


class Twice:
    """One host without an agent; each use of the role has a managed configuration of its own."""

    def __init__(self, ansible: Ansible, folder: Path) -> None:
        self.ansible = ansible
        self.files = [folder / name / "mdatp_managed.json" for name in ("first", "second")]
        common = {
            "endpoint_mdatp": "/nowhere/mdatp",
            "endpoint_mirror": "http://127.0.0.1:1",
            "endpoint_mirror_check": False,
            "endpoint_fail_on": "never",
        }
        ansible.hosts["endpoints"] = {"e": {**common, "endpoint_update": False}}
        # As text, as surveys give it.
        self.values: list[dict[str, Any]] = [
            {
                "endpoint_update_interval": "7200",
                "endpoint_fallback_to_cloud": "yes",
                "endpoint_config": {"cloudService": {"proxy": f"http://user:{SECRET}@proxy:8080/"}},
                "endpoint_accept": {"proxy_credentials": "The proxy of the test has no other way."},
                "endpoint_preflight": "never",
            },
            {"endpoint_channel": "pilot", "endpoint_verify_signature": "false", "endpoint_preflight": "auto"},
        ]

    def run(self, *options: str, **variables: Any) -> Run:
        tasks: list[dict[str, Any]] = [{"ansible.builtin.set_fact": {"remembered": True, "cacheable": True}}]
        for path, values in zip(self.files, self.values):
            use = {"ansible.builtin.include_role": {"name": "mde.offline.endpoint"}, "tags": ["always"]}
            tasks.append(
                {
                    **use,
                    "vars": {
                        **values,
                        "endpoint_managed_file": str(path),
                        "endpoint_record_file": str(path.with_name("record.json")),
                    },
                }
            )
        play = {"hosts": "endpoints", "gather_facts": False, "tasks": tasks}
        return self.ansible.playbook([play], *options, **variables)

    def written(self) -> list[dict[str, Any] | None]:
        return [json.loads(path.read_text(encoding="utf-8")) if path.exists() else None for path in self.files]


@pytest.fixture(params=[cores.LINES[0], cores.LINES[-1]])
def twice(request: pytest.FixtureRequest, ansible: Ansible, tmp_path: Path) -> Twice:
    ansible.use_core(request.param)
    return Twice(ansible, tmp_path)


def test_each_use_has_its_own_values(twice: Twice, tmp_path: Path) -> None:
    cache = tmp_path / "facts"
    twice.ansible.environment.update(ANSIBLE_CACHE_PLUGIN="jsonfile", ANSIBLE_CACHE_PLUGIN_CONNECTION=str(cache))

    rehearsal = twice.run("--check", "--diff", "-vvv")
    assert rehearsal.status == 0, rehearsal.output
    assert rehearsal.recap["e"].changed == 2
    assert twice.written() == [None, None]

    whole = twice.run("--diff", "-vvv")
    assert whole.status == 0, whole.output
    first, second = twice.written()
    assert first == {
        "antivirusEngine": {
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateFallbackToCloud": True,
            "offlineDefinitionUpdateUrl": "http://127.0.0.1:1/linux/production/",
        },
        "cloudService": {
            "automaticDefinitionUpdateEnabled": True,
            "definitionUpdatesInterval": 7200,
            "proxy": f"http://user:{SECRET}@proxy:8080/",
        },
        "features": {"offlineDefinitionUpdateVerifySig": "enabled"},
    }
    assert second == {
        "antivirusEngine": {
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateFallbackToCloud": False,
            "offlineDefinitionUpdateUrl": "http://127.0.0.1:1/linux/pilot/",
        },
        "cloudService": {"automaticDefinitionUpdateEnabled": True},
    }
    # Only the second use measured the requirements, and reports what is missing.
    verdicts = whole.output.split("Verify that the host updates from the mirror] *")[1:]
    assert len(verdicts) == 2
    cached = "".join(path.read_text(encoding="utf-8") for path in cache.iterdir())
    assert "remembered" in cached
    assert SECRET not in rehearsal.output + whole.output + cached

    again = twice.run()
    assert (again.status, again.recap["e"].changed) == (0, 0), again.output


def test_a_tag_selects_the_same_in_each_use(twice: Twice) -> None:
    verified = twice.run("--tags", "verify")
    assert verified.status == 0, verified.output
    assert twice.written() == [None, None]
    assert verified.output.count("Verify that the host updates from the mirror] *") == 2

    configured = twice.run("--tags", "configure")
    assert configured.status == 0, configured.output
    assert None not in twice.written()

    removed = twice.run("--tags", "remove", endpoint_state="absent")
    assert removed.status == 0, removed.output
    assert [sorted(content or {}) for content in twice.written()] == [[], []]


def test_a_value_that_is_not_valid_is_named_without_the_others(twice: Twice) -> None:
    twice.values[1]["endpoint_update_timeout"] = "soon"
    twice.values[1]["endpoint_config"] = twice.values[0]["endpoint_config"]
    refused = twice.run("-vvv")
    assert refused.status == 2, refused.output
    assert twice.written()[0] is not None
    assert twice.written()[1] is None
    assert "endpoint_update_timeout" in refused.output
    assert SECRET not in refused.output
