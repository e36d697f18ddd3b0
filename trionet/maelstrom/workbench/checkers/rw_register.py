"""Transactions of reads and writes of registers: txn-rw-register.

Which version comes after which is known only where a transaction reads one and then writes the other, and of the value
that no key has at first (null), which comes before all others. So ww edges are among the wr edges, and a cycle of
blind writes is invisible. Source: Elle, ``elle.rw-register`` with ``:wfr-keys? true``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.history import identity

from .elle_cycles import Graph, strong_components
from .transactions import (
    Txn,
    aborted_reads,
    add_orders,
    cycle_anomalies,
    lost_updates,
    transactions_of,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.maelstrom.workbench.history import History

    from .base import Results

__all__ = ["check_rw_register"]

_NIL = identity(None)

_Index = defaultdict[tuple[Any, Any], list[Txn]]


def _internal(txns: Iterable[Txn]) -> list[dict[str, Any]]:
    """Return reads that differ from what the same transaction wrote or read of that key before."""
    cases = []
    for txn in txns:
        seen: dict[Any, Any] = {}
        for f, key, value in txn.ops if txn.kind == "ok" else ():
            which = identity(key)
            if f == "r" and which in seen and identity(seen[which]) != identity(value):
                cases.append({"txn": str(txn), "key": key, "expected": seen[which], "read": value})
            seen[which] = value
    return cases


def _intermediate_reads(txns: Iterable[Txn]) -> list[dict[str, Any]]:
    """Return reads of what another transaction wrote and then overwrote itself (G1b)."""
    txns = list(txns)
    passing = {
        (key, identity(value)): txn
        for txn in txns
        if txn.kind != "fail"
        for key, values in txn.writes().items()
        for value in values[:-1]
    }
    return [
        {"read": str(txn), "key": key, "value": value, "writer": str(writer)}
        for txn in txns
        if txn.kind == "ok"
        for f, key, value in txn.ops
        if f == "r"
        and (writer := passing.get((identity(key), identity(value)))) is not None
        and writer.number != txn.number
    ]


def _indexed(txns: Iterable[Txn]) -> tuple[_Index, _Index]:
    """Return who wrote, and who read, each version that others can see."""
    writers: _Index = defaultdict(list)
    readers: _Index = defaultdict(list)
    for txn in txns:
        if txn.kind == "ok":
            for key, values in txn.writes().items():
                writers[key, identity(values[-1])].append(txn)
            for key, value in txn.first_reads().items():
                readers[key, identity(value)].append(txn)
    return writers, readers


def _versions(txns: Iterable[Txn]) -> dict[Any, Graph]:
    """Return what is known of the order of each key's versions."""
    orders: defaultdict[Any, Graph] = defaultdict(Graph)
    for txn in txns:
        if txn.kind == "fail":
            continue
        writes = {key: identity(values[-1]) for key, values in txn.writes().items()}
        reads = {key: identity(value) for key, value in txn.first_reads().items()} if txn.kind == "ok" else {}
        for key, version in [*writes.items(), *reads.items()]:
            orders[key].add(_NIL, "version", version)
        for key, version in reads.items():
            if key in writes:
                orders[key].add(version, "version", writes[key])
    return orders


def _dependencies(txns: list[Txn], orders: dict[Any, Graph]) -> Graph:
    graph = Graph()
    writers, readers = _indexed(txns)
    for (key, version), reading in readers.items():
        for reader in reading:
            for writer in writers.get((key, version), ()):
                why = f"T{writer.number} wrote {key} = {version}, which T{reader.number} read"
                graph.add(writer.number, "wr", reader.number, why)
    for key, order in orders.items():
        for earlier, later in [(one, other) for one, others in order.out.items() for other in others]:
            for writer in writers.get((key, later), ()):
                for before in writers.get((key, earlier), ()):
                    why = f"T{before.number} wrote {key} = {earlier}, which T{writer.number} overwrote with {later}"
                    graph.add(before.number, "ww", writer.number, why)
                for reader in readers.get((key, earlier), ()):
                    was = "nothing" if earlier == _NIL else earlier
                    why = f"T{reader.number} read {key} = {was}, which T{writer.number} overwrote with {later}"
                    graph.add(reader.number, "rw", writer.number, why)
    return graph


def check_rw_register(
    history: History, models: tuple[str, ...] = ("strict-serializable",), is_late: Callable[[], bool] = lambda: False
) -> Results:
    """Judge a history of transactions ``[["r", key, value], ["w", key, value], …]``.

    Args:
        history: what clients did.
        models: the consistency models that it must obey.
        is_late: tells when to give up looking for cycles, which changes no verdict: Maelstrom's doesn't either.
    """
    txns = transactions_of(history)
    orders = _versions(txns)
    cyclic = {key: strong_components(order, ("version",)) for key, order in orders.items()}
    # What is in a cycle says nothing about the order.
    graph = _dependencies(txns, {key: order for key, order in orders.items() if not cyclic[key]})
    add_orders(graph, txns)
    anomalies, _ = cycle_anomalies(graph, txns, models, is_late)
    anomalies |= {
        "internal": _internal(txns),
        "G1a": aborted_reads(txns, lambda value: (value,)),
        "G1b": _intermediate_reads(txns),
        "lost-update": lost_updates(txns),
        "cyclic-versions": [
            {"key": str(key), "versions": [str(version) for version in component]}
            for key, components in cyclic.items()
            for component in components
        ],
    }
    return verdict(anomalies, models, is_complete=True) | {"txn-count": len(txns)}
