"""The messages of gossip.

Invariant: each message but a `Rumor` fits a datagram, because lists of ids are split. A rumor with a long payload goes
by a connection. A receiver handles any message at any time, in any order and any number of times.

Times are durations: each holder adds its time to a rumor's age, so no two clocks need to agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, NamedTuple

import msgspec

from .effects import Proof, ProtocolMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .effects import Effect

__all__ = [
    "BUCKETS",
    "BUCKET_BYTES",
    "IDS_PER_MESSAGE",
    "ID_BYTES",
    "TOTAL_BYTES",
    "Answer",
    "Buckets",
    "Delivered",
    "Ihave",
    "Listing",
    "Query",
    "Rumor",
    "Sent",
    "Summary",
    "UnknownGroup",
    "Want",
    "chunks",
    "split",
]

ID_BYTES: Final = 12
"""96 random bits: two of a thousand million rumors are the same with a chance of 10 ** -11."""

IDS_PER_MESSAGE: Final = 80
"""960 bytes, which fit a datagram even with a gid and names of some hundred bytes."""

BUCKETS: Final = 64
"""The number of buckets of a digest."""

BUCKET_BYTES: Final = 12
"""The bytes of a bucket's total in a message: 768 bytes for all."""

TOTAL_BYTES: Final = 32
"""The bytes of a digest's total: so many, because unsettled rumors may explain a difference; see `anti_entropy`."""

_Gid = Annotated[str, msgspec.Meta(max_length=255)]
_Name = Annotated[str, msgspec.Meta(max_length=255)]
_Id = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Ids = Annotated[bytes, msgspec.Meta(max_length=ID_BYTES * IDS_PER_MESSAGE)]
_Hops = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Rumor(ProtocolMessage, frozen=True, gc=False, tag="r"):
    """A rumor with its payload.

    Attributes:
        gid: its group.
        id: 96 random bits.
        origin: the name of the node that started it.
        age_ms: its time at its holders, without that in the network.
        hops: how often it has been forwarded.
        payload: for the members' users.
        share: the last of the members after the receiver that get it through the receiver, see `tree_push`; the
            receiver itself if there are none; empty if it is to push at random.
    """

    gid: _Gid
    id: _Id
    origin: _Name
    age_ms: _Milliseconds
    hops: _Hops
    payload: bytes
    share: _Name = ""

    def least_bytes(self) -> int:
        """Return the length of its payload."""
        return len(self.payload)


class Ihave(ProtocolMessage, frozen=True, gc=False, tag="i"):
    """Lazy push: announces that the sender holds the rumors with these concatenated ids."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    gid: _Gid
    ids: _Ids


class Want(ProtocolMessage, frozen=True, gc=False, tag="w"):
    """Pull: requests the rumors with these concatenated ids."""

    is_answer: ClassVar[bool] = True

    gid: _Gid
    ids: _Ids


class Summary(ProtocolMessage, frozen=True, gc=False, tag="s"):
    """Anti-entropy, first step: the exclusive or of the hashes of all settled ids at the sender.

    Attributes:
        total: the exclusive or.
        is_new: whether the sender is new to the group, and has missed recent entries, too: then all entries count, not
            only settled ones.
    """

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    gid: _Gid
    total: Annotated[bytes, msgspec.Meta(max_length=TOTAL_BYTES)]
    is_new: bool = False


class Buckets(ProtocolMessage, frozen=True, gc=False, tag="b"):
    """Anti-entropy, second step: the low bits of each bucket's total, without trailing zeros."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN
    is_answer: ClassVar[bool] = True

    gid: _Gid
    totals: Annotated[bytes, msgspec.Meta(max_length=BUCKET_BYTES * BUCKETS)]


class Listing(ProtocolMessage, frozen=True, gc=False, tag="l"):
    """Anti-entropy, last step: the ids at the sender in the buckets of a mask.

    Attributes:
        mask: bit i for bucket i.
        ids: the concatenated ids.
        is_whole: whether these are all of them; else a missing id means nothing.
    """

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN
    is_answer: ClassVar[bool] = True

    gid: _Gid
    mask: Annotated[int, msgspec.Meta(ge=0)]
    ids: _Ids
    is_whole: bool = True


class Query(ProtocolMessage, frozen=True, gc=False, tag="q"):
    """Asks whether the receiver has seen a rumor."""

    gid: _Gid
    id: _Id


class Answer(ProtocolMessage, frozen=True, gc=False, tag="y"):
    """Answers a `Query`: whether the sender has seen the rumor.

    Attributes:
        gid: the rumor's group.
        id: the rumor's id.
        has: whether the sender has seen it.
        knows_group: whether the sender knows the group; without it, it drops the rumor.
    """

    is_answer: ClassVar[bool] = True

    gid: _Gid
    id: _Id
    has: bool
    knows_group: bool = True


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """A rumor is delivered; each is delivered once.

    Attributes:
        gid: the group.
        id: the rumor's id.
        origin: the name of the node that started it.
        age_s: its age, at least.
        payload: its payload.
    """

    gid: str
    id: bytes
    origin: str
    age_s: float
    payload: bytes


class UnknownGroup(msgspec.Struct, frozen=True, gc=False):
    """A rumor is dropped, because this node doesn't know its group."""

    gid: str


class Sent(NamedTuple):
    """The result of starting a rumor.

    Attributes:
        id: the rumor's id.
        effects: to be carried out.
    """

    id: bytes
    effects: list[Effect]


def split(ids: bytes) -> Iterator[bytes]:
    """Return the ids in a concatenated list, without an incomplete last one."""
    return (ids[start : start + ID_BYTES] for start in range(0, len(ids) - ID_BYTES + 1, ID_BYTES))


def chunks(ids: Sequence[bytes]) -> list[bytes]:
    """Return ids concatenated, in lists that each fit a message."""
    return [b"".join(ids[start : start + IDS_PER_MESSAGE]) for start in range(0, len(ids), IDS_PER_MESSAGE)]
