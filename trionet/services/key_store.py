"""Where a node keeps its keys: in its key file, or nowhere.

Invariant: what others have written to a file that several nodes share is kept.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from trionet.errors import ConfigError
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_file import read_key_file, update_key_file
from trionet.security.key_statements import KeyState, merged
from trionet.security.rollout import STEPS
from trionet.virtual_time import is_time_virtual

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from trionet.security.key_records import KeyRecords

__all__ = ["KeyStore", "merged_file", "read_file"]


class KeyStore:
    """Keeps the keys of one node.

    Args:
        path: the path of its key file; None without one.
        is_given: whether another node gives it the keys at each of its starts.
        members: the members that this node has from there.
    """

    def __init__(self, path: str | None, *, is_given: bool, members: Iterable[str] = ()) -> None:
        self.path: str | None = path
        self.is_given: bool = is_given
        self._members = frozenset(members)
        self._lock = trio.Lock()

    @property
    def is_lasting(self) -> bool:
        """Whether a restart of the node finds what is kept."""
        return self.is_given or self.path is not None

    async def save(self, records: KeyRecords) -> KeyFile:
        """Keep these records; return all that is kept now.

        Raises:
            ConfigError: they can't be kept; the text says why.
        """
        if self.is_given:
            await trio.lowlevel.checkpoint()
            return records.file()
        if self.path is None:
            raise ConfigError("this node has no key file: start it with one (--key-file)")
        async with self._lock:
            change = partial(merged_file, records, forgotten=self._members.difference(records.members))
            if is_time_virtual():  # which does not wait for threads
                content = update_key_file(self.path, change)
            else:
                content = await trio.to_thread.run_sync(update_key_file, self.path, change)
            self._members = frozenset(records.members)
            return content

    async def load(self) -> KeyFile:
        """Return what is kept.

        Raises:
            ConfigError: it can't be read; the text says why.
        """
        if self.path is None:
            raise ConfigError("this node has no key file")
        return await read_file(self.path)


async def read_file(path: str) -> KeyFile:
    """Return the content of a key file.

    Raises:
        ConfigError: it can't be read; the text says why.
    """
    if is_time_virtual():
        return read_key_file(path)
    return await trio.to_thread.run_sync(read_key_file, path)


def merged_file(records: KeyRecords, old: KeyFile, *, forgotten: Collection[str] = ()) -> KeyFile:
    """Return the content of a file with these records, and what else is in it; forgotten keys and members are not."""
    entries = {one.id: one for one in old.entries}
    for one in records.keys:
        entries[one.id] = _merged_entry(one, entries.get(one.id))
    rollouts = [one for one in (records.rollout, old.rollout) if one is not None]
    # A step is taken once all present members have taken the one before: whichever node of this file was first.
    rollout = max(rollouts, key=STEPS.index, default=None)
    members = {*old.members}.difference(forgotten) | {*records.members}
    return KeyFile(tuple(entries.values()), tuple(sorted(members)), rollout)


def _merged_entry(own: KeyEntry, old: KeyEntry | None) -> KeyEntry:
    if old is None:
        return own
    # A file of one key alone says that it is used. In a cluster that is said by a command, which has a sequence.
    is_assumed = own.state is KeyState.INSTALLED and old.state is KeyState.USED and not old.sequence
    stated = msgspec.structs.replace(old.statement, state=KeyState.INSTALLED) if is_assumed else old.statement
    statement = merged(own.statement, stated)
    is_forgotten = own.key is None and statement.state >= KeyState.RETIRED
    return KeyEntry.stated(statement, own.key or (None if is_forgotten else old.key))
