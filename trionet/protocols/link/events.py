"""What a link's core reports to its driver."""

from __future__ import annotations

import msgspec

from .calls import IncomingCall, OutgoingCall
from .chunks import Transfer

__all__ = ["CancelReceived", "Closed", "CreditReceived", "Event", "PeerSilent", "Retired", "RoomFreed"]


class CancelReceived(msgspec.Struct, frozen=True):
    """The caller has cancelled a running call."""

    call: IncomingCall


class CreditReceived(msgspec.Struct, frozen=True):
    """The reader of a stream has granted credit for more items."""

    call: IncomingCall


class RoomFreed(msgspec.Struct, frozen=True):
    """There may be room for further calls and answers."""


class PeerSilent(msgspec.Struct, frozen=True):
    """Calls on the idle link wait for the peer's answer to a ping, and for `TICK_S` already."""


class Retired(msgspec.Struct, frozen=True):
    """No more calls can be made."""


class Closed(msgspec.Struct, frozen=True):
    """The link has ended, and all calls on it.

    Attributes:
        reason: the reason, for errors and the log.
        is_fault: whether the peer violated the protocol or a limit.
        outgoing: this side's calls in progress; each has an error as its answer.
        incoming: the peer's running calls.
        transfers: the unfinished transfers.
    """

    reason: str
    is_fault: bool
    outgoing: list[OutgoingCall]
    incoming: list[IncomingCall]
    transfers: list[Transfer]


Event = (
    OutgoingCall | IncomingCall | Transfer | CancelReceived | CreditReceived | RoomFreed | PeerSilent | Retired | Closed
)
"""An `OutgoingCall` has an answer or items. An `IncomingCall` must be accepted or answered before the next event is
requested. A `Transfer` of a stream's item was sent."""
