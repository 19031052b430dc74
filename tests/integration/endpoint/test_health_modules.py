"""health_info and definitions_update run by ansible-playbook, with a simulated agent and a mirror over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.agent import ENGINE, UpdatingAgent, ids


def test_from_an_update_to_a_healthy_host_and_back(agent: UpdatingAgent) -> None:
    agent.publish("1.450.1.0")
    predicted = agent.module("definitions_update", "--check", version="mirror")
    assert (predicted["changed"], predicted["after"]["definitions_version"]) == (True, "1.450.1.0")

    updated = agent.module("definitions_update", version="mirror")
    assert updated["changed"] is True
    assert updated["after"] == {"definitions_version": "1.450.1.0", "engine_version": ENGINE}
    assert agent.module("definitions_update", version="mirror")["changed"] is False

    # The simulated agent reports that it is licensed and healthy.
    good = agent.module("health_info", mirror_url=agent.url)
    assert good["healthy"] is True, good["findings"]
    assert good["findings"] == []
    assert good["changed"] is False
    assert good["mirror"]["definitions_version"] == "1.450.1.0"
    assert good["health"]["fields"]["definitions_update_source_uri"].startswith(agent.url.rstrip("/"))
    assert good["health"]["format"] == "json"

    agent.publish("1.450.2.0")
    assert ids(agent.module("health_info", mirror_url=agent.url)) == ["behind_mirror"]
    agent.simulate("break", "no_json")
    agent.simulate("break", "from_cloud")
    cloud = agent.module("health_info", mirror_url=agent.url)
    assert "source_not_mirror" in ids(cloud)
    assert (cloud["healthy"], cloud["health"]["format"]) == (False, "text")


def test_an_agent_that_cannot_be_asked_is_a_finding_here_and_a_failure_there(agent: UpdatingAgent) -> None:
    agent.publish("1.450.1.0")
    agent.simulate("break", "daemon_down")
    result = agent.module("health_info")
    assert (ids(result), result["failed"]) == (["daemon_unreachable"], False)
    failed = agent.module("definitions_update")
    assert failed["failed"] is True
    assert ids(failed) == ["daemon_unreachable"]


@pytest.mark.parametrize(
    ("state", "said"),
    [("update_hangs", "within 2 seconds"), ("update_fails", "failed"), ("update_without_effect", "1.450.1.0")],
)
def test_updates_that_do_not_work_fail_with_what_was_seen(agent: UpdatingAgent, state: str, said: str) -> None:
    agent.publish("1.450.1.0")
    agent.simulate("break", state)
    limit = 2 if state == "update_hangs" else 60
    result = agent.module("definitions_update", version="mirror", timeout=limit, wait=2)
    assert (result["failed"], result["changed"]) == (True, False)
    assert said in result["msg"]
    assert result["before"] == result["after"]


def test_health_that_lags_behind_the_command_is_waited_for(agent: UpdatingAgent) -> None:
    agent.publish("1.450.1.0")
    agent.simulate("break", "slow_health")
    result = agent.module("definitions_update", version="mirror", wait=60)
    assert (result["changed"], result["after"]["definitions_version"]) == (True, "1.450.1.0")


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("definitions_update", {"version": "newest"}, "newest"),
        ("health_info", {"timeout": 0}, "timeout"),
    ],
)
def test_wrong_options_are_named(agent: UpdatingAgent, module: str, arguments: dict[str, Any], said: str) -> None:
    result = agent.module(module, **arguments)
    assert result["failed"] is True
    assert said in result["msg"]
