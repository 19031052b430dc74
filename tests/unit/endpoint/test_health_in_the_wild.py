"""Outputs of every generation of the agent as hosts, documents and tickets have them: the record and the findings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser, health_rules

NOW = 1770120000  # 2026-02-03T12:00:00Z
ATTENTION = "ATTENTION: No license found. Contact your administrator for help."


def table(**rows: str) -> str:
    return "".join(f"{name:<44}: {value}\n" for name, value in rows.items())


def setting(value: Any, managed: bool = False) -> dict[str, Any]:
    return {"displayValue": True, "isManaged": managed, "value": value}


DETAILS = table(
    automatic_definition_update_enabled="true [managed]",
    definitions_updated="Feb 03, 2026 at 08:15:42 AM",
    definitions_updated_minutes_ago="225",
    definitions_version='"1.443.508.0"',
    definitions_status='"up_to_date"',
    definitions_update_source_uri='"http://mirror.example.com:8000/linux/production/"',
    definitions_update_fail_reason='""',
    offline_definition_url_configured='"http://mirror.example.com:8000/linux/production/" [managed]',
    offline_definition_update='"enabled" [managed]',
)
OF_2024 = DETAILS + table(
    offline_definition_update_verify_sig='"disabled"', offline_definition_update_fallback_to_cloud="false"
)
OF_2025 = DETAILS + table(
    offline_definition_update_verify_sig='"enabled"', offline_definition_update_fallback_to_cloud="false[managed]"
)
OF_2026 = DETAILS + table(
    offline_definition_update_verify_sig='"DEPRECATED"',
    engine_signature_verification='"enabled"',
    offline_definition_update_fallback_to_cloud="true [managed]",
)
DETAIL_FIELDS = {
    "automatic_definition_update_enabled": True,
    "definitions_updated": "2026-02-03T08:15:42Z",
    "definitions_updated_minutes_ago": 225,
    "definitions_version": "1.443.508.0",
    "definitions_status": "up_to_date",
    "definitions_update_source_uri": "http://mirror.example.com:8000/linux/production/",
    "definitions_update_fail_reason": "",
    "offline_definition_url_configured": "http://mirror.example.com:8000/linux/production/",
    "offline_definition_update": "enabled",
}
DETAIL_MARKS = {
    "automatic_definition_update_enabled",
    "offline_definition_update",
    "offline_definition_url_configured",
}
SCAN = table(
    passive_mode_enabled="false",
    real_time_protection_enabled="false            <--- switched off",
    real_time_protection_available="true",
    scan_history_maximum_items="10000",
    last_on_demand_scan_start_time="Dec 02, 2025 at 11:50:19 AM",
    last_on_demand_scan_type='"quick"',
    enforcement_level='"on_demand"',
)

# output, fields, managed, notices, ids of the findings
CASES: dict[str, tuple[str, dict[str, Any], set[str], list[str], list[str]]] = {
    "the command line of 2020": (
        "$ sudo mdatp --health\n"
        'definitionsUpdated                      : "1583323429305"\n'
        "definitionsUpdatedMinutesAgo            : 47\n"
        "definitionsVersion                      : 79932\n"
        "edrDeviceTags                           : []\n"
        "healthy                                 : true\n"
        "...\n"
        "realTimeProtectionAvailable             : false\n"
        "realTimeProtectionEnabled               : true\n"
        'versionEngine                           : "100.87.66"\n',
        {
            "definitions_updated": "2020-03-04T12:03:49Z",
            "definitions_updated_minutes_ago": 47,
            "definitions_version": "79932",
            "edr_device_tags": [],
            "healthy": True,
            "real_time_protection_available": False,
            "real_time_protection_enabled": True,
            "version_engine": "100.87.66",
        },
        set(),
        [],
        ["agent_too_old", "real_time_protection_unavailable"],
    ),
    "its daemon is away": ("Failed to connect\n", {}, set(), ["Failed to connect"], ["daemon_unreachable"]),
    "2020, not onboarded": (
        f"[user@host ~]$ mdatp health\n{ATTENTION}\n"
        + table(
            healthy="false",
            licensed="false",
            engine_version='"3.0"',
            app_version='"101.02.55"',
            org_id="unavailable",
            product_expiration="unavailable",
            definitions_version='"85066"',
        ),
        {
            "healthy": False,
            "licensed": False,
            "engine_version": "3.0",
            "app_version": "101.02.55",
            "org_id": None,
            "product_expiration": None,
            "definitions_version": "85066",
        },
        set(),
        [ATTENTION],
        ["not_licensed", "agent_too_old", "unhealthy"],
    ),
    "a mac without its extensions, as a document shows it": (
        "healthy\t\t\t\t: false\n"
        "health_issues\t\t\t: [\u201cno active event provider\u201d, "
        "\u201cfull disk access has not been granted\u201d]\n"
        "...\n"
        "real_time_protection_enabled\t: unavailable\n"
        "real_time_protection_available: unavailable\n"
        "full_disk_access_enabled\t\t: false\n",
        {
            "healthy": False,
            "health_issues": ["no active event provider", "full disk access has not been granted"],
            "real_time_protection_enabled": None,
            "real_time_protection_available": None,
            "full_disk_access_enabled": False,
        },
        set(),
        [],
        ["real_time_protection_unavailable", "unhealthy"],
    ),
    "2023 as JSON, passive, with hidden rows": (
        json.dumps(
            {
                "$type": "getHealthAllResult",
                "appVersion": "101.23062.0010",
                "definitionsStatus": {"$type": "upToDate"},
                "definitionsUpdated": "1770106542787",
                "definitionsUpdatedMinutesAgo": 225,
                "edrDeviceTags": setting([{"key": "GROUP", "value": "Web"}]),
                "functionalityMode": {"displayValue": False, "isManaged": False, "value": "default"},
                "healthIssues": [],
                "healthy": True,
                "licensed": True,
                "passiveModeEnabled": setting(True),
                "productExpiration": "1775800000000",
                "proxy": {"displayValue": False, "isManaged": False, "value": "None"},
                "realTimeProtectionAvailable": True,
                "realTimeProtectionEnabled": setting(False),
            }
        ),
        {
            "app_version": "101.23062.0010",
            "definitions_status": "up_to_date",
            "definitions_updated": "2026-02-03T08:15:42Z",
            "definitions_updated_minutes_ago": 225,
            "edr_device_tags": [{"key": "GROUP", "value": "Web"}],
            "functionality_mode": "default",
            "health_issues": [],
            "healthy": True,
            "licensed": True,
            "passive_mode_enabled": True,
            "product_expiration": "2026-04-10T05:46:40Z",
            "proxy": "None",
            "real_time_protection_available": True,
            "real_time_protection_enabled": False,
        },
        set(),
        [],
        ["agent_too_old", "passive_mode"],
    ),
    "the preview of 2024": (
        OF_2024,
        {
            **DETAIL_FIELDS,
            "offline_definition_update_verify_sig": "disabled",
            "offline_definition_update_fallback_to_cloud": False,
        },
        DETAIL_MARKS,
        [],
        ["signature_check_off"],
    ),
    "2025, with a tight mark and Windows line ends": (
        OF_2025.replace("\n", "\r\n"),
        {
            **DETAIL_FIELDS,
            "offline_definition_update_verify_sig": "enabled",
            "offline_definition_update_fallback_to_cloud": False,
        },
        {*DETAIL_MARKS, "offline_definition_update_fallback_to_cloud"},
        [],
        [],
    ),
    "2026, with the deprecated row and in colours": (
        "".join(f"\x1b[0;32m{line}\x1b[0m\n" for line in OF_2026.splitlines()),
        {
            **DETAIL_FIELDS,
            "offline_definition_update_verify_sig": "DEPRECATED",
            "engine_signature_verification": "enabled",
            "offline_definition_update_fallback_to_cloud": True,
        },
        {*DETAIL_MARKS, "offline_definition_update_fallback_to_cloud"},
        [],
        ["fallback_to_cloud_enabled"],
    ),
    "2026, expired, over ssh with sudo": (
        "Warning: Permanently added 'web1' (ED25519) to the list of known hosts.\n"
        "[sudo] password for ops:\n"
        f"{ATTENTION}\n"
        + table(
            healthy="false",
            health_issues='["missing license"]',
            licensed="false",
            app_version='"101.25042.0003"',
            org_id='"00000000-1111-2222-3333-444444444444"',
            product_expiration="Jan 15, 2026 at 01:34:28 PM",
            antivirus_enforcement_level='"audit"',
        )
        + "Connection to web1 closed.\n",
        {
            "healthy": False,
            "health_issues": ["missing license"],
            "licensed": False,
            "app_version": "101.25042.0003",
            "org_id": "00000000-1111-2222-3333-444444444444",
            "product_expiration": "2026-01-15T13:34:28Z",
            "antivirus_enforcement_level": "audit",
        },
        set(),
        [
            "Warning: Permanently added 'web1' (ED25519) to the list of known hosts.",
            "[sudo] password for ops:",
            ATTENTION,
            "Connection to web1 closed.",
        ],
        ["agent_expired", "unhealthy"],
    ),
    "the first download is under way": (
        table(
            healthy="false",
            health_issues="[]",
            licensed="true",
            app_version='"101.26062.0007"',
            engine_load_status='"Engine not loaded"',
            passive_mode_enabled="true",
            real_time_protection_enabled="false",
            definitions_updated="unavailable",
            definitions_updated_minutes_ago="unavailable",
            definitions_status='"updating"',
        ),
        {
            "healthy": False,
            "health_issues": [],
            "licensed": True,
            "app_version": "101.26062.0007",
            "engine_load_status": "Engine not loaded",
            "passive_mode_enabled": True,
            "real_time_protection_enabled": False,
            "definitions_updated": None,
            "definitions_updated_minutes_ago": None,
            "definitions_status": "updating",
        },
        set(),
        [],
        ["passive_mode", "unhealthy"],
    ),
    "the details of the antivirus, with a remark": (
        SCAN,
        {
            "passive_mode_enabled": False,
            "real_time_protection_enabled": False,
            "real_time_protection_available": True,
            "scan_history_maximum_items": 10000,
            "last_on_demand_scan_start_time": "2025-12-02T11:50:19Z",
            "last_on_demand_scan_type": "quick",
            "enforcement_level": "on_demand",
        },
        set(),
        [],
        ["passive_mode"],
    ),
    "an agent that does not know the option": (
        "Unrecognized option: --output\nUsage: mdatp health [--field NAME]\n",
        {},
        set(),
        ["Unrecognized option: --output", "Usage: mdatp health [--field NAME]"],
        ["health_unreadable"],
    ),
    "single fields of a host without license": (
        f'{ATTENTION}\nfalse\n""\n',
        {},
        set(),
        [ATTENTION, "false"],
        ["not_licensed"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_record_is_what_an_expert_would_write_down(name: str) -> None:
    output, fields, managed, notices, _ids = CASES[name]
    record = health_parser.parse(output)
    assert record["fields"] == fields
    assert {row: type(value) for row, value in record["fields"].items()} == {
        row: type(value) for row, value in fields.items()
    }
    assert set(record["managed"]) == managed
    assert record["notices"] == notices


@pytest.mark.parametrize("name", CASES)
def test_all_that_is_wrong_is_found_and_nothing_else(name: str) -> None:
    output, *_rest, ids = CASES[name]
    found = health_rules.health_findings(health_parser.parse(output), now=NOW)
    assert sorted(entry["id"] for entry in found) == sorted(ids)
