"""The difference between two documents, as a JSON Merge Patch.

Invariants: ``applied(old, merge_patch(old, new)) == without_nulls(new)`` for documents without nulls in `old`; equal
documents have the patch ``{}``. A null in a document means that there is none: a merge patch can't say anything else.
Lists are replaced whole. Values are equal where Python says so: a member is a boolean or a number, and does not change
from one to the other.

Source: RFC 7396.
"""

from __future__ import annotations

from typing import Any

__all__ = ["merge_patch", "without_nulls"]


def without_nulls(document: Any) -> Any:
    """Return a document without the members of its objects that are null; lists stay as they are."""
    if type(document) is not dict:
        return document
    return {name: without_nulls(value) for name, value in document.items() if value is not None}


def merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes `new` of `old`; nulls in either are members that aren't there."""
    patch: dict[str, Any] = {}
    for name, value in new.items():
        before = old.get(name)
        if value is None or before == value:
            continue
        if type(before) is dict and type(value) is dict:
            inner = merge_patch(before, value)
            if inner:
                patch[name] = inner
        else:
            patch[name] = without_nulls(value)
    for name, before in old.items():
        if before is not None and new.get(name) is None:
            patch[name] = None
    return patch
