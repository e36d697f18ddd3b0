"""The scopes of bearer tokens."""

from __future__ import annotations

import enum

from trionet.errors import ConfigError

__all__ = ["Scope"]


class Scope(enum.IntEnum):
    """What the holder of a token may do; a greater scope includes the smaller ones."""

    READ = 1
    """Call the methods that only read."""
    CALL = 2
    """Call all methods but those for administrators."""
    ADMIN = 3
    """Call all methods."""

    @classmethod
    def of(cls, name: object) -> Scope:
        """Return the scope of this name.

        Raises:
            ConfigError: there is none.
        """
        scope = cls.__members__.get(name.upper()) if isinstance(name, str) and name.islower() else None
        if scope is None:
            raise ConfigError("a scope is read, call or admin")
        return scope
