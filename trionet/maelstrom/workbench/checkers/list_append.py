"""Transactions of reads and appends to lists: txn-list-append.

A read shows a list's whole past, so the order of versions is known up to the longest read. Source: Elle,
``elle.list-append``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.history import identity

from .elle_cycles import Graph
from .transactions import (
    Anomalies,
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

__all__ = ["check_list_append"]

_Writers = dict[tuple[Any, Any], Txn]


def _ids(values: Any) -> list[Any]:
    return [identity(value) for value in values or ()]


def _reads(txns: Iterable[Txn]) -> list[tuple[Txn, Any, list[Any]]]:
    return [
        (txn, identity(key), _ids(value)) for txn in txns if txn.kind == "ok" for f, key, value in txn.ops if f == "r"
    ]


def _outside(txn: Txn) -> dict[Any, list[Any]]:
    """Return what a transaction read of each key before it appended to it."""
    return {key: _ids(value) for key, value in txn.first_reads().items()}


def _internal(txns: Iterable[Txn]) -> Anomalies:
    """Return reads that contradict what the same transaction did before (internal), or will do (future-read)."""
    cases: list[dict[str, Any]] = []
    future: list[dict[str, Any]] = []
    for txn in txns:
        known: dict[Any, tuple[bool, list[Any]]] = {}  # by key, whether all of it is known, and what is: its end
        left = {key: _ids(values) for key, values in txn.writes().items()}
        for f, key, value in txn.ops if txn.kind == "ok" else ():
            which = identity(key)
            is_whole, end = known.get(which, (False, []))
            if f != "r":
                known[which] = is_whole, [*end, identity(value)]
                left[which].remove(identity(value))
                continue
            read = _ids(value)
            if set(read) & set(left.get(which, ())):
                future.append({"txn": str(txn), "key": key, "read": value})
            elif (read != end) if is_whole else (read[len(read) - len(end) :] != end):
                cases.append({"txn": str(txn), "key": key, "expected": [str(each) for each in end], "read": value})
            known[which] = True, read
    return {"internal": cases, "future-read": future}


def _orders(txns: list[Txn]) -> tuple[dict[Any, list[Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the order of each key's elements, pairs of reads that contradict it, and elements that occur twice."""
    longest: dict[Any, list[Any]] = {}
    reads = _reads(txns)
    for _, key, read in reads:
        if len(read) > len(longest.get(key, ())):
            longest[key] = read
    incompatible, duplicates = [], []
    for txn, key, read in reads:
        order = longest.get(key, [])
        if read != order[: len(read)]:
            incompatible.append({"key": str(key), "read": str(txn), "longest": [str(each) for each in order]})
        twice = [str(value) for value, count in Counter(read).items() if count > 1]
        if twice:
            duplicates.append({"key": str(key), "read": str(txn), "duplicates": twice})
    return longest, incompatible, duplicates


def _dirty_updates(orders: dict[Any, list[Any]], failed: _Writers, writers: _Writers) -> list[dict[str, Any]]:
    """Return elements of failed transactions upon which others have appended."""
    cases = []
    for key, order in orders.items():
        aborted: Txn | None = None
        for value in order:
            writer = writers.get((key, value))
            if (key, value) in failed:
                aborted = failed[key, value]
            elif aborted is not None and writer is not None and writer.kind == "ok":
                cases.append({"key": str(key), "aborted": str(aborted), "committed": str(writer)})
                break
    return cases


def _dependencies(txns: Iterable[Txn], orders: dict[Any, list[Any]], writers: _Writers) -> Graph:
    graph = Graph()
    after: dict[tuple[Any, Any], Any] = {}
    for key, order in orders.items():
        for earlier, later in zip([None, *order], order, strict=False):
            after[key, earlier] = later
            one, other = writers.get((key, earlier)), writers.get((key, later))
            if earlier is not None and one is not None and other is not None:
                why = f"T{one.number} appended {earlier} to {key}, and T{other.number} {later} right after it"
                graph.add(one.number, "ww", other.number, why)
    for txn in txns:
        for key, read in _outside(txn).items() if txn.kind == "ok" else ():
            last = read[-1] if read else None
            writer, next_writer = writers.get((key, last)), writers.get((key, after.get((key, last))))
            if read and writer is not None:
                why = f"T{writer.number} appended {last} to {key}, which T{txn.number} read"
                graph.add(writer.number, "wr", txn.number, why)
            if next_writer is not None:
                why = f"T{txn.number} read {key} before T{next_writer.number} appended {after[key, last]}"
                graph.add(txn.number, "rw", next_writer.number, why)
    return graph


def _intermediate_reads(txns: Iterable[Txn], writers: _Writers) -> list[dict[str, Any]]:
    """Return reads that end with what another transaction appended before it appended more (G1b)."""
    cases = []
    for txn, key, read in _reads(txns):
        writer = writers.get((key, read[-1])) if read else None
        if writer is not None and writer.number != txn.number and _ids(writer.writes()[key])[-1] != read[-1]:
            cases.append({"read": str(txn), "key": str(key), "writer": str(writer)})
    return cases


def check_list_append(
    history: History, models: tuple[str, ...] = ("strict-serializable",), is_late: Callable[[], bool] = lambda: False
) -> Results:
    """Judge a history of transactions ``[["r", key, list], ["append", key, value], …]``.

    Args:
        history: what clients did.
        models: the consistency models that it must obey.
        is_late: tells when to give up looking for cycles; the verdict is unknown then.
    """
    txns = transactions_of(history)
    written = {(key, value): txn for txn in txns for key, values in txn.writes().items() for value in _ids(values)}
    failed = {which: txn for which, txn in written.items() if txn.kind == "fail"}
    writers = {which: txn for which, txn in written.items() if txn.kind != "fail"}
    orders, incompatible, duplicates = _orders(txns)
    graph = _dependencies(txns, orders, writers)
    add_orders(graph, txns)
    anomalies, is_complete = cycle_anomalies(graph, txns, models, is_late)
    anomalies |= _internal(txns)
    anomalies |= {
        "G1a": aborted_reads(txns, lambda value: value or ()),
        "G1b": _intermediate_reads(txns, writers),
        "incompatible-order": incompatible,
        "duplicate-elements": duplicates,
        "dirty-update": _dirty_updates(orders, failed, writers),
        "lost-update": lost_updates(txns, lambda value: value or []),
    }
    return verdict(anomalies, models, is_complete=is_complete) | {"txn-count": len(txns)}
