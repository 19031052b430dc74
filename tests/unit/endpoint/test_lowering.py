"""When a host is brought to older definitions than it has."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import lowering

MIRROR = "http://mirror/linux/production/"
FACTS = {
    "ahead": True,
    "withdrawn": False,
    "held": False,
    "other_channel": False,
    "unproven": False,
    "always": False,
    "age_hours": 10,
    "max_age_hours": 168,
}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"withdrawn": True}, "rollback"),
        ({"held": True}, "rollback"),
        ({"other_channel": True}, "channel"),
        ({"unproven": True}, "first"),
        ({"always": True}, "always"),
        # Only the first reason that applies is returned.
        ({"withdrawn": True, "other_channel": True, "unproven": True, "always": True}, "rollback"),
        # The channel does not serve anything older than the host has.
        ({"ahead": False, "withdrawn": True, "held": True, "other_channel": True, "unproven": True}, None),
        # The limit of the age of the definitions.
        ({"withdrawn": True, "age_hours": 168}, "rollback"),
        ({"withdrawn": True, "age_hours": 169}, None),
        ({"other_channel": True, "age_hours": 169}, None),
        ({"unproven": True, "age_hours": 169}, None),
        ({"always": True, "age_hours": 169}, None),
        ({"always": True, "age_hours": 169, "max_age_hours": 200}, "always"),
        ({"always": True, "age_hours": None}, None),
        # An operator holds the channel.
        ({"held": True, "age_hours": 1000}, "rollback"),
        ({"held": True, "withdrawn": True, "age_hours": None}, "rollback"),
    ],
)
def test_decide(facts: dict[str, Any], reason: str | None) -> None:
    assert lowering.decide(**{**FACTS, **facts}) == reason  # type: ignore[arg-type]


def published(**more: Any) -> dict[str, Any]:
    found = {
        "location": MIRROR,
        "definitions_version": "1.445.1.0",
        "engine_version": "1.1.2.0",
        "held": False,
        "withdrawn": [],
        "age_hours": 10,
    }
    return {**found, **more}


@pytest.mark.parametrize(
    ("fields", "mirror", "former", "reason"),
    [
        ({}, published(), MIRROR, None),
        ({}, None, None, None),
        ({"definitions_version": None}, published(held=True), MIRROR, None),
        ({"definitions_version": "1.445.1.0"}, published(held=True), MIRROR, None),
        ({}, published(held=True), MIRROR, "rollback"),
        ({}, published(withdrawn=[{"definitions_version": "1.445.2.0", "engine_version": None}]), MIRROR, "rollback"),
        ({}, published(withdrawn=[{"definitions_version": "1.445.2.0", "engine_version": "1.1.3.0"}]), MIRROR, None),
        # Releases that differ in their engines only.
        (
            {"definitions_version": "1.445.1.0", "engine_version": "1.1.3.0"},
            published(withdrawn=[{"definitions_version": "1.445.1.0", "engine_version": "1.1.3.0"}]),
            MIRROR,
            "rollback",
        ),
        # The previous address, or else the source, names another channel. Another mirror is not another channel.
        ({}, published(), "http://mirror/linux/preview", "channel"),
        ({"definitions_update_source_uri": "http://mirror/linux/preview/"}, published(), MIRROR, "channel"),
        ({"definitions_update_source_uri": "http://other/linux/production/"}, published(), None, None),
        ({"definitions_update_source_uri": "http://other/updates/"}, published(), "http://other/updates", None),
        # The host had no mirror before. An agent that does not print the source gives no reason.
        ({"definitions_update_source_uri": ""}, published(), None, "first"),
        ({"definitions_update_source_uri": None}, published(), None, "first"),
        ({"definitions_update_source_uri": "https://go.microsoft.com/fwlink/?linkid=1"}, published(), None, "first"),
        ({"definitions_update_source_uri": ["odd"]}, published(held=True), None, "rollback"),
        ({"definitions_update_source_uri": Ellipsis}, published(), None, None),
    ],
)
def test_of_a_host(
    fields: dict[str, Any], mirror: dict[str, Any] | None, former: str | None, reason: str | None
) -> None:
    host = {
        "definitions_version": "1.445.2.0",
        "engine_version": "1.1.2.0",
        "definitions_update_source_uri": MIRROR,
        **fields,
    }
    record = {"fields": {name: value for name, value in host.items() if value is not Ellipsis}}
    assert lowering.reason(record, mirror, former, "auto", 168) == reason
