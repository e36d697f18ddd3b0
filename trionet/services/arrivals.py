"""How a rumor came to one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .rumor_payloads import method_in

if TYPE_CHECKING:
    from trionet.protocols.rumors import Held

__all__ = ["Arrival", "arrival_of"]

_LONGEST: Final = 128


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How a rumor came to one node.

    Attributes:
        gid: its group.
        id: its id.
        origin: the address of the node that started it.
        service, method: what it calls; empty if it is no call.
        source: the address of the node that sent the first copy; empty at the origin.
        way: ``"sent"`` at the origin; ``"push"`` if the copy came by itself; ``"pull"`` if this node had requested it.
        age_s: its age when it came, in seconds: how long its holders have kept it, and one millisecond for each. The
            time in the network is left out.
        since_s: the seconds since it came.
        copies: how many copies have come.
        payload_bytes: its length.
    """

    gid: str
    id: str
    origin: str
    service: str
    method: str
    source: str
    way: str
    age_s: float
    since_s: float
    copies: int
    payload_bytes: int


def arrival_of(held: Held, now: float) -> Arrival:
    """Return how `held` came."""
    service, method = method_in(held.payload)
    return Arrival(
        gid=held.gid,
        id=held.id.hex(),
        origin=held.origin[:_LONGEST],
        service=service[:_LONGEST],
        method=method[:_LONGEST],
        source=held.source[:_LONGEST],
        way="pull" if held.is_pulled else "push" if held.source else "sent",
        age_s=round(max(0.0, held.received_at - held.born_at), 6),
        since_s=round(max(0.0, now - held.received_at), 6),
        copies=held.copies,
        payload_bytes=len(held.payload),
    )
