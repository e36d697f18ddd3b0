"""One direction of a connection on a memory fabric: in order and complete as long as it lasts, as TCP is.

Invariant: what was sent later never arrives earlier. A message that the rules drop is sent again, after a time that
doubles, and what follows waits behind it; after `GIVE_UP_S` the connection is taken for dead.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from .rules import DROP, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress

    from .endpoint import MemoryEndpoint
    from .fabric import MemoryFabric

__all__ = ["GIVE_UP_S", "Lane"]

GIVE_UP_S: Final = 120.0
_AGAIN_S: Final = 0.2
_CONNECT_AGAIN_S: Final = 1.0
"""RFC 6298 has these two as the least and the first time-out."""


class Lane:
    """Sends the messages of one side of one connection."""

    def __init__(
        self,
        fabric: MemoryFabric,
        source: MemoryEndpoint,
        target: NodeAddress,
        link: int,
        on_dead: Callable[[str], None] | None = None,
    ) -> None:
        self.on_dead: Callable[[str], None] | None = on_dead
        self._fabric = fabric
        self._source = source
        self._target = target
        self._random = source.random_to[target]
        self._link = link
        self._latest = 0.0
        self._waiting: deque[Message] = deque()
        self._again_s = 0.0
        self._is_dead = False

    def send(self, kind: str, data: bytes) -> None:
        """Send a message after those before it."""
        source = self._source
        if self._is_dead:
            return
        if source.is_mute:
            source.keep(self.send, kind, data)
            return
        now = self._fabric.pump.time()
        message = self._fabric.new_message(source.address, self._target, kind, data, now, self._link)
        if self._waiting or not self._try(message, now):
            self._waiting.append(message)
            if len(self._waiting) == 1:
                self._again_s = _CONNECT_AGAIN_S if kind == "connect" else _AGAIN_S
                self._fabric.pump.at(now + self._again_s, self._try_again)

    def _try(self, message: Message, now: float) -> bool:
        fabric = self._fabric
        verdict = fabric.judge(message, self._random)
        if verdict == DROP:
            fabric.note_drop(message, now)
            return False
        self._latest = when = max(self._latest, now + verdict)
        if message.kind == "reset" and when <= now and not fabric.pump.is_due(now):
            fabric.arrive(message)  # as an operating system does it: at once, whichever task runs next
        else:
            fabric.pump.at(when, fabric.arrive, message)
        return True

    def _try_again(self) -> None:
        now = self._fabric.pump.time()
        while self._waiting and self._try(self._waiting[0], now):
            self._waiting.popleft()
        if not self._waiting:
            return
        if now - self._waiting[0].sent_at > GIVE_UP_S:
            self._is_dead = True
            self._waiting.clear()
            if self.on_dead is not None:
                self.on_dead("what was sent was never acknowledged")
            return
        self._again_s *= 2
        self._fabric.pump.at(now + self._again_s, self._try_again)
