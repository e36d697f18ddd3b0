"""A topic that somebody looks at: gathered once a second for all viewers together.

Invariants: one gathering at a time; a failing or slow one leaves the last document, and says why; the sizes of what is
sent are bounded. A viewer holds the last document that it was sent, and nothing else waits for it: however late it
comes back, it is sent one patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.log_limits import about, limited_log
from trionet.surrogates import without_surrogates

from .looked_at import together
from .merge_patch import merge_patch, without_nulls

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress

    from .looked_at import LookedAt
    from .topics import Topic

__all__ = ["EVERY_S", "MOST_BYTES", "Channel", "Sent", "message"]

_log = limited_log(__name__)

EVERY_S: Final = 1.0
"""The time between two documents of a topic."""
_WITHIN_S: Final = 1.0
"""The most time for gathering one."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""The most that is sent at once of a topic: 10,000 members are half of it."""

_SOON_S: Final = 0.1
"""The time between two documents when another viewer comes."""
_MOST_CHARS: Final = 300


class Sent(msgspec.Struct, frozen=True):
    """What a viewer was sent last of a topic.

    Attributes:
        document: its view.
        version: the version of the document, if it is the view; -1 for a view of a viewer's own.
    """

    document: dict[str, Any]
    version: int


class Channel:
    """A topic with viewers.

    Attributes:
        topic: what is gathered.
        scope: the scope of its task.
    """

    def __init__(self, topic: Topic, tell: Callable[[], None], own: NodeAddress) -> None:
        """Gather `topic` at the node `own`; call ``tell()`` when there is a new document."""
        self._own = own
        self.topic = topic
        self.scope: trio.CancelScope = trio.CancelScope()
        self._tell = tell
        self._asked: list[LookedAt] = []
        self._document: dict[str, Any] | None = None
        self._version = 0
        self._pieces: dict[int, bytes | None] = {}
        self._not_gathered = ""
        self._not_sent = ""
        self._kicked = trio.Event()

    @property
    def error(self) -> str:
        """Why there is no newer document; empty if there is one."""
        return self._not_gathered or self._not_sent

    @property
    def looked_at(self) -> LookedAt:
        """What its viewers look at, together."""
        return together(self._asked)

    def add(self, looked_at: LookedAt) -> None:
        """Add a viewer; what it looks at is gathered soon."""
        self._asked.append(looked_at)
        self.kick()

    def kick(self) -> None:
        """Gather soon."""
        self._kicked.set()

    def remove(self, looked_at: LookedAt) -> bool:
        """Remove a viewer that looks at this; return whether it was the last one."""
        if looked_at in self._asked:
            self._asked.remove(looked_at)
        return not self._asked

    async def run(self) -> None:
        """Gather until cancelled."""
        with self.scope:
            try:
                while True:
                    begun = trio.current_time()
                    self._kicked = trio.Event()
                    await self._gather()
                    await trio.sleep_until(begun + _SOON_S)
                    with trio.move_on_at(begun + EVERY_S):
                        await self._kicked.wait()
            finally:
                self.topic.close()

    async def _gather(self) -> None:
        error, name = "", self.topic.name
        try:
            with trio.fail_after(_WITHIN_S):
                document = await self.topic.gather(self.looked_at)
        except trio.TooSlowError:
            error = f"gathering it took longer than {_WITHIN_S:g} s"
        except Exception as exc:  # of whatever it asks: the node goes on
            error = without_surrogates(f"{type(exc).__name__}: {exc}"[:_MOST_CHARS])
            _log.warning(
                "the topic %s of the dashboard can't be gathered: %s",
                name,
                error,
                exc_info=exc,
                extra=about(self._own, name, node=self._own),
            )
        else:
            if document != self._document:
                self._document = document
                self._version += 1
                self._pieces.clear()
                self._not_sent = ""
                self._tell()
        if error != self._not_gathered:
            self._not_gathered = error
            self._tell()

    def piece(self, looked_at: LookedAt, sent: Sent | None) -> tuple[bytes, Sent | None]:
        """Return the message for a viewer, or nothing if nothing has changed for it; and what it has been sent then."""
        document = self._document
        view = None if document is None else self.topic.view(document, looked_at)
        if view is None:
            return b"", sent
        if view is not document or (sent is not None and sent.version < 0):
            return _new(self._message(view, sent), view, -1, sent)
        before = -1 if sent is None else sent.version
        if before == self._version:
            return b"", sent
        if before not in self._pieces:
            self._pieces[before] = self._message(view, sent)
        return _new(self._pieces[before], view, self._version, sent)

    def _message(self, view: dict[str, Any], sent: Sent | None) -> bytes | None:
        """Return the message that brings a viewer to a view; None if it can't be sent."""
        data = without_nulls(view) if sent is None else merge_patch(sent.document, view)
        if sent is not None and not data:
            return b""
        try:
            return message(self.topic.name, data)
        except (ValueError, TypeError) as exc:  # msgspec's errors are such
            self._not_sent = without_surrogates(f"it can't be sent: {exc}"[:_MOST_CHARS])
            return None


def _new(data: bytes | None, view: dict[str, Any], version: int, sent: Sent | None) -> tuple[bytes, Sent | None]:
    """Return a message, and what the viewer has been sent then; what can't be sent has not been."""
    return (b"", sent) if data is None else (data, Sent(view, version))


def message(name: str, data: dict[str, Any]) -> bytes:
    """Return an event of a stream; see the HTML Standard, 9.2.

    Raises:
        ValueError: it is too large.
    """
    try:
        text = msgspec.json.encode(data)
    except UnicodeEncodeError:
        text = msgspec.json.encode(without_surrogates(data))
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text):,} bytes, more than {MOST_BYTES:,}")
    return b"event: %s\ndata: %s\n\n" % (name.encode(), text)
