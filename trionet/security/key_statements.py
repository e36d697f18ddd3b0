"""Statements about cluster keys, and their merge.

Invariant: the statements about one key are a join-semilattice: the state is the greatest (installed < used < retired,
which is final), the sequence is the greatest, a key that was once installed by file remains so, and the excepted
members are the union. So the order and the number of merges don't matter, and no operator can undo a retirement.

A statement names a key by its id and carries no key. Keys travel as `KeyMaterial`, and only over a sealed link.
"""

from __future__ import annotations

import enum
import re
from typing import Final

import msgspec

from .keys import KEY_ID_BYTES

__all__ = [
    "MAX_EXCEPTED",
    "MAX_KEYS",
    "MAX_MEMBERS",
    "MAX_SEQUENCE",
    "KeyState",
    "KeyStatement",
    "is_member_name",
    "is_valid",
    "merged",
    "rank",
]

MAX_KEYS: Final = 4096
"""How many keys a node knows, the retired ones included."""
MAX_EXCEPTED: Final = 64
"""For how many members the retirement of one key may not wait."""
MAX_MEMBERS: Final = 16_384
"""How many members a node knows by name."""
MAX_SEQUENCE: Final = 2**62

_MEMBER: Final = re.compile(r"[!-+\--~]{1,128}\Z")


class KeyState(enum.IntEnum):
    """What a key is for. Of two statements the greater state holds."""

    INSTALLED = 0
    """It opens."""
    USED = 1
    """It opens, and seals if no other used key has a greater (sequence, id)."""
    RETIRED = 2
    """It does neither any more, or will not soon."""


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


def merged(one: KeyStatement, other: KeyStatement) -> KeyStatement:
    """Return the join of two statements about one key."""
    # Keeping the smallest names of the union is associative; keeping the first that came would not be.
    excepted = tuple(sorted({*one.excepted, *other.excepted})[:MAX_EXCEPTED])
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


def is_member_name(name: str) -> bool:
    """Return whether this can name a member: up to 128 visible ASCII characters without commas."""
    return _MEMBER.match(name) is not None


def is_valid(statement: KeyStatement) -> bool:
    """Return whether a correct node can make this statement."""
    return (
        len(statement.key_id) == KEY_ID_BYTES
        and KeyState.INSTALLED <= statement.state <= KeyState.RETIRED
        and 0 <= statement.sequence <= MAX_SEQUENCE
        and len(statement.excepted) <= MAX_EXCEPTED
        and (not statement.excepted or statement.state == KeyState.RETIRED)
        and list(statement.excepted) == sorted(set(statement.excepted))
        and all(map(is_member_name, statement.excepted))
    )
