"""The trace of a simulation: its events, in order, which can be saved, compared and queried.

Invariant: a trace follows from the seed, the program and its inputs alone; `Trace.hash` is equal for equal runs, on
every machine and in every process.
"""

from __future__ import annotations

import hashlib
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from trionet.errors import DecodeError, TrionetError

from .arguments import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trionet.identity import NodeAddress
    from trionet.message import Call
    from trionet.transports.base import Request
    from trionet.transports.memory.rules import Message

__all__ = ["Kind", "Trace", "TraceEvent", "first_difference"]

Kind = Literal["send", "deliver", "drop", "call", "answer", "cancel", "begin", "end", "state", "rumor", "fault", "note"]
_DIGITS: Final = 9
_AT_ONCE: Final = 4096


class TraceEvent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An event.

    Attributes:
        at: its time, in seconds since the simulation began.
        kind: a message was sent, delivered or dropped; a call was begun, answered or cancelled; an async handler began
            or ended; a node's state or view changed (``state``); a node received a rumor; a fault began or ended; or a
            note of the user.
        node: the node at which it happened.
        peer: the other node: the target or source of a message, the target of a call, the subject of a view.
        what: the message's kind; the method; the change; the rumor's group; the fault.
        number: the message's number, the same when it is sent and delivered.
        size: the message's size in bytes.
        detail: the call's id, and the name of its error; the rumor's id; or further details.
    """

    at: float
    kind: Kind
    node: str
    peer: str = ""
    what: str = ""
    number: int = 0
    size: int = 0
    detail: str = ""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(TraceEvent)


_Recorded = TraceEvent | tuple["Kind", float, "NodeAddress", "NodeAddress | None", str, int, int, str]
"""An event as it is recorded: messages and calls are frequent, so that only their raw values are."""


class Trace:
    """The events of one simulation.

    Attributes:
        names: the names of nodes; `introduce` adds one.
        listeners: called with each event, except those of messages, after it is added.
    """

    def __init__(self, began_at: float = 0.0, now: Callable[[], float] = lambda: 0.0) -> None:
        self.names: dict[NodeAddress, str] = {}
        self.listeners: list[Callable[[TraceEvent], None]] = []
        self._events: list[TraceEvent] = []
        self._recorded: list[_Recorded] = []
        self._began_at = began_at
        self._now = now

    @property
    def events(self) -> list[TraceEvent]:
        """The events, in the order in which they happened."""
        self._resolve()
        return self._events

    def _resolve(self) -> None:
        recorded, self._recorded = self._recorded, []
        self._events.extend(map(self._event, recorded))

    def _event(self, recorded: _Recorded) -> TraceEvent:
        if isinstance(recorded, TraceEvent):
            return recorded
        kind, at, node, peer, what, number, size, detail = recorded
        other = "" if peer is None else self.name(peer)
        return TraceEvent(at - self._began_at, kind, self.name(node), other, what, number, size, detail)

    def __len__(self) -> int:
        return len(self._events) + len(self._recorded)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self.events)

    # ---- saving and comparing

    def lines(self) -> Iterator[bytes]:
        """Yield the events as JSON, without line ends."""
        yield from map(_encoder.encode, map(_as_saved, self.events))

    def hash(self) -> str:
        """Return the SHA-256 of the lines, in hex: equal for equal traces."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line + b"\n")
        return digest.hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the events to a file of JSON lines."""
        with Path(path).open("wb") as file:
            file.writelines(line + b"\n" for line in self.lines())

    def as_saved(self) -> Trace:
        """Return the trace that `load` returns after `save`: its times are rounded as in the file."""
        trace = Trace()
        trace.events.extend(map(_as_saved, self.events))
        return trace

    @classmethod
    def load(cls, path: Path | str) -> Trace:
        """Return the trace that `save` has written.

        Raises:
            DecodeError: the file is no trace.
            OSError: it can't be read.
        """
        trace = cls()
        with Path(path).open("rb") as file:
            trace.extend(file)
        return trace

    def extend(self, lines: Iterable[bytes]) -> None:
        """Add events from lines of JSON.

        Raises:
            DecodeError: a line is no event.
        """
        try:
            self.events.extend(map(_decoder.decode, lines))
        except (msgspec.MsgspecError, TypeError) as exc:
            raise DecodeError(str(exc)) from exc

    # ---- querying

    def select(
        self,
        kind: Kind | None = None,
        *,
        node: str | None = None,
        peer: str | None = None,
        what: str | None = None,
        detail: str | None = None,
        since: float = 0.0,
        until: float = float("inf"),
    ) -> list[TraceEvent]:
        """Return the events that match all given values, in order."""
        return [
            event
            for event in self.events
            if (kind is None or event.kind == kind)
            and (node is None or event.node == node)
            and (peer is None or event.peer == peer)
            and (what is None or event.what == what)
            and (detail is None or event.detail == detail)
            and since <= event.at < until
        ]

    # ---- recording

    def introduce(self, node: NodeAddress, name: str) -> None:
        """Name a node."""
        self._resolve()  # earlier events have earlier names
        self.names[node] = name

    def name(self, node: NodeAddress) -> str:
        """Return the name of a node."""
        return self.names.get(node) or str(node)

    def add(self, kind: Kind, node: str, peer: str = "", what: str = "", detail: str = "") -> None:
        """Add an event that happens now."""
        self._record(TraceEvent(self._now() - self._began_at, kind, node, peer, what, 0, 0, detail))

    def _record(self, recorded: _Recorded) -> None:
        self._recorded.append(recorded)
        if self.listeners:
            event = self._event(recorded)
            for listener in self.listeners:
                listener(event)

    def sent(self, message: Message, at: float) -> None:
        """Record a sent message; see `Observer`."""
        size = len(message.data)
        self._recorded.append(("send", at, message.source, message.target, message.kind, message.number, size, ""))

    def delivered(self, message: Message, at: float) -> None:
        """Record a delivered message."""
        size = len(message.data)
        self._recorded.append(("deliver", at, message.target, message.source, message.kind, message.number, size, ""))

    def dropped(self, message: Message, at: float) -> None:
        """Record a dropped message."""
        size = len(message.data)
        self._recorded.append(("drop", at, message.source, message.target, message.kind, message.number, size, ""))

    def called(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """Record the begin of a call."""
        self._record(("call", at, source, target, _method(request), 0, 0, request.id))

    def answered(
        self, source: NodeAddress, target: NodeAddress, request: Request, error: TrionetError | None, at: float
    ) -> None:
        """Record the answer to a call."""
        detail = request.id if error is None else f"{request.id} {type(error).__name__}"
        self._record(("answer", at, source, target, _method(request), 0, 0, detail))

    def cancelled(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """Record a cancelled call."""
        self._record(("cancel", at, source, target, _method(request), 0, 0, request.id))

    def handled(self, kind: Kind, node: NodeAddress, call: Call) -> None:
        """Record the begin or the end of a handler."""
        self._record((kind, self._now(), node, call.caller, _method(call), 0, 0, call.id))

    def link_lost(self, source: NodeAddress, target: NodeAddress, reason: str, at: float) -> None:
        """Record a lost connection with calls in progress."""
        self.add("state", self.name(source), self.name(target), "LinkLost", reason)


def _as_saved(event: TraceEvent) -> TraceEvent:
    return msgspec.structs.replace(event, at=round(event.at, _DIGITS))


def _method(request: Request | Call) -> str:
    return f"{request.gid}/{request.service}/{request.method}"


def first_difference(one: Trace, other: Trace) -> tuple[int, TraceEvent | None, TraceEvent | None] | None:
    """Return the first different event of two traces: its number, and the event in each; None if they are equal."""
    for trace in (one, other):
        require(trace, Trace, "a trace is a Trace")
    for index, (line, other_line) in enumerate(zip_longest(one.lines(), other.lines())):
        if line != other_line:
            first, second = (next(iter(trace.events[index:]), None) for trace in (one, other))
            return index, first, second
    return None
