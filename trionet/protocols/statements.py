"""What members say about a member, and which of two statements holds.

Invariant: statements about one member are totally ordered, by incarnation, then state (ALIVE < SUSPECT < DEAD < LEFT),
then what the incarnation says (life, tags); merging takes the greater. So a view is a join-semilattice: whatever the
order, however often a statement comes, the same statements make the same view, and an older one changes nothing. Only
the member itself raises its incarnation, therefore nobody else can bring back a DEAD member.

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
"""The highest incarnation that is believed. Who can forge statements can say that a member is DEAD in this one: it
cannot rise above that, and is out under this name until it is forgotten. Only keys can prevent it."""

MOST_BOOT_ID: Final = (1 << 64) - 1
MOST_NAME_BYTES: Final = 128
MOST_TAGS_BYTES: Final = 512
MOST_SUSPECTED_BY: Final = 4
"""How many suspected_by a statement names: K + 1 with Lifeguard's K = 3; more would not shorten a suspicion."""

_PLACE_BITS: Final = 0xFF
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class State(enum.IntEnum):
    """What a member is said to be; of two statements of one incarnation the greater holds."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Statement(ProtocolMessage, frozen=True, gc=False, tag="state"):
    """What is said about a member.

    Attributes:
        name: of the member.
        incarnation: which only the member itself raises.
        state: a `State`, as an int: from the network comes any number.
        boot_id: 64 bits drawn when the member started.
        tags: what the member says about itself, with this incarnation.
        suspected_by: whose own probes failed, sorted, at most `MOST_SUSPECTED_BY`; of a SUSPECT.
    """

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    name: str
    incarnation: int
    state: int
    boot_id: int
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    suspected_by: tuple[str, ...] = ()


def supersedes(new: Statement, old: Statement) -> bool:
    """Return whether `new` holds rather than `old`, both about one member; their suspected_by don't count."""
    if new.incarnation != old.incarnation:
        return new.incarnation > old.incarnation
    if new.state != old.state:
        return new.state > old.state
    if new.boot_id != old.boot_id:
        return new.boot_id > old.boot_id
    return new.tags != old.tags and sorted(new.tags.items()) > sorted(old.tags.items())


def merged(one: Statement, other: Statement) -> Statement:
    """Return what holds given both statements about one member: the greater, and the suspected_by of both if equal."""
    if supersedes(one, other):
        return one
    if one.suspected_by == other.suspected_by or supersedes(other, one):
        return other
    # The smallest of a union are associative, too; the first that came would not be.
    suspected_by = tuple(sorted({*one.suspected_by, *other.suspected_by})[:MOST_SUSPECTED_BY])
    return other if suspected_by == other.suspected_by else msgspec.structs.replace(other, suspected_by=suspected_by)


def is_valid(statement: Statement) -> bool:
    """Return whether anybody honest could have said this."""
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
    """Return 64 bits for a member that is there (ALIVE or SUSPECT) in this incarnation.

    The lowest eight are of the name alone, so that what two nodes know of a member is in one bucket of their digests.
    """
    said = (statement.name, statement.incarnation, statement.boot_id, statement.tags)
    place = hash_of_name(statement.name)
    return hash64(_encoder.encode(said)) & ~_PLACE_BITS | place & _PLACE_BITS


def encoded_bytes(item: object) -> int:
    """Return how long `item` is on the wire."""
    return len(_encoder.encode(item))
