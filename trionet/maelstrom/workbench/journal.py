"""All messages of a test, counted as in Maelstrom, and written to a file.

Invariant: every message that enters the network counts, lost messages included; a line that is no message, or has an
unknown receiver, does not. Source: Maelstrom, ``src/maelstrom/net/checker.clj``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from typing import IO

    from .messages import NetworkMessage

__all__ = ["SHOWN_MESSAGES", "Arrow", "Journal"]

SHOWN_MESSAGES: Final = 4000
"""The number of messages in the space-time diagram."""


class Arrow(NamedTuple):
    """A message of the space-time diagram; `received` is None if it never arrived. Times in seconds."""

    id: int
    src: str
    dest: str
    kind: str
    body: str
    sent: float
    received: float | None


class _Typed(msgspec.Struct):
    type: Any = None


_kind_of = msgspec.json.Decoder(_Typed).decode


class Journal:
    """Counts messages, keeps the first ones, and writes all of them to a file.

    Args:
        begun: the time at which the test began, in seconds of Trio's clock.
        services: the names of the services.
        file: receives a line for each message that is sent, and one for each that arrives.

    Attributes:
        kinds: the number of messages of each type, without those of clients.
        lost: the number of messages that were lost by chance.
        cut: the number of messages that partitions stopped.
    """

    def __init__(self, begun: float, services: frozenset[str] = frozenset(), file: IO[bytes] | None = None) -> None:
        self.kinds: Counter[str] = Counter()
        self.lost: int = 0
        self.cut: int = 0
        self._begun = begun
        self._services = services
        self._file = file
        self._sent: Counter[str] = Counter()
        self._received: Counter[str] = Counter()
        self._bytes = 0
        self._arrows: dict[int, Arrow] = {}

    def sent(self, message: NetworkMessage, now: float) -> None:
        """Record that a message was sent."""
        try:
            kind = str(_kind_of(message.body).type)
        except msgspec.DecodeError:
            kind = "?"
        self._sent[self._part_of(message)] += 1
        self._bytes += len(message.body)
        if not message.is_clients:
            self.kinds[kind] += 1
        sent = now - self._begun
        if len(self._arrows) < SHOWN_MESSAGES and kind not in {"init", "init_ok"}:
            body = message.body.decode("utf-8", "replace")
            self._arrows[message.id] = Arrow(message.id, message.src, message.dest, kind, body, sent, None)
        if self._file is not None:
            self._file.write(
                b'{"id":%d,"sent":%.6f,"src":%b,"dest":%b,"body":%b}\n'
                % (message.id, sent, _json(message.src), _json(message.dest), message.body)
            )

    def received(self, message: NetworkMessage, now: float) -> None:
        """Record that a message arrived."""
        self._received[self._part_of(message)] += 1
        if message.id in self._arrows:
            self._arrows[message.id] = self._arrows[message.id]._replace(received=now - self._begun)
        if self._file is not None:
            self._file.write(b'{"id":%d,"received":%.6f}\n' % (message.id, now - self._begun))

    def _part_of(self, message: NetworkMessage) -> str:
        if message.is_clients:
            return "clients"
        return "services" if message.src in self._services or message.dest in self._services else "nodes"

    @property
    def arrows(self) -> list[Arrow]:
        """The first messages of the test, initialisation aside."""
        return list(self._arrows.values())

    @property
    def total(self) -> int:
        """The number of messages that were sent."""
        return sum(self._sent.values())

    def statistics(self, operations: int) -> dict[str, Any]:
        """Return counts for all messages, those of clients, and all others: traffic with services is servers'.

        Args:
            operations: the number of operations, the divisor of ``msgs-per-op``.
        """

        def count(*parts: str, is_divided: bool) -> dict[str, Any]:
            sent = sum(self._sent[part] for part in parts)
            counts: dict[str, Any] = {
                "send-count": sent,
                "recv-count": sum(self._received[part] for part in parts),
                "msg-count": sent,
            }
            if operations and is_divided:
                counts["msgs-per-op"] = sent / operations
            return counts

        return {
            "all": count("clients", "nodes", "services", is_divided=True),
            "clients": count("clients", is_divided=False),
            "servers": count("nodes", "services", is_divided=True),
            "between-nodes": count("nodes", is_divided=True),
            "with-services": count("services", is_divided=True),
            "by-type": dict(self.kinds.most_common()),
            "lost": self.lost,
            "cut": self.cut,
            "body-bytes": self._bytes,
            "valid?": True,
        }


_json = msgspec.json.Encoder().encode
