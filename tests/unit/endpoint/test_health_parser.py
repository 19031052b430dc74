"""The health parser: every form of output becomes the same record, and nothing in the record is guessed."""

from __future__ import annotations

import json
import time

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.filter.parse_health import parse_health
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser
from hypothesis import given, settings
from hypothesis import strategies as st

ATTENTION = "ATTENTION: No license found. Contact your administrator for help."

TABLE = """\
healthy                                     : true
health_issues                               : []
licensed                                    : true
engine_version                              : "1.1.23070.1002"
app_version                                 : "101.23062.0010"
org_id                                      : "00000000-1111-2222-3333-444444444444"
product_expiration                          : Apr 10, 2024 at 01:34:28 PM
passive_mode_enabled                        : false [managed]
behavior_monitoring                         : "enabled"
automatic_definition_update_enabled         : true
definitions_updated                         : Aug 12, 2023 at 03:26:24 AM
definitions_updated_minutes_ago             : 159
definitions_version                         : "1.395.227.0"
definitions_status                          : "up_to_date"
edr_device_tags                             : [{"key":"GROUP","value":"Web, \\"DMZ\\""}] [managed]
edr_group_ids                               : ""
conflicting_applications                    : []
troubleshooting_mode                        : false
"""

SAME_AS_JSON = {
    "$type": "getHealthAllResult",
    "healthy": True,
    "healthIssues": [],
    "licensed": True,
    "engineVersion": "1.1.23070.1002",
    "appVersion": "101.23062.0010",
    "orgId": "00000000-1111-2222-3333-444444444444",
    "productExpiration": "1712756068000",
    "passiveModeEnabled": {"displayValue": True, "isManaged": True, "value": False},
    "behaviorMonitoring": {"displayValue": True, "isManaged": False, "value": "enabled"},
    "automaticDefinitionUpdateEnabled": {"displayValue": True, "isManaged": False, "value": True},
    "definitionsUpdated": "1691810784000",
    "definitionsUpdatedMinutesAgo": 159,
    "definitionsVersion": "1.395.227.0",
    "definitionsStatus": {"$type": "upToDate"},
    "edrDeviceTags": {"displayValue": True, "isManaged": True, "value": [{"key": "GROUP", "value": 'Web, "DMZ"'}]},
    "edrGroupIds": {"displayValue": True, "isManaged": False, "value": ""},
    "conflictingApplications": [],
    "troubleshootingMode": False,
}

FIELDS = {
    "healthy": True,
    "health_issues": [],
    "licensed": True,
    "engine_version": "1.1.23070.1002",
    "app_version": "101.23062.0010",
    "org_id": "00000000-1111-2222-3333-444444444444",
    "product_expiration": "2024-04-10T13:34:28Z",
    "passive_mode_enabled": False,
    "behavior_monitoring": "enabled",
    "automatic_definition_update_enabled": True,
    "definitions_updated": "2023-08-12T03:26:24Z",
    "definitions_updated_minutes_ago": 159,
    "definitions_version": "1.395.227.0",
    "definitions_status": "up_to_date",
    "edr_device_tags": [{"key": "GROUP", "value": 'Web, "DMZ"'}],
    "edr_group_ids": "",
    "conflicting_applications": [],
    "troubleshooting_mode": False,
}


def fields(text):
    return health_parser.parse(text)["fields"]


def test_text_and_json_of_one_host_give_the_same_record():
    text, data = health_parser.parse(TABLE), health_parser.parse(json.dumps(SAME_AS_JSON))
    assert text == {
        "fields": FIELDS,
        "managed": ["edr_device_tags", "passive_mode_enabled"],
        "notices": [],
        "format": "text",
    }
    assert data == dict(text, format="json")


def mangled(text):
    lines = text.splitlines()
    return {
        "carriage returns": "\r\n".join(lines),
        "no final line end": text.rstrip("\n"),
        "tabs": text.replace("   ", "\t"),
        "narrow": "\n".join(" : ".join(part.strip() for part in line.split(":", 1)) for line in lines),
        "no blank before the colon": "\n".join(
            line.replace(line[: line.index(":")], line.split()[0]) for line in lines
        ),
        "indented": "\n".join("    " + line for line in lines),
        "blank lines": "\n\n".join(lines),
        "byte order mark": "\ufeff" + text,
        "colours": "".join(f"\x1b[1;32m{line}\x1b[0m\x1b[K\n" for line in lines),
        "no-break blanks": text.replace("  ", "\u00a0\u00a0"),
        "backwards": "\n".join(reversed(lines)),
        "prompt": "user@vm:~$ sudo mdatp health\n" + text + "user@vm:~$ \n",
        "typographic quotes": text.replace(': "', ": \u201c").replace('"\n', "\u201d\n"),
        "managed without a blank": text.replace(" [managed]", "[managed]"),
        "bytes": text.encode(),
        "utf-16": text.encode("utf-16"),
    }


@pytest.mark.parametrize("how", sorted(mangled(TABLE)))
def test_the_shape_of_the_table_does_not_matter(how):
    assert health_parser.parse(mangled(TABLE)[how]) == health_parser.parse(TABLE)


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("unavailable", None),
        ("unavailable [managed]", None),
        ("-5", -5),
        ("007", "007"),
        ("101.98.89", "101.98.89"),
        ('"a : b"', "a : b"),
        ('"http://mirror:8000/linux/production/"', "http://mirror:8000/linux/production/"),
        ('"say "hi" twice"', 'say "hi" twice'),
        ('"ends with [managed]"', "ends with [managed]"),
        ('"DOMAIN\\user"', "DOMAIN\\user"),
        ('"DEPRECATED"', "DEPRECATED"),
        ('["a, b", "c"]', ["a, b", "c"]),
        ('["found "x", y", "", "b"]', ['found "x", y', "", "b"]),
        (r'["C:\temp", "b"]', ["C:\\temp", "b"]),
        ("[one, two]", ["one", "two"]),
        ('["a, b", ...]', ["a, b", "..."]),
        ("[]", []),
        ("Feb 30, 2024 at 01:00:00 AM", "Feb 30, 2024 at 01:00:00 AM"),
        ("Jan 01, 2026 at 12:00:00 AM", "2026-01-01T00:00:00Z"),
        ("Jan 01, 2026 at 12:00:00 PM", "2026-01-01T12:00:00Z"),
        ("September 3, 2025 at 1:02:03\u202fPM", "2025-09-03T13:02:03Z"),
        ("Jan 02, 2026 at 17:00:00", "2026-01-02T17:00:00Z"),
        ("99999999999999999999999999", "99999999999999999999999999"),
        ("", ""),
    ],
)
def test_values_of_the_text_form(printed, value):
    record = health_parser.parse(f"row_nobody_knows : {printed}\nhealthy : true\n")
    assert record["fields"] == {"row_nobody_knows": value, "healthy": True}
    assert type(record["fields"]["row_nobody_knows"]) is type(value)


@pytest.mark.parametrize(
    ("printed", "status"),
    [
        ('"up_to_date"', "up_to_date"),
        ("up_to_date", "up_to_date"),
        ('"upToDate"', "up_to_date"),
        ('"out_of_date"', "out_of_date"),
        ('"unavailable"', "unavailable"),
        ("unavailable", None),
    ],
)
def test_status_of_the_definitions_as_text(printed, status):
    assert fields(f"definitions_status : {printed}") == {"definitions_status": status}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"$type": "upToDate"}, "up_to_date"),
        ({"$type": "outOfDate"}, "out_of_date"),
        ({"$type": "updating", "progress": 3}, "updating"),
        ({"$type": "unavailable"}, "unavailable"),
        ({"displayValue": True, "isManaged": False, "value": {"$type": "upToDate"}}, "up_to_date"),
        ("upToDate", "up_to_date"),
        (None, None),
    ],
)
def test_status_of_the_definitions_as_json(value, status):
    assert fields(json.dumps({"definitionsStatus": value})) == {"definitions_status": status}


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("orgId", "unavailable", None),
        ("productExpiration", None, None),
        ("productExpiration", 1712756068000, "2024-04-10T13:34:28Z"),
        ("productExpiration", "Apr 10, 2024 at 01:34:28 PM", "2024-04-10T13:34:28Z"),
        ("definitionsUpdated", "0", None),
        ("lastQuickScanTime", "1712756068000", "2024-04-10T13:34:28Z"),
        ("edrMachineId", "1712756068000", "1712756068000"),
        ("definitionsUpdatedMinutesAgo", "20", 20),
        ("proxy", {"displayValue": False, "isManaged": False, "value": "None"}, "None"),
        ("somethingNew", {"deep": {"x": [1, 2.5]}, "other": 1}, {"deep": {"x": [1, 2.5]}, "other": 1}),
        ("engineLoadStatus", "Engine load succeeded", "Engine load succeeded"),
    ],
)
def test_values_of_the_json_form(key, value, wanted):
    record = health_parser.parse(json.dumps({"healthy": True, key: value}))
    assert record["fields"] == {"healthy": True, health_parser.snake_case(key): wanted}


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("definitionsUpdateSourceUri", "definitions_update_source_uri"),
        ("definitionsUpdateSourceURI", "definitions_update_source_uri"),
        ("offlineDefinitionUpdateVerifySig", "offline_definition_update_verify_sig"),
        ("healthy", "healthy"),
    ],
)
def test_names_become_snake_case(camel, snake):
    assert health_parser.snake_case(camel) == snake


@pytest.mark.parametrize("gap", ["\n", "\n\n", " "])
@pytest.mark.parametrize("body", [TABLE, json.dumps(SAME_AS_JSON), json.dumps(SAME_AS_JSON, indent=2)])
def test_the_license_warning_is_a_notice_wherever_it_stands(gap, body):
    record = health_parser.parse(ATTENTION + gap + body)
    assert record["fields"] == FIELDS
    assert record["notices"] == [ATTENTION]


def test_lines_after_json_are_notices():
    record = health_parser.parse(json.dumps(SAME_AS_JSON) + "\nsomething on stderr\n")
    assert record["fields"] == FIELDS
    assert record["notices"] == ["something on stderr"]


def test_output_that_ends_within_a_value_does_not_make_one_up():
    """Ansible strips the last line break, so a missing line break alone does not prove that the output was cut off."""
    lines = "healthy : true\nlicensed : false"
    assert fields(lines) == {"healthy": True, "licensed": False}
    for end in range(len("healthy : true\nlicensed :"), len(lines)):
        cut = health_parser.parse(lines[:end])
        assert cut["fields"] == {"healthy": True}
        assert "licensed" in cut["notices"][0]
    date = "healthy : true\nproduct_expiration : Apr 10, 2024 at 01:34:28 PM"
    for end in range(date.index("Apr"), len(date) - 1):
        cut = health_parser.parse(date[:end])
        assert cut["fields"].get("product_expiration") is None
        assert "product_expiration" in cut["notices"][0]
    assert fields(date[:-1] + "M\n")["product_expiration"] == "2024-04-10T13:34:28Z"


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("Aug 12, 2023 at 03:26:24 AM", "2023-08-12T03:26:24Z"),
        ('"Aug 12, 2023 at 03:26:24 AM" [managed]', "2023-08-12T03:26:24Z"),
        ("Aug 12, 2023, 3:26:24 PM", "2023-08-12T15:26:24Z"),
        ("Aug 12, 2023 at 03:26 PM", "2023-08-12T15:26:00Z"),
        ("12 Aug 2023 15:26:24", "2023-08-12T15:26:24Z"),
        ("Sat, 12 Aug 2023 15:26:24 GMT", "2023-08-12T15:26:24Z"),
        ("Sat Aug 12 15:26:24 2023", "2023-08-12T15:26:24Z"),
        ("Sat Aug 12 15:26:24 UTC 2023", "2023-08-12T15:26:24Z"),
        ("2023-08-12T15:26:24Z", "2023-08-12T15:26:24Z"),
        ("2023-08-12T15:26:24.987+02:00", "2023-08-12T13:26:24Z"),
        ("2023-08-12 15:26:24 -0330", "2023-08-12T18:56:24Z"),
        ("1691853984", "2023-08-12T15:26:24Z"),
        ('"1691853984000"', "2023-08-12T15:26:24Z"),
        ("unavailable", None),
        ("never", None),
        ('""', None),
        ("0", None),
    ],
)
def test_times_in_many_forms(printed, wanted):
    record = health_parser.parse(f"definitions_updated : {printed}\n")
    assert record["fields"] == {"definitions_updated": wanted}
    assert record["notices"] == []


@pytest.mark.parametrize("printed", ["Aug 32, 2023 at 03:26:24 AM", "12/08/2023 15:26", "Aug 12, 2023 at", "yesterday"])
def test_a_time_that_cannot_be_read_is_null_and_a_notice(printed):
    record = health_parser.parse(f"definitions_updated : {printed}\nhealthy : true\n")
    assert record["fields"] == {"definitions_updated": None, "healthy": True}
    assert printed in record["notices"][0]
    assert health_parser.parse(f"odd_time : {printed}\nhealthy : true\n")["fields"]["odd_time"] == printed


@pytest.mark.parametrize("text", ["definitionsVersion : 79932\n", '{"definitionsVersion": 79932}'])
def test_versions_are_strings(text):
    assert fields(text) == {"definitions_version": "79932"}


@pytest.mark.parametrize("width", range(52, 130))
def test_a_table_that_a_terminal_of_any_width_cut_is_whole_again(width):
    rows = [
        ("healthy", "false"),
        ("health_issues", '["no active event provider", "network event provider not running"]'),
        ("engine_load_status", '"Engine load succeeded"'),
        ("org_id", '"00000000-1111-2222-3333-444444444444" [managed]'),
        ("product_expiration", "Apr 10, 2024 at 01:34:28 PM"),
        ("passive_mode_enabled", "false [managed]"),
        ("offline_definition_url_configured", '"http://mirror.example.com:8000/linux/production/" [managed]'),
        ("offline_definition_update_fallback_to_cloud", "false[managed]"),
        ("edr_configuration_version", '"30.199999.main.2023.08.10.04-54CD2DC991A7EBDEECB7784DAEEF452E65"'),
        ("definitions_update_fail_reason", '"No answer from http://mirror.example.com:8000/ (curl 7)"'),
        ("definitions_updated", "Aug 12, 2023 at 03:26:24 AM"),
        ("conflicting_applications", "[]"),
    ]
    table = [f"{name:<44}: {value}" for name, value in rows]
    cut = [line[start : start + width] for line in table for start in range(0, len(line), width)]
    assert health_parser.parse("\n".join(cut) + "\n") == health_parser.parse("\n".join(table) + "\n")


def test_bytes_of_older_encodings_are_read_line_by_line():
    text = 'healthy : true\nedr_group_ids : "M\u00fcnchen"\n'.encode("latin-1") + 'log_level : "東京"\n'.encode()
    wanted = {"healthy": True, "edr_group_ids": "München", "log_level": "東京"}
    assert fields(text) == wanted
    assert fields(text.decode("utf-8", "surrogateescape"))["edr_group_ids"] == "München"
    cut = health_parser.parse('healthy : true\nlog_level : "東'.encode()[:-1])
    assert cut["fields"] == {"healthy": True}


def test_what_documents_add_to_a_table_is_taken_away():
    assert fields("healthy: false\\\nhealth_issues: [\u201cmissing license\u201d]\\\nlicensed: false\n") == {
        "healthy": False,
        "health_issues": ["missing license"],
        "licensed": False,
    }
    assert fields("scan_archives     : true             <--- ENABLED\n") == {"scan_archives": True}
    quoted = health_parser.parse(f"> {ATTENTION}\n> healthy        : false\n> licensed       : false\n")
    assert (quoted["fields"], quoted["notices"]) == ({"healthy": False, "licensed": False}, [ATTENTION])
    sections = '=== mdatp health ===\nhealthy : true\n\n=== mdatp health --details edr ===\nedr_group_ids : ""\n'
    assert health_parser.parse(f"```console\n{sections}```\n") == {
        "fields": {"healthy": True, "edr_group_ids": ""},
        "managed": [],
        "notices": [],
        "format": "text",
    }


def test_what_ansible_prints_around_an_output_is_no_row():
    assert (
        fields('ok: [server1] => {\n    "msg": "x"\n}\nchanged: [server2]\nfatal: [server3]: FAILED! => {"a": 1}\n')
        == {}
    )


def test_the_registered_result_of_a_command_is_read_by_its_output():
    result = {"changed": True, "rc": 0, "cmd": ["mdatp", "health"], "stderr": "", "stdout": TABLE}
    assert parse_health(result) == health_parser.parse(TABLE)
    assert parse_health({**result, "stdout": json.dumps(SAME_AS_JSON)}) == health_parser.parse(json.dumps(SAME_AS_JSON))


def test_rows_of_a_list_keep_their_mark():
    record = health_parser.parse(
        '[{"name": "healthy", "value": true, "isManaged": false}, {"name": "x_y", "value": 1, "isManaged": true}]'
    )
    assert (record["fields"], record["managed"]) == ({"healthy": True, "x_y": 1}, ["x_y"])


def test_issues_with_quotes_inside_stay_one_issue():
    issue = 'found SELinux denials. Use: "sudo ausearch -i -c \'mdatp_audisp_pl\' | grep "type=AVC" | grep " denied"'
    printed = issue.replace('"', '\\"')
    for text in (issue, printed):
        assert fields(f'health_issues : ["{text}", "missing license"]\n') == {
            "health_issues": [issue, "missing license"]
        }


@pytest.mark.parametrize(
    "wrapped",
    [
        # Wrapped at a space; the next line is indented to the value.
        'health_issues                               : ["no active event provider", "network event\n'
        + " " * 46
        + 'provider not running"]\n',
        # Wrapped between two items.
        'health_issues : ["no active event provider",\n  "network event provider not running"]\n',
        # The whole value is on a line of its own.
        'health_issues :\n    ["no active event provider", "network event provider not running"]\n',
    ],
)
def test_a_wrapped_list_is_whole_again(wrapped):
    assert fields(wrapped + "licensed : true\n") == {
        "health_issues": ["no active event provider", "network event provider not running"],
        "licensed": True,
    }


@pytest.mark.parametrize("width", [80, 100, 120, 132])
def test_a_list_that_a_terminal_cut_is_whole_again(width):
    issues = ["no active event provider", "network event provider not running", "full disk access has not been granted"]
    line = f"{'health_issues':<44}: {json.dumps(issues)}"
    cut = "\n".join(line[start : start + width] for start in range(0, len(line), width))
    assert fields(cut + "\nlicensed : true\n") == {"health_issues": issues, "licensed": True}


def test_a_wrapped_identifier_address_word_and_date_are_whole_again():
    text = (
        'edr_configuration_version                   : "30.199999.main.2023.08.10.04-54CD2DC991A7EBDEEC\n34"\n'
        'offline_definition_url_configured : "http://mirror.example.com:8000/\n    linux/production/" [managed]\n'
        "engine_load_status : Engine not\n                     loaded\n"
        "product_expiration : Apr 10, 2024 at\n01:34:28 PM\n"
        'offline_definition_update : "enabled"\n    [managed]\n'
    )
    record = health_parser.parse(text)
    assert record["fields"] == {
        "edr_configuration_version": "30.199999.main.2023.08.10.04-54CD2DC991A7EBDEEC34",
        "offline_definition_url_configured": "http://mirror.example.com:8000/linux/production/",
        "engine_load_status": "Engine not loaded",
        "product_expiration": "2024-04-10T13:34:28Z",
        "offline_definition_update": "enabled",
    }
    assert record["managed"] == ["offline_definition_update", "offline_definition_url_configured"]


def test_json_that_a_terminal_wrapped_is_whole_again():
    text = json.dumps(SAME_AS_JSON)
    wrapped = "\n".join(text[start : start + 80] for start in range(0, len(text), 80))
    assert fields(wrapped) == FIELDS


def test_an_open_quote_does_not_swallow_the_rows_after_it():
    assert fields('release_ring : "Production\nhealthy : true\n') == {"release_ring": "Production", "healthy": True}


def test_output_that_ends_early_loses_only_what_is_not_whole():
    cut = health_parser.parse(TABLE[: TABLE.index("DMZ")])
    assert "edr_device_tags" not in cut["fields"]
    assert cut["fields"]["definitions_status"] == "up_to_date"
    assert any("edr_device_tags" in notice for notice in cut["notices"])


def test_json_that_ends_early_gives_only_rows_that_are_surely_whole():
    text = json.dumps(SAME_AS_JSON)
    for end in range(len(text)):
        for name, value in fields(text[:end]).items():
            assert value == FIELDS[name], text[:end][-30:]
    half = health_parser.parse(text[: text.index('"definitionsUpdatedMinutesAgo": 15') + 33])
    assert "definitions_updated_minutes_ago" not in half["fields"]
    assert half["fields"]["engine_version"] == "1.1.23070.1002"
    assert half["notices"] == [health_parser.ENDS_EARLY]


def test_the_last_copy_of_a_row_counts():
    record = health_parser.parse('definitions_status : "updating" [managed]\ndefinitions_status : "up_to_date"\n')
    assert (record["fields"], record["managed"]) == ({"definitions_status": "up_to_date"}, [])
    assert fields('{"healthy": true, "healthy": false}') == {"healthy": False}


@pytest.mark.parametrize(
    "text",
    [
        '{"healthy": true}',
        '[{"healthy": true}]',
        '{"result": {"$type": "getHealthAllResult", "healthy": true}}',
        '{"name": "healthy", "value": true}',
        '[{"name": "healthy", "value": {"isManaged": false, "value": true}}]',
        "healthy: true",
    ],
)
def test_single_fields_lists_and_wrapped_objects_are_read(text):
    assert fields(text) == {"healthy": True}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\n",
        "Could not connect to the daemon",
        "Error: Could not connect to the daemon",
        "bash: mdatp: command not found",
        "mdatp: error while loading shared libraries: libc.so: cannot open shared object file",
        "See https://aka.ms/mdatp for help",
        ATTENTION + ' ["missing license"]',
        '["missing license"]',
        '[{"key":"GROUP","value":"x"}]',
        'failed with {"code": 5}',
        "null",
        "true",
        "{}",
        "{",
        "[[[[",
    ],
)
def test_what_is_no_health_table_gives_no_fields(text):
    record = health_parser.parse(text)
    assert record["fields"] == {}
    assert record["managed"] == []
    for line in text.splitlines():
        if line.strip(" {}["):
            assert line.strip() in record["notices"]


def test_the_oldest_command_line_is_read_too():
    text = 'definitionsUpdated      : "1583323429305"\nversionEngine           : "100.87.66"\nhealthy       : true\n'
    assert fields(text) == {
        "definitions_updated": "2020-03-04T12:03:49Z",
        "version_engine": "100.87.66",
        "healthy": True,
    }


def test_details_are_merged_over_the_table():
    record = health_parser.parse(json.dumps(SAME_AS_JSON))
    details = health_parser.parse(
        ATTENTION + "\nautomatic_definition_update_enabled : false [managed]\npassive_mode_enabled : false\n"
        'definitions_updated : Aug 12, 2023 at 05:26:24 AM\noffline_definition_update : "enabled" [managed]\n'
    )
    merged = health_parser.merge(record, details)
    assert merged["fields"] == dict(
        FIELDS, automatic_definition_update_enabled=False, offline_definition_update="enabled"
    )
    assert merged["managed"] == ["automatic_definition_update_enabled", "edr_device_tags", "offline_definition_update"]
    assert merged["notices"] == [ATTENTION]
    assert merged["format"] == "json"


@given(st.one_of(st.text(), st.binary(), st.text(alphabet='{}[]":,\\ \nab_1\u201c\u201d.-'), st.none(), st.integers()))
@settings(max_examples=400)
def test_nothing_makes_the_parser_raise(output):
    record = health_parser.parse(output)
    assert sorted(record) == ["fields", "format", "managed", "notices"]
    assert set(record["managed"]) <= set(record["fields"])
    json.dumps(record)


NAMES = st.from_regex(r"[a-z]{2,8}(_[a-z]{2,8}){1,3}", fullmatch=True).filter(
    lambda name: (
        name != "definitions_status"
        and not name.endswith(("updated", "expiration", "expires", "time", "date", "timestamp", "minutes_ago"))
    )
)
STRINGS = (
    st.text(
        alphabet=st.characters(
            blacklist_categories=("Cc", "Cs", "Cf", "Zl", "Zp"), blacklist_characters='"\\\u201c\u201d\u201e'
        )
    )
    .map(str.strip)
    .filter(lambda value: value != "unavailable")
)
VALUES = st.one_of(st.booleans(), st.integers(-(10**15), 10**15), STRINGS, st.lists(STRINGS, max_size=4))


@given(st.dictionaries(NAMES, st.tuples(VALUES, st.booleans()), min_size=1, max_size=8))
@settings(max_examples=200)
def test_what_was_printed_is_what_is_read(rows):
    wanted = {name: value for name, (value, managed) in rows.items()}
    lines = [
        f"{name:<44}: {json.dumps(value, ensure_ascii=False)}{' [managed]' if managed else ''}"
        for name, (value, managed) in rows.items()
    ]
    as_json = {
        "".join(part if not position else part.capitalize() for position, part in enumerate(name.split("_"))): {
            "displayValue": True,
            "isManaged": managed,
            "value": value,
        }
        for name, (value, managed) in rows.items()
    }
    for record in (health_parser.parse("\n".join(lines)), health_parser.parse(json.dumps(as_json))):
        assert record["fields"] == wanted
        assert record["managed"] == sorted(name for name, (value, managed) in rows.items() if managed)


DETAILS_TEXT = 'definitions_status : "updating" [managed]\nengine_signature_verification : "enabled"\n'
DETAILS_JSON = (
    '{"definitionsStatus": {"isManaged": true, "value": "updating"}, "engineSignatureVerification": "enabled"}'
)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (TABLE, DETAILS_TEXT),
        (json.dumps(SAME_AS_JSON) + "\n", DETAILS_TEXT),
        (json.dumps(SAME_AS_JSON) + "\n", DETAILS_JSON),
    ],
)
def test_two_outputs_in_a_row_are_one_record(first, second):
    record = health_parser.parse(first + second)
    assert record["fields"] == dict(FIELDS, definitions_status="updating", engine_signature_verification="enabled")
    assert record["managed"] == ["definitions_status", "edr_device_tags", "passive_mode_enabled"]


@pytest.mark.parametrize(
    "garbage",
    [
        "line after line\n" * 70000,
        "".join(f"line {number}\n" for number in range(70000)),
        'health_issues : ["' + "never closed\n" * 80000,
        "a_b : x" + " " * 1000000 + "y",
        "$" * 1000000,
        "[" * 1000000,
        "{\n" * 400000,
        '{"a":1}' * 100000,
    ],
)
def test_a_megabyte_of_garbage_costs_no_time(garbage):
    started = time.process_time()
    record = health_parser.parse(garbage)
    assert time.process_time() - started < 10
    assert len(record["notices"]) <= health_parser.MOST_NOTICES


def test_the_filter_takes_text_lines_and_mappings():
    assert parse_health(TABLE) == health_parser.parse(TABLE)
    assert parse_health(TABLE.splitlines())["fields"] == FIELDS
    assert parse_health(SAME_AS_JSON)["fields"] == FIELDS
    with pytest.raises(AnsibleFilterError, match="was given int"):
        parse_health(5)
