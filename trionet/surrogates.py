"""Lone surrogates: parts of texts that no Unicode text has, as Python makes them of the names of files on old disks.

They can't travel; where a text is for people, a ``?`` stands for each.
"""

from __future__ import annotations

from typing import Any

__all__ = ["without_surrogates"]


def without_surrogates(value: Any) -> Any:
    """Return plain data with a ``?`` for each lone surrogate in its texts."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    return value
