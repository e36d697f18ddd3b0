"""Statements about cluster keys, and their merge.

Invariant: the statements about one key are a join-semilattice: the state is the greatest (installed < used < retired,
which is final), the sequence is the greatest, a key that was once installed by file remains so, and the excepted
members are the union. So the order and the number of merges don't matter, and no operator can undo a retirement.

A statement names a key by its id and carries no key. Keys travel as `KeyMaterial`, and only over a sealed link.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "KEY_BYTES",
    "KEY_ID_BYTES",
    "MOST_EXCEPTED",
    "MOST_SEQUENCE",
    "KeyMaterial",
    "KeyRecords",
    "KeyState",
    "KeyStatement",
    "is_valid",
    "is_valid_material",
    "merged",
    "rank",
]

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
MOST_SEQUENCE: Final = 1 << 62
MOST_EXCEPTED: Final = 64
_MOST_NAME_CHARS: Final = 128


class KeyState(enum.IntEnum):
    """The state of a key in the cluster; of two statements the greater state holds."""

    INSTALLED = 0
    USED = 1
    RETIRED = 2


class KeyStatement(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A statement about a key.

    Attributes:
        key_id: names the key.
        state: a `KeyState`, as an int: the network may deliver any number.
        sequence: orders the keys that are used; 0 for one that never was.
        by_file: whether it was installed from a file on each node; then it never travels.
        excepted: the members for which its retirement doesn't wait, sorted.
    """

    key_id: bytes
    state: int = KeyState.INSTALLED
    sequence: int = 0
    by_file: bool = False
    excepted: tuple[str, ...] = ()


class KeyMaterial(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A key with what is stated about it. It travels only over a sealed link, and is written only into key files.

    Attributes:
        statement: the statement.
        key: the key; empty once it is forgotten.
    """

    statement: KeyStatement
    key: bytes = b""

    def __repr__(self) -> str:
        return f"KeyMaterial({self.statement!r}, {'<hidden>' if self.key else '<forgotten>'})"


class KeyRecords(msgspec.Struct, frozen=True):
    """What a key ring needs after a restart: the content of a key file.

    Attributes:
        keys: all keys that are known, with those that are retired and forgotten.
        members: the names of all other members that are known. Without them a node that has just started would take
            itself for the whole cluster, and rotate the keys without those that are absent.
    """

    keys: tuple[KeyMaterial, ...] = ()
    members: tuple[str, ...] = ()


def merged(one: KeyStatement, other: KeyStatement) -> KeyStatement:
    """Return the join of two statements about one key."""
    # Keeping the smallest names of the union is associative; keeping the first that came would not be.
    excepted = tuple(sorted({*one.excepted, *other.excepted})[:MOST_EXCEPTED])
    return KeyStatement(
        one.key_id,
        max(one.state, other.state),
        max(one.sequence, other.sequence),
        one.by_file or other.by_file,
        excepted,
    )


def rank(statement: KeyStatement) -> tuple[int, int, bytes]:
    """Return the rank of a key that is not retired: of those a node holds, the one of the highest rank seals."""
    return statement.state, statement.sequence, statement.key_id


def is_valid(statement: KeyStatement) -> bool:
    """Return whether a correct node can make this statement."""
    return (
        len(statement.key_id) == KEY_ID_BYTES
        and KeyState.INSTALLED <= statement.state <= KeyState.RETIRED
        and 0 <= statement.sequence <= MOST_SEQUENCE
        and len(statement.excepted) <= MOST_EXCEPTED
        and list(statement.excepted) == sorted(set(statement.excepted))
        and all(len(name) <= _MOST_NAME_CHARS for name in statement.excepted)
    )


def is_valid_material(material: KeyMaterial, id_of: Callable[[bytes], bytes]) -> bool:
    """Return whether `material` is a key under its own id, with a valid statement."""
    return (
        is_valid(material.statement)
        and len(material.key) == KEY_BYTES
        and id_of(material.key) == material.statement.key_id
    )
