"""Bounded tables of recent entries.

Invariant: a table holds at most so many entries, in the order in which they were put; the oldest is dropped first.
"""

from __future__ import annotations

from typing import TypeVar

__all__ = ["remember"]

Key = TypeVar("Key")
Value = TypeVar("Value")


def remember(table: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Put an entry last in `table`; drop the first one if there are more than `most`."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]
