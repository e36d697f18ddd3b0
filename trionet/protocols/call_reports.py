"""What one node reports of its calls: those that run on it, and those that it makes.

Invariants: a report has at most `MOST_CALLS` of each kind, and each text in it at most `MOST_CHARS` characters. What is
decoded has the right types, and is within these bounds.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from trionet.errors import DecodeError

__all__ = [
    "MOST_CALLS",
    "MOST_CHARS",
    "CallReport",
    "EndCount",
    "NodeReport",
    "Pause",
    "RequestReport",
    "cut",
    "decode_report",
    "encode_report",
]

MOST_CALLS: Final = 10_000
"""The most calls of each kind in one report."""

MOST_CHARS: Final = 256
"""The longest text."""

R = TypeVar("R", bound=msgspec.Struct)

_MOST_PAUSES: Final = 16
_MOST_ORPHANS: Final = 64
_MOST_ENDS: Final = 500


class Pause(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What a task of a handler waits for, besides calls.

    Attributes:
        kind: ``thread``, ``credit`` or ``code``; see `trionet.call_tree.WaitsFor`.
        place: the place in the code; empty if that is not known.
    """

    kind: str
    place: str = ""


class CallReport(msgspec.Struct, frozen=True, array_like=True):
    """A call whose handler runs on the node.

    Attributes:
        id, parent: its id, and that of the caller's call in whose handler it was made.
        caller: the address of the calling node; empty for a client that is no node.
        gid, service, method: the names of the method.
        principal: in whose name it is made.
        age_s: the seconds since its begin.
        left_s: the seconds until its deadline; None without one.
        is_cancelled: whether its handler has been cancelled.
        is_own_deadline: for a call of the node to itself: whether its deadline is earlier than its parent's.
        pauses: what its tasks wait for, besides calls.
    """

    id: str
    parent: str
    caller: str
    gid: str
    service: str
    method: str
    principal: str
    age_s: float
    left_s: float | None = None
    is_cancelled: bool = False
    is_own_deadline: bool | None = None
    pauses: tuple[Pause, ...] = ()


class RequestReport(msgspec.Struct, frozen=True, array_like=True):
    """A call that the node makes to another one.

    Attributes:
        id, parent: its id, and that of the call in whose handler it is made.
        node: the address of the other node.
        gid, service, method: the names of the method.
        state: ``connecting``, ``queued``, ``sent`` or ``cancelled``; see `trionet.call_tree.WaitsFor`.
        is_own_deadline: whether its deadline is earlier than its parent's; None if that is not known.
    """

    id: str
    parent: str
    node: str
    gid: str
    service: str
    method: str
    state: str
    is_own_deadline: bool | None = None


class EndCount(msgspec.Struct, frozen=True, array_like=True):
    """How many calls of a method have ended with one outcome.

    Attributes:
        service, method, outcome: as in `trionet.figures.CallFigures`.
        count: how many, since the begin of the node.
    """

    service: str
    method: str
    outcome: str
    count: int


class NodeReport(msgspec.Struct, frozen=True, array_like=True):
    """One node's report.

    Attributes:
        calls: the running calls, oldest first.
        requests: the calls that it makes.
        orphans: its latest orphans: the node and the id of each.
        omitted: how many more calls there are, of both kinds.
        ends: how the calls that it serves have ended, if that was asked.
    """

    calls: tuple[CallReport, ...] = ()
    requests: tuple[RequestReport, ...] = ()
    orphans: tuple[tuple[str, str], ...] = ()
    omitted: int = 0
    ends: tuple[EndCount, ...] = ()


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(NodeReport)


def cut(text: str) -> str:
    """Return the beginning of a text."""
    return text[:MOST_CHARS]


def encode_report(report: NodeReport) -> bytes:
    """Return the bytes of a report."""
    return _ENCODER.encode(report)


def decode_report(data: object, most: int = MOST_CALLS) -> NodeReport:
    """Return the report in `data`, within the bounds.

    Args:
        data: what a node has answered.
        most: the most calls of each kind that are read.

    Raises:
        DecodeError: there is none.
    """
    if not isinstance(data, bytes):
        raise DecodeError(f"a report of calls is bytes, not a {type(data).__name__}")
    try:
        report = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise DecodeError(f"not a report of calls: {exc}") from exc
    most = min(most, MOST_CALLS)
    calls, requests = report.calls[:most], report.requests[:most]
    left_out = len(report.calls) - len(calls) + len(report.requests) - len(requests)
    return NodeReport(
        tuple(_bounded(call) for call in calls),
        tuple(_bounded(request) for request in requests),
        tuple((cut(node), cut(id_)) for node, id_ in report.orphans[:_MOST_ORPHANS]),
        max(0, report.omitted) + left_out,
        tuple(_bounded(one) for one in report.ends[:_MOST_ENDS]),
    )


def _bounded(reported: R) -> R:
    """Return a reported call with shorter texts, where they are too long."""
    changed: dict[str, Any] = {}
    for name in reported.__struct_fields__:
        value = getattr(reported, name)
        if isinstance(value, str) and len(value) > MOST_CHARS:
            changed[name] = cut(value)
    if isinstance(reported, CallReport) and reported.pauses:
        changed["pauses"] = tuple(Pause(cut(one.kind), cut(one.place)) for one in reported.pauses[:_MOST_PAUSES])
    return msgspec.structs.replace(reported, **changed) if changed else reported
