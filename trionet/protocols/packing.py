"""The statements of a view, encoded by bucket: most buckets of two answers in a row are the same bytes.

A node by which many others join sends its whole view to each. Encoded anew, that would take a microsecond for each
member and join; here a join costs the encoding of one statement, and the copy of the bytes of the others.

Invariant: the messages hold the present statements of the buckets asked for, each once. The memory is that of the
encoded view; `ViewSync` drops it when no view has been asked for in a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .digest import BUCKETS
from .swim_messages import Sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .member_record import MemberRecord
    from .statements import Statement

__all__ = ["Packing"]

_SHARE: Final = 4
"""A bucket is encoded in parts of at most this share of a piece, so that pieces are well filled."""

_encoder = msgspec.msgpack.Encoder()
_head, _empty = _encoder.encode(Sync(()))[:-2], _encoder.encode(())


class _Part:
    """Some statements of a bucket, encoded one after the other, and as objects if they are needed."""

    __slots__ = ("count", "encoded", "statements")

    def __init__(self) -> None:
        self.count = 0
        self.encoded = b""
        self.statements: list[Statement] = []


class Packing:
    """The encoded view of one node."""

    __slots__ = ("_by_bucket", "_has_objects", "_part_bytes", "_parts", "_piece_bytes")

    def __init__(self, members: Iterable[MemberRecord], piece_bytes: int, *, has_objects: bool = True) -> None:
        """Pack `members`.

        Args:
            members: those to begin with.
            piece_bytes: the most bytes of the statements in a message, unless it is one statement.
            has_objects: whether the messages need their statements as objects, besides their bytes.
        """
        self._by_bucket: list[list[MemberRecord]] = [[] for _ in range(BUCKETS)]
        self._parts: dict[int, list[_Part]] = {}
        self._piece_bytes = piece_bytes
        self._part_bytes = piece_bytes // _SHARE
        self._has_objects = has_objects
        for member in members:
            self.add(member)

    def add(self, member: MemberRecord) -> None:
        """Handle a new member."""
        bucket = member.circle % BUCKETS
        self._by_bucket[bucket].append(member)
        if bucket in self._parts:
            self._append(self._parts[bucket], member.statement)

    def change(self, member: MemberRecord) -> None:
        """Handle a new statement about a member."""
        self._parts.pop(member.circle % BUCKETS, None)

    def remove(self, member: MemberRecord) -> None:
        """Handle that a member is forgotten."""
        self._by_bucket[member.circle % BUCKETS].remove(member)
        self.change(member)

    def messages(self, buckets: Iterable[int], wanted: tuple[int, ...]) -> list[tuple[Sync, bytes]]:
        """Return the statements in `buckets` as messages, also encoded; the last one, or the only one, has `wanted`."""
        found: list[tuple[Sync, bytes]] = []
        parts: list[_Part] = []
        room = self._piece_bytes
        for bucket in dict.fromkeys(buckets):  # another node may ask for one again and again
            for part in self._packed(bucket):
                if len(part.encoded) > room and parts:
                    found.append(_message(parts, ()))
                    parts, room = [], self._piece_bytes
                parts.append(part)
                room -= len(part.encoded)
        return [*found, _message(parts, wanted)]

    def _packed(self, bucket: int) -> list[_Part]:
        parts = self._parts.get(bucket)
        if parts is None:
            parts = self._parts[bucket] = []
            for member in self._by_bucket[bucket]:
                self._append(parts, member.statement)
        return parts

    def _append(self, parts: list[_Part], statement: Statement) -> None:
        encoded = _encoder.encode(statement)
        if not parts or len(parts[-1].encoded) + len(encoded) > self._part_bytes:
            parts.append(_Part())
        part = parts[-1]
        part.encoded += encoded
        part.count += 1
        if self._has_objects:
            part.statements.append(statement)


def _message(parts: list[_Part], wanted: tuple[int, ...]) -> tuple[Sync, bytes]:
    count = sum(part.count for part in parts)
    head = b"\xdd" + count.to_bytes(4, "big")  # an array of so many items, in MessagePack
    last = _encoder.encode(wanted) if wanted else _empty
    statements = tuple(statement for part in parts for statement in part.statements)
    return Sync(statements, wanted), b"".join((_head, head, *(part.encoded for part in parts), last))
