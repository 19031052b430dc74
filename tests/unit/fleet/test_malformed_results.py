"""One host has a result that no module returns: its row reports this, and the rows of the other hosts are correct."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.filter.fleet_summary import FilterModule
from hypothesis import given
from hypothesis import strategies as st

fleet_summary = FilterModule().filters()["fleet_summary"]
WARNING = {"id": "behind_mirror", "severity": "warning", "message": "It has 1, the mirror 3.", "hint": "Wait."}
GOOD = {
    "health": {
        "fields": {
            "app_version": "101.26062.0005",
            "definitions_version": "1.443.508.0",
            "engine_version": "1.1.25110.3002",
            "definitions_updated_minutes_ago": 7,
            "definitions_status": "up_to_date",
            "definitions_update_source_uri": "http://mirror/linux/production/",
        }
    },
    "findings": [WARNING],
}
CHANNEL = {
    "platform": "linux",
    "channel": "production",
    "arch": "x86_64",
    "definitions_version": "1.443.508.0",
    "engine_version": "1.1.25110.3002",
    "age_seconds": 7200,
    "held": None,
}
MIRROR = {
    "mirror": {
        "root": "/srv/mde-mirror",
        "channels": [CHANNEL],
        "last_sync": {"units": [], "errors": []},
        "last_success": "2999-02-03T09:00:00Z",
    }
}


def summed(odd: Any, odd_mirror: Any = MIRROR) -> dict[str, Any]:
    """The summary of a malformed host and a malformed mirror together with good ones."""
    hostvars = {
        "odd": {"mde_health": odd},
        "good": {"mde_health": GOOD},
        "odd-mirror": {"mde_mirror": odd_mirror},
        "good-mirror": {"mde_mirror": MIRROR},
    }
    return dict(fleet_summary(hostvars, ["good", "odd"], ["good-mirror", "odd-mirror"]))


def row(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def line(summary: dict[str, Any], name: str) -> str:
    return next(text for text in summary["lines"] if text.startswith(f"{name} "))


EXPECTED = summed(GOOD)


def assert_others_are_whole(summary: dict[str, Any]) -> None:
    assert row(summary["hosts"], "good") == row(EXPECTED["hosts"], "good")
    assert row(summary["mirrors"], "good-mirror") == row(EXPECTED["mirrors"], "good-mirror")
    assert line(summary, "good").split() == line(EXPECTED, "good").split()
    assert line(summary, "good-mirror").split() == line(EXPECTED, "good-mirror").split()
    assert any("good" in group["hosts"] for group in summary["findings"] if group["id"] == "behind_mirror")
    assert sum(text.startswith("odd ") for text in summary["lines"]) == 1
    assert len(line(summary, "odd")) < 200
    assert not any("\n" in text or not text.isprintable() for text in summary["lines"])
    json.dumps(summary, allow_nan=False, ensure_ascii=False).encode("utf-8")


def health(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "health": {"fields": {**GOOD["health"]["fields"], **fields}}}  # type: ignore[dict-item]


def having(*findings: Any) -> dict[str, Any]:
    return {**GOOD, "findings": list(findings)}


class Unreadable(dict[str, Any]):
    """Raises an error when a value is read, like a variable that ansible-core cannot template."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no value")


def nested(depth: int) -> Any:
    return {"more": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("text", "The result is a string, not a mapping"),
        ([1], "The result is a list, not a mapping"),
        (7, "The result is an integer, not a mapping"),
        (True, "The result is a boolean, not a mapping"),
        (Unreadable(GOOD), "health cannot be read (RuntimeError)"),
        ({**GOOD, "health": "text"}, "health is a string, not a mapping"),
        ({**GOOD, "health": {"fields": [1]}}, "health.fields is a list, not a mapping"),
        ({**GOOD, "health": {"fields": Unreadable(x=1)}}, "app_version cannot be read (RuntimeError)"),
        (health(app_version=["x"]), "health.fields.app_version is a list, not a string"),
        (health(app_version=True), "app_version is a boolean, not a string"),
        (health(app_version="101\nGOOD x"), "app_version is not one short line of printable characters"),
        (health(app_version="101\u2028x"), "app_version is not one short line of printable characters"),
        (health(app_version="101\x1b[31m"), "app_version is not one short line of printable characters"),
        (health(app_version="101\u202e"), "app_version is not one short line of printable characters"),
        (health(app_version="\ud800"), "app_version is not one short line of printable characters"),
        (health(app_version="1" * 5000), "app_version is not one short line of printable characters"),
        (health(definitions_version={"a": 1}), "health.fields.definitions_version is a mapping, not a string"),
        (health(engine_version=1.1), "health.fields.engine_version is a number, not a string"),
        (health(definitions_update_source_uri=["x"]), "definitions_update_source_uri is a list, not a string"),
        (health(definitions_updated_minutes_ago="7"), "definitions_updated_minutes_ago is a string, not a number"),
        (health(definitions_updated_minutes_ago=True), "definitions_updated_minutes_ago is a boolean, not a number"),
        (health(definitions_updated_minutes_ago=7.5), "definitions_updated_minutes_ago is a number, not an integer"),
        (health(definitions_updated_minutes_ago=10**5000), "definitions_updated_minutes_ago is a number out of range"),
        (health(definitions_updated_minutes_ago=float("nan")), "minutes_ago is a number out of range"),
        ({**GOOD, "findings": "abc"}, "findings is a string, not a list"),
        ({**GOOD, "findings": {"id": "x"}}, "findings is a mapping, not a list"),
        (having(1), "findings[0] is an integer, not a mapping"),
        (having(WARNING, None), "findings[1] is null, not a mapping"),
        (having({"id": "x"}), "findings[0].severity is not one of error, warning, info"),
        (having({**WARNING, "severity": "critical"}), "findings[0].severity is not one of error, warning, info"),
        (having({**WARNING, "severity": ["error"]}), "findings[0].severity is not one of error, warning, info"),
        (having({**WARNING, "id": 7}), "findings[0].id is an integer, not a string"),
        (having({**WARNING, "id": "x\n\nFAKE ROW OK"}), "findings[0].id is not one short line"),
        (having({**WARNING, "id": None}), "findings[0].id is missing or not a string"),
        (having({**WARNING, "message": ["x"]}), "findings[0].message is a list, not a string"),
        (having({**WARNING, "hint": 7}), "findings[0].hint is an integer, not a string"),
        (having({**WARNING, "evidence": nested(50)}), "is nested too deeply"),
        (having({**WARNING, "evidence": {1, 2}}), "findings[0].evidence is of type set"),
        (having({**WARNING, "evidence": ["x"] * 100_000}), "is where the result becomes too large"),
        (having(*[{**WARNING, "id": f"x{number}"} for number in range(1000)]), "findings has 1000 entries"),
    ],
)
def test_an_odd_endpoint_is_one_odd_row(odd: Any, said: str) -> None:
    summary = summed(odd)
    assert_others_are_whole(summary)
    host = row(summary["hosts"], "odd")
    assert host["verdict"] == "error"
    malformed = [finding for finding in host["findings"] if finding["id"] == "result_malformed"]
    assert len(malformed) == 1
    assert said in malformed[0]["message"]
    assert "result_malformed" in "\n".join(summary["lines"])


def status(**changes: Any) -> dict[str, Any]:
    return {"mirror": {**MIRROR["mirror"], **changes}}


def serving(**changes: Any) -> dict[str, Any]:
    return status(channels=[{**CHANNEL, **changes}])


def synced(*units: Any, errors: Any = ()) -> dict[str, Any]:
    return status(last_sync={"units": list(units), "errors": errors})


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ([MIRROR], "The result is a list, not a mapping"),
        ({"mirror": "text"}, "mirror is a string, not a mapping"),
        (status(root=["/srv"]), "mirror.root is a list, not a string"),
        (status(channels={"a": 1}), "mirror.channels is a mapping, not a list"),
        (status(channels=[1]), "mirror.channels[0] is an integer, not a mapping"),
        (serving(platform=1), "mirror.channels[0].platform is an integer, not a string"),
        (serving(channel="a\nFAKE ROW"), "mirror.channels[0].channel is not one short line"),
        (serving(definitions_version=[1]), "mirror.channels[0].definitions_version is a list, not a string"),
        (serving(age_seconds="old"), "mirror.channels[0].age_seconds is a string, not a number"),
        (serving(age_seconds=10**400), "mirror.channels[0].age_seconds is a number out of range"),
        (serving(held="yes"), "mirror.channels[0].held is a string, not a mapping"),
        (serving(held={"reason": 1}), "mirror.channels[0].held.reason is an integer, not a string"),
        (status(last_success=7), "mirror.last_success is an integer, not a string"),
        (status(last_sync="never"), "mirror.last_sync is a string, not a mapping"),
        (synced(1), "mirror.last_sync.units[0] is an integer, not a mapping"),
        (synced({"error": "text"}), "mirror.last_sync.units[0].error is a string, not a mapping"),
        (synced({"error": {"message": 7}}), "mirror.last_sync.units[0].error.message is an integer, not a string"),
        (synced(errors="text"), "mirror.last_sync.errors is a string, not a list"),
        (synced(errors=[{"message": "x", "hint": []}]), "mirror.last_sync.errors[0].hint is a list, not a string"),
    ],
)
def test_an_odd_mirror_is_one_odd_row(odd: Any, said: str) -> None:
    summary = summed(GOOD, odd)
    assert_others_are_whole(summary)
    mirror = row(summary["mirrors"], "odd-mirror")
    assert mirror["verdict"] == "error"
    assert [said in finding["message"] for finding in mirror["findings"] if finding["id"] == "result_malformed"] == [
        True
    ]


@pytest.mark.parametrize(
    "plain",
    [
        GOOD,
        health(app_version=None, definitions_updated_minutes_ago=None),
        health(made_up=10**50, other=["x"] * 50, text="y" * 50_000),
        {**GOOD, "health": {"fields": {}}},
        {**GOOD, "health": None},
        {**GOOD, "raw": "z" * 1_000_000, "more": nested(50)},
        having({**WARNING, "message": "Two lines:\n\tsays \x1b[31m", "evidence": ["a", "b"]}),
        having(),
    ],
)
def test_what_modules_do_return_is_not_odd(plain: Any) -> None:
    summary = summed(plain)
    assert_others_are_whole(summary)
    assert "result_malformed" not in [finding["id"] for finding in row(summary["hosts"], "odd")["findings"]]


def test_everything_else_that_a_module_says_of_a_finding_is_kept() -> None:
    summary = summed(having({**WARNING, "evidence": ["app_version: 101"], "more": {"a": [1, 2.5, None, True]}}))
    finding = row(summary["hosts"], "odd")["findings"][0]
    assert finding == {
        **WARNING,
        "host": "odd",
        "evidence": ["app_version: 101"],
        "more": {"a": [1, 2.5, None, True]},
    }


class UnreadableHosts(Mapping[str, Any]):
    """The variables of the hosts. Those of one host cannot be templated."""

    def __init__(self, hosts: dict[str, Any]) -> None:
        self.hosts = hosts

    def __getitem__(self, name: str) -> Any:
        if name == "odd":
            raise RuntimeError("recursive loop")
        return self.hosts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)


def test_variables_that_cannot_be_read_are_one_odd_row() -> None:
    hosts = UnreadableHosts({"odd": {}, "good": {"mde_health": GOOD}})
    summary = fleet_summary(hosts, ["odd", "good"])
    assert row(summary["hosts"], "good") == row(EXPECTED["hosts"], "good")
    assert [finding["id"] for finding in row(summary["hosts"], "odd")["findings"]] == ["result_malformed"]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def replaced(base: Any) -> st.SearchStrategy[Any]:
    """The base, with some values at any depth replaced by arbitrary JSON."""
    if isinstance(base, dict):
        return ANY_JSON | st.fixed_dictionaries({key: st.just(value) | replaced(value) for key, value in base.items()})
    if isinstance(base, list):
        return ANY_JSON | st.lists(st.sampled_from(base).flatmap(replaced) if base else ANY_JSON, max_size=3)
    return ANY_JSON | st.just(base)


@given(odd=replaced(GOOD), odd_mirror=replaced(MIRROR))
def test_whatever_a_host_returns_the_others_are_whole(odd: Any, odd_mirror: Any) -> None:
    summary = summed(odd, odd_mirror)
    assert_others_are_whole(summary)
    assert len(summary["hosts"]) == len(summary["mirrors"]) == 2
