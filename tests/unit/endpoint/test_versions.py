"""Versions are ordered by number, part by part; a text that is not a version is never ordered."""

from __future__ import annotations

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("1.407.417.0", "1.407.417.0", 0),
        ("1.407.417.0", "1.407.417", 0),
        ("1.407.9.0", "1.407.417.0", -1),
        ("101.98.89", "101.23052.0009", -1),
        ("101.24022.0001", "101.24022.1", 0),
        ("v1.2", "1.10", -1),
        ("2.0-beta", "1.9", 1),
        ("1.2", None, None),
        ("", "1.2", None),
        ("unavailable", "1.2", None),
        ("1.2..3", "1.2", None),
        (12, "1.2", None),
    ],
)
def test_order(left, right, order):
    assert versions.compare(left, right) == order
    assert versions.older(left, right) is (order == -1)
    if order is not None:
        assert versions.compare(right, left) == -order


@given(st.one_of(st.text(), st.none(), st.integers()), st.text())
def test_nothing_makes_it_raise(left, right):
    assert versions.compare(left, right) in (-1, 0, 1, None)
