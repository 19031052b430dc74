"""Whether a signed document may be used: the table of decisions, and what is remembered."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import trust
from ansible_collections.mde.offline.plugins.module_utils._mirror.trust import Known, Proof, Trust

KEY, OTHER_KEY = "A" * 40, "B" * 40
ID, OTHER_ID = "ab" * 16, "cd" * 16
NOW = "2026-02-03T10:00:00Z"
GOOD = {"mirror_id": ID, "sequence": 7, "expires": "2026-02-05T10:00:00Z"}
SEEN = Trust({KEY: Known(ID, status=7, bundle=9)})


@pytest.mark.parametrize(
    ("changes", "remembered", "kind", "code"),
    [
        ({}, Trust(), "status", None),
        ({}, SEEN, "status", None),
        ({"sequence": 8}, SEEN, "status", None),
        ({"sequence": 6}, SEEN, "status", "older_sequence"),
        # Each kind has its own sequence.
        ({"sequence": 8}, SEEN, "bundle", "older_sequence"),
        ({"sequence": 9}, SEEN, "bundle", None),
        ({"mirror_id": OTHER_ID}, SEEN, "status", "foreign_mirror"),
        ({"mirror_id": OTHER_ID}, SEEN.expecting(OTHER_ID), "status", None),
        # A mirror that was set up again starts a new sequence.
        ({"mirror_id": OTHER_ID, "sequence": 1}, SEEN.expecting(OTHER_ID), "status", None),
        # What is recorded for one key does not apply to another key.
        ({"mirror_id": OTHER_ID}, Trust({OTHER_KEY: Known(ID, 7)}), "status", None),
        ({"expires": "2026-02-03T09:59:59Z"}, Trust(), "status", "expired"),
        ({"expires": NOW}, Trust(), "status", None),
        # An expired old copy is reported as an old copy.
        ({"expires": "2026-02-03T09:59:59Z", "sequence": 6}, SEEN, "status", "older_sequence"),
        ({"expires": "soon"}, Trust(), "status", "bad_signature"),
        ({"expires": None}, Trust(), "status", "bad_signature"),
        ({"mirror_id": "A" * 32}, Trust(), "status", "bad_signature"),
        ({"mirror_id": None}, Trust(), "status", "bad_signature"),
        ({"sequence": "7"}, Trust(), "status", "bad_signature"),
        ({"sequence": True}, Trust(), "status", "bad_signature"),
        ({"sequence": -1}, Trust(), "status", "bad_signature"),
    ],
)
def test_the_judgement_of_a_signed_document(changes, remembered, kind, code):
    error = trust.judge({**GOOD, **changes}, KEY, kind, "the status", remembered, NOW)

    assert (error.code if error else None) == code
    assert error is None or (error.message and error.hint)


def test_what_was_used_is_remembered():
    after = SEEN.after(Proof("signed", "status", KEY, ID, 12)).after(Proof("signed", "bundle", KEY, ID, 3))

    assert after.known[KEY] == Known(ID, status=12, bundle=9)


def test_an_expected_mirror_replaces_the_former_one():
    after = SEEN.expecting(OTHER_ID).after(Proof("signed", "status", KEY, OTHER_ID, 1))

    assert after == Trust({KEY: Known(OTHER_ID, status=1)})


def test_what_is_not_signed_is_not_remembered():
    assert SEEN.after(Proof("tls")) is SEEN


def test_a_mirror_that_is_known_is_not_expected():
    assert SEEN.expecting(ID) is SEEN


def test_the_number_of_expected_mirrors_has_a_limit():
    remembered = Trust()
    for number in range(100):
        remembered = remembered.expecting(f"{number:032x}")

    assert len(remembered.expected) == 16
    assert remembered.expected[-1] == f"{99:032x}"


def test_the_memory_is_read_as_it_was_written(tmp_path):
    remembered = SEEN.expecting(OTHER_ID)
    (tmp_path / trust.FILE).write_text(json.dumps(remembered.as_dict()), encoding="utf-8")

    assert trust.read(tmp_path) == remembered


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"keys": []}', '{"keys": {"A": 1}}', '{"keys": {"A": {"mirror_id": "x"}}}', '{"expected": 5}'],
)
def test_a_damaged_memory_knows_nothing(tmp_path, content):
    (tmp_path / trust.FILE).write_text(content, encoding="utf-8")

    assert trust.read(tmp_path) == Trust()
