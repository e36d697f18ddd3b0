"""The messages of SWIM.

Invariant: an answer carries the sequence number of its question, and counts only from the node that was asked. At rest
only `Ping` and `Ack` are sent, of a size that does not depend on the number of members.

Source: SWIM (Das, Gupta, Motivala 2002), section 4.1; the nack is from Lifeguard (Dadgar, Phillips, Currey 2017),
section IV-A.
"""

from __future__ import annotations

from typing import ClassVar, Final

from .effects import Proof, ProtocolMessage
from .statements import Statement

__all__ = ["ASKED_SEQ", "Ack", "IndirectAck", "Nack", "News", "Ping", "PingReq", "Sync", "SyncDigest"]

ASKED_SEQ: Final = 1 << 40
"""The first sequence number of pings that a person asks for; the protocol's own never come near it."""


class Ping(ProtocolMessage, frozen=True, gc=False, tag="ping"):
    """Asks for an `Ack`, by a connection if `is_reliable`.

    Attributes:
        again: after how many probe intervals the sender pings the receiver again; 0 if that is not said.
    """

    seq: int
    is_reliable: bool = False
    again: int = 0


class Ack(ProtocolMessage, frozen=True, gc=False, tag="ack"):
    """Answers a `Ping`. `view` is the digest of the sender's present members, so that different views are noticed."""

    is_answer: ClassVar[bool] = True

    seq: int
    view: int


class PingReq(ProtocolMessage, frozen=True, gc=False, tag="ping_req"):
    """Asks the receiver to ping `target`. Answered by `IndirectAck` or `Nack`."""

    needs_proof: ClassVar[Proof] = Proof.UNLESS_KNOWN

    seq: int
    target: str


class IndirectAck(ProtocolMessage, frozen=True, gc=False, tag="indirect_ack"):
    """Answers a `PingReq`: the target has sent an `Ack`."""

    is_answer: ClassVar[bool] = True

    seq: int


class Nack(ProtocolMessage, frozen=True, gc=False, tag="nack"):
    """Answers a `PingReq`: the target has not sent an `Ack` in time, but this node is alive."""

    is_answer: ClassVar[bool] = True

    seq: int


class News(ProtocolMessage, frozen=True, gc=False, tag="news"):
    """Starts a datagram that is filled with piggybacked statements; it carries nothing itself."""

    is_filled: ClassVar[bool] = True


class SyncDigest(ProtocolMessage, frozen=True, gc=False, tag="sync_digest"):
    """Asks for the statements in the buckets where the receiver's view differs.

    Attributes:
        buckets: the totals of the sender's `Digest`.
        is_join: whether the sender needs an answer even if nothing differs.
    """

    needs_proof: ClassVar[Proof] = Proof.ALWAYS

    buckets: tuple[int, ...]
    is_join: bool = False


class Sync(ProtocolMessage, frozen=True, gc=False, tag="sync"):
    """Carries the sender's statements about the members of some buckets.

    Attributes:
        statements: about present and former members.
        wanted: the buckets whose statements the sender requests.
    """

    needs_proof: ClassVar[Proof] = Proof.ALWAYS
    is_answer: ClassVar[bool] = True

    statements: tuple[Statement, ...]
    wanted: tuple[int, ...] = ()
