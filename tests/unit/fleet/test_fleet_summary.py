"""The results of many hosts as one structure and one text: every host has a row, the worst findings come first."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.filter.fleet_summary import FilterModule
from ansible_collections.mde.offline.plugins.plugin_utils._fleet import lines, summary

fleet_summary = FilterModule().filters()["fleet_summary"]
NOW = "2026-02-03T09:30:00Z"
MIRROR = "http://mirror/linux/production/"


def finding(name: str, severity: str = "error", message: str = "It is so.", hint: str = "Fix it.") -> dict[str, str]:
    return {"id": name, "severity": severity, "message": message, "hint": hint}


def endpoint(*findings: dict[str, str], **fields: Any) -> dict[str, Any]:
    known = {
        "app_version": "101.26062.0005",
        "definitions_version": "1.443.508.0",
        "definitions_updated_minutes_ago": 7,
        "definitions_update_source_uri": MIRROR,
    }
    return {"health": {"fields": {**known, **fields}}, "findings": list(findings)}


def channel(arch: str = "x86_64", **changes: Any) -> dict[str, Any]:
    return {
        "platform": "linux",
        "channel": "production",
        "arch": arch,
        "definitions_version": "1.443.508.0",
        "engine_version": "1.1.25110.3002",
        "age_seconds": 7200,
        "held": None,
        **changes,
    }


def mirror(*channels: dict[str, Any], **changes: Any) -> dict[str, Any]:
    status = {
        "root": "/srv/mde-mirror",
        "channels": list(channels) or [channel()],
        "last_sync": {"units": [], "errors": []},
        "last_success": "2026-02-03T09:00:00Z",
        **changes,
    }
    return {"mirror": status}


def summed(endpoints: dict[str, Any], mirrors: dict[str, Any] | None = None) -> dict[str, Any]:
    return summary.summarise(endpoints, mirrors or {}, NOW)


def ids(entry: dict[str, Any]) -> list[str]:
    return [found["id"] for found in entry["findings"]]


def test_a_fleet_without_faults_is_ok() -> None:
    found = summed({"web1": endpoint(), "web2": endpoint()}, {"m": mirror(channel(), channel("arm64"))})
    assert found["verdict"] == "ok"
    assert found["findings"] == []
    assert found["totals"]["endpoints_ok"] == 2
    assert found["totals"]["mirrors_ok"] == 1
    assert found["hosts"][0]["source"] == MIRROR
    assert found["mirrors"][0]["channels"][1]["arch"] == "arm64"


@pytest.mark.parametrize(
    ("result", "answer", "finding_id"),
    [
        ({"unreachable": True, "msg": "no route to host"}, "unreachable", "host_unreachable"),
        ({"msg": "no python here", "failed": False}, "failed", "check_failed"),
        ({"msg": "no python here", "health": None}, "failed", "check_failed"),
        (None, "none", "not_checked"),
        ({}, "none", "not_checked"),
    ],
)
def test_a_host_that_does_not_answer_is_named(result: dict[str, Any] | None, answer: str, finding_id: str) -> None:
    found = summed({"web": result}, {"m": result})
    for entry in (found["hosts"][0], found["mirrors"][0]):
        assert (entry["answer"], entry["verdict"], ids(entry)) == (answer, "error", [finding_id])
    text = "\n".join(lines.lines(found))
    assert "web" in text
    if result and result.get("msg"):
        assert result["msg"] in text


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [((), "ok"), (("info",), "ok"), (("info", "warning"), "warning"), (("warning", "error"), "error")],
)
def test_the_worst_finding_is_the_verdict(severities: tuple[str, ...], verdict: str) -> None:
    found = summed({"web": endpoint(*(finding(f"x_{name}", name) for name in severities)), "fine": endpoint()})
    assert found["hosts"][1]["verdict"] == verdict
    assert found["verdict"] == verdict
    assert found["hosts"][0]["verdict"] == "ok"


def test_a_host_without_health_keeps_its_findings() -> None:
    found = summed({"web": {"health": {"fields": {}}, "findings": [finding("not_installed")]}})
    assert (found["hosts"][0]["answer"], ids(found["hosts"][0])) == ("yes", ["not_installed"])


def test_the_same_advice_is_given_once_with_all_hosts_and_messages() -> None:
    found = summed(
        {
            "web2": endpoint(finding("behind_mirror", "warning", "It has 1, the mirror 3.", "Wait.")),
            "web10": endpoint(finding("behind_mirror", "warning", "It has 2, the mirror 3.", "Wait.")),
            "web1": endpoint(finding("daemon_unreachable", message="No daemon.", hint="Start it.")),
        }
    )
    assert [(group["id"], group["hosts"]) for group in found["findings"]] == [
        ("daemon_unreachable", ["web1"]),
        ("behind_mirror", ["web2", "web10"]),
    ]
    shown = lines.lines(found)
    assert sum("Wait." in line for line in shown) == 1
    assert any("web2: It has 1, the mirror 3." in line for line in shown)
    assert any("web10: It has 2, the mirror 3." in line for line in shown)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (mirror(last_success=None), {"mirror_not_synced": "warning"}),
        (mirror(last_success="2026-02-01T09:00:00Z"), {"mirror_not_synced": "error"}),
        (mirror(channel(age_seconds=80 * 3600)), {"mirror_definitions_old": "warning"}),
        (mirror(channel(age_seconds=200 * 3600)), {"mirror_definitions_old": "error"}),
        # The limits that the mirror itself reports have precedence.
        (mirror(channel(age_seconds=80 * 3600, max_definitions_age_hours=168)), {}),
        (mirror(channel(age_seconds=30 * 3600, max_definitions_age_hours=24.0)), {"mirror_definitions_old": "warning"}),
        (mirror(channel(age_seconds=200 * 3600, max_definitions_age_hours=180)), {"mirror_definitions_old": "error"}),
        (mirror(channel(age_seconds=900 * 3600, max_definitions_age_hours=0)), {}),
        (mirror(channel(definitions_version=None)), {"release_gone": "error"}),
        (mirror(channel(held={"reason": "bad release"})), {"channel_held": "warning"}),
        (mirror(channels=[], last_success=None), {"mirror_empty": "error"}),
        (
            mirror(
                last_sync={
                    "units": [
                        {
                            "platform": "linux",
                            "channel": "production",
                            "arch": "arm64",
                            "error": {"code": "timeout", "message": "no progress", "hint": "Try later."},
                        }
                    ],
                    "errors": [{"code": "disk_full", "message": "no space", "hint": "Make some."}],
                }
            ),
            {"mirror_sync_failed": "error"},
        ),
    ],
)
def test_what_is_wrong_with_a_mirror(result: dict[str, Any], expected: dict[str, str]) -> None:
    found = summed({}, {"m": result})
    assert {entry["id"]: entry["severity"] for entry in found["mirrors"][0]["findings"]} == expected


def test_hosts_are_sorted_as_people_count() -> None:
    found = summed({name: endpoint() for name in ("web10", "web9", "db1", "10", "9")})
    assert [host["name"] for host in found["hosts"]] == ["9", "10", "db1", "web9", "web10"]


def test_the_text_of_a_large_fleet_is_short_and_has_every_host_with_a_fault() -> None:
    fleet = {f"host{number}": endpoint() for number in range(3000)}
    fleet["host1777"] = endpoint(finding("agent_too_old"))
    found = summed(fleet)
    shown = lines.lines(found)
    assert len(shown) < 2 * lines.SHOWN_OK_HOSTS
    assert any(line.startswith("host1777 ") for line in shown)
    assert any("2799 more endpoints that are ok" in line for line in shown)
    assert "3000 endpoints: 2999 ok, 1 with errors" in shown


def test_many_different_messages_do_not_flood_the_screen() -> None:
    found = summed({f"host{number}": endpoint(finding("x", message=f"number {number}")) for number in range(500)})
    assert len([line for line in lines.lines(found) if "number " in line]) == lines.SHOWN_NAMES


def test_lines_survive_ansibles_yaml_output() -> None:
    yaml = pytest.importorskip("yaml")
    words = "word " * 60
    found = summed({"a": endpoint(finding("x", message=words, hint=words)), "b": endpoint()}, {"m": mirror()})
    shown = lines.lines(found)
    assert yaml.safe_dump(shown, allow_unicode=True).count("\n") == len(shown)


def test_filter_takes_hostvars_and_reports_hosts_without_result() -> None:
    hostvars = {"web1": {"mde_health": endpoint()}, "web2": {}, "m": {"mde_mirror": mirror()}, "other": {}}
    found = fleet_summary(hostvars, ["web1", "web2", "gone"], ["m"])
    answers = {host["name"]: host["answer"] for host in found["hosts"]}
    assert answers == {"gone": "none", "web1": "yes", "web2": "none"}
    assert found["mirrors"][0]["answer"] == "yes"
    assert found["lines"] == lines.lines(found)


def test_filter_takes_other_variables() -> None:
    found = fleet_summary({"web": {"mine": endpoint()}}, ["web"], endpoint_result="mine")
    assert found["hosts"][0]["verdict"] == "ok"


@pytest.mark.parametrize("arguments", [([], ["web"]), ({}, "web"), ({}, [], "web")])
def test_filter_refuses_what_it_cannot_use(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AnsibleFilterError, match="fleet_summary takes"):
        fleet_summary(*arguments)
