"""Changes of a managed configuration: merging, removing, comparing, and showing it without its secrets."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import merge
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from("abcd")
LEAVES = st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y", ""]) | st.lists(st.integers(0, 2), max_size=2)


def trees(leaves: Any) -> Any:
    below = st.recursive(leaves, lambda deeper: st.dictionaries(NAMES, deeper, max_size=3), max_leaves=8)
    return st.dictionaries(NAMES, below)


CONFIGS = trees(LEAVES)
PATCHES = trees(LEAVES | st.none())
# As in a file with a schema, each key always has an object or never has one. Here, upper-case keys have objects.
TYPED = st.dictionaries(NAMES, LEAVES, max_size=3)
for _level in range(2):
    TYPED = st.builds(lambda one, two: {**one, **two}, TYPED, st.dictionaries(st.sampled_from("AB"), TYPED, max_size=2))


def places(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every path in a tree, with its value; None for an object."""
    found = {}
    for name, value in tree.items():
        found[(*path, name)] = None if isinstance(value, dict) else value
        if isinstance(value, dict):
            found.update(places(value, (*path, name)))
    return found


@given(CONFIGS, PATCHES)
def test_merging_twice_is_merging_once(present: Any, desired: Any) -> None:
    once = merge.merge(present, desired)
    assert merge.same(merge.merge(once, desired), once)


@given(CONFIGS, PATCHES)
def test_merging_keeps_what_it_does_not_name_and_changes_neither_input(present: Any, desired: Any) -> None:
    before = copy.deepcopy((present, desired))
    merged = places(merge.merge(present, desired))
    assert (present, desired) == before
    decided = {path for path in places(desired) if not isinstance(_at(desired, path), dict)}
    for path, value in places(present).items():
        if value is not None and path not in places(desired) and not any(path[:depth] in decided for depth in range(9)):
            assert merged[path] == value


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


@given(CONFIGS, PATCHES)
def test_merging_does_what_is_asked(present: Any, desired: Any) -> None:
    merged = merge.merge(present, desired)
    for path, value in places(desired).items():
        if isinstance(_at(desired, path), dict):
            assert isinstance(_at(merged, path), dict)
        elif value is None:
            assert path not in places(merged)
        else:
            assert merge.same(_at(merged, path), value)


@given(TYPED, TYPED, TYPED)
def test_merging_is_associative_where_each_key_keeps_its_kind(one: Any, two: Any, three: Any) -> None:
    left = merge.merge(merge.merge(one, two), three)
    assert merge.same(left, merge.merge(one, merge.merge(two, three)))


@given(CONFIGS, CONFIGS)
def test_the_order_of_existing_keys_stays(present: Any, desired: Any) -> None:
    merged = list(merge.merge(present, desired))
    assert merged[: len(present)] == list(present)


@given(TYPED, TYPED)
def test_removing_takes_away_what_is_named_and_nothing_else(present: Any, named: Any) -> None:
    left = merge.remove(present, named)
    leaves = {path for path in places(named) if not isinstance(_at(named, path), dict)}
    assert not leaves & set(places(left))
    for path, value in places(present).items():
        if not isinstance(_at(present, path), dict) and path not in leaves:
            assert places(left)[path] == value
    assert merge.same(merge.remove(left, named), left)


@given(TYPED, TYPED)
def test_removing_undoes_what_merging_added(present: Any, added: Any) -> None:
    fresh = {f"new_{name}": value for name, value in added.items()}
    left = merge.remove(merge.merge(present, fresh), fresh)
    emptied = {name for name, value in fresh.items() if isinstance(value, dict)}
    assert merge.same({name: value for name, value in left.items() if name not in emptied}, present)


@pytest.mark.parametrize(
    ("present", "named", "left"),
    [
        ({"a": {"b": 1}}, {"a": {"b": None}}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": "any value"}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({"a": {}, "b": 1}, {"a": {"x": None}, "b": None}, {"a": {}}),
        ({"a": "text"}, {"a": {"b": None}}, {"a": "text"}),
        ({"a": [1, 2]}, {"a": [1]}, {}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}, {}),
        ({"a": {"b": {"c": 1}, "d": {}}}, {"a": {"b": {"c": 1}}}, {"a": {"d": {}}}),
    ],
)
def test_removing(present: Any, named: Any, left: Any) -> None:
    assert merge.remove(present, named) == left


@pytest.mark.parametrize(
    ("present", "named", "left"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 2}),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, {}),
        ({"a": {"b": 1}}, {"a": {"b": True}}, {"a": {"b": 1}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
        ({"a": [1, 2]}, {"a": [1, 2]}, {}),
        ({"a": {"b": 1}}, {"a": None}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": 1}),
    ],
)
def test_removing_only_what_matches(present: Any, named: Any, left: Any) -> None:
    assert merge.remove(present, named, matching=True) == left


@given(CONFIGS, CONFIGS)
def test_removing_what_matches_leaves_every_other_value(present: Any, named: Any) -> None:
    left = places(merge.remove(present, named, matching=True))
    for path, value in places(present).items():
        if not isinstance(_at(present, path), dict) and not merge.same(value, _at(named, path)):
            assert left[path] == value


# The test cases of RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("present", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_is_json_merge_patch(present: Any, patch: Any, result: Any) -> None:
    assert merge.merge(present, patch) == result


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (True, 1, False),
        (False, 0, False),
        (1, 1.0, False),
        (1, "1", False),
        (None, False, False),
        ([True], [1], False),
        ([1, 2], [2, 1], False),
        ({"a": {"b": 1}}, {"a": {"b": True}}, False),
        ({"a": None}, {}, False),
        ([], {}, False),
        ({"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"d": 3, "c": 2}], "a": 1}, True),
    ],
)
def test_comparing(one: Any, other: Any, equal: bool) -> None:
    assert merge.same(one, other) is equal
    assert merge.same(other, one) is equal


PATH = "/managed.json"


@pytest.mark.parametrize(
    ("data", "desired", "state", "after", "changed"),
    [
        (None, {"a": 1}, "merged", {"a": 1}, True),
        (None, {}, "merged", None, False),
        (None, {"a": None}, "merged", None, False),
        (None, {"a": 1}, "absent", None, False),
        (None, {}, "replaced", {}, True),
        (b'{"b":  2}', {"b": 2}, "merged", {"b": 2}, False),
        (b'{"b": 2}', {"a": 1}, "replaced", {"a": 1}, True),
        (b'{"b": 2}', {"b": 2, "a": None}, "replaced", {"b": 2}, False),
        (b'{"a": 1}', {"a": None}, "absent", {}, True),
        (b'{"a": 1,}', {"b": 2}, "replaced", {"b": 2}, True),
        (b'{"b": 2, "b": 2}', {"b": 2}, "replaced", {"b": 2}, True),
    ],
)
def test_planning(data: bytes | None, desired: Any, state: str, after: Any, changed: bool) -> None:
    plan = merge.plan(PATH, data, desired, state)
    assert (plan.after, plan.changed) == (after, changed)


@pytest.mark.parametrize("state", ["merged", "absent"])
def test_a_broken_file_is_left_alone_with_advice(state: str) -> None:
    with pytest.raises(merge.BrokenFile) as caught:
        merge.plan(PATH, b'{\n"a": 1,\n}', {"b": 2}, state)
    assert caught.value.finding["id"] == "not_json"
    assert caught.value.finding["severity"] == "error"
    for words in (PATH, "line 3", "not changed", "state: replaced"):
        assert words in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("proxy", "http://user:s3cret@proxy:8080/", "http://********@proxy:8080/"),
        ("proxy", "http://user:s3c@ret@proxy:8080/", "http://********@proxy:8080/"),
        ("proxy", "http://user:s3/c@ret@proxy:8080/", "http://********@proxy:8080/"),
        ("proxy", "HTTPS://s3cret@proxy", "HTTPS://********@proxy"),
        ("proxy", "user:s3cret@proxy:8080", "********@proxy:8080"),
        (
            "offlineDefinitionUpdateUrl",
            "https://u:s3cret@m.example/linux/production/",
            "https://********@m.example/linux/production/",
        ),
        ("proxy", "http://user:123/4s3cret@proxy:8080/", "http://********@proxy:8080/"),
        ("proxy", "http://user:s3 cret@proxy:8080/", "http://********@proxy:8080/"),
        ("proxy", " http://user:s3cret@proxy:8080/", "********@proxy:8080/"),
        ("httpProxy", "user:s3 cret@proxy:8080", "********@proxy:8080"),
        ("comment", "user:s3cret s3@proxy:8080", "********@proxy:8080"),
        ("comment", "use http://user:s3/cret@proxy:8080/", "use http://********@proxy:8080/"),
        ("offlineDefinitionUpdateUrl", "https://m.example/linux/@x/", "https://m.example/linux/@x/"),
        # A path behind a port may also be the rest of a password.
        ("offlineDefinitionUpdateUrl", "https://m.example:8443/linux/@x/", "https://********@x/"),
        ("password", 1234, "********"),
        ("tokens", ["s3cret"], ["********"]),
        ("credentials", {"name": "s3cret", "on": True}, {"name": "********", "on": True}),
        ("offlineDefinitionUpdateUrl", "http://[2001:db8::1]:8080/linux/", "http://[2001:db8::1]:8080/linux/"),
        ("apiToken", "s3cret", "********"),
        ("proxyPassword", "s3cret", "********"),
        ("client_secret", "s3cret", "********"),
        ("value", "team@example.com", "team@example.com"),
        ("path", "/var/lib/app@1/", "/var/lib/app@1/"),
        ("password", "", ""),
        ("enabled", True, True),
    ],
)
def test_secrets_are_hidden_and_nothing_else(name: str, value: Any, shown: Any) -> None:
    config = {"top": [{name: value}], name: value}
    assert merge.redact(config) == {"top": [{name: shown}], name: shown}


@pytest.mark.parametrize(
    "line",
    [
        '"proxy": "http://u:s3cret@h:1" "x"',
        '"proxy": "u:s3cret@h:1",',
        '"proxy": http://u:s3@cret@h,',
        'u:s3cret@h "',
        '"password": "s3cret"',
        '{"a": 1, "apiKey": "s3cret", }',
        '{"edr": {"groupIds": s3cret-of-a-vault}}',
        '"groupIds": "s3cret" "x"',
        "'groupIds': 's3cret'",
        '"groupIds": "s3cret',
        "groupIds: s3cret",
        's3cret": 1',
        '{"s3cret@host": 1}',
    ],
)
def test_a_line_that_is_not_json_is_shown_without_what_may_be_a_secret(line: str) -> None:
    assert "s3" not in merge.redact_line(line)
    assert "cret" not in merge.redact_line(line)


def test_a_line_without_secrets_is_shown_as_it_is() -> None:
    assert merge.redact_line('"enabled": tru,') == '"enabled": tru,'
    assert merge.redact_line('{"edr": {"tags": [1 05,]}} // }}') == '{"edr": {"tags": [1 05,]}} // }}'


def test_a_line_keeps_its_shape() -> None:
    line = '{"cloudService": {"proxy": "http://h:1/" "enabled": yes, level: 123456}'
    shown = '{"cloudService": {"proxy": ### "enabled": yes, ###: ###}'
    assert merge.redact_line(line) == shown.replace("###", merge.HIDDEN)


def test_the_difference_shows_what_counts_and_no_secret() -> None:
    data = b'{"b":   2, "proxy": "http://u:s3cret@h/"}'
    plan = merge.plan(PATH, data, {"c": 3}, "merged")
    shown = merge.diff(PATH, data, plan)
    assert json.loads(shown["after"]) == {**json.loads(shown["before"]), "c": 3}
    assert shown["after"].splitlines()[1] == '  "b": 2,'
    assert "s3cret" not in json.dumps(shown)
    broken = merge.diff(PATH, data + b"s3cret", merge.plan(PATH, data + b"s3cret", {}, "replaced"))
    assert "s3cret" not in json.dumps(broken)
    assert "after the end" in broken["before"]
