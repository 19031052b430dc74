"""Every finding about a managed configuration: it is reported for its cases, and not for similar configurations."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mde.offline.plugins.plugin_utils._managed import document, validate

from tests.unit.managed import (
    cases_addresses,
    cases_effects,
    cases_exclusions,
    cases_hardening,
    cases_keys,
    cases_parsing,
    cases_structure,
    cases_version_gates,
)
from tests.unit.managed.builders import GOOD_URL, HTTP_URL, NEW, av, cloud, legacy, merged, mirror, name, path, proxy

TOPICS = (
    cases_parsing,
    cases_structure,
    cases_keys,
    cases_exclusions,
    cases_addresses,
    cases_effects,
    cases_hardening,
    cases_version_gates,
)
CASES = {rule_id: columns for topic in TOPICS for rule_id, columns in topic.CASES.items()}


def ids(case):
    config, version = case if isinstance(case, tuple) else (case, None)
    return {finding["id"] for finding in validate.config_findings(config, version)}


def expand(column):
    return [
        pytest.param(rule_id, case, id=f"{rule_id}-{number}")
        for rule_id, columns in CASES.items()
        for number, case in enumerate(columns[column])
    ]


@pytest.mark.parametrize(("rule_id", "case"), expand(0))
def test_finding_comes(rule_id, case):
    assert rule_id in ids(case)


@pytest.mark.parametrize(("rule_id", "case"), expand(1))
def test_near_miss_stays_silent(rule_id, case):
    assert rule_id not in ids(case)


def test_every_rule_has_cases_and_every_case_a_rule():
    assert sum(len(topic.CASES) for topic in TOPICS) == len(CASES)
    assert set(CASES) == set(validate.RULES)
    assert all(positive and negative for positive, negative in CASES.values())


def test_rules_have_all_their_texts():
    for rule in validate.RULES.values():
        assert rule.severity in ("error", "warning", "info")
        assert rule.id == rule.id.lower() and rule.id.replace("_", "").isalnum()
        assert all(len(text) > 10 for text in (rule.title, rule.meaning, rule.remedy)), rule.id


def by_id(config, version=None):
    return {finding["id"]: finding for finding in validate.config_findings(config, version)}


RECOMMENDED = merged(
    mirror(GOOD_URL, offlineDefinitionUpdateFallbackToCloud=False, disallowedThreatActions=["allow", "restore"]),
    cloud(
        automaticDefinitionUpdateEnabled=True,
        definitionUpdatesInterval=28800,
        automaticSampleSubmissionConsent="safe",
        enabled=True,
    ),
    {"exclusionSettings": {"mergePolicy": "admin_only"}},
)


@pytest.mark.parametrize("version", [None, "101.24022.0001", NEW])
@pytest.mark.parametrize("url", [GOOD_URL, "/srv/mde-mirror/linux/production"])
def test_recommended_offline_host_is_clean(url, version):
    config = merged(RECOMMENDED, av(**{**RECOMMENDED["antivirusEngine"], "offlineDefinitionUpdateUrl": url}))
    found = validate.config_findings(config, version)
    assert {finding["severity"] for finding in found} <= {"info"}, found


def test_smallest_offline_host_over_http_is_clean():
    config = merged(
        mirror(HTTP_URL, offlineDefinitionUpdateFallbackToCloud=True), cloud(automaticDefinitionUpdateEnabled=True)
    )
    for version in (None, NEW):
        assert {finding["severity"] for finding in validate.config_findings(config, version)} <= {"info"}


@pytest.mark.parametrize(
    ("config", "rule_id", "path", "hint"),
    [
        ({"AntivirusEngine": {}}, "misspelt_key", "AntivirusEngine", '{"antivirusEngine": ...}'),
        (
            av(offlineDefintionUpdateFallbackToCloud=False),
            "misspelt_key",
            "antivirusEngine.offlineDefintionUpdateFallbackToCloud",
            '"offlineDefinitionUpdateFallbackToCloud": false',
        ),
        (
            {"features": {"offlineDefinitionUpdate": "enabled"}},
            "misplaced_key",
            "features.offlineDefinitionUpdate",
            '{"antivirusEngine": {"offlineDefinitionUpdate": "enabled"}}',
        ),
        ({"enforcementLevel": "block"}, "misplaced_key", "enforcementLevel", "networkProtection.enforcementLevel"),
        (
            av(offlineDefinitionUpdate=True),
            "wrong_type",
            "antivirusEngine.offlineDefinitionUpdate",
            '"offlineDefinitionUpdate": "enabled"',
        ),
        (av(scanArchives="False"), "wrong_type", "antivirusEngine.scanArchives", '"scanArchives": false'),
        (
            av(enforcementLevel="Real-Time"),
            "invalid_value",
            "antivirusEngine.enforcementLevel",
            '"enforcementLevel": "real_time"',
        ),
        (
            legacy(*[{"$type": "excludedPath", "path": "/a"}] * 2, {"$type": "process", "name": "/a"}),
            "invalid_exclusion_type",
            "antivirusEngine.exclusions[2].$type",
            '"$type": "excludedFileName"',
        ),
        (
            mirror("http://h:8000/linux/production/arch_x86_64/"),
            "url_contains_arch",
            "antivirusEngine.offlineDefinitionUpdateUrl",
            '"http://h:8000/linux/production/"',
        ),
        (
            mirror("/srv/linux/production/arch_arm64/updates.zip"),
            "url_is_a_file",
            "antivirusEngine.offlineDefinitionUpdateUrl",
            '"/srv/linux/production"',
        ),
        (
            mirror("www.example.com:8000/linux/production/"),
            "url_no_scheme",
            "antivirusEngine.offlineDefinitionUpdateUrl",
            '"http://www.example.com:8000/linux/production/"',
        ),
        (
            mirror("file:///srv/linux/production"),
            "url_scheme_unsupported",
            "antivirusEngine.offlineDefinitionUpdateUrl",
            '"/srv/linux/production"',
        ),
        (name("/bin/cat"), "symlinked_path", "exclusionSettings.exclusions[0].name", "/usr/bin/cat"),
        (
            av(threatTypeSettings={"archive_bomb": "block"}),
            "wrong_type",
            "antivirusEngine.threatTypeSettings",
            '[{"key": "archive_bomb", "value": "block"}]',
        ),
        ('{"edr": {"tags": [{"key": 1, "key": 2}]}}', "duplicate_name", "edr.tags[0].key", "Keep one"),
        (
            av(realTimeProtection=True),
            "misspelt_key",
            "antivirusEngine.realTimeProtection",
            '"enforcementLevel": "real_time"',
        ),
        (
            cloud(automaticSampleSubmission=True),
            "misspelt_key",
            "cloudService.automaticSampleSubmission",
            '"automaticSampleSubmissionConsent": "safe"',
        ),
        ({"exclusions": []}, "misplaced_key", "exclusions", '"scopes": ["epp"]'),
        (
            {"proxy": {"server": "h", "port": 1}},
            "misplaced_key",
            "proxy",
            '{"cloudService": {"proxy": "http://host:port/"}}',
        ),
        ({"mdatp": {"cloudService": {}}}, "unknown_key", "mdatp", "top level"),
        (cloud(proxy={"host": "h"}), "wrong_type", "cloudService.proxy", '"proxy": "http://host:port/"'),
        ({"edr": {"tags": ["x"]}}, "wrong_type", "edr.tags[0]", '{"key": "GROUP", "value": "..."}'),
        ({"edr": {"tags": [{"key": "Group", "value": "x"}]}}, "invalid_value", "edr.tags[0].key", '"key": "GROUP"'),
        (legacy("/opt/a"), "wrong_type", "antivirusEngine.exclusions[0]", '"isDirectory": true}'),
        ({"antivirusEngine": "{}"}, "wrong_type", "antivirusEngine", "JSON inside a string"),
        ('"{}"', "root_not_object", "$", "encoded twice"),
        (av(enforcementLevel=True), "wrong_type", "antivirusEngine.enforcementLevel", "real_time, audit"),
        (av(scanResultsRetentionDays="365"), "out_of_range", "antivirusEngine.scanResultsRetentionDays", "1 to 180"),
        (
            {"scheduledScan": {"weeklyConfiguration": {"dayOfWeek": "Sunday"}}},
            "wrong_type",
            "scheduledScan.weeklyConfiguration.dayOfWeek",
            '"dayOfWeek": 1',
        ),
        (
            {"scheduledScan": {"dailyConfiguration": {"timeOfDay": "02:30"}}},
            "wrong_type",
            "scheduledScan.dailyConfiguration.timeOfDay",
            '"timeOfDay": 150',
        ),
        ('{"edr": {}}'.encode("utf-16"), "wrong_encoding", "$", "iconv -f UTF-16"),
        (b'{"edr": {"groupIds": "\xe9"}}', "wrong_encoding", "$", "iconv -f ISO-8859-1"),
        ('{\n "edr": {},\n}', "not_json", "$", "comma"),
    ],
)
def test_place_and_corrected_line(config, rule_id, path, hint):
    finding = by_id(config)[rule_id]
    assert finding["path"] == path
    assert hint in finding["hint"]


@pytest.mark.parametrize(
    ("old_keys", "level"),
    [
        ({"passiveMode": True, "enableRealTimeProtection": False}, "passive"),
        ({"passiveMode": False, "enableRealTimeProtection": True}, "real_time"),
        ({"enableRealTimeProtection": False}, "on_demand"),
        ({"passiveMode": True, "enableRealTimeProtection": False, "enforcementLevel": "on_demand"}, "on_demand"),
    ],
)
def test_old_keys_are_translated_into_one_level(old_keys, level):
    hints = {f["hint"] for f in validate.config_findings(av(**old_keys)) if f["id"] == "deprecated_key"}
    assert hints == {f'Remove it and write "enforcementLevel": "{level}".'}


def test_an_editor_key_is_reported_and_is_not_an_error():
    found = by_id({"$schema": "https://example.com/schema.json", **RECOMMENDED})
    assert found["editor_key"]["path"] == "$schema"
    assert {finding["severity"] for finding in found.values()} == {"info"}


def test_key_too_new_names_both_versions_and_only_the_outermost_key():
    found = [
        f for f in validate.config_findings(path("/a/b", scopes=["global"]), "101.98.89") if f["id"].endswith("too_new")
    ]
    assert [f["path"] for f in found] == ["exclusionSettings"]
    assert "101.23092.0012" in found[0]["message"] and "101.98.89" in found[0]["message"]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"a": 1,}', "comma before this closing bracket"),
        ('{"a": 1\n"b": 2}', "comma is missing"),
        ('{"a": [1 2]}', "comma is missing"),
        ('{"a" 1}', "colon"),
        ('{"a": 05}', "no leading 0"),
        ('{"a": real_time}', "double quotes"),
        ('{"a": “b”}', "typographic"),
        ('{"a": True}', "lower case"),
        ('{"a": 1 // b\n}', "no comments"),
        ('{"a": __TAG__}', "template"),
        ('{"a": <%= @b %>}', "template"),
        ('{"a": {{ b }}}', "template"),
        ("<?xml?>", "XML"),
        ("a:\n  b: 1", "YAML"),
        ('"a": 1', "outermost braces"),
        ('{"a": 1}}', "one closing bracket too many"),
        ("{} {}", "Keep one object"),
        ('{"a": 1', "too early"),
        ("{}\x00\x00", "Zero bytes"),
        ("\x00\x00\x00\x00\x00", "Zero bytes"),
        ("{\u00a0}", "invisible"),
        ("```json\n{}\n```", "Markdown"),
        ("cat <<EOF\n{}\nEOF", "begin with {"),
        ('{"a": "C:\\x"}', "backslash"),
    ],
)
def test_syntax_errors_say_what_to_do(text, advice):
    assert advice in by_id(text)["not_json"]["hint"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{\n "a": 1,\n}', "Line 3, column 1"),
        ('{"a": 1}\n// x', "Line 2, column 1"),
        ('{\n "a": "NaN", "b": NaN}', "Line 2, column 19"),
        ('{"a"\n: tru}', "Line 2, column 3"),
    ],
)
def test_syntax_errors_name_line_and_column(text, where):
    assert where in by_id(text)["not_json"]["message"]


def test_broken_text_gives_only_what_can_be_known():
    assert set(by_id(b"\xef\xbb\xbf{,}")) == {"byte_order_mark", "not_json"}
    assert {"byte_order_mark", "unknown_key"} <= set(by_id(b'\xef\xbb\xbf{"foo": 1}'))


def test_text_and_mapping_are_judged_alike():
    config = merged(mirror("http://h/linux/production/arch_arm64/"), {"foo": 1}, path("/etc"))
    expected = validate.config_findings(config)
    assert validate.config_findings(json.dumps(config)) == expected
    assert validate.config_findings(json.dumps(config).encode()) == expected
    assert validate.config_findings(bytearray(json.dumps(config).encode())) == expected


def test_errors_first_then_by_path_with_numbers_as_numbers():
    entries = [{"$type": "excludedPath", "path": f"x{n}", "isDirectory": True} for n in range(12)]
    found = validate.config_findings(merged(av(exclusions=entries), {"zzz": 1}, cloud(enabled=False)))
    ranks = ["error", "warning", "info"]
    assert [f["severity"] for f in found] == sorted((f["severity"] for f in found), key=ranks.index)
    relative = [f["path"] for f in found if f["id"] == "exclusion_path_relative"]
    assert relative == [f"antivirusEngine.exclusions[{n}].path" for n in range(12)]


SECRET = "hunter2-geheim"


@pytest.mark.parametrize(
    "config",
    [
        proxy(f"http://user:{SECRET}@proxy:3128/"),
        proxy(f"user:{SECRET}@proxy:3128"),
        proxy(f"http://user:a/{SECRET}@proxy:3128/"),
        proxy(f"http://user:{SECRET}%40proxy:3128/"),
        proxy(f"<EXAMPLE DO NOT USE> http://user:{SECRET}@proxy.server:port/"),
        proxy([f"http://user:{SECRET}@proxy/"]),
        {"proxy": f"http://user:{SECRET}@proxy:3128/"},
        av(proxy=f"http://user:{SECRET}@proxy:3128/"),
        cloud(Proxy=f"http://user:{SECRET}@proxy:3128/"),
        {f"http://user:{SECRET}@proxy": 1},
        mirror(f"http://user:{SECRET}@h/linux/production/arch_x86_64"),
        mirror(f"http://user:80/{SECRET}@h/linux/production"),
        mirror(f"http://user:x@{SECRET}@h/mac/production_back"),
        mirror(f"user:{SECRET}@h/linux/production"),
        av(enforcementLevel=f"http://user:{SECRET}@proxy"),
        cloud(enabled=f"http://user:{SECRET}@proxy"),
        path(f"user:{SECRET}@h/x"),
        f'{{"cloudService": {{"proxy": "http://user:{SECRET}@proxy:3128/",}}}}',
    ],
)
def test_secrets_are_never_repeated(config):
    found = validate.config_findings(config)
    assert any(finding["severity"] != "info" for finding in found)
    assert SECRET not in json.dumps(found)


def test_long_values_are_shortened():
    found = validate.config_findings(merged(av(enforcementLevel="x" * 5000), {"y" * 5000: 1}, mirror("z" * 5000)))
    assert all(len(finding["message"]) < 400 and len(finding["path"]) < 200 for finding in found)


@pytest.mark.parametrize(
    "version",
    [
        "",
        "abc",
        "101",
        "101.24022",
        "101.24022.0001.1",
        "101.x.1",
        101.24022,
        5,
        [],
        "101.24022.0001-1",
        "\u0661.\u0662.\u0663",
    ],
)
def test_what_is_no_version_is_refused_with_advice(version):
    with pytest.raises(validate.AgentVersionError, match=r"101\.24022\.0001"):
        validate.config_findings({}, version)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("101.98.89", "101.23062.0010"),
        ("100.83.73", "101.04.76"),
        ("101.26062.0005", "101.26062.0007"),
        ("101.9.1", "101.10.72"),
    ],
)
def test_versions_compare_by_number(older, newer):
    assert document.ManagedConfig({}, older).older_than(newer)
    assert not document.ManagedConfig({}, newer).older_than(older)
    assert not document.ManagedConfig({}).older_than(newer)


def test_self_reference_ends():
    config = {}
    config["a"] = config["b"] = config
    assert set(by_id(config)) == {"too_deep"}
