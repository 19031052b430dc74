"""Cases for the findings of parsing.py: id -> (cases with it, near misses without it).

A case is a configuration, a text, or a pair of either and an agent's version.
"""

from __future__ import annotations

import json

from tests.unit.managed.builders import deep

CASES = {
    "byte_order_mark": (
        [b"\xef\xbb\xbf{}", "\ufeff{}"],
        [b"{}", '{"edr": {"groupIds": "\ufeff"}}', "{}".encode("utf-16")],
    ),
    "wrong_encoding": (
        [
            "{}".encode("utf-16"),
            "{}".encode("utf-16-le"),
            "{}".encode("utf-16-be"),
            "{}".encode("utf-32"),
            b'{"edr": {"groupIds": "\xe9"}}',
            '{"edr": {"groupIds": "\udce9"}}',
            b'\xef\xbb\xbf{"edr": {"groupIds": "\xff"}}',
        ],
        ['{"edr": {"groupIds": "é"}}'.encode(), "{}", b"{}", b"{"],
    ),
    "empty_file": ([b"", "", " \n\t", b"\xef\xbb\xbf"], ["{}", b"{}", "null"]),
    "not_json": (
        [
            '{"a": 1,}',
            '{"a": [1,]}',
            "// c\n{}",
            '{"a": 1} // c',
            "{'a': 1}",
            '{"a": True}',
            "a:\n  b: 1\n",
            '{"a": NaN}',
            '{"a": -Infinity}',
            '{"a": "b\x01"}',
            '{"a": {{ b }}}',
            "{} {}",
            '{"a": 1',
            b"\x00",
            b"\x00\x00\x00\x00\x00\x00",
            b'{"edr": {}}\x00\x00',
            '{\u00a0"edr": {}}',
            '"edr": {}',
            "{} ,",
            '{"edr" {}}',
            "```json\n{}\n```",
        ],
        ["{}", '{"edr": {"groupIds": "NaN, // # \'"}}', "[]"],
    ),
    "duplicate_name": (
        [
            '{"edr": {}, "edr": {}}',
            '{"edr": {"tags": [{"key": "GROUP", "key": "GROUP", "value": "v"}]}}',
            '{"x": {"a": 1, "a": 2}, "x": 1}',
        ],
        ['{"edr": {"tags": [{"key": "GROUP"}, {"key": "GROUP"}]}}', '{"a": {"b": 1}, "c": {"b": 1}}'],
    ),
    "root_not_object": (['"{}"', "[]", "1", "null", [], None, 3, [{}]], ["{}", {}]),
    "too_deep": ([deep(40), json.dumps(deep(40)), '{"a":' * 100000], [deep(20)]),
}
