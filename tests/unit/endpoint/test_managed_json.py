"""The strict JSON reader of the endpoint: it reads valid JSON, and reports the line and the cause of invalid JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import strict_json
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


def refused(data: bytes) -> strict_json.NotStrictJson:
    with pytest.raises(strict_json.NotStrictJson) as caught:
        strict_json.loads(strict_json.decode(data))
    return caught.value


@given(OBJECTS, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_reads_what_the_json_module_writes(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert json.dumps(strict_json.loads(text)) == json.dumps(json.loads(text))


@given(OBJECTS)
def test_what_it_writes_is_utf8_and_means_the_same(value: Any) -> None:
    written = strict_json.dumps(value).encode("utf-8")
    assert json.loads(written) == json.loads(json.dumps(value))
    assert strict_json.dumps(strict_json.loads(strict_json.decode(written))).encode("utf-8") == written


@given(st.binary(max_size=60) | st.text('{}[]",:\\ \n01eE.-truefalsnu/#', max_size=40).map(str.encode))
def test_accepts_only_json_objects_and_never_raises_anything_else(data: bytes) -> None:
    try:
        found = strict_json.loads(strict_json.decode(data))
    except strict_json.NotStrictJson as error:
        assert error.message
        assert error.line is not None
        return
    assert found == json.loads(data)


def test_the_text_of_a_file() -> None:
    value = {"name": "Größe ☃ 𝄞", "list": [], "empty": {}, "deep": {"n": [1, True]}}
    assert strict_json.dumps(value) == json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("data", "kind", "line", "words"),
    [
        (b"", "empty_file", 1, "empty"),
        (b" \n\t\n", "empty_file", 1, "empty"),
        (b"\0" * 512, "empty_file", 1, "zero bytes"),
        (b"\xef\xbb\xbf{}", "byte_order_mark", 1, "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "wrong_encoding", 1, "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "wrong_encoding", 1, "UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "wrong_encoding", 1, "UTF-16 or UTF-32"),
        ('{\n"a": 1,\n"b": "Größe"\n}'.encode("latin-1"), "wrong_encoding", 3, "line 3"),
        (b"[1, 2]", "root_not_object", 1, "not an object"),
        (b'"text"', "root_not_object", 1, "not an object"),
        (b'{\n  "a": 1,\n  "b": 2,\n}', "not_json", 4, "a superfluous comma before }"),
        (b'{"a": [1,\n2,\n]}', "not_json", 3, "a superfluous comma before ]"),
        (b'{"a": 1\n "b": 2}', "not_json", 2, "lacks a comma"),
        (b'{"a" 1}', "not_json", 1, "lacks a colon"),
        (b'{\n"a":\n}', "not_json", 3, "lacks a value"),
        (b'{\n// why\n"a": 1}', "not_json", 2, "comment"),
        (b'{"a": 1, /* why */ "b": 2}', "not_json", 1, "comment"),
        (b'{"a": 1}\n# why', "not_json", 2, "after the end"),
        (b'{"a": 1}\n{"b": 2}', "not_json", 2, "after the end"),
        (b"{'a': 1}", "not_json", 1, "quotes"),
        ("{\u201ca\u201d: 1}".encode(), "not_json", 1, "quotes"),
        (b'{"a": True}', "not_json", 1, "true, false and null"),
        (b'{"a": NaN}', "not_json", 1, "true, false and null"),
        (b'{"a": 01}', "not_json", 1, "lacks a value"),
        (b'{"a": 1e999}', "not_json", 1, "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not_json", 1, "too large"),
        (b'{"a": {{ level }}}', "not_json", 1, "never rendered"),
        (b"{% if x %}{}", "not_json", 1, "never rendered"),
        (b'{\n"a": "b\nc"}', "not_json", 2, "does not end"),
        (b'{"a": "C:\\path"}', "not_json", 1, "backslash"),
        (b'{\n"a": {\n"b": [1, 2', "not_json", 3, "line 3 is never closed"),
        (b'{\n"a": {\n"b": 1\n', "not_json", 4, "line 2 is never closed"),
        (b'{"a": 1,\n<<<<<<< HEAD\n"b": 2}', "not_json", 2, "merge conflict"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "too_deep", 1, "deeper"),
        (b'{\n"x": {\n"a": 1,\n"b": 2,\n"a": 3}}', "duplicate_name", 5, "x.a twice in one object, in line 3 and"),
        (b'{"a": 1,\n"\\u0061": 2}', "duplicate_name", 2, "a twice"),
        (b'{"l": [{"a": 1, "a": 2}]}', "duplicate_name", 1, "l.0.a"),
        (b'{"a": 1, "a": 2, "b": 1, "b": 2}', "duplicate_name", 1, "1 more duplicate"),
    ],
)
def test_tells_broken_files_apart(data: bytes, kind: str, line: int, words: str) -> None:
    error = refused(data)
    assert (error.kind, error.line) == (kind, line)
    assert words in error.message


def test_the_same_name_in_different_objects_is_no_duplicate() -> None:
    assert strict_json.loads('{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}')["a"] == {"a": 1}


@pytest.mark.parametrize("text", ['{"p": "u:s3cret@h" "b"}', '{"a": "s3cret', '{"a": s3cret}', '{"a": "s3cret\n"}'])
def test_no_message_quotes_the_text(text: str) -> None:
    assert "s3cret" not in refused(text.encode()).message
