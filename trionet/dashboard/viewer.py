"""One viewer of the dashboard: the events of its stream.

Invariants: nothing is queued for a viewer: it is sent what has changed since it was sent something last, when it has
read that. Its stream ends with the node, and when it may not see any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from .channel import EVERY_S, message
from .merge_patch import merge_patch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from .channel import Channel, Sent
    from .looked_at import LookedAt

__all__ = ["News", "Viewer"]

_PING_S: Final = 5.0
"""The time after which a comment is sent if there is nothing else: so that both sides notice a lost connection."""

_PING: Final = b": still here\n\n"


class News:
    """Wakes the viewers when there is something new, or when the dashboard ends.

    Attributes:
        version: a number that grows with each news.
        is_closed: whether the node is stopping.
    """

    def __init__(self) -> None:
        self.version: int = 0
        self.is_closed: bool = False
        self._waiting = trio.lowlevel.ParkingLot()

    def tell(self) -> None:
        """Wake all viewers."""
        self.version += 1
        self._waiting.unpark_all()

    def close(self) -> None:
        """Wake all viewers, for the last time."""
        self.is_closed = True
        self.tell()

    async def wait(self, seen: int, seconds: float) -> bool:
        """Wait for another version than `seen`; return whether there is one within some seconds."""
        with trio.move_on_after(seconds):
            while self.version == seen:
                await self._waiting.park()
        return self.version != seen


class Viewer:
    """Somebody who looks at some topics; made by `Dashboard.open`."""

    def __init__(self, looked_at: LookedAt, channels: Mapping[str, Channel], news: News) -> None:
        self._looked_at = looked_at
        self._channels = channels
        self._news = news
        self._sent: dict[str, Sent | None] = dict.fromkeys(channels)
        self._state: dict[str, Any] | None = None

    async def messages(self) -> AsyncGenerator[bytes]:
        """Yield the events of its stream until the node stops."""
        while not self._news.is_closed:
            seen = self._news.version
            pieces = b"".join(self._pieces())
            if pieces:
                yield pieces
            if not await self._news.wait(seen, _PING_S):
                yield _PING

    def _pieces(self) -> list[bytes]:
        pieces = []
        for name, channel in self._channels.items():
            piece, self._sent[name] = channel.piece(self._looked_at, self._sent[name])
            pieces.append(piece)
        errors = {name: channel.error for name, channel in self._channels.items() if channel.error}
        state = {"every_s": EVERY_S, "errors": errors}
        patch = state if self._state is None else merge_patch(self._state, state)
        self._state = state
        if patch:
            pieces.append(message("feed", patch))
        return pieces
