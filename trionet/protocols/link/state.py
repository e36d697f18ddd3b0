"""The parts of one link, and what is known of it.

Their objects have slots: a call on one of a thousand links finds none of them in the processor's caches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .chunks import Reassembly
from .decoding import FrameDecoder
from .incoming import IncomingCalls
from .liveness import Liveness
from .outbox import Outbox
from .outgoing import OutgoingCalls
from .round_trip import RoundTrip

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Channel
    from .events import Event
    from .frames import Hello
    from .handshake import Greeted
    from .holdings import Holding

__all__ = ["LinkState"]

_SILENCE_S: Final = 30.0


class LinkState:
    """A link, without what it does; the base of `LinkCore`.

    Attributes:
        peer: the peer's hello.
        is_initiator: whether this side made the connection.
        opened_at: the end of the handshake.
        outbox: the frames to be sent.
        liveness: the liveness checks; their `deadline` is the link's.
        outgoing, incoming: the calls of this side, and of the peer.
        round_trip: the measured round trips.
        sent: called with each number of bytes of `data_to_send` that were passed to the operating system.
        events: the events outside of `receive`.
        key_id: the id of the cluster key that seals it; empty if it is plain.
        received_bytes, received_frames: how much the peer has sent, before encryption.
        is_closed, is_retired: whether the link has ended; whether no more calls can be made on it.
    """

    __slots__ = (
        "_channel",
        "_decoder",
        "_holding",
        "_is_bye_received",
        "_is_bye_sent",
        "_is_waking",
        "_max_containers",
        "_parting",
        "_reassembly",
        "events",
        "incoming",
        "is_closed",
        "is_initiator",
        "key_id",
        "liveness",
        "opened_at",
        "outbox",
        "outgoing",
        "peer",
        "received_bytes",
        "received_frames",
        "round_trip",
        "sent",
    )

    def __init__(
        self,
        greeted: Greeted,
        holding: Holding,
        *,
        name: str,
        now: float,
        idle_timeout_s: float,
        max_containers: int,
    ) -> None:
        own = greeted.own
        self.peer: Hello = greeted.peer
        self.is_initiator: bool = greeted.is_initiator
        self.key_id: bytes = b"" if greeted.key is None else greeted.key.seal[1:]
        self.opened_at: float = now
        self.round_trip: RoundTrip = RoundTrip()
        self.events: list[Event] = []
        self.is_closed: bool = False
        self.received_bytes: int = 0
        self.received_frames: int = 0
        self.outbox: Outbox = Outbox(self.peer.window_bytes, greeted.first, holding)
        self.liveness: Liveness = Liveness(now, idle_timeout_s, _SILENCE_S)
        self._reassembly = Reassembly(own.window_bytes, own.max_message_bytes, holding)
        self.outgoing: OutgoingCalls = OutgoingCalls(self.peer, self.outbox, self.liveness, name)
        self.incoming: IncomingCalls = IncomingCalls(greeted, self.outbox, self.liveness, self._reassembly, holding)
        self._channel: Channel | None = greeted.channel
        self.sent: Callable[[int], None] = self.outbox.sent_by(self._channel)
        self._holding = holding
        self._max_containers = max_containers
        self._decoder = FrameDecoder(max_containers, greeted.rest)
        self._parting: str | None = None
        self._is_bye_sent = self._is_bye_received = self._is_waking = False

    @property
    def is_retired(self) -> bool:
        """Whether no more calls can be made on it."""
        return not self.outgoing.is_open

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress, in either direction."""
        return not (self.outgoing.in_progress or self.incoming.running)

    @property
    def is_finished(self) -> bool:
        """Whether both sides have sent bye, and nothing is left to send."""
        return self._is_bye_sent and self._is_bye_received and self.is_idle and not self.outbox.is_pending

    @property
    def _is_amid_input(self) -> bool:
        return self._decoder.is_amid_frame or (self._channel is not None and self._channel.is_amid_record)
