"""Properties for every input: there is no exception, the order is stable, findings do not hide each other."""

from __future__ import annotations

import json

from ansible_collections.mde.offline.plugins.plugin_utils._managed import json_schema, validate
from ansible_collections.mde.offline.plugins.plugin_utils._managed.findings import dotted
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = st.sampled_from(
    [
        *("enabled", "disabled", "real_time", "Real-Time", "merge", "epp", "90", "1", "é", "", "\ud800", "a\0b"),
        *("/", "/tmp/a*", "cat", "*?*", "http://u:p@h:1/", "www.h:1/linux", "user:pass@host:/x"),
        *("http://h/linux/production/arch_x86_64/", "<EXAMPLE DO NOT USE>"),
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=8))
VERSIONS = st.sampled_from([None, "100.1.1", "101.98.89", "101.23062.0010", "101.24082.0004", "101.26081.0010"])


def fitting(node: json_schema.Node) -> st.SearchStrategy:
    """Values that match the schema, and occasionally values that do not."""
    node = json_schema.resolve(node)
    if "enum" in node:
        right = st.sampled_from(node["enum"])
    elif node.get("type") == "object":
        keys = {name: fitting(below) for name, below in node.get("properties", {}).items()}
        right = st.fixed_dictionaries({}, optional=keys)
    elif node.get("type") == "array":
        right = st.lists(fitting(node["items"]), max_size=3)
    else:
        right = {"boolean": st.booleans(), "integer": st.integers(-1, 90000)}.get(node.get("type"), WORDS)
    return st.one_of(right, right, right, SCALARS)


SCHEMA = json_schema.load()
CONFIGS = fitting({**SCHEMA, "properties": {**SCHEMA["properties"], "foo": {}, "behaviorMonitoring": {}}})
MAPPINGS = CONFIGS.filter(lambda config: isinstance(config, dict))
ANYTHING = st.recursive(
    st.one_of(SCALARS, st.binary(max_size=4), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner), st.dictionaries(st.one_of(SCALARS, WORDS), inner, max_size=3)
    ),
    max_leaves=12,
)


def shuffled(value, turn):
    if isinstance(value, dict):
        names = sorted(value, reverse=True) if turn else list(reversed(value))
        return {name: shuffled(value[name], turn) for name in names}
    return [shuffled(item, turn) for item in value] if isinstance(value, list) else value


def seen(found):
    return {(finding["id"], finding["path"], finding["message"]) for finding in found}


@settings(max_examples=200)
@given(st.one_of(CONFIGS, ANYTHING), VERSIONS)
def test_no_configuration_raises_and_findings_are_whole(config, version):
    for finding in validate.config_findings(config, version):
        assert set(finding) == {"id", "severity", "path", "message", "hint"}
        assert finding["severity"] == validate.RULES[finding["id"]].severity
        assert all(isinstance(text, str) and text for text in finding.values())
        json.dumps(finding).encode("utf-8")
        "".join(finding.values()).encode("utf-8")


def test_half_a_character_is_escaped_in_advice():
    exclusion = {"$type": "excludedFileExtension", "extension": "\ud800", "scopes": ["epp"]}
    found = validate.config_findings({"exclusionSettings": {"exclusions": [exclusion]}})
    (advice,) = [finding["hint"] for finding in found if finding["id"] == "extension_without_dot"]
    assert advice == 'Write "extension": ".\\ud800"'


@settings(max_examples=300)
@given(st.one_of(st.text(), st.binary(), st.text(alphabet="{}[]\",:/#'\\ \n1aN-\0\ufeff\ud800", max_size=30)))
def test_no_text_raises(text):
    assert isinstance(validate.config_findings(text), list)


@settings(max_examples=100)
@given(MAPPINGS, st.data())
def test_a_text_cut_anywhere_does_not_raise(config, data):
    text = json.dumps(config).encode("utf-16" if data.draw(st.booleans()) else "utf-8")
    assert isinstance(validate.config_findings(text[: data.draw(st.integers(0, len(text)))]), list)


@settings(max_examples=150)
@given(MAPPINGS, VERSIONS, SCALARS)
def test_an_unknown_key_hides_no_other_finding(config, version, value):
    before = seen(validate.config_findings(config, version))
    for section in (None, *(name for name, below in config.items() if isinstance(below, dict))):
        more = {"zzNobodyKnowsThis": value}
        changed = {**config, **more} if section is None else {**config, section: {**config[section], **more}}
        after = seen(validate.config_findings(changed, version))
        assert before <= after
        assert "unknown_key" in {rule_id for rule_id, _path, _message in after - before}


@settings(max_examples=150)
@given(MAPPINGS, VERSIONS)
def test_the_order_of_keys_does_not_matter(config, version):
    expected = validate.config_findings(config, version)
    assert validate.config_findings(shuffled(config, 0), version) == expected
    assert validate.config_findings(shuffled(config, 1), version) == expected


@settings(max_examples=150)
@given(MAPPINGS)
def test_what_the_schema_refuses_is_never_silent(config):
    found = validate.config_findings(config)
    numbers = {finding["path"] for finding in found if finding["id"] == "number_as_string"}
    refused = {dotted(tuple(error.absolute_path)) for error in json_schema.validator().iter_errors(config)} - numbers
    assert not refused or any(finding["severity"] == "error" for finding in found)
