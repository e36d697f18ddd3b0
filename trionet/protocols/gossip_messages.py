"""What gossiping nodes say to each other.

Invariant: each message but a `Rumor` fits a datagram, because lists of ids are cut; a rumor with a long payload is what
the stack sends by a connection. A reader takes any of them at any time, in any order, any number of times.

Times are durations: an age in milliseconds is counted up by each holder, so that no two clocks need to agree.
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
    "Want",
    "chunks",
    "split",
]

ID_BYTES: Final = 12
"""96 random bits: two of a thousand million rumors are the same with a chance of 10 ** -11."""

IDS_PER_MESSAGE: Final = 80
"""960 bytes: with a gid and names of some hundred bytes still a datagram."""

BUCKETS: Final = 64
"""Of a digest."""

BUCKET_BYTES: Final = 12
"""Of what stands for a bucket in a message: 768 bytes for all."""

TOTAL_BYTES: Final = 32
"""Of what stands for a whole digest. It is this long because differences between two of them are solved for the ids
that explain them; see `anti_entropy`."""

_Gid = Annotated[str, msgspec.Meta(max_length=255)]
_Name = Annotated[str, msgspec.Meta(max_length=255)]
_Id = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Ids = Annotated[bytes, msgspec.Meta(max_length=ID_BYTES * IDS_PER_MESSAGE)]
_Hops = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Rumor(ProtocolMessage, frozen=True, gc=False, tag="r"):
    """A rumor with its payload.

    Attributes:
        gid: the group that it is for.
        id: 96 random bits.
        origin: the name of the node that sent it first.
        age_ms: how long it has been with its holders, the time on the way left out.
        hops: how often it has been passed on.
        payload: whatever the group's members make of it.
    """

    gid: _Gid
    id: _Id
    origin: _Name
    age_ms: _Milliseconds
    hops: _Hops
    payload: bytes

    def least_bytes(self) -> int:
        """Return the length of its payload."""
        return len(self.payload)


class Ihave(ProtocolMessage, frozen=True, gc=False, tag="i"):
    """Lazy push: the sender holds the rumors with these ids, one after the other."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    gid: _Gid
    ids: _Ids


class Want(ProtocolMessage, frozen=True, gc=False, tag="w"):
    """Pull: the sender asks for the rumors with these ids."""

    is_answer: ClassVar[bool] = True

    gid: _Gid
    ids: _Ids


class Summary(ProtocolMessage, frozen=True, gc=False, tag="s"):
    """Anti-entropy, first step: the exclusive or of the hashes of all settled ids that the sender holds."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    gid: _Gid
    total: Annotated[bytes, msgspec.Meta(max_length=TOTAL_BYTES)]


class Buckets(ProtocolMessage, frozen=True, gc=False, tag="b"):
    """Anti-entropy, second step: the same for each bucket, the low bits of it; trailing zeros may be left out."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN
    is_answer: ClassVar[bool] = True

    gid: _Gid
    totals: Annotated[bytes, msgspec.Meta(max_length=BUCKET_BYTES * BUCKETS)]


class Listing(ProtocolMessage, frozen=True, gc=False, tag="l"):
    """Anti-entropy, last step: the ids that the sender holds in the buckets of a mask.

    Attributes:
        mask: bit i for bucket i.
        ids: one after the other.
        is_whole: whether these are all; else nothing follows from what is not there.
    """

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN
    is_answer: ClassVar[bool] = True

    gid: _Gid
    mask: Annotated[int, msgspec.Meta(ge=0)]
    ids: _Ids
    is_whole: bool = True


class Query(ProtocolMessage, frozen=True, gc=False, tag="q"):
    """Ask whether the receiver has had a rumor."""

    gid: _Gid
    id: _Id


class Answer(ProtocolMessage, frozen=True, gc=False, tag="y"):
    """Say whether the sender has had a rumor."""

    is_answer: ClassVar[bool] = True

    gid: _Gid
    id: _Id
    has: bool


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """Tells the member that a rumor has come, once for each.

    Attributes:
        gid: the group.
        id: the rumor's id.
        origin: who sent it.
        age_s: how old it is, at least.
        payload: what it says.
    """

    gid: str
    id: bytes
    origin: str
    age_s: float
    payload: bytes


class Sent(NamedTuple):
    """The result of starting a rumor.

    Attributes:
        id: the rumor's id.
        effects: to be carried out.
        targets: the names of the first hop.
    """

    id: bytes
    effects: list[Effect]
    targets: list[str]


def split(ids: bytes) -> Iterator[bytes]:
    """Return the single ids of a list as it is in a message; a broken last one is left out."""
    return (ids[start : start + ID_BYTES] for start in range(0, len(ids) - ID_BYTES + 1, ID_BYTES))


def chunks(ids: Sequence[bytes]) -> list[bytes]:
    """Return lists of ids as they go into messages, none too long for one."""
    return [b"".join(ids[start : start + IDS_PER_MESSAGE]) for start in range(0, len(ids), IDS_PER_MESSAGE)]
