"""What a key ring keeps over a restart, and how it becomes a key file.

Invariant: `KeyRecords.of` and `KeyRecords.file` are inverse. A file has one demand more than the records: without a
used key that it holds, a node that starts could seal nothing.
"""

from __future__ import annotations

import msgspec

from .key_entries import KeyEntry, KeyFile
from .rollout import Rollout

__all__ = ["KeyRecords"]


class KeyRecords(msgspec.Struct, frozen=True):
    """What a key ring needs after a restart.

    Attributes:
        keys: all keys that are known, also those that are retired and forgotten, or not received yet.
        members: the names of all other members that are known, sorted. Without them a node that has just started would
            take itself for the whole cluster, and rotate the keys without those that are absent.
        rollout: how far a rollout has come; None if there was none.
    """

    keys: tuple[KeyEntry, ...] = ()
    members: tuple[str, ...] = ()
    rollout: Rollout | None = None

    @classmethod
    def of(cls, file: KeyFile) -> KeyRecords:
        """Return what a key file holds."""
        return cls(file.entries, file.members, file.rollout)

    def file(self) -> KeyFile:
        """Return the content of the key file with these records.

        Raises:
            ConfigError: there are none that a node could start with, or too many; the text says why.
        """
        return KeyFile(self.keys, self.members, self.rollout)
