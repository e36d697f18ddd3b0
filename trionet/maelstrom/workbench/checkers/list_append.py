"""Transactions of reads and appends to lists: txn-list-append.

A read shows all earlier versions of a list, so the order of versions is known up to the longest read. An append that
no read shows counts as later than these. Source: Elle, ``elle.list-append``; comments mark where Elle's checker raises
an exception, which makes Maelstrom's verdict unknown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trionet.maelstrom.workbench.json_values import identity, value_of

from .base import SEARCH_TIMEOUT, UNKNOWN, Finding, Maelstrom
from .elle_cycles import Graph
from .ordering import are_comparable
from .transactions import Anomalies, Transactions, Txn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.maelstrom.workbench.history import History

    from .base import Results

__all__ = ["check_list_append"]

_Key = Any
_Element = Any
_Writers = dict[tuple[_Key, _Element], Txn]
_Reads = list[tuple[Txn, _Key, list[_Element]]]

_INIT: Final = ("init",)
"""The version of a list without elements; no identity of an element is like it."""


class _Order(NamedTuple):
    """The known order of one list: its elements, each once, and the position of each."""

    values: list[_Element]
    positions: dict[_Element, int]

    def before(self, value: _Element) -> _Element:
        """Return the element that an append followed; the last one if no read shows the append; or `_INIT`."""
        position = self.positions.get(value, len(self.values))
        return self.values[position - 1] if position else _INIT


def _ids(values: Any) -> list[_Element]:
    return [identity(value) for value in values or ()]


def _internal(txn: Txn) -> dict[str, Any] | None:
    """Return a read that contradicts earlier operations of its transaction; null as a first read contradicts none."""
    known: dict[_Key, tuple[bool, list[Any]] | None] = {}  # by key: whether the whole list is known, and its known end
    for f, key, value in txn.ops:
        which = identity(key)
        if f != "r":
            is_whole, end = known.get(which, (False, [])) or (True, [])
            known[which] = is_whole, [*end, value]
            continue
        before = known.get(which)
        if before is not None and not _continues(before, value):
            return {"txn": str(txn), "key": key, "expected": before[1], "read": value}
        known[which] = None if value is None else (True, value)
    return None


def _continues(known: tuple[bool, list[Any]], read: list[Any] | None) -> bool:
    is_whole, end = known
    if is_whole:
        return read is not None and _ids(read) == _ids(end)  # Elle distinguishes null from an empty list
    shown = _ids(read)
    return len(shown) >= len(end) and shown[len(shown) - len(end) :] == _ids(end)


def _future_read(txn: Txn) -> dict[str, Any] | None:
    """Return a read of an element that the same transaction appends later."""
    seen: dict[tuple[_Key, _Element], Any] = {}
    for f, key, value in txn.ops:
        if f == "r":
            for element in value or ():
                seen.setdefault((identity(key), identity(element)), value)
        elif (identity(key), identity(value)) in seen:
            return {"txn": str(txn), "key": key, "read": seen[identity(key), identity(value)]}
    return None


def _longest(reads: _Reads) -> dict[_Key, list[_Element]]:
    """Return the longest read of each key; of several, Elle uses the one that appears last for the first time."""
    longest: dict[_Key, list[_Element]] = {}
    seen: defaultdict[_Key, set[tuple[_Element, ...]]] = defaultdict(set)
    for _, key, read in reads:
        if not read or len(read) < len(longest.get(key, ())):
            continue
        if len(read) > len(longest.get(key, ())):
            seen[key].clear()  # only those of the same length matter
        if tuple(read) not in seen[key]:
            seen[key].add(tuple(read))
            longest[key] = read
    return longest


def _orders(longest: dict[_Key, list[_Element]], appends: Counter[tuple[_Key, _Element]]) -> dict[_Key, _Order]:
    """Return the known order of each list.

    Args:
        longest: the longest read of each key.
        appends: the count of each append. The order of a key with a single one is known without any read.
    """
    by_key: defaultdict[_Key, list[_Element]] = defaultdict(list)
    for (key, value), count in appends.items():
        by_key[key] += [value] * count
    orders = {}
    for key, read in ({key: values for key, values in by_key.items() if len(values) == 1} | longest).items():
        values = list(dict.fromkeys(read))
        orders[key] = _Order(values, {value: position for position, value in enumerate(values)})
    return orders


def _counted(several: Iterable[list[list[Any]]]) -> Counter[tuple[_Key, _Element]]:
    return Counter((identity(key), identity(value)) for ops in several for f, key, value in ops if f != "r")


def _incompatible(reads: _Reads, longest: dict[_Key, list[_Element]]) -> Anomalies:
    """Return reads that contradict the longest one, and reads in which an element occurs twice."""
    incompatible, duplicates = [], []
    for txn, key, read in reads:
        order = longest.get(key, [])
        if read != order[: len(read)]:
            incompatible.append({"key": str(key), "read": str(txn), "longest": [str(each) for each in order]})
        if len(set(read)) < len(read):
            twice = [value for value, count in Counter(read).items() if count > 1]
            duplicates.append({"key": str(key), "read": str(txn), "duplicates": [value_of(each) for each in twice]})
    return {"incompatible-order": incompatible, "duplicate-elements": duplicates}


def _dirty_updates(orders: dict[_Key, _Order], writers: _Writers) -> list[dict[str, Any]]:
    """Return elements of failed transactions upon which others have appended."""
    cases = []
    for key, order in orders.items():
        aborted: Txn | None = None
        for value in order.values:
            writer = writers.get((key, value))
            if writer is not None and writer.kind == "fail":
                aborted = writer
            elif aborted is not None and writer is not None and writer.kind == "ok":
                cases.append({"key": str(key), "aborted": str(aborted), "committed": str(writer)})
                break
    return cases


def _dependencies(possible: list[Txn], reads: _Reads, orders: dict[_Key, _Order]) -> Graph:
    graph = Graph()
    writers = _writers(possible)
    readers: defaultdict[tuple[_Key, _Element], list[Txn]] = defaultdict(list)

    def add(source: Txn | None, kind: str, target: Txn, why: str) -> None:
        if source is not None and source.number != target.number:
            graph.add(source.number, kind, target.number, f"T{source.number} {why}")

    for txn, key, read in reads:
        last = read[-1] if read else _INIT
        readers[key, last].append(txn)
        add(writers.get((key, last)), "wr", txn, f"appended {last} to {key}, which T{txn.number} read")
    for txn in possible:
        for key, value in _appends(txn):
            before = orders[key].before(value) if key in orders else _INIT
            why = f"appended {before} to {key}, and T{txn.number} {value} after it"
            add(writers.get((key, before)), "ww", txn, why)
            for reader in readers.get((key, before), ()):
                add(reader, "rw", txn, f"read {key} before T{txn.number} appended {value}")
    return graph


def _appends(txn: Txn) -> list[tuple[_Key, _Element]]:
    return [(key, identity(value)) for key, values in txn.writes().items() for value in values]


def _writers(txns: list[Txn]) -> _Writers:
    return {append: txn for txn in txns for append in _appends(txn)}


def _crashes(
    txns: list[Txn], writers: _Writers, orders: dict[_Key, _Order], duplicates: list[dict[str, Any]]
) -> list[Finding]:
    """Return the findings at which Elle raises an exception, although they are no anomalies."""
    findings = []
    repeated = [each for each, count in _counted(txn.requested for txn in txns).items() if count > 1]
    if repeated:
        text = f"clients appended {repeated[0][1]} to {repeated[0][0]} more than once"
        findings.append(Finding("duplicate-appends", text, Maelstrom.CRASHES, UNKNOWN))
    missing = [(key, value) for key, order in orders.items() for value in order.values if (key, value) not in writers]
    if missing:
        text = f"no transaction that completed appended {missing[0][1]} to {missing[0][0]}"
        findings.append(Finding("no-writer", text, Maelstrom.CRASHES, UNKNOWN))
    if not all(are_comparable(case["duplicates"]) for case in duplicates):
        findings.append(Finding("not-comparable", "elements that occur twice", Maelstrom.CRASHES, UNKNOWN))
    return findings


def check_list_append(
    history: History, models: tuple[str, ...] = ("strict-serializable",), is_late: Callable[[], bool] = lambda: False
) -> Results:
    """Judge a history of transactions ``[["r", key, list], ["append", key, value], …]``.

    Args:
        history: the operations of clients.
        models: the consistency models that it must obey.
        is_late: returns whether the time to look for cycles is over; the verdict is unknown then.
    """
    txns = Transactions(history, "append", lambda read: read or ())
    reads = [(txn, identity(key), _ids(value)) for txn, key, value in txns.reads]
    longest = _longest(reads)
    graph = _dependencies(txns.possible, reads, _orders(longest, _counted(txn.ops for txn in txns.possible)))
    anomalies, is_complete = txns.anomalies(graph, models, is_late)
    # Elle counts requests and replies here, so an append counts twice unless the reply lacks it.
    elle_orders = _orders(longest, _counted([*(txn.requested for txn in txns.all), *(txn.ops for txn in txns.all)]))
    writers = _writers(txns.all)
    anomalies |= {
        "internal": [case for txn in txns.ok if (case := _internal(txn)) is not None],
        "future-read": [case for txn in txns.ok if (case := _future_read(txn)) is not None],
        "dirty-update": _dirty_updates(elle_orders, writers),
        **_incompatible(reads, longest),
    }
    crashes = _crashes(txns.all, writers, elle_orders, anomalies["duplicate-elements"])
    others = txns.other_findings(crashes, graph, empty_verdict=UNKNOWN)
    if not is_complete:
        others.append(SEARCH_TIMEOUT)
    # To Elle, null and [] are two versions of a list.
    overlooked = {"lost-update": txns.lost_updates(lambda value: value or [])}
    return txns.results(anomalies, overlooked, models, others)
