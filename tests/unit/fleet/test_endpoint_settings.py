"""The managed configuration that the role endpoint writes, and the part of a present one that it removes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.filter.endpoint_settings import endpoint_settings

MIRROR = "https://mirror.example.com"
URL = f"{MIRROR}/linux/production/"
OPTIONS: dict[str, Any] = {
    "state": "present",
    "mirror": MIRROR,
    "nfs_source": "",
    "mirror_nfs_client_path": "/mnt/mde-mirror",
    "channel": "production",
    "fallback_to_cloud": False,
    "verify_signature": True,
    "enforcement_level": "",
    "update_interval": 0,
    "config": {},
    "managed_file_mode": "",
}
ENGINE = {"offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateFallbackToCloud": False}
BASE = {
    "antivirusEngine": {**ENGINE, "offlineDefinitionUpdateUrl": URL},
    "cloudService": {"automaticDefinitionUpdateEnabled": True},
    "features": {"offlineDefinitionUpdateVerifySig": "enabled"},
}


def having(**more: Any) -> dict[str, Any]:
    return {section: {**BASE[section], **more.pop(section, {})} for section in BASE} | more


DESIRED = {
    "the defaults": ({}, BASE),
    "the cloud as fallback": (
        {"fallback_to_cloud": True},
        having(antivirusEngine={"offlineDefinitionUpdateFallbackToCloud": True}),
    ),
    "no check of the signature": (
        {"verify_signature": False},
        {key: value for key, value in BASE.items() if key != "features"},
    ),
    "an interval": ({"update_interval": 7200}, having(cloudService={"definitionUpdatesInterval": 7200})),
    "a level": ({"enforcement_level": "audit"}, having(antivirusEngine={"enforcementLevel": "audit"})),
    "another channel": (
        {"channel": "pilot"},
        having(antivirusEngine={"offlineDefinitionUpdateUrl": f"{MIRROR}/linux/pilot/"}),
    ),
    "further settings are merged": (
        {"config": {"antivirusEngine": {"scanArchives": False}, "edr": {"groupIds": "a"}}},
        having(antivirusEngine={"scanArchives": False}, edr={"groupIds": "a"}),
    ),
    "further settings win": (
        {"config": {"cloudService": {"automaticDefinitionUpdateEnabled": False}}, "enforcement_level": "audit"},
        having(antivirusEngine={"enforcementLevel": "audit"}, cloudService={"automaticDefinitionUpdateEnabled": False}),
    ),
    "a mounted mirror": (
        {"nfs_source": "m:/srv", "mirror_nfs_client_path": "/mnt/mde"},
        having(antivirusEngine={"offlineDefinitionUpdateUrl": "/mnt/mde/linux/production"}),
    ),
}


@pytest.mark.parametrize(("options", "desired"), DESIRED.values(), ids=DESIRED)
def test_what_is_written(options: dict[str, Any], desired: dict[str, Any]) -> None:
    found = endpoint_settings({**OPTIONS, **options})
    assert (found["config"], found["problems"]) == (desired, [])


@pytest.mark.parametrize(
    ("options", "start", "problem"),
    [
        ({}, "configure", ""),
        ({"nfs_source": "m:/srv"}, "mount", ""),
        ({"nfs_source": "m:/srv", "mirror": None}, "mount", ""),
        ({"state": "absent"}, "remove", ""),
        ({"state": "absent", "mirror": None}, "remove", ""),
        ({"state": "absent", "mirror": ""}, "remove", ""),
        ({"mirror": None}, "invalid", "endpoint_mirror is not set. Give the address"),
        ({"mirror": ""}, "invalid", "endpoint_mirror is not set"),
        ({"mirror": "http://m/linux/production/arch_x86_64"}, "invalid", "Leave arch_* out"),
        ({"channel": "../up"}, "invalid", "cannot be a folder on a mirror"),
        ({"state": "absent", "mirror": "ftp://m"}, "invalid", "Agents cannot fetch from ftp://"),
    ],
)
def test_where_the_role_starts(options: dict[str, Any], start: str, problem: str) -> None:
    found = endpoint_settings({**OPTIONS, **options})
    assert (found["start"], bool(found["problems"])) == (start, bool(problem))
    assert problem in " ".join(found["problems"])


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    found = endpoint_settings({**OPTIONS, "mirror": "https://user:hidden@mirror.example.com"})
    assert found["start"] == "invalid"
    assert "hidden" not in str(found["problems"])


THEIRS = {"antivirusEngine": {"offlineDefinitionUpdateUrl": "http://other/linux/production/"}}
TUNED = {"antivirusEngine": {"scanArchives": False, "enforcementLevel": "audit"}}

# The options; the present configuration; whether another program configured the mirror; what is removed.
REMOVED = {
    "the settings of the role": ({}, BASE, False, BASE),
    "an address without its slash is the same": (
        {},
        having(antivirusEngine={"offlineDefinitionUpdateUrl": URL.rstrip("/")}),
        False,
        having(antivirusEngine={"offlineDefinitionUpdateUrl": URL.rstrip("/")}),
    ),
    "another mirror stays": ({}, THEIRS, True, {"antivirusEngine": {}}),
    "further settings go all the same": (
        {"config": TUNED},
        THEIRS,
        True,
        {"antivirusEngine": {"scanArchives": False}},
    ),
    "any mirror goes where none is named": (
        {"mirror": ""},
        THEIRS,
        False,
        having(antivirusEngine=THEIRS["antivirusEngine"]),
    ),
    "the level stays": (
        {"config": TUNED, "enforcement_level": "real_time"},
        BASE,
        False,
        having(antivirusEngine={"scanArchives": False}),
    ),
    "no configuration": ({}, None, False, having(antivirusEngine={"offlineDefinitionUpdateUrl": ""})),
    "an address of another type": (
        {},
        {"antivirusEngine": {"offlineDefinitionUpdateUrl": 5}},
        False,
        having(antivirusEngine={"offlineDefinitionUpdateUrl": ""}),
    ),
    "a section of another type": ({"config": {"antivirusEngine": 5}}, THEIRS, True, {"antivirusEngine": 5}),
}


@pytest.mark.parametrize(("options", "present", "foreign", "removed"), REMOVED.values(), ids=REMOVED)
def test_what_is_removed(options: dict[str, Any], present: Any, foreign: bool, removed: dict[str, Any]) -> None:
    found = endpoint_settings({**OPTIONS, "state": "absent", **options}, present)
    assert (found["foreign"], found["remove"]) == (foreign, removed)


def test_other_types_than_mappings_are_refused_with_advice() -> None:
    with pytest.raises(AnsibleFilterError, match="takes the variables and the configuration as mappings"):
        endpoint_settings("text")
    with pytest.raises(AnsibleFilterError, match="takes the variables and the configuration as mappings"):
        endpoint_settings(OPTIONS, "text")
    with pytest.raises(AnsibleFilterError, match="the variable channel is missing"):
        endpoint_settings({name: value for name, value in OPTIONS.items() if name != "channel"})


@pytest.mark.parametrize(
    ("interval", "removed"), [(0, {"cloudService": {"definitionUpdatesInterval": None}}), (7200, {})]
)
def test_without_a_record_only_what_a_variable_promises_is_removed(interval: int, removed: dict[str, Any]) -> None:
    assert endpoint_settings({**OPTIONS, "update_interval": interval})["without_record"] == removed


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("", None),
        ("0644", None),
        ("0600", None),
        ("0755", None),
        ("0664", "lets users other than root write"),
        ("0646", "lets users other than root write"),
        ("0777", "lets users other than root write"),
        ("644", "is not a mode"),
        ("420", "is not a mode"),
        ("04644", "is not a mode"),
        ("0648", "is not a mode"),
        ("u=rw", "is not a mode"),
        ("0644\n", "is not a mode"),
    ],
)
def test_a_mode_that_lets_others_write_is_refused(mode: str, said: str | None) -> None:
    problems = endpoint_settings({**OPTIONS, "managed_file_mode": mode})["problems"]
    assert len(problems) == (said is not None)
    assert said is None or said in problems[0]
