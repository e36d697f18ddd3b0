"""Statements about a member, and their order.

Invariant: statements about one member are totally ordered, by incarnation, then state (ALIVE < SUSPECT < DEAD < LEFT),
then boot id and tags; the greater one holds. So a view is a join-semilattice: the same statements make the same view,
in whatever order and however often they come. Only the member itself raises its incarnation, so no other node can bring
back a DEAD member. The boot id, 64 random bits of each start, distinguishes a restart from a refutation.

Source: SWIM (Das, Gupta, Motivala 2002), section 4.2, with the suspecting members of Lifeguard (Dadgar, Phillips,
Currey 2017), section IV-B, as part of a suspicion.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Final

import msgspec

from .digest import hash64, hash_of_name
from .effects import Proof, ProtocolMessage

__all__ = [
    "MOST_BOOT_ID",
    "MOST_INCARNATION",
    "MOST_NAME_BYTES",
    "MOST_SUSPECTED_BY",
    "MOST_TAGS_BYTES",
    "State",
    "Statement",
    "encoded_bytes",
    "fingerprint",
    "is_valid",
    "merged",
    "supersedes",
]

MOST_INCARNATION: Final = 1 << 62
"""The highest valid incarnation. A forged statement can declare a member DEAD in it. Then the member can't refute, and
is out under this name until it is forgotten. Only keys can prevent that."""

MOST_BOOT_ID: Final = (1 << 64) - 1
MOST_NAME_BYTES: Final = 128
MOST_TAGS_BYTES: Final = 512
MOST_SUSPECTED_BY: Final = 4
"""The most nodes named in `suspected_by`: K + 1 with Lifeguard's K = 3; more would not shorten a suspicion."""

_PLACE_BITS: Final = 0xFF
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class State(enum.IntEnum):
    """The state of a member; of two statements of one incarnation the one with the greater state holds."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Statement(ProtocolMessage, frozen=True, gc=False, tag="state"):
    """A statement about a member.

    Attributes:
        name: the member's name.
        incarnation: a number that only the member itself raises.
        state: a `State`, as an int: the network may deliver any number.
        boot_id: 64 bits drawn when the member started.
        tags: the member's tags in this incarnation.
        suspected_by: the nodes whose own probes failed, sorted, at most `MOST_SUSPECTED_BY`.
    """

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    name: str
    incarnation: int
    state: int
    boot_id: int
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    suspected_by: tuple[str, ...] = ()


def supersedes(new: Statement, old: Statement) -> bool:
    """Return whether `new` is greater than `old`, both about one member; `suspected_by` doesn't count."""
    if new.incarnation != old.incarnation:
        return new.incarnation > old.incarnation
    if new.state != old.state:
        return new.state > old.state
    if new.boot_id != old.boot_id:
        return new.boot_id > old.boot_id
    return new.tags != old.tags and sorted(new.tags.items()) > sorted(old.tags.items())


def merged(one: Statement, other: Statement) -> Statement:
    """Return the greater of two statements about one member; if they are equal, with the `suspected_by` of both."""
    if supersedes(one, other):
        return one
    if one.suspected_by == other.suspected_by or supersedes(other, one):
        return other
    # Keeping the smallest names of the union is associative; keeping the first that came would not be.
    suspected_by = tuple(sorted({*one.suspected_by, *other.suspected_by})[:MOST_SUSPECTED_BY])
    return other if suspected_by == other.suspected_by else msgspec.structs.replace(other, suspected_by=suspected_by)


def is_valid(statement: Statement) -> bool:
    """Return whether a correct node can make this statement."""
    return (
        0 <= statement.incarnation <= MOST_INCARNATION
        and State.ALIVE <= statement.state <= State.LEFT
        and 0 <= statement.boot_id <= MOST_BOOT_ID
        and 0 < len(statement.name.encode(errors="replace")) <= MOST_NAME_BYTES
        and len(statement.suspected_by) <= MOST_SUSPECTED_BY
        and all(len(name.encode(errors="replace")) <= MOST_NAME_BYTES for name in statement.suspected_by)
        and (not statement.tags or encoded_bytes(statement.tags) <= MOST_TAGS_BYTES)
    )


def fingerprint(statement: Statement) -> int:
    """Return a hash of 64 bits for a present member (ALIVE or SUSPECT) in this incarnation.

    The lowest eight bits depend on the name alone, so that two nodes have a member in the same bucket of their digests.
    """
    content = (statement.name, statement.incarnation, statement.boot_id, statement.tags)
    place = hash_of_name(statement.name)
    return hash64(_encoder.encode(content)) & ~_PLACE_BITS | place & _PLACE_BITS


def encoded_bytes(item: object) -> int:
    """Return the encoded size of `item`."""
    return len(_encoder.encode(item))
