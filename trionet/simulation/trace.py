"""What happened in a simulation: a list of events, in order, that can be kept, compared and asked.

Invariant: what is in a trace follows from the seed, the program and its inputs alone; `Trace.hash` is equal for equal
runs, on every machine and in every process.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from trionet.errors import DecodeError, TrionetError

from .arguments import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trionet.identity import NodeAddress
    from trionet.transports.base import Request
    from trionet.transports.memory.rules import Message

__all__ = ["Kind", "Trace", "TraceEvent", "first_difference"]

Kind = Literal["send", "deliver", "drop", "call", "answer", "cancel", "begin", "end", "state", "rumor", "fault", "note"]
_DIGITS: Final = 9
_AT_ONCE: Final = 4096


class TraceEvent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One thing that happened.

    Attributes:
        at: when, in seconds since the simulation began.
        kind: what kind of thing: a message was sent, delivered, dropped; a call was begun, answered, cancelled; a
            handler that takes its time began or ended; a node's state or view has changed (``state``) or it has got a
            rumor; a fault began or ended; the user noted something.
        node: at which node.
        peer: the other one: where a message goes to or comes from, where a call goes, whose state has changed.
        what: the message's kind; the method; the change; the rumor's group; the fault.
        number: the message's, the same when it is sent and delivered.
        size: the message's bytes.
        detail: the call's id; the name of the error that it ended with; the rumor's id; whatever else there is.
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


_Noted = TraceEvent | tuple["Kind", float, "NodeAddress", "NodeAddress", str, int, int, str]
"""An event as it is noted: of messages and calls, since there are so many, only what can't be worked out later."""


class Trace:
    """The events of one simulation.

    Attributes:
        names: what the nodes are called in it; `introduce` adds to them.
        listeners: called with each event but those of messages, once it is in.
    """

    def __init__(self, began_at: float = 0.0, now: Callable[[], float] = lambda: 0.0) -> None:
        self.names: dict[NodeAddress, str] = {}
        self.listeners: list[Callable[[TraceEvent], None]] = []
        self._events: list[TraceEvent] = []
        self._noted: list[_Noted] = []
        self._began_at = began_at
        self._now = now

    @property
    def events(self) -> list[TraceEvent]:
        """The events, in the order in which they happened."""
        self._name_noted()
        return self._events

    def _name_noted(self) -> None:
        noted, self._noted = self._noted, []
        self._events.extend(map(self._event, noted))

    def _event(self, noted: _Noted) -> TraceEvent:
        if isinstance(noted, TraceEvent):
            return noted
        kind, at, node, peer, what, number, size, detail = noted
        return TraceEvent(at - self._began_at, kind, self.name(node), self.name(peer), what, number, size, detail)

    def __len__(self) -> int:
        return len(self._events) + len(self._noted)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self.events)

    # ---- keeping and comparing

    def lines(self) -> Iterator[bytes]:
        """Give the events as lines of JSON, without their ends."""
        yield from map(_encoder.encode, map(_as_saved, self.events))

    def hash(self) -> str:
        """Return what is equal for equal traces: the SHA-256, in hex, of the lines."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line + b"\n")
        return digest.hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the events to a file of JSON lines."""
        with Path(path).open("wb") as file:
            file.writelines(line + b"\n" for line in self.lines())

    def as_saved(self) -> Trace:
        """Return what `load` would after `save`: the same events, their times rounded as in the file."""
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

    # ---- asking

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
        """Return the events for which all that is given holds, in order."""
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

    # ---- being told

    def introduce(self, node: NodeAddress, name: str) -> None:
        """Call a node by this name from now on."""
        self._name_noted()  # what has happened so far happened under other names
        self.names[node] = name

    def name(self, node: NodeAddress) -> str:
        """Return what a node is called here."""
        return self.names.get(node) or str(node)

    def add(self, kind: Kind, node: str, peer: str = "", what: str = "", detail: str = "") -> None:
        """Add an event of this moment."""
        self._note(TraceEvent(self._now() - self._began_at, kind, node, peer, what, 0, 0, detail))

    def _note(self, noted: _Noted) -> None:
        self._noted.append(noted)
        if self.listeners:
            event = self._event(noted)
            for listener in self.listeners:
                listener(event)

    def sent(self, message: Message, at: float) -> None:
        """A message was sent; see `Observer`."""
        size = len(message.data)
        self._noted.append(("send", at, message.source, message.target, message.kind, message.number, size, ""))

    def delivered(self, message: Message, at: float) -> None:
        """A message was delivered."""
        size = len(message.data)
        self._noted.append(("deliver", at, message.target, message.source, message.kind, message.number, size, ""))

    def dropped(self, message: Message, at: float) -> None:
        """A message was dropped."""
        size = len(message.data)
        self._noted.append(("drop", at, message.source, message.target, message.kind, message.number, size, ""))

    def called(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """A call was begun."""
        self._note(("call", at, source, target, _method(request), 0, 0, request.id))

    def answered(
        self, source: NodeAddress, target: NodeAddress, request: Request, error: TrionetError | None, at: float
    ) -> None:
        """A call was answered."""
        detail = request.id if error is None else f"{request.id} {type(error).__name__}"
        self._note(("answer", at, source, target, _method(request), 0, 0, detail))

    def cancelled(self, source: NodeAddress, target: NodeAddress, request: Request, at: float) -> None:
        """A call was cancelled."""
        self._note(("cancel", at, source, target, _method(request), 0, 0, request.id))

    def link_lost(self, source: NodeAddress, target: NodeAddress, reason: str, at: float) -> None:
        """A connection with calls in progress was lost."""
        self.add("state", self.name(source), self.name(target), "LinkLost", reason)


def _as_saved(event: TraceEvent) -> TraceEvent:
    return msgspec.structs.replace(event, at=round(event.at, _DIGITS))


def _method(request: Request) -> str:
    return f"{request.gid}/{request.service}/{request.method}"


def first_difference(one: Trace, other: Trace) -> tuple[int, TraceEvent | None, TraceEvent | None] | None:
    """Return where two traces part: the number of the event, and what it is in each; None where they are equal."""
    for trace in (one, other):
        require(trace, Trace, "a trace is a Trace")
    for index, (line, other_line) in enumerate(zip(one.lines(), other.lines(), strict=False)):
        if line != other_line:
            return index, one.events[index], other.events[index]
    if len(one) == len(other):
        return None
    shorter = min(len(one), len(other))
    first, second = ((trace.events[shorter:] or [None])[0] for trace in (one, other))
    return shorter, first, second
