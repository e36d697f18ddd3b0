"""Checks the types of arguments."""

from __future__ import annotations

from typing import Any

from trionet.errors import ConfigError

__all__ = ["require"]


def require(value: Any, kind: Any, expected: str) -> None:
    """Check the type of a value.

    Args:
        value: the value.
        kind: as for `isinstance`.
        expected: the beginning of the error, such as "a program is an async function".

    Raises:
        ConfigError: it has another type.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{expected}, not {value!r:.100}")
