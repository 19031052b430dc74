"""Values of role variables, as surveys, -e and YAML give them, and what they become."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.plugin_utils._roles.variables import VariableError, converted, is_unset

BOOL = {"type": "bool"}
INT = {"type": "int"}
STR = {"type": "str"}
PATH = {"type": "path"}
DICT = {"type": "dict"}
LIST = {"type": "list", "elements": "str"}
PORTS = {"type": "list", "elements": "int"}
STATE = {"type": "str", "choices": ["present", "absent"]}
LEVEL = {"type": "str", "choices": ["", "passive"]}
ARCHITECTURES = {"type": "list", "elements": "str", "choices": ["x86_64", "arm64"]}
NESTED = {"type": "list", "elements": "dict", "options": {"port": {"type": "int", "required": True}}}

RAW = {"type": "raw"}
VALID = [
    (BOOL, True, True),
    (BOOL, "false", False),
    (BOOL, "No", False),
    (BOOL, " yes ", True),
    (BOOL, 0, False),
    (INT, 3, 3),
    (INT, "3", 3),
    (INT, " -3 ", -3),
    (INT, 3.0, 3),
    (STR, "text", "text"),
    (STR, 3, "3"),
    (STR, "[::1]", "[::1]"),
    (STR, "{not a mapping}", "{not a mapping}"),
    (STR, "", ""),
    (PATH, "~/$HOME/x", "~/$HOME/x"),
    (PATH, "", ""),
    (STATE, "absent", "absent"),
    (LEVEL, "", ""),
    (LIST, ["a", 1], ["a", "1"]),
    (LIST, ("a",), ["a"]),
    (LIST, "https", ["https"]),
    (LIST, "a, b,", ["a", "b"]),
    (LIST, "10.0.0.0/8\n192.168.0.0/16\n", ["10.0.0.0/8", "192.168.0.0/16"]),
    (LIST, '["a", "b c"]', ["a", "b c"]),
    (LIST, "[a, b]", ["a", "b"]),
    (LIST, "[::1]:8080", ["[::1]:8080"]),
    (LIST, "[unfinished", ["[unfinished"]),
    (LIST, [], []),
    (PORTS, "80,443", [80, 443]),
    (PORTS, 80, [80]),
    (ARCHITECTURES, "arm64", ["arm64"]),
    (DICT, {"a": 1}, {"a": 1}),
    (DICT, '{"a": {"b": [1]}}', {"a": {"b": [1]}}),
    (DICT, "a:\n  b: true\n", {"a": {"b": True}}),
    (NESTED, [{"port": "80"}], [{"port": 80}]),
    # A number, or a mapping, which a survey gives as text.
    (RAW, "72", 72),
    (RAW, "1.5", 1.5),
    (RAW, '{"canary": 24}', {"canary": 24}),
    (RAW, {"canary": 24}, {"canary": 24}),
    (RAW, "often", "often"),
]
INVALID = [
    (BOOL, "maybe", 'x has to be true or false. The value is "maybe".'),
    (BOOL, ["yes"], "x has to be true or false. The value is a list."),
    (BOOL, 2, "x has to be true or false. The value is 2."),
    (INT, "three", 'x has to be an integer. The value is "three".'),
    (INT, True, "x has to be an integer. The value is true."),
    (INT, 3.5, "x has to be an integer. The value is 3.5."),
    # The versions of ansible-core convert these values differently.
    (INT, "3.0", 'x has to be an integer. The value is "3.0".'),
    (INT, "1_000", 'x has to be an integer. The value is "1_000".'),
    (INT, "3\n4", r'x has to be an integer. The value is "3\n4".'),
    (INT, "9" * 99 + "x", f'x has to be an integer. The value is "{"9" * 59}....'),
    (STR, ["a"], "x has to be text. The value is a list."),
    (PATH, {"a": 1}, "x has to be a path. The value is a mapping."),
    (STATE, "gone", 'x has to be one of: present, absent. The value is "gone".'),
    (LEVEL, "active", 'x has to be one of: "", passive. The value is "active".'),
    (LIST, {"a": 1}, "x has to be a list. The value is a mapping."),
    (LIST, True, "x has to be a list. The value is true."),
    (PORTS, ["80", "http"], 'x has to be an integer. The value is "http".'),
    (ARCHITECTURES, ["x86_64", "mips"], 'x has to be one of: x86_64, arm64. The value is "mips".'),
    (DICT, "text", 'x has to be a mapping, or JSON or YAML text of a mapping. The value is "text".'),
    (DICT, "{a", 'x has to be a mapping, or JSON or YAML text of a mapping. The value is "{a".'),
    (DICT, ["a"], "x has to be a mapping, or JSON or YAML text of a mapping. The value is a list."),
]


@pytest.mark.parametrize(("option", "value", "wanted"), VALID, ids=repr)
def test_valid_values_are_converted(option: dict[str, Any], value: object, wanted: object) -> None:
    result = converted("x", value, option)
    assert result == wanted
    assert type(result) is type(wanted)


@pytest.mark.parametrize(("option", "value", "sentence"), INVALID, ids=repr)
def test_invalid_values_are_refused_in_a_sentence(option: dict[str, Any], value: object, sentence: str) -> None:
    with pytest.raises(VariableError) as refused:
        converted("x", value, option)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": [datetime.date(2026, 1, 1)]}, "date"),
        ({"a": math.inf}, "number without a finite value"),
        ([b"x"], "bytes"),
    ],
)
def test_what_json_does_not_have_is_refused(value: object, kind: str) -> None:
    with pytest.raises(VariableError, match=f"x contains a {kind}, which JSON does not have"):
        converted("x", value, {"type": "raw"})


def test_text_of_a_mapping_is_checked_as_well() -> None:
    with pytest.raises(VariableError, match="x contains a date"):
        converted("x", "a: 2026-01-01", DICT)


def test_a_fault_in_a_suboption_is_named() -> None:
    with pytest.raises(VariableError, match=r"x is not valid: .*port"):
        converted("x", [{}], NESTED)


@pytest.mark.parametrize(("option", "value", "_sentence"), INVALID, ids=repr)
def test_the_value_of_a_secret_is_in_no_sentence(option: dict[str, Any], value: object, _sentence: str) -> None:
    with pytest.raises(VariableError) as refused:
        converted("x", value, {**option, "no_log": True})
    assert str(refused.value).endswith("The value is not shown because it may contain a secret.")


@pytest.mark.parametrize("value", ["http://u:s3cret/x@h:3128", "u:s3cret%40h"])
@pytest.mark.parametrize("option", [{"type": "int"}, {"type": "bool"}, {"type": "str", "choices": ["a"]}, NESTED, DICT])
def test_an_address_with_a_password_is_in_no_sentence(option: dict[str, Any], value: str) -> None:
    with pytest.raises(VariableError) as refused:
        converted("x", [value] if option.get("type") == "list" else value, option)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value", "unset"),
    [
        (STR, None, True),
        (INT, "", True),
        (BOOL, " ", True),
        (LIST, "", True),
        (DICT, "\n", True),
        (STATE, "", True),
        (LEVEL, "", False),
        (STR, "", False),
        (PATH, "", False),
        (BOOL, False, False),
        (INT, 0, False),
        (LIST, [], False),
    ],
)
def test_unanswered_questions_of_surveys_count_as_not_set(option: dict[str, Any], value: object, unset: bool) -> None:
    assert is_unset(value, option) is unset
