"""The variables of the playbooks beyond their types: misspelled names, and values out of range."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.plugin_utils._roles.playbook_variables import problems

TAKEN: dict[str, Any] = {
    "mde_endpoints": ["endpoints"],
    "mde_mirrors": ["mirrors"],
    "mde_serial": ["100%"],
    "mde_max_fail_percentage": 100.0,
    "mde_connectivity_test": True,
    "mde_fail_on": "error",
    "mde_report": "",
}


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("mde_seriall", 5, "mde_serial"),
        ("mde_endpoint", "web", "mde_endpoints"),
        ("mde_mirror", "m1", "mde_mirrors"),
        ("mde_failon", "never", "mde_fail_on"),
        ("mde_max_fail", 10, "mde_max_fail_percentage"),
        ("mde_connectivity", False, "mde_connectivity_test"),
        # Names of results, or of the user.
        ("mde_mirror", {"mirror": {}}, None),
        ("mde_health", {"findings": []}, None),
        ("mde_serial", 5, None),
        ("mde_thing", 5, None),
        ("mde_", 5, None),
        ("mde", 5, None),
        ("serial", 5, None),
    ],
)
def test_names_that_are_close_to_a_variable_are_refused(name: str, value: Any, meant: str | None) -> None:
    advice = f"No playbook has the variable {name}. Set {meant} instead, or choose another name."
    assert problems(TAKEN, {**TAKEN, name: value}) == ([advice] if meant else [])


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("mde_serial", ["1", "10%", "100%"], None),
        ("mde_serial", ["0"], "The value is '0'."),
        ("mde_serial", ["5", "101%"], "The value is '101%'."),
        ("mde_serial", ["all"], "a number of endpoints from 1, a percentage from 1% to 100%, or a list of these"),
        ("mde_max_fail_percentage", 0.0, None),
        ("mde_max_fail_percentage", 100.5, "has to be from 0 to 100. The value is 100.5."),
        ("mde_max_fail_percentage", -1.0, "has to be from 0 to 100"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: Any, problem: str | None) -> None:
    found = problems({**TAKEN, name: value}, {})
    assert len(found) == (1 if problem else 0)
    assert (problem or "") in " ".join(found)


def test_variables_that_could_not_be_taken_are_not_judged() -> None:
    assert problems({}, {"mde_serial": "all"}) == []
