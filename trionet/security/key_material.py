"""Keys on their way between nodes."""

from __future__ import annotations

import msgspec

from trionet.errors import ConfigError

from .key_entries import KeyEntry
from .key_statements import KeyStatement, is_valid
from .keys import ClusterKey

__all__ = ["KeyMaterial"]


class KeyMaterial(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A key with what is stated about it. It travels only over a sealed link.

    Attributes:
        statement: the statement.
        text: the text of the key: key material.
    """

    statement: KeyStatement
    text: str

    def __repr__(self) -> str:
        return f"KeyMaterial({self.statement!r}, <hidden>)"

    def entry(self) -> KeyEntry | None:
        """Return the key with its statement; None unless it is a key under its own id, with a valid statement."""
        try:
            key = ClusterKey.parse(self.text)
        except ConfigError:
            return None
        if not is_valid(self.statement) or key.id != self.statement.key_id:
            return None
        return KeyEntry.stated(self.statement, key)
