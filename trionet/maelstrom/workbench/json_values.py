"""JSON values as texts, and when two of them are the same."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["identity", "json_of", "shown", "value_of"]


def identity(value: Any) -> Any:
    """Return a hashable key that two JSON values share only if they are the same: 1, 1.0, true and "1" differ."""
    if type(value) in {int, str}:
        return value
    if type(value) is float and value == 0:
        value = 0.0  # and not -0.0
    return msgspec.json.encode(value, order="deterministic")


def value_of(key: Any) -> Any:
    """Return a value by its `identity`."""
    return msgspec.json.decode(key) if isinstance(key, bytes) else key


def shown(key: Any) -> Any:
    """Return an `identity` as it stands in results: a number, or a text."""
    return key.decode() if isinstance(key, bytes) else key


def json_of(value: Any) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(value).decode()
