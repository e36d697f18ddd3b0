"""Rows that are shown as they are known, but no faster than a viewer's share of the network allows.

Invariants: each step's patch has at most `budget` bytes, but for one row; rows that stay as they are come to be shown
as they are; what says most is first: ends and states, then new rows, in their order, and then details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .merge_patch import merge_patch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["paced"]

_Rows = dict[str, dict[str, Any]]

_REMOVAL: Final = 8
"""The bytes of a removal besides its key."""
_DETAILS: Final = frozenset({"waits"})


def paced(shown: _Rows, known: Mapping[str, dict[str, Any]], budget: float) -> tuple[_Rows, int]:
    """Return the rows to show next, and the bytes that this takes.

    Args:
        shown: the rows that are shown.
        known: the rows that are known, those that matter most first.
        budget: how many bytes this may take.
    """
    following, spent = dict(shown), 0
    for key in shown.keys() - known.keys():
        if spent > budget:
            break
        del following[key]
        spent += len(key) + _REMOVAL
    new: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    late: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for key, row in known.items():
        before = shown.get(key)
        if before is None:
            new.append((key, row, row))
        elif before != row:
            patch = merge_patch(before, row)
            (late if patch.keys() <= _DETAILS else new).append((key, row, patch))
    new.sort(key=lambda one: one[1] is one[2])  # changes before new rows
    for key, row, patch in (*new, *late):
        if spent > budget:
            break
        following[key] = row
        spent += len(key) + _REMOVAL + len(msgspec.json.encode(patch))
    return following, spent
