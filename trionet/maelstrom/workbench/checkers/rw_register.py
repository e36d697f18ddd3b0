"""Transactions of reads and writes of registers: txn-rw-register.

The order of two versions is known only if a transaction reads one and then writes the other; null, the initial value
of all keys, comes before all others. So ww edges are among the wr edges, and a cycle of blind writes is invisible.
Source: Elle, ``elle.rw-register`` with ``:wfr-keys? true``; comments mark where Elle's checker raises an exception,
which makes Maelstrom's verdict unknown.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from trionet.maelstrom.workbench.json_values import identity, json_of

from .base import UNKNOWN, Finding, Maelstrom
from .elle_cycles import KINDS, Graph, strong_components
from .transactions import Transactions, Txn, is_something

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trionet.maelstrom.workbench.history import History

    from .base import Results

__all__ = ["check_rw_register"]

_NIL: Final = identity(None)

_Key = Any
_Version = Any
_Index = defaultdict[tuple[_Key, _Version], list[Txn]]


def _internal(txn: Txn) -> dict[str, Any] | None:
    """Return a read that differs from the last write or read of that key in its transaction, unless that is null."""
    seen: dict[_Key, Any] = {}
    for f, key, value in txn.ops:
        which = identity(key)
        before = seen.get(which)
        if f == "r" and is_something(before) and identity(before) != identity(value):
            return {"txn": str(txn), "key": key, "expected": before, "read": value}
        seen[which] = value
    return None


def _indexed(ok: Iterable[Txn]) -> tuple[_Index, _Index]:
    """Return the writers and the readers of each version that other transactions can see."""
    writers: _Index = defaultdict(list)
    readers: _Index = defaultdict(list)
    for txn in ok:
        for key, values in txn.writes().items():
            writers[key, identity(values[-1])].append(txn)
        for key, value in txn.first_reads().items():
            readers[key, identity(value)].append(txn)
    return writers, readers


def _versions(possible: Iterable[Txn], *, follow_reads: bool) -> dict[_Key, Graph]:
    """Return the known order of each key's versions.

    Args:
        possible: the transactions that have not failed.
        follow_reads: whether a write comes after the version of that key that its transaction read.
    """
    orders: defaultdict[_Key, Graph] = defaultdict(Graph)
    for txn in possible:
        writes = {key: values[-1] for key, values in txn.writes().items()}
        reads = txn.first_reads() if txn.kind == "ok" else {}
        for key, version in [*writes.items(), *reads.items()]:
            orders[key].add(_NIL, "version", identity(version))
        for key, version in reads.items() if follow_reads else ():
            if version is not None and is_something(writes.get(key)):
                orders[key].add(identity(version), "version", identity(writes[key]))
    return orders


def _rewritten(ok: Iterable[Txn]) -> dict[_Key, set[_Version]]:
    """Return the versions that a transaction read and then wrote: to Elle, they come after themselves."""
    found: defaultdict[_Key, set[_Version]] = defaultdict(set)
    for txn in ok:
        writes = txn.writes()
        for key, version in txn.first_reads().items():
            if key in writes and is_something(version) and identity(version) == identity(writes[key][-1]):
                found[key].add(identity(version))
    return found


def _dependencies(
    writers: _Index, readers: _Index, orders: dict[_Key, Graph], rewritten: dict[_Key, set[_Version]]
) -> Graph:
    graph = Graph()
    for (key, version), reading in readers.items():
        for reader in reading:
            for writer in writers.get((key, version), ()):
                why = f"T{writer.number} wrote {key} = {version}, which T{reader.number} read"
                graph.add(writer.number, "wr", reader.number, why)
    for key, order in orders.items():
        follows = [(one, other) for one, others in order.out.items() for other in others]
        for earlier, later in [*follows, *((version, version) for version in sorted(rewritten.get(key, ()), key=str))]:
            for writer in writers.get((key, later), ()):
                for before in writers.get((key, earlier), ()):
                    why = f"T{before.number} wrote {key} = {earlier}, which T{writer.number} overwrote with {later}"
                    graph.add(before.number, "ww", writer.number, why)
                for reader in readers.get((key, earlier), ()):
                    was = "nothing" if earlier == _NIL else earlier
                    why = f"T{reader.number} read {key} = {was}, which T{writer.number} overwrote with {later}"
                    graph.add(reader.number, "rw", writer.number, why)
    return graph


def _own_reads(writers: _Index, readers: _Index) -> list[tuple[int, dict[str, Any]]]:
    """Return transactions that read their own later writes, by number: cycles of one."""
    found = []
    for which, reading in readers.items():
        for txn in reading:
            if txn in writers.get(which, ()):
                way = f"T{txn.number} -wr-> T{txn.number}"
                found.append(
                    (txn.number, {"cycle": way, "steps": [f"{txn} reads what it then writes"], "txns": [str(txn)]})
                )
    return found


def _crashes(
    txns: list[Txn], writers: _Index, readers: _Index, cyclic: dict[_Key, list[list[_Version]]]
) -> Iterator[Finding]:
    """Return the findings at which Elle raises an exception, although they are no anomalies."""
    keys = {type(key): key for txn in txns for _, key, _ in [*txn.requested, *txn.ops]}
    if len(keys) > 1:
        text = f"keys are of several types: {', '.join(json_of(key) for key in keys.values())}"
        yield Finding("key-types", text, Maelstrom.CRASHES, UNKNOWN)
    for (key, version), wrote in writers.items():
        if len(wrote) > 1 and (key, version) in readers:
            text = f"{len(wrote)} transactions wrote {key} = {version}, which is read: {wrote[0]}"
            yield Finding("duplicate-writes", text, Maelstrom.CRASHES, UNKNOWN)
            break
    if any(isinstance(version, str | bytes) for cycles in cyclic.values() for cycle in cycles for version in cycle):
        yield Finding("not-comparable", "versions that are no numbers are in a cycle", Maelstrom.CRASHES, UNKNOWN)


def check_rw_register(
    history: History, models: tuple[str, ...] = ("strict-serializable",), is_late: Callable[[], bool] = lambda: False
) -> Results:
    """Judge a history of transactions ``[["r", key, value], ["w", key, value], …]``.

    Args:
        history: the operations of clients.
        models: the consistency models that it must obey.
        is_late: returns whether the time to look for cycles is over, which changes no verdict, as in Maelstrom.
    """
    txns = Transactions(history, "w", lambda read: (read,))
    orders = _versions(txns.possible, follow_reads=True)
    cyclic = {
        key: components for key, order in orders.items() if (components := strong_components(order, ("version",)))
    }
    rewritten = _rewritten(txns.ok)
    if cyclic:  # Elle then discards the order that reads imply
        orders, rewritten = _versions(txns.possible, follow_reads=False), {}
    writers, readers = _indexed(txns.ok)
    graph = _dependencies(writers, readers, orders, rewritten)
    anomalies, _ = txns.anomalies(graph, models, is_late)
    own = _own_reads(writers, readers)
    # Elle looks for cycles where there is one of several transactions only.
    inside = {number for component in strong_components(graph, KINDS) for number in component} if own else set()
    if found := [case for number, case in own if number in inside]:
        anomalies["G1c"] = [*anomalies.get("G1c", ()), *found]
    anomalies |= {
        "internal": [case for txn in txns.ok if (case := _internal(txn)) is not None],
        "cyclic-versions": [
            {"key": str(key), "versions": [str(version) for version in component]}
            for key, components in cyclic.items()
            for component in components
        ],
    }
    others = txns.other_findings(_crashes(txns.all, writers, readers, cyclic), graph, empty_verdict=False)
    return txns.results(anomalies, {"future-read": [case for _, case in own]}, models, others)
