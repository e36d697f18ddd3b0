"""trionet's gossip (`trionet.protocols.gossip`) on Maelstrom's messages: rumors that reach every node, each once.

Invariant: a value is delivered at most once on each node; while two nodes can reach each other, directly or through
others, the values of one reach the other, even if earlier messages were lost. All rumors for one node at one time are
one message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Union

import msgspec
import trio

from trionet.errors import MalformedRequest
from trionet.protocols.effects import Notify
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import Delivered
from trionet.protocols.gossip_settings import GossipSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.protocols.effects import Effect
    from trionet.protocols.push import Push

    from .envelope import Envelope
    from .node import MaelstromNode

__all__ = ["Rumors"]

_GID: Final = "all"
_MESSAGES: Final[Any] = list[Union[GossipProtocol.messages]]  # type: ignore[valid-type]  # noqa: UP007


class Rumors:
    """Values that one node sends and all receive.

    Args:
        node: sends and receives the messages; create the rumors before the node runs.
        deliver: called once with each value, those of this node included.
        push: makes the strategy for new rumors; see `trionet.protocols.push`.
        settings: the timing, and how long rumors are kept for late nodes.
    """

    def __init__(
        self,
        node: MaelstromNode,
        deliver: Callable[[Any], object],
        *,
        push: Callable[[], Push],
        settings: GossipSettings | None = None,
    ) -> None:
        self._node = node
        self._deliver = deliver
        self._push = push
        self._settings = settings or GossipSettings()
        self._core: GossipProtocol | None = None
        self._changed = trio.lowlevel.ParkingLot()
        node.on_init(self._begin)
        node.on("gossip")(self._receive)
        node.background(self._keep_time)

    @property
    def core(self) -> GossipProtocol:
        """The protocol, once the node is initialised."""
        assert self._core is not None
        return self._core

    def send(self, value: Any) -> None:
        """Deliver `value`, which is any JSON, here, and send it to all nodes."""
        now = trio.current_time()
        self._act(self.core.send(_GID, msgspec.json.encode(value), now).effects)

    def _begin(self) -> None:
        self._core = GossipProtocol(self._node.id, self._node.random, self._settings)
        self._core.set_group(_GID, sorted(self._node.node_ids), now=trio.current_time(), push=self._push())

    def _receive(self, message: Envelope) -> None:
        try:
            received = msgspec.convert(message["messages"], _MESSAGES)
        except msgspec.ValidationError as exc:
            raise MalformedRequest(f"this is no gossip: {exc}") from exc
        now = trio.current_time()
        effects: list[Effect] = []
        for each in received:
            effects += self.core.receive(message.src, each, now)
        self._act(effects)

    async def _keep_time(self) -> None:
        while True:
            deadline = self.core.next_deadline()
            if deadline <= (now := trio.current_time()):
                self._act(self.core.on_timer(now))
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_at(deadline):
                    await self._changed.park()

    def _act(self, effects: Iterable[Effect]) -> None:
        packets: dict[str, list[Any]] = {}
        for effect in effects:
            if isinstance(effect, Notify):
                if isinstance(effect.event, Delivered):
                    self._deliver(msgspec.json.decode(effect.event.payload))
            else:
                packets.setdefault(effect.to, []).append(effect.message)
        for name, messages in packets.items():
            self._node.send(name, {"type": "gossip", "messages": messages})
        self._changed.unpark_all()
