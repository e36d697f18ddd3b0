"""Merge patches make one document of another, by RFC 7396."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionet.dashboard.merge_patch import merge_patch, without_nulls

LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from("ab")
NAMES = st.sampled_from(["", "a", "b", "ab"])
INNER = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(NAMES, LEAVES, max_size=3)
VALUES = INNER | st.dictionaries(NAMES, INNER, max_size=3)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


def applied(target: Any, patch: Any) -> Any:
    """Return RFC 7396's MergePatch(target, patch), as it is written there."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = applied(target.get(name), value)
    return target


@settings(max_examples=60)
@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_makes_the_new_document_of_the_old_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    sent = without_nulls(old)
    for _ in range(2):  # the second time nothing is left to do
        sent = applied(sent, merge_patch(old, new))
        assert sent == without_nulls(new)


@settings(max_examples=60)
@given(DOCUMENTS)
def test_equal_documents_have_an_empty_patch(document: dict[str, Any]) -> None:
    assert merge_patch(document, document) == {}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": 1, "b": 2}, {"b": 2}, {"a": None}),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": {"b": None}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
    ],
)
def test_a_patch_has_only_what_differs(old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merge_patch(old, new) == patch
