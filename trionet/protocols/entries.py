"""Entries: the replicated map of a group, whose entries are rumors that are kept.

Invariants: of the entries of one key the greatest holds, by stamp and then id. So a map is a join-semilattice: the same
entries make the same map, in whatever order and however often they come. Removal is an entry, too, a *tombstone*, which
is kept until stale copies of what it removed have probably gone.

A map is bounded, in two steps. Writers refuse what would grow it beyond the first bound. A partition can fill it on
each side, so a merge admits four times as much. Beyond that the last keys are dropped, in the order of the keys: of any
set of keys each node drops the same ones, in whatever order they came. (Dropping the newest entries would depend on the
order: the newest entry of a key may have superseded an old one that would have stayed.)

Two writers *conflict* if the one whose entry holds had not seen the other's: the entry names the stamp that it
replaced.

Source: last-writer-wins registers, Shapiro, Preguica, Baquero, Zawirski 2011, "A comprehensive study of Convergent and
Commutative Replicated Data Types", section 3.2.1; death certificates, Demers et al. 1987, section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, NamedTuple

import msgspec

from .effects import Proof, ProtocolMessage
from .gossip_messages import ID_BYTES
from .hybrid_time import MOST_STAMP

if TYPE_CHECKING:
    from .effects import Effect

__all__ = [
    "MERGED_SHARE",
    "MOST_ENTRIES",
    "MOST_KEY_BYTES",
    "MOST_MAP_BYTES",
    "MOST_VALUE_BYTES",
    "TOMBSTONE_S",
    "EntriesFull",
    "Entry",
    "EntryChanged",
    "EntryConflict",
    "EntryMap",
    "Merged",
    "Put",
    "are_in_conflict",
    "is_valid",
    "is_valid_key",
    "supersedes",
]

MOST_KEY_BYTES: Final = 255
MOST_VALUE_BYTES: Final = 16 * 1024
MOST_ENTRIES: Final = 1024
MOST_MAP_BYTES: Final = 256 * 1024
MERGED_SHARE: Final = 4
"""How many times the bounds of a writer a merged map may have."""

TOMBSTONE_S: Final = 72 * 3600.0
"""How long a tombstone is kept after its stamp, by hybrid time."""

_Gid = Annotated[str, msgspec.Meta(max_length=255)]
_Name = Annotated[str, msgspec.Meta(max_length=255)]
_Id = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_KEY_BYTES)]
_Stamp = Annotated[int, msgspec.Meta(ge=0, le=MOST_STAMP)]


class EntriesFull(Exception):
    """An entry would exceed a bound of its group's map; the text names it."""


class Entry(ProtocolMessage, frozen=True, gc=False, tag="e"):
    """One entry of a group's map.

    Attributes:
        gid: its group.
        id: 96 random bits.
        key: 1 to 255 bytes as UTF-8.
        stamp: when it was written, by hybrid time; see `hybrid_time`.
        replaced: the stamp of the entry that its writer held for this key; 0 for none.
        writer: the name of the node that wrote it.
        value: its value; None removes the key.
    """

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    gid: _Gid
    id: _Id
    key: _Key
    stamp: _Stamp
    replaced: _Stamp
    writer: _Name
    value: bytes | None

    def least_bytes(self) -> int:
        """Return the length of its value."""
        return 0 if self.value is None else len(self.value)

    def size_bytes(self) -> int:
        """Return the size of its key and value."""
        return len(self.key.encode()) + self.least_bytes()


class EntryChanged(msgspec.Struct, frozen=True, gc=False):
    """An entry holds from now on.

    Attributes:
        gid: the group.
        entry: the entry.
        before: the one that held before, which may be a tombstone; None if there was none.
    """

    gid: str
    entry: Entry
    before: Entry | None


class EntryConflict(msgspec.Struct, frozen=True, gc=False):
    """Two nodes have written one key, and the one whose entry holds had not seen the other's, of another value.

    Attributes:
        gid: the group.
        key: the key.
        winner: the entry that holds.
        loser: the other one.
    """

    gid: str
    key: str
    winner: Entry
    loser: Entry


class Merged(NamedTuple):
    """The result of a merge.

    Attributes:
        holds: whether the entry is in the map now.
        before: the entry that held its key before; None if there was none.
        conflict: two entries in conflict, if the merge has found any.
        dropped: entries that were dropped over the bound, perhaps with the merged one.
    """

    holds: bool
    before: Entry | None
    conflict: EntryConflict | None
    dropped: list[Entry]


class Put(NamedTuple):
    """The result of writing an entry.

    Attributes:
        id: the entry's id.
        effects: to be carried out.
        entry: the entry.
    """

    id: bytes
    effects: list[Effect]
    entry: Entry


def supersedes(new: Entry, old: Entry) -> bool:
    """Return whether `new` is greater than `old`, both of one key."""
    return (new.stamp, new.id) > (old.stamp, old.id)


def are_in_conflict(winner: Entry, loser: Entry) -> bool:
    """Return whether the writer of `winner`, which is the greater one, had not seen `loser`, of another value."""
    return winner.replaced < loser.stamp and winner.value != loser.value


def is_valid_key(key: str) -> bool:
    """Return whether a map can have this key."""
    return 0 < len(key.encode(errors="replace")) <= MOST_KEY_BYTES


def is_valid(entry: Entry) -> bool:
    """Return whether a correct node can write this entry; its types are right."""
    return (
        len(entry.id) == ID_BYTES
        and 0 <= entry.replaced < entry.stamp <= MOST_STAMP
        and is_valid_key(entry.key)
        and entry.least_bytes() <= MOST_VALUE_BYTES
    )


class EntryMap:
    """The entries of one group at one node.

    Attributes:
        by_key: the entry that holds each key, tombstones included.
        size_bytes: the size of all keys and values.
    """

    __slots__ = ("by_key", "size_bytes")

    def __init__(self) -> None:
        self.by_key: dict[str, Entry] = {}
        self.size_bytes: int = 0

    def live(self) -> list[Entry]:
        """Return the entries that aren't tombstones, in the order of their keys."""
        return [entry for _, entry in sorted(self.by_key.items()) if entry.value is not None]

    def check_room(self, key: str, value: bytes | None) -> None:
        """Raise `EntriesFull` unless a writer may put this entry. One that makes the map no larger always may."""
        size = 0 if value is None else len(value)
        if size > MOST_VALUE_BYTES:
            raise EntriesFull(f"a value has at most {MOST_VALUE_BYTES:,} bytes, not {size:,}")
        before = self.by_key.get(key)
        if before is None and len(self.by_key) >= MOST_ENTRIES:
            raise EntriesFull(
                f"there are {len(self.by_key):,} entries of at most {MOST_ENTRIES:,}; "
                f"removed ones count for {TOMBSTONE_S / 3600:.0f} hours, so write existing keys instead of new ones"
            )
        grown = len(key.encode()) + size - (0 if before is None else before.size_bytes())
        if grown > 0 and self.size_bytes + grown > MOST_MAP_BYTES:
            raise EntriesFull(
                f"keys and values have {self.size_bytes:,} bytes, and {grown:,} more would exceed {MOST_MAP_BYTES:,}"
            )

    def merge(self, entry: Entry) -> Merged:
        """Add a valid entry, unless a greater one of its key is there."""
        before = self.by_key.get(entry.key)
        if before is not None and not supersedes(entry, before):
            return Merged(holds=False, before=before, conflict=_conflict(before, entry), dropped=[])
        conflict = None if before is None else _conflict(entry, before)
        self.by_key[entry.key] = entry
        self.size_bytes += entry.size_bytes() - (0 if before is None else before.size_bytes())
        dropped = self._cut()
        return Merged(self.by_key.get(entry.key) is entry, before, conflict, dropped)

    def discard(self, entry: Entry) -> None:
        """Remove an entry, if it holds."""
        if self.by_key.get(entry.key) is entry:
            del self.by_key[entry.key]
            self.size_bytes -= entry.size_bytes()

    def _cut(self) -> list[Entry]:
        """Remove and return the last entries, in the order of the keys, as long as the map is over the bounds."""
        dropped: list[Entry] = []
        while len(self.by_key) > MERGED_SHARE * MOST_ENTRIES or self.size_bytes > MERGED_SHARE * MOST_MAP_BYTES:
            last = self.by_key[max(self.by_key)]
            self.discard(last)
            dropped.append(last)
        return dropped


def _conflict(winner: Entry, loser: Entry) -> EntryConflict | None:
    return EntryConflict(winner.gid, winner.key, winner, loser) if are_in_conflict(winner, loser) else None
