"""A look at a cluster, and the rows that two looks make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.figures import NodeFigures
from trionet.rates import MethodRates, NodeRates, merged, node_rates

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MEMBER_ORDERS", "Look", "MemberRow", "MethodRow", "View", "view_of"]


class Look(msgspec.Struct, frozen=True):
    """What a cluster was at one moment.

    Attributes:
        at: when, in seconds since 1970.
        node: the node that was asked.
        states: the state of each member, by address: ``alive``, ``suspect`` or ``failed``.
        sids: the SIDs of members, by address.
        figures: the figures of those that have answered, by address.
        errors: why others haven't.
    """

    at: float
    node: str
    states: dict[str, str]
    sids: dict[str, str]
    figures: dict[str, NodeFigures]
    errors: dict[str, str] = {}


class MemberRow(msgspec.Struct, frozen=True):
    """One member. What is not known is None.

    Attributes:
        sid, address, state: of the member.
        served_per_s, errors_per_s, made_per_s: its calls per second: those served, those of them that failed, and those
            made.
        median_ms, p99_ms: how long served calls took, in milliseconds.
        running: the handlers that run now.
        rumors_per_s: the rumors delivered, per second.
        links: the open links.
        queued_bytes: the bytes that wait to be sent.
        sent_bytes_per_s: the bytes sent, per second.
        lag_ms: the 99th percentile of how late its timers ran, in milliseconds.
        probe_ms: the median round trip of its probes, in milliseconds.
        health: its local health: 0 is healthy, 8 the worst.
        error: why its figures are not known.
    """

    sid: str
    address: str
    state: str
    served_per_s: float | None = None
    errors_per_s: float | None = None
    made_per_s: float | None = None
    median_ms: float | None = None
    p99_ms: float | None = None
    running: int | None = None
    rumors_per_s: float | None = None
    links: int | None = None
    queued_bytes: int | None = None
    sent_bytes_per_s: float | None = None
    lag_ms: float | None = None
    probe_ms: float | None = None
    health: int | None = None
    error: str = ""


class MethodRow(msgspec.Struct, frozen=True):
    """One method, at one member or at all.

    Attributes:
        name: ``service/method``.
        per_s, errors_per_s: its calls per second, and those that failed.
        median_ms, p99_ms, mean_ms: how long they took, in milliseconds.
    """

    name: str
    per_s: float
    errors_per_s: float
    median_ms: float | None
    p99_ms: float | None
    mean_ms: float | None


class View(msgspec.Struct, frozen=True):
    """What is shown of two looks.

    Attributes:
        at: when, in seconds since 1970.
        node: the node that was asked.
        members: its members.
        methods: the called methods of the picked member, or of all, the most called first.
        picked: the address of the picked member; None for all.
    """

    at: float
    node: str
    members: list[MemberRow]
    methods: list[MethodRow]
    picked: str | None = None


def _number(name: str) -> Callable[[MemberRow], Any]:
    """Return what orders rows by a figure, the greatest first, and those without it last."""

    def key(row: MemberRow) -> tuple[float, str]:
        value = getattr(row, name)
        return (float("inf") if value is None else -value, row.address)

    return key


_STATES: Final = {"failed": 0, "suspect": 1}

MEMBER_ORDERS: Final[dict[str, Callable[[MemberRow], Any]]] = {
    "address": lambda row: _address_key(row.address),
    "state": lambda row: (_STATES.get(row.state, 2), bool(row.error) is False, row.address),
    "calls": _number("served_per_s"),
    "latency": _number("p99_ms"),
    "errors": _number("errors_per_s"),
    "running": _number("running"),
    "rumors": _number("rumors_per_s"),
    "lag": _number("lag_ms"),
}
"""The orders of members, by the names that people choose from."""


def _address_key(address: str) -> tuple[str, int]:
    ip, _, port = address.rpartition(":")
    return ip, int(port) if port.isdigit() else 0


def view_of(before: Look | None, after: Look, order: str = "address", picked: str | None = None) -> View:
    """Return what to show.

    Args:
        before: the look before, for rates; None if there was none.
        after: the last look.
        order: one of `MEMBER_ORDERS`.
        picked: the address of the member whose methods are shown; None for all.
    """
    rates: dict[str, NodeRates | None] = {}
    for address, figures in after.figures.items():
        earlier = None if before is None else before.figures.get(address)
        rates[address] = None if earlier is None else node_rates(earlier, figures)
    rows = [_member(after, address, rates.get(address)) for address in after.states]
    rows.sort(key=MEMBER_ORDERS[order])
    shown = [one for address, one in rates.items() if one is not None and picked in (None, address)]
    return View(after.at, after.node, rows, _methods(shown), picked)


def _member(look: Look, address: str, rates: NodeRates | None) -> MemberRow:
    row = MemberRow(look.sids.get(address, ""), address, look.states[address], error=look.errors.get(address, ""))
    figures = look.figures.get(address)
    if figures is None:
        return row
    row = msgspec.structs.replace(
        row,
        running=figures.calls_running,
        links=figures.links.open,
        queued_bytes=figures.links.queued_bytes,
        health=figures.cluster.health,
    )
    if rates is None:
        return row
    total = rates.total
    return msgspec.structs.replace(
        row,
        served_per_s=0.0 if total is None else round(total.per_s, 2),
        errors_per_s=0.0 if total is None else round(total.errors_per_s, 2),
        made_per_s=round(rates.made, 2),
        median_ms=None if total is None else _ms(total.latency_s(0.5)),
        p99_ms=None if total is None else _ms(total.latency_s(0.99)),
        rumors_per_s=round(rates.rumors, 2),
        sent_bytes_per_s=round(rates.sent_bytes, 1),
        lag_ms=_ms(rates.lag_s),
        probe_ms=_ms(rates.probe_s),
    )


def _methods(nodes: list[NodeRates]) -> list[MethodRow]:
    by_name: dict[str, list[MethodRates]] = {}
    for node in nodes:
        for name, one in node.served.items():
            by_name.setdefault(name, []).append(one)
    rows = []
    for name, parts in by_name.items():
        whole = merged(parts, parts[0].service, parts[0].method)
        assert whole is not None
        # Each member has a time of its own between its looks: their rates are added, not their counts.
        per_s, errors_per_s = sum(part.per_s for part in parts), sum(part.errors_per_s for part in parts)
        mean_ms = _ms(whole.time_s / whole.calls)
        times = (_ms(whole.latency_s(0.5)), _ms(whole.latency_s(0.99)), mean_ms)
        rows.append(MethodRow(name, round(per_s, 2), round(errors_per_s, 2), *times))
    return sorted(rows, key=lambda row: (-row.per_s, row.name))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
