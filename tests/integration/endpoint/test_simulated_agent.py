"""The output of the simulated agent, parsed by the collection: each version, and the finding of each state."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import (
    health_parser,
    health_report,
    health_rules,
)
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.update import Update
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError

from simulators.mdatp import EVENTS, STATES
from tests.support.agent import UpdatingAgent

VERSIONS = ["101.02.55", "101.85.27", "101.23062.0010", "101.24022.0001", "101.25032.0000", "101.26062.0005"]
# The finding of each state; None: a health record cannot show the state.
EXPECTED = {
    "daemon_down": "daemon_unreachable",
    "unlicensed": "not_licensed",
    "expired": "agent_expired",
    "health_hangs": "mdatp_hangs",
    "update_hangs": None,
    "update_without_effect": None,
    "update_fails": "update_failed",
    "slow_health": None,
    "passive": "passive_mode",
    "engine_not_loaded": "engine_not_loaded",
    "engine_not_available": "unhealthy",
    "rtp_unavailable": "unhealthy",
    "log_folder_permissions": "unhealthy",
    "conflicting_application": "conflicting_applications",
    "managed_config_ignored": "managed_config_not_applied",
    "mirror_unreachable": "update_failed",
    "silent_cloud_fallback": "source_not_mirror",
    "tls_inspection": None,
    "no_json": None,
    "messages_on_stderr": None,
    "noise_on_stderr": None,
    "wrapped_values": None,
    "definitions_stale": "definitions_stale",
    "definitions_out_of_date": "definitions_stale",
    "definitions_unavailable": "definitions_unavailable",
    "definitions_updating": "unhealthy",
    "from_cloud": "source_not_mirror",
}


class Host(UpdatingAgent):
    """An endpoint that follows a mirror in a folder with a long name."""

    def __init__(self, folder: Path, version: str = VERSIONS[-1]) -> None:
        mirror = folder / ("mirror-" * 9)
        self.ring = mirror / "linux" / "production"
        super().__init__(folder, mirror, str(self.ring), "--version", version)
        self.publish("1.450.1.0")
        self.configure(offlineDefinitionUpdate="enabled", offlineDefinitionUpdateUrl=self.url)

    def configure(self, automatic: bool = True, **antivirus: Any) -> None:
        always = {"enforcementLevel": "real_time", "offlineDefinitionUpdateFallbackToCloud": False}
        self.manage({**always, **antivirus}, cloudService={"automaticDefinitionUpdateEnabled": automatic})

    def sim(self, *arguments: str) -> None:
        """Runs the command mdatp-sim, which the simulator installs."""
        subprocess.run([str(self.root / "usr/bin/mdatp-sim"), *arguments], check=True, stdout=subprocess.DEVNULL)

    def agent(self, timeout: int = 30) -> Mdatp:
        return Mdatp(path=str(self.command), timeout=timeout)

    def output(self, *arguments: str) -> str:
        return self.run("health", *arguments)

    def look(self, timeout: int = 30) -> tuple[dict[str, Any], dict[str, str]]:
        """The health record, and the findings as id -> message."""
        record, trouble = health_report.read_health(self.agent(timeout))
        published, unread = health_report.read_mirror(record)
        found = health_report.judge(record, trouble + unread, published)
        return record, {entry["id"]: entry["message"] for entry in found}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    assert made.agent().definitions_update()["rc"] == 0
    return made


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("licence", ["licensed", "unlicensed"])
def test_text_and_json_make_the_same_record(tmp_path: Path, version: str, licence: str) -> None:
    host = Host(tmp_path, version)
    url = "http://mirror.example:8000/linux/production/"
    host.configure(offlineDefinitionUpdateUrl=url, behaviorMonitoring="enabled")
    host.sim("set", "definitions_updated=2026-02-03T12:04:05Z")  # a whole second, because the text shows no fractions
    host.sim("set", "product_expiration=2030-01-01T00:00:00Z", "clock=2026-02-04T00:00:00Z")
    if licence == "unlicensed":
        host.sim("break", "unlicensed")
    for arguments in ([], ["--details", "definitions"]):
        table, document = (
            health_parser.parse(host.output(*arguments)),
            health_parser.parse(host.output(*arguments, "--output", "json")),
        )
        assert (table["format"], document["format"]) == ("text", "json")
        assert table["fields"]
        assert table["fields"] == {name: document["fields"][name] for name in table["fields"]}
        assert table["managed"] == document["managed"]
        expected = [line for line in host.output(*arguments).splitlines() if line.startswith("ATTENTION")]
        assert table["notices"] == document["notices"] == expected
        assert bool(expected) == (licence == "unlicensed")
        assert table["fields"]["definitions_version"] == "1.445.553.0"
        assert table["fields"]["definitions_updated"] == "2026-02-03T12:04:05Z"


@pytest.mark.parametrize("version", VERSIONS[3:])
def test_a_host_as_it_should_be_has_no_findings(tmp_path: Path, version: str) -> None:
    host = Host(tmp_path, version)
    host.configure(offlineDefinitionUpdate="enabled", offlineDefinitionUpdateUrl=str(host.ring))
    assert "behind_mirror" in host.look()[1]
    assert host.agent().definitions_update()["rc"] == 0
    record, found = host.look()
    assert set(found) <= {"signature_check_off"}  # disabled by default before 101.26062.0005
    assert record["fields"]["definitions_version"] == "1.450.1.0"
    assert record["fields"]["definitions_update_source_uri"] == str(host.ring)


@pytest.mark.parametrize("state", sorted({**STATES, **EVENTS}))
def test_every_state_has_its_finding(host: Host, state: str) -> None:
    before, none = host.look()
    assert none == {}
    # JSON also has rows that text does not show, and fractions of a second.
    shown = health_parser.parse(host.output())["fields"]
    shown.update(health_parser.parse(host.output("--details", "definitions"))["fields"])
    shown["definitions_updated_minutes_ago"] = 0
    assert set(shown) <= set(before["fields"])
    host.sim("break", state)
    if state in ("update_fails", "mirror_unreachable"):
        assert host.agent().definitions_update()["rc"] != 0
    record, found = host.look(timeout=2 if state == "health_hangs" else 30)
    if EXPECTED[state]:
        assert EXPECTED[state] in found
    else:
        assert found == {}
        fields = dict(record["fields"], definitions_updated_minutes_ago=0)
        assert {name: fields[name] for name in shown} == shown
        assert record["format"] == ("text" if state == "no_json" else "json")


def test_messages_on_stderr_are_understood(host: Host) -> None:
    host.sim("break", "messages_on_stderr", "daemon_down")
    assert set(host.look()[1]) == {"daemon_unreachable"}
    host.sim("repair", "daemon_down")
    host.sim("break", "unlicensed")
    assert "not_licensed" in host.look()[1]


def test_a_hanging_update_is_named(host: Host) -> None:
    host.sim("break", "update_hangs")
    with pytest.raises(FindingError) as caught:
        host.agent().definitions_update(timeout=1)
    assert caught.value.id == "mdatp_hangs"


def test_an_update_without_effect_is_not_called_a_success(host: Host) -> None:
    host.publish("1.450.2.0")
    host.sim("break", "update_without_effect")
    result = Update(host.agent(), wait=2, version="mirror").run()
    assert (result["failed"], result["changed"]) == (True, False)
    assert "behind_mirror" in [entry["id"] for entry in result["findings"]]


def test_the_update_waits_for_rows_that_lag_behind(host: Host) -> None:
    host.publish("1.450.2.0")
    host.sim("break", "slow_health")
    result = Update(host.agent(), wait=60).run()
    assert (result["failed"], result["changed"]) == (False, True)
    assert result["after"]["definitions_version"] == "1.450.2.0"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"automatic": False}, "automatic_updates_disabled"),
        ({"offlineDefinitionUpdate": "disabled"}, "offline_updates_disabled"),
        ({"offlineDefinitionUpdateUrl": "http://127.0.0.1:1/linux/production/arch_x86_64/"}, "url_contains_arch"),
        ({"offlineDefinitionUpdateUrl": "http://127.0.0.1:1/linux/production/"}, "source_not_mirror"),
        ({"offlineDefinitionUpdateFallbackToCloud": True}, "fallback_to_cloud_enabled"),
        ({"enforcementLevel": "on_demand"}, "passive_mode"),
        ({"enforcementLevel": "passive"}, "passive_mode"),
    ],
)
def test_a_risky_configuration_has_its_finding(host: Host, changes: dict[str, Any], expected: str) -> None:
    right = {"offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateUrl": str(host.ring)}
    host.configure(**{**right, **changes})
    assert expected in host.look()[1]


def test_another_mirror_than_expected_is_named(host: Host) -> None:
    record, _found = host.look()
    found = health_rules.health_findings(record, mirror_url="http://mirror.example/linux/production/")
    assert "mirror_url_differs" in [entry["id"] for entry in found]


def test_an_agent_without_the_feature_is_called_too_old(tmp_path: Path) -> None:
    assert "agent_too_old" in Host(tmp_path, "101.23062.0010").look()[1]
