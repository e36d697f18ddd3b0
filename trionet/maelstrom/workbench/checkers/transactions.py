"""What the checkers of both kinds of transactions have in common.

A transaction is a list of micro-operations ``[f, key, value]``. Source: Elle, ``elle.txn``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trionet.maelstrom.workbench.history import History, Op, identity

from .base import UNKNOWN, Results
from .elle_cycles import Graph, find_cycles, realtime_edges
from .models import forbidden_anomalies, violated_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .elle_cycles import Cycle

__all__ = [
    "Anomalies",
    "Txn",
    "aborted_reads",
    "add_orders",
    "cycle_anomalies",
    "json_of",
    "lost_updates",
    "transactions_of",
    "verdict",
]

Anomalies = dict[str, list[dict[str, Any]]]

_SHOWN = 8


class Txn(NamedTuple):
    """A transaction.

    Attributes:
        number: the index of its invocation.
        kind: what came of it: ``ok``, ``fail`` or ``info``.
        ops: its micro-operations; if it is ok, with what was read.
        end: the index of its completion; None if it never came, or nobody knows what came of it.
        process: who did it.
    """

    number: int
    kind: str
    ops: list[Any]
    end: int | None
    process: Any

    def __str__(self) -> str:
        """Return it in words."""
        return f"T{self.number} {json_of(self.ops)}"

    def writes(self) -> dict[Any, list[Any]]:
        """Return the values that it writes, by key, in order."""
        written: defaultdict[Any, list[Any]] = defaultdict(list)
        for f, key, value in self.ops:
            if f != "r":
                written[identity(key)].append(value)
        return written

    def first_reads(self) -> dict[Any, Any]:
        """Return what it reads of each key before it writes that key."""
        reads: dict[Any, Any] = {}
        written = set()
        for f, key, value in self.ops:
            which = identity(key)
            if f != "r":
                written.add(which)
            elif which not in written:
                reads.setdefault(which, value)
        return reads


def json_of(value: Any) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(value).decode()


def transactions_of(history: History) -> list[Txn]:
    """Return all transactions, in the order in which they began."""
    found = []
    for op in history.invocations:
        kind = "info" if op.pair is None else op.pair.type
        ops = op.pair.value if op.pair is not None and kind == "ok" else op.value
        end = op.pair.index if op.pair is not None and kind != "info" else None
        found.append(Txn(op.index, kind, ops, end, _thread_of(op)))
    return found


def _thread_of(op: Op) -> Any:
    return op.process


def add_orders(graph: Graph, txns: Iterable[Txn]) -> None:
    """Add what real time, and each process's own order, say."""
    done = [txn for txn in txns if txn.kind != "fail"]
    last: dict[Any, Txn] = {}
    for txn in done:
        if txn.process in last:
            why = f"process {txn.process} did T{last[txn.process].number} before T{txn.number}"
            graph.add(last[txn.process].number, "process", txn.number, why)
        last[txn.process] = txn
    for one, other in realtime_edges((txn.number, txn.number, txn.end) for txn in done):
        graph.add(one, "realtime", other, f"T{one} had ended when T{other} began")


def aborted_reads(txns: Iterable[Txn], values_of: Callable[[Any], Iterable[Any]]) -> list[dict[str, Any]]:
    """Return reads of what a transaction wrote that definitely failed (G1a).

    Args:
        txns: all of them.
        values_of: returns the values that a read shows.
    """
    txns = list(txns)
    failed = {
        (key, identity(value)): txn
        for txn in txns
        if txn.kind == "fail"
        for key, values in txn.writes().items()
        for value in values
    }
    if not failed:
        return []
    return [
        {"read": str(txn), "key": key, "value": value, "writer": str(writer)}
        for txn in txns
        if txn.kind == "ok"
        for f, key, read in txn.ops
        if f == "r"
        for value in values_of(read)
        if (writer := failed.get((identity(key), identity(value)))) is not None
    ]


def lost_updates(txns: Iterable[Txn], version_of: Callable[[Any], Any] = lambda value: value) -> list[dict[str, Any]]:
    """Return sets of transactions that read the same version of a key and all wrote that key.

    Args:
        txns: all of them.
        version_of: returns the version that a read shows.
    """
    alike: defaultdict[tuple[Any, Any], list[Txn]] = defaultdict(list)
    for txn in txns:
        if txn.kind == "ok":
            reads, writes = txn.first_reads(), txn.writes()
            for key, value in reads.items():
                if key in writes:
                    alike[key, identity(version_of(value))].append(txn)
    return [
        {"key": _plain(key), "value": _plain(value), "txns": [str(txn) for txn in group]}
        for (key, value), group in alike.items()
        if len(group) > 1
    ]


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def cycle_anomalies(
    graph: Graph, txns: Iterable[Txn], models: tuple[str, ...], is_late: Callable[[], bool]
) -> tuple[Anomalies, bool]:
    """Return the cycles of a graph by name, in words, and whether the search was complete."""
    names = {txn.number: str(txn) for txn in txns}
    cycles, is_complete = find_cycles(graph, forbidden_anomalies(models), is_late)
    anomalies: Anomalies = {}
    for cycle in cycles:
        anomalies.setdefault(cycle.name, []).append(_in_words(cycle, names))
    return anomalies, is_complete


def _in_words(cycle: Cycle, names: dict[Any, str]) -> dict[str, Any]:
    way = " ".join(f"T{edge.source} -{edge.kind}->" for edge in cycle.edges) + f" T{cycle.edges[0].source}"
    return {
        "cycle": way,
        "steps": [edge.why or f"T{edge.source} {edge.kind} T{edge.target}" for edge in cycle.edges],
        "txns": [names.get(edge.source, str(edge.source)) for edge in cycle.edges],
    }


def verdict(anomalies: Anomalies, models: tuple[str, ...], *, is_complete: bool) -> Results:
    """Return what these anomalies mean for these models."""
    types = frozenset(name for name, cases in anomalies.items() if cases)
    bad = types & forbidden_anomalies(models)
    return {
        "valid?": False if bad else True if is_complete else UNKNOWN,
        "consistency-models": list(models),
        "anomaly-types": sorted(bad),
        "also-seen": sorted(types - bad),
        "not": violated_models(types),
        "anomalies": {name: anomalies[name][:_SHOWN] for name in sorted(types)},
    }
