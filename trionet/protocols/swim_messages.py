"""What members say to each other to find out who is alive.

Invariant: an answer carries the number of its question, and counts only from the one who was asked. At rest only
`Ping` and `Ack` are sent, of a size that does not depend on the number of members.

Source: SWIM (Das, Gupta, Motivala 2002), section 4.1; the nack is from Lifeguard (Dadgar, Phillips, Currey 2017),
section IV-A.
"""

from __future__ import annotations

from typing import ClassVar

from .effects import Proof, ProtocolMessage
from .statements import Statement

__all__ = ["SWIM_MESSAGES", "Ack", "IndirectAck", "Nack", "News", "Ping", "PingReq", "Sync", "SyncDigest"]


class Ping(ProtocolMessage, frozen=True, gc=False, tag="ping"):
    """Are you there? Answered by `Ack`, and reliably if asked so."""

    seq: int
    is_reliable: bool = False


class Ack(ProtocolMessage, frozen=True, gc=False, tag="ack"):
    """I am. `view` is the digest of whom I hold to be there, so that views that differ are noticed at no cost."""

    is_answer: ClassVar[bool] = True

    seq: int
    view: int


class PingReq(ProtocolMessage, frozen=True, gc=False, tag="ping_req"):
    """Ping `target` for me. Answered by `IndirectAck` or `Nack`."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    seq: int
    target: str


class IndirectAck(ProtocolMessage, frozen=True, gc=False, tag="indirect_ack"):
    """The target of your `PingReq` has answered me."""

    is_answer: ClassVar[bool] = True

    seq: int


class Nack(ProtocolMessage, frozen=True, gc=False, tag="nack"):
    """The target of your `PingReq` has not answered me in time; but I am here, and have heard you."""

    is_answer: ClassVar[bool] = True

    seq: int


class News(ProtocolMessage, frozen=True, gc=False, tag="news"):
    """Nothing by itself: the head of a datagram that is filled with what may ride along."""

    is_filled: ClassVar[bool] = True


class SyncDigest(ProtocolMessage, frozen=True, gc=False, tag="sync_digest"):
    """This is my view in short; tell me where yours differs.

    Attributes:
        buckets: as of `Digest`.
        is_join: whether an answer is wanted even if nothing differs.
    """

    needs_proof: ClassVar[Proof] = Proof.ALWAYS

    buckets: tuple[int, ...]
    is_join: bool = False


class Sync(ProtocolMessage, frozen=True, gc=False, tag="sync"):
    """What I know about the members of some buckets.

    Attributes:
        statements: about present and former members.
        wanted: buckets of which I would like to know what you know.
    """

    needs_proof: ClassVar[Proof] = Proof.ALWAYS
    is_answer: ClassVar[bool] = True

    statements: tuple[Statement, ...]
    wanted: tuple[int, ...] = ()


SWIM_MESSAGES: tuple[type[ProtocolMessage], ...] = (
    Ping,
    Ack,
    PingReq,
    IndirectAck,
    Nack,
    News,
    Statement,
    SyncDigest,
    Sync,
)
