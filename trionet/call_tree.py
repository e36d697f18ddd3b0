"""The tree of running calls: a call is the child of the call in whose handler it was made, on whatever node.

Each running handler has a cancel scope, so this is the tree of a cluster's cancel scopes as well: the end of a call
ends all that is below it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from .error_wire import error_from_wire
from .errors import DecodeError, MalformedRequest, TrionetError, error_to_wire
from .identity import SID, NodeAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "CallTree",
    "CancelledCalls",
    "RunningCall",
    "WaitsFor",
    "call_name",
    "cancelled_from_plain",
    "tree_from_plain",
    "with_all_below",
    "without_controls",
]

_BRANCHES: Final = {False: ("├─ ", "└─ ", "│  ", "   "), True: ("|- ", "`- ", "|  ", "   ")}
"""The lines of a tree, by whether they are ASCII: a child, the last one, and what goes on below each."""
_LOCAL: Final = "local"
"""The gid that names leave out: that of a node's own services."""

_ANYONE: Final = "anyone"
_MOST_NODES: Final = 3
_MINUTE_S: Final = 60
_HANGING: Final = "    "
_LEAST_ROOM: Final = 20
_DEEPEST: Final = 64
"""The level at which deeper calls are drawn, too: only forged parents go so deep."""


class WaitsFor(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler waits for.

    Attributes:
        kind: ``call``: the answer of a call; ``thread``: a worker thread; ``credit``: the reader of its stream, who has
            not read the items so far; ``code``: something else, at a place in the code.
        what: for a call, its gid, service and method, as ``shop/counter/add``, without the gid ``local``; otherwise the
            place in the code, as ``trio.sleep in Counter.add (shop.py:41)``, or empty if that is not known.
        nodes: for a call, the nodes that have not answered.
        state: for a call, ``connecting``: there is no connection yet; ``queued``: it waits for its turn; ``sent``; or
            ``cancelled``: it has been cancelled, and its end is not confirmed yet. Empty otherwise.
    """

    kind: Literal["call", "thread", "credit", "code"]
    what: str = ""
    nodes: tuple[NodeAddress, ...] = ()
    state: Literal["", "connecting", "queued", "sent", "cancelled"] = ""

    def __str__(self) -> str:
        match self.kind:
            case "call":
                state = "" if self.state == "sent" else f" ({self.state})"
                return f"{self.what} at {_places(self.nodes)}{state}"
            case "credit":
                return "the reader of its items"
            case _:
                place = self.what or "an unknown place"
                return f"a thread, {place}" if self.kind == "thread" else place


class RunningCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose handler runs; a plain function never waits, and so is none.

    Attributes:
        node: the node that runs it.
        id: its id; the same at every member of a fan-out.
        parent: the id of the call in whose handler it was made; empty outside of any.
        caller: the calling node, which runs the parent; None for a client that is no node.
        gid, service, method: the names of the method.
        principal: in whose name it is made: the text of a `Principal`.
        age_s: the seconds since its begin, when its node was asked.
        left_s: the seconds until its deadline then; None without a deadline.
        deadline_of: the id of the call whose deadline that is: its own, where its caller has set it, or that of a call
            above; empty without a deadline.
        state: ``running``; ``cancelled``: its scope is cancelled, and it has not ended yet; or ``orphan``: its caller
            has cancelled it, and waits no longer.
        waits_for: what it waits for.
        root: why it is a root of the tree: ``made outside`` of any handler; ``parent ended``: its caller's node knows
            no such call any more; ``parent unknown``: its caller's node did not answer, or its parents are a circle.
            Empty for a child.
        level: the number of calls above it.
    """

    node: NodeAddress
    id: str
    parent: str = ""
    caller: NodeAddress | None = None
    gid: str
    service: str
    method: str
    principal: str
    age_s: float
    left_s: float | None = None
    deadline_of: str = ""
    state: Literal["running", "cancelled", "orphan"] = "running"
    waits_for: tuple[WaitsFor, ...] = ()
    root: Literal["", "made outside", "parent ended", "parent unknown"] = "made outside"
    level: int = 0

    @property
    def name(self) -> str:
        """Its service and method, and before these its gid if that is not ``local``."""
        return call_name(self.gid, self.service, self.method)

    def __str__(self) -> str:
        parts = [f"{self.id}  {self.name} at {self.node}", f"{_time(self.age_s)}, {self._deadline()}"]
        if self.principal not in {_ANYONE, f"node:{self.caller}"}:
            parts.append(f"for {self.principal}")
        if self.root:
            parts.append(self._origin())
        if self.state != "running":
            parts.append(self.state)
        if self.waits_for:
            parts.append("waits for " + ", ".join(map(str, self.waits_for)))
        return without_controls("; ".join(parts))

    def _origin(self) -> str:
        who = "a client" if self.caller is None else str(self.caller)
        match self.root:
            case "parent ended":
                return f"from {who}, whose call {self.parent} has ended"
            case "parent unknown":
                return f"within {self.parent} at {who}"
            case _:
                return f"from {who}"

    def _deadline(self) -> str:
        if self.left_s is None:
            return "no deadline"
        whose = "" if self.deadline_of == self.id else f" of {self.deadline_of}"
        return f"{_time(self.left_s)} left{whose}"


class CallTree(msgspec.Struct, frozen=True, kw_only=True):
    """The running calls of a node, or of a cluster, as a tree; ``str(tree)`` draws it.

    Attributes:
        calls: the calls, each before its children; their `RunningCall.level` is their depth.
        errors: the members that gave no report, and why.
        nodes: the number of nodes that gave one.
        omitted: how many more running calls there are than in `calls`.
    """

    calls: tuple[RunningCall, ...] = ()
    errors: Mapping[SID, TrionetError] = {}
    nodes: int = 1
    omitted: int = 0

    def below(self, call: RunningCall) -> tuple[RunningCall, ...]:
        """Return a call of the tree, and all that is below it."""
        start = next((place for place, one in enumerate(self.calls) if one is call), len(self.calls))
        stop = start + 1
        while stop < len(self.calls) and self.calls[stop].level > call.level:
            stop += 1
        return self.calls[start:stop]

    def find(self, call_id: str) -> tuple[RunningCall, ...]:
        """Return the calls with an id: one for each node that runs it."""
        return tuple(call for call in self.calls if call.id == call_id)

    def lines(self, *, width: int | None = None, ascii_only: bool = False) -> Iterator[str]:
        """Yield the lines of a drawing, without control characters.

        Args:
            width: the most characters of a line, into which longer ones are folded; None for no limit.
            ascii_only: whether the branches are drawn with ASCII characters.
        """
        more, last, on, off = _BRANCHES[ascii_only]
        trunk: list[bool] = []
        levels = [min(call.level, _DEEPEST) for call in self.calls]
        for call, level, is_last in zip(self.calls, levels, _last_ones(levels), strict=True):
            del trunk[level:]
            indent = "".join(off if done else on for done in trunk[1:])
            first, rest = (last, off) if is_last else (more, on)
            if not level:
                first = rest = ""
            trunk.append(is_last)
            yield from _folded(indent + first, indent + rest + _HANGING, str(call), width)
        yield from _folded("", _HANGING, self._summary(), width)
        for sid, error in sorted(self.errors.items()):
            yield from _folded("", _HANGING, _no_report(sid, error), width)

    def _summary(self) -> str:
        count, nodes = len(self.calls), self.nodes
        text = f"{count:,} running call{'s' * (count != 1)} on {nodes:,} node{'s' * (nodes != 1)}"
        return f"{text}, and {self.omitted:,} more" if self.omitted else text

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def plain(self) -> dict[str, Any]:
        """Return it as plain data: addresses as texts, and errors as on the wire."""
        return {
            "calls": [_plain_call(call) for call in self.calls],
            "errors": _plain_errors(self.errors),
            "nodes": self.nodes,
            "omitted": self.omitted,
        }


class CancelledCalls(msgspec.Struct, frozen=True, kw_only=True):
    """What a cancellation has ended.

    Attributes:
        ended: the calls that have ended: those of the id, and all that was below them.
        running: those that run on: they shield themselves from the cancellation, or wait for a thread.
        errors: the members that could not be asked, and why; calls may run on there.
    """

    ended: tuple[RunningCall, ...] = ()
    running: tuple[RunningCall, ...] = ()
    errors: Mapping[SID, TrionetError] = {}

    def lines(self, call_id: str) -> Iterator[str]:
        """Yield a line for each call, without control characters, or one that there was none with `call_id`."""
        for what, calls in (("ended", self.ended), ("still running", self.running)):
            for call in calls:
                yield f"{what}: {call}"
        for sid, error in sorted(self.errors.items()):
            yield _no_report(sid, error)
        if not (self.ended or self.running):
            yield without_controls(f"no running call has the id {call_id}")

    def plain(self) -> dict[str, Any]:
        """Return it as plain data; see `CallTree.plain`."""
        return {
            "ended": [_plain_call(call) for call in self.ended],
            "running": [_plain_call(call) for call in self.running],
            "errors": _plain_errors(self.errors),
        }


def call_name(gid: str, service: str, method: str) -> str:
    """Return the name of a method for people."""
    return f"{service}/{method}" if gid == _LOCAL else f"{gid}/{service}/{method}"


def without_controls(text: str) -> str:
    """Return a text of a stranger's as a terminal may show it: in one line, with escapes for what isn't printable."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def with_all_below(calls: Iterable[RunningCall], call_id: str) -> tuple[RunningCall, ...]:
    """Return those of a tree's calls with an id, and all that is below them, each once."""
    found: list[RunningCall] = []
    top: int | None = None
    for call in calls:
        if top is not None and call.level <= top:
            top = None
        if top is None and call.id == call_id:
            top = call.level
        if top is not None:
            found.append(call)
    return tuple(found)


def _plain_errors(errors: Mapping[SID, TrionetError]) -> dict[SID, Any]:
    return {sid: error_to_wire(error) for sid, error in sorted(errors.items())}


def _plain_call(call: RunningCall) -> dict[str, Any]:
    plain = msgspec.structs.asdict(call)
    plain["node"], plain["caller"] = str(call.node), None if call.caller is None else str(call.caller)
    plain["waits_for"] = [
        {"kind": one.kind, "what": one.what, "nodes": [*map(str, one.nodes)], "state": one.state}
        for one in call.waits_for
    ]
    return plain


def _last_ones(levels: Sequence[int]) -> list[bool]:
    """Return for each call, by the levels of all, whether it is the last child of its parent."""
    found, followed = [True] * len(levels), set[int]()
    for place in range(len(levels) - 1, -1, -1):
        level = levels[place]
        found[place] = level not in followed
        followed = {one for one in followed if one < level} | {level}
    return found


def _places(nodes: tuple[NodeAddress, ...]) -> str:
    if len(nodes) > _MOST_NODES:
        return f"{len(nodes)} nodes"
    return ", ".join(map(str, nodes))


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes = int(seconds // _MINUTE_S)
    return f"{minutes} min" if minutes < 2 * _MINUTE_S else f"{minutes // _MINUTE_S} h"


def _no_report(sid: SID, error: TrionetError) -> str:
    return without_controls(f"no report of {sid}: {type(error).__name__}: {error}")


def _folded(first: str, rest: str, text: str, width: int | None) -> list[str]:
    """Return the lines of a text, after `first` in the first line and after `rest` in the others."""
    room = None if width is None else max(_LEAST_ROOM, width - len(rest))
    parts = [text] if room is None else textwrap.wrap(text, room, break_on_hyphens=False) or [""]
    return [(rest if number else first) + part for number, part in enumerate(parts)]


def tree_from_plain(plain: object) -> CallTree:
    """Return the tree that `CallTree.plain` has made plain data of, at another node.

    Raises:
        DecodeError: it is none.
    """
    try:
        return msgspec.convert(_with_addresses(plain, "calls"), type=CallTree, dec_hook=_decoded)
    except (msgspec.MsgspecError, KeyError, TypeError, MalformedRequest) as exc:
        raise DecodeError(f"this is no tree of calls: {exc}") from exc


def cancelled_from_plain(plain: object) -> CancelledCalls:
    """Return what `CancelledCalls.plain` has made plain data of, at another node.

    Raises:
        DecodeError: it is nothing of that kind.
    """
    try:
        return msgspec.convert(_with_addresses(plain, "ended", "running"), type=CancelledCalls, dec_hook=_decoded)
    except (msgspec.MsgspecError, KeyError, TypeError, MalformedRequest) as exc:
        raise DecodeError(f"these are no cancelled calls: {exc}") from exc


def _with_addresses(plain: Any, *lists: str) -> dict[str, Any]:
    found = dict(plain)
    for name in lists:
        found[name] = [_with_address(call) for call in found[name]]
    return found


def _with_address(call: Any) -> dict[str, Any]:
    caller, waits_for = call["caller"], call["waits_for"]
    return {
        **call,
        "node": _mapping(call["node"]),
        "caller": None if caller is None else _mapping(caller),
        "waits_for": [{**one, "nodes": [_mapping(node) for node in one["nodes"]]} for one in waits_for],
    }


def _mapping(address: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(NodeAddress.of(address))


def _decoded(kind: type, value: Any) -> Any:
    """Decode what msgspec doesn't: errors."""
    if kind is TrionetError and isinstance(value, dict):
        return error_from_wire(value)
    raise NotImplementedError(f"{kind} is not decoded")
