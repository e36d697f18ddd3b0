"""The logs that follow from a history of sends and polls: messages by offset, sends and polls by message.

An operation's value is a list of micro-operations: ``["send", key, message]``, which becomes
``["send", key, [offset, message]]``, and ``["poll"]``, which becomes ``["poll", {key: [[offset, message], …]}]``.

Invariant: a log's *index* counts only offsets at which a message is known, so gaps between offsets do not matter.
Source: Jepsen, ``jepsen.tests.kafka``, ``version-orders``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trionet.maelstrom.workbench.json_values import identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trionet.maelstrom.workbench.history import History, Op

__all__ = ["ACCESSES", "Log", "Logs", "Poll", "polls_of", "sends_of"]

_Value = Any

ACCESSES: Final = frozenset(("send", "poll", "txn"))
"""The operations that send or poll."""


def sends_of(op: Op) -> Iterator[tuple[str, int | None, Any]]:
    """Return key, offset and message of each send of an operation; the offset is None if it is not known."""
    for mop in op.value or ():
        if mop[0] == "send":
            is_done = op.type == "ok" and isinstance(mop[2], list)
            yield (mop[1], mop[2][0], mop[2][1]) if is_done else (mop[1], None, mop[2])


def polls_of(op: Op) -> dict[str, list[tuple[int, Any]]]:
    """Return the offsets and messages that an operation polled, by key, in order."""
    polled: dict[str, list[tuple[int, Any]]] = {}
    for mop in op.value or ():
        if mop[0] == "poll" and len(mop) > 1:
            for key, pairs in mop[1].items():
                polled.setdefault(key, []).extend((offset, message) for offset, message in pairs or ())
    return polled


class Poll(NamedTuple):
    """A poll, with the identities of its messages by key."""

    op: Op
    reads: dict[str, list[_Value]]


class Log:
    """One key's log.

    Attributes:
        offsets: by offset, the messages that operations show there, in the order of the operations.
        order: one message of each offset, by index.
        index: the index of each of these messages.
        first, last: for every message, the first and the last index at which it is.
    """

    def __init__(self) -> None:
        self.offsets: dict[int, dict[_Value, None]] = {}
        self.order: list[_Value] = []
        self.index: dict[_Value, int] = {}
        self.first: dict[_Value, int] = {}
        self.last: dict[_Value, int] = {}

    def put(self, offset: int, value: _Value) -> None:
        """Record a message at an offset; offsets below 0 are ignored."""
        if offset >= 0:
            self.offsets.setdefault(offset, {})[value] = None

    def settle(self) -> None:
        """Compute the indexes, once all messages are recorded."""
        for index, offset in enumerate(sorted(self.offsets)):
            values = list(self.offsets[offset])
            self.order.append(values[0])
            self.index[values[0]] = index
            for value in values:
                self.first.setdefault(value, index)
                self.last[value] = index

    def step(self, one: _Value, other: _Value) -> int:
        """Return the difference of the indexes of two messages; 1 if it is unknown."""
        if one in self.index and other in self.index:
            return self.index[other] - self.index[one]
        return 1


class Logs:
    """All logs of a history.

    Attributes:
        logs: by key.
        polls: all completed polls, in order.
        senders: by key and message, the completion of its send.
        polled: by key, the messages of ok polls; an empty set if all of these are empty.
        values: the messages by their identity.
    """

    def __init__(self, history: History) -> None:
        self.logs: defaultdict[str, Log] = defaultdict(Log)
        self.senders: dict[tuple[str, _Value], Op] = {}
        self.polled: defaultdict[str, set[_Value]] = defaultdict(set)
        self.values: dict[_Value, Any] = {}
        self.polls: list[Poll] = []
        # Not `completions`: a send without a completion may be polled, too.
        ops = [op.completion for op in history.invocations if op.f in ACCESSES]
        for op in ops:
            self._register(op)
        self.polls.sort(key=lambda poll: poll.op.index)
        for op in ops:
            self._place(op)
        for log in self.logs.values():
            log.settle()

    def _register(self, op: Op) -> None:
        for key, _, message in sends_of(op):
            self.senders[key, identity(message)] = op
            self.values[identity(message)] = message
        polled = polls_of(op)
        if polled:
            reads = {key: [identity(message) for _, message in pairs] for key, pairs in polled.items()}
            self.polls.append(Poll(op, reads))
        for key, pairs in polled.items():
            if op.type == "ok":
                self.polled[key].update()
            for _, message in pairs:
                self.values[identity(message)] = message
                if op.type == "ok":
                    self.polled[key].add(identity(message))

    def _place(self, op: Op) -> None:
        for key, offset, message in sends_of(op):
            if offset is not None and self.has_happened(op):
                self.logs[key].put(offset, identity(message))
        for key, pairs in polls_of(op).items():
            for offset, message in pairs:
                self.logs[key].put(offset, identity(message))

    def has_happened(self, op: Op) -> bool:
        """Return whether a send must have taken effect: it is ok, or one of its messages was polled."""
        if op.type == "ok":
            return True
        if op.type == "fail":
            return False
        return any(identity(message) in self.polled.get(key, ()) for key, _, message in sends_of(op))

    def named(self, values: Iterable[_Value]) -> list[Any]:
        """Return the messages of these identities."""
        return [self.values.get(value, value) for value in values]
