"""Recorded settings that a configuration no longer contains, and the values of them that are shown."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import merge, record

SECTIONS = {"a": {"x": 1, "y": {"z": [1]}}, "b": True}


@pytest.mark.parametrize(
    ("recorded", "desired", "left"),
    [
        ({}, SECTIONS, {}),
        (SECTIONS, SECTIONS, {}),
        (SECTIONS, {}, SECTIONS),
        (SECTIONS, {"a": {"x": 2, "y": {"z": []}}, "b": False}, {}),
        (SECTIONS, {"a": {"y": {}}, "b": True}, {"a": {"x": 1, "y": {"z": [1]}}}),
        (SECTIONS, {"a": {"x": None, "y": {"z": [1]}}, "b": None}, {}),
        (SECTIONS, {"a": 5, "b": {"c": 1}}, {}),
    ],
)
def test_unwanted(recorded: dict[str, Any], desired: dict[str, Any], left: dict[str, Any]) -> None:
    assert record.unwanted(recorded, desired) == left


def test_null_and_the_enforcement_level_are_not_recorded() -> None:
    engine = {"enforcementLevel": "real_time", "scanArchives": None, "scanAfterDefinitionUpdate": True}
    desired = {"antivirusEngine": engine, "edr": {"groupIds": None}}
    assert record.to_record(desired) == {"antivirusEngine": {"scanAfterDefinitionUpdate": True}, "edr": {}}
    assert engine["enforcementLevel"] == "real_time"


def test_only_unchanged_values_are_taken_back_and_secrets_are_not_named() -> None:
    data = b'{"a": {"x": 1, "password": "hunter2"}, "b": {"c": "http://u:hunter2@h/", "d": 2}}'
    former = {"a": {"x": 1, "password": "hunter2"}, "b": {"c": "http://u:hunter2@h/", "d": 3}, "e": 1}
    plan = merge.plan("file", data, {}, "merged", former=former)
    assert plan.after == {"b": {"d": 2}}
    assert record.taken_back(plan.before, plan.after, former) == [
        {"path": "a.x", "value": 1},
        {"path": "a.password", "value": "********"},
        {"path": "b.c", "value": "http://********@h/"},
    ]
