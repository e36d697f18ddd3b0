"""The common part of the checkers of both kinds of transactions.

A transaction is a list of micro-operations ``[f, key, value]``. Source: Elle, ``elle.txn``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from trionet.maelstrom.workbench.json_values import identity, json_of, shown

from .base import SHOWN, Finding, Maelstrom, Results, Verdict, judged
from .elle_cycles import Graph, find_cycles, realtime_edges
from .models import forbidden_anomalies, order_kind, violated_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trionet.maelstrom.workbench.history import History

    from .elle_cycles import Cycle

__all__ = ["Anomalies", "Transactions", "Txn", "is_micro_op", "is_something"]

Anomalies = dict[str, list[dict[str, Any]]]
_Ops = list[list[Any]]

_SIZE = 3


class Txn(NamedTuple):
    """A transaction.

    Attributes:
        number: the index of its invocation.
        kind: its outcome: ``ok``, ``fail`` or ``info``.
        ops: its micro-operations; if it is ok, those of the reply, with the values that were read.
        end: the index of its completion; None if its outcome is unknown.
        process: its logical process.
        requested: the micro-operations of the request.
        node: the node that received the request.
        reply: the raw reply; `ops` has only its valid micro-operations.
    """

    number: int
    kind: str
    ops: _Ops
    end: int | None
    process: Any
    requested: _Ops
    node: str | None
    reply: Any

    def __str__(self) -> str:
        """Return it in words."""
        return f"T{self.number} {json_of(self.ops)}"

    @property
    def is_readable(self) -> bool:
        """Whether the reply has only micro-operations; null counts as an empty list."""
        return self.reply is None or self.ops == self.reply

    def writes(self) -> dict[Any, list[Any]]:
        """Return the values that it writes, by key, in order."""
        return _written_by(self.ops)

    def first_reads(self) -> dict[Any, Any]:
        """Return the first read of each key before a write to that key."""
        reads: dict[Any, Any] = {}
        written = set()
        for f, key, value in self.ops:
            which = identity(key)
            if f != "r":
                written.add(which)
            elif which not in written:
                reads.setdefault(which, value)
        return reads


def _written_by(ops: _Ops) -> dict[Any, list[Any]]:
    """Return the values that micro-operations write, by key, in order."""
    written: defaultdict[Any, list[Any]] = defaultdict(list)
    for f, key, value in ops:
        if f != "r":
            written[identity(key)].append(value)
    return written


def is_something(value: Any) -> bool:
    """Return whether Elle counts a value as one: in some places it ignores null and false."""
    return value is not None and value is not False


def is_micro_op(op: Any, write: str) -> bool:
    """Return whether a JSON value is a read, or a write of this name."""
    return (
        type(op) is list
        and len(op) == _SIZE
        and (op[0] == write or (op[0] == "r" and (write != "append" or op[2] is None or type(op[2]) is list)))
    )


def _readable(value: Any, write: str) -> _Ops:
    return [op for op in value if is_micro_op(op, write)] if type(value) is list else []


class Transactions:
    """All transactions of a history.

    Args:
        history: the operations of clients.
        write: the name of writes.
        values_of: returns the values that a read shows, the newest last.

    Attributes:
        all: the transactions, in the order in which they began.
        ok, possible: those that are ok, and those that have not failed.
    """

    def __init__(self, history: History, write: str, values_of: Callable[[Any], Sequence[Any]]) -> None:
        self.all: list[Txn] = []
        for op in history.invocations:
            value = op.completion.value if op.outcome == "ok" else op.value
            ops, requested = _readable(value, write), _readable(op.value, write)
            end = None if op.outcome == "info" else op.completion.index
            self.all.append(Txn(op.index, op.outcome, ops, end, op.process, requested, op.node, value))
        self.ok: list[Txn] = [txn for txn in self.all if txn.kind == "ok"]
        self.possible: list[Txn] = [txn for txn in self.all if txn.kind != "fail"]
        self._values_of = values_of

    @property
    def reads(self) -> list[tuple[Txn, Any, Any]]:
        """The reads of ok transactions: the transaction, the key, and the value."""
        return [(txn, key, read) for txn in self.ok for f, key, read in txn.ops if f == "r"]

    def anomalies(self, graph: Graph, models: tuple[str, ...], is_late: Callable[[], bool]) -> tuple[Anomalies, bool]:
        """Return the cycles, aborted and intermediate reads, and lost updates; and whether the search was complete.

        Args:
            graph: the dependencies; the orders that the models require are added.
            models: the models that the history must obey.
            is_late: returns whether the time to look for cycles is over.
        """
        self._add_orders(graph, order_kind(models))
        names = {txn.number: str(txn) for txn in self.all}
        found: Anomalies = {
            "G1a": self._aborted_reads(),
            "G1b": self._intermediate_reads(),
            "lost-update": self.lost_updates(),
        }
        cycles, is_complete = find_cycles(graph, forbidden_anomalies(models), is_late)
        for cycle in cycles:
            found.setdefault(cycle.name, []).append(_in_words(cycle, names))
        return found, is_complete

    def _add_orders(self, graph: Graph, kind: str | None) -> None:
        """Add the order of real time, or of each process."""
        last: dict[Any, Txn] = {}
        for txn in self.ok if kind == "process" else ():
            if txn.process in last:
                why = f"process {txn.process} did T{last[txn.process].number} before T{txn.number}"
                graph.add(last[txn.process].number, "process", txn.number, why)
            last[txn.process] = txn
        if kind == "realtime":
            # A failed transaction did not happen, but others precede it.
            spans = ((txn.number, txn.number, txn.end if txn.kind == "ok" else None) for txn in self.all)
            for one, other in realtime_edges(spans):
                graph.add(one, "realtime", other, f"T{one} had ended when T{other} began")

    def _aborted_reads(self) -> list[dict[str, Any]]:
        """Return reads of values from transactions that definitely failed (G1a)."""
        failed = {
            (key, identity(value)): txn
            for txn in self.all
            if txn.kind == "fail"
            for key, values in txn.writes().items()
            for value in values
        }
        return [
            {"read": str(txn), "key": key, "value": value, "writer": str(writer)}
            for txn, key, read in self.reads
            for value in self._values_of(read)
            if (writer := failed.get((identity(key), identity(value)))) is not None
        ]

    def _intermediate_reads(self) -> list[dict[str, Any]]:
        """Return reads of a value that another transaction wrote and then overwrote itself (G1b)."""
        writers = _intermediate_writers(self.all)
        cases = []
        for txn, key, read in self.reads:
            for value in self._values_of(read)[-1:]:
                writer, is_reply = writers.get((identity(key), identity(value)), (None, False))
                if writer is not None and not (writer.number == txn.number and is_reply):
                    cases.append({"read": str(txn), "key": key, "value": value, "writer": str(writer)})
        return cases

    def lost_updates(self, version_of: Callable[[Any], Any] = lambda value: value) -> list[dict[str, Any]]:
        """Return sets of transactions that read the same version of a key and all wrote that key.

        Args:
            version_of: returns the version that a read shows.
        """
        alike: defaultdict[tuple[Any, Any], list[Txn]] = defaultdict(list)
        for txn in self.ok:
            reads, writes = txn.first_reads(), txn.writes()
            for key, value in reads.items():
                if key in writes:
                    alike[key, identity(version_of(value))].append(txn)
        return [
            {"key": shown(key), "value": shown(value), "txns": [str(txn) for txn in group]}
            for (key, value), group in alike.items()
            if len(group) > 1
        ]

    def other_findings(self, crashes: Iterable[Finding], graph: Graph, empty_verdict: Verdict) -> list[Finding]:
        """Return the findings that count for all models.

        Args:
            crashes: the findings at which Elle raises an exception.
            graph: the dependencies.
            empty_verdict: the verdict if there are none.
        """
        findings = [*self._reply_findings(), *crashes]
        if garbage := self._garbage_reads():
            findings.append(Finding("garbage-read", _summary(garbage), Maelstrom.OVERLOOKS))
        if graph.is_empty:
            text = "no transaction depends on another, so there is nothing to judge"
            findings.append(Finding("empty-transaction-graph", text, verdict=empty_verdict))
        return findings

    def _reply_findings(self) -> list[Finding]:
        """Return a finding of the replies that differ from the request in more than the values of reads.

        Maelstrom does not compare: it judges the transaction of the reply.
        """
        wrong = [txn for txn in self.ok if not _is_answer(txn)]
        if not wrong:
            return []
        cases = [
            f"{txn.node or 'a node'} received T{txn.number} {json_of(txn.requested)}, and replies {json_of(txn.reply)}"
            for txn in wrong
        ]
        is_crash = any(not txn.is_readable for txn in wrong)
        return [Finding("reply-differs", _summary(cases), Maelstrom.CRASHES if is_crash else Maelstrom.OVERLOOKS)]

    def _garbage_reads(self) -> list[str]:
        """Return, in words, reads of values that no transaction of any outcome writes to that key."""
        written = {
            (key, identity(value))
            for txn in self.all
            for key, values in _written_by(txn.requested).items()
            for value in values
        }
        return [
            f"{txn} reads {json_of(value)} from {json_of(key)}, to which it was never written"
            for txn, key, read in self.reads
            if read is not None
            for value in self._values_of(read)
            if (identity(key), identity(value)) not in written
        ]

    def results(
        self, anomalies: Anomalies, overlooked: Anomalies, models: tuple[str, ...], others: list[Finding]
    ) -> Results:
        """Return the results for these models.

        Args:
            anomalies: those that Maelstrom reports as well.
            overlooked: anomalies that Maelstrom does not report.
            models: the models that the history must obey.
            others: findings that count for all models.
        """
        forbidden = forbidden_anomalies(models)
        ours = {name: cases for name, cases in overlooked.items() if cases and not anomalies.get(name)}
        cases = {name: each for name, each in (anomalies | ours).items() if each}
        findings = [
            Finding(name, _first(cases[name]), Maelstrom.OVERLOOKS if name in ours else Maelstrom.AGREES)
            for name in sorted(cases.keys() & forbidden)
        ] + others
        types = frozenset(cases)
        details = {
            "consistency-models": list(models),
            "anomaly-types": sorted({finding.name for finding in findings if finding.verdict is False}),
            "also-seen": sorted(types - forbidden),
            "not": violated_models(types),
            "anomalies": {name: cases[name][:SHOWN] for name in sorted(types)}
            | {finding.name: [{"found": finding.text}] for finding in others},
        }
        return judged(findings, details) | {"txn-count": len(self.all)}


def _is_answer(txn: Txn) -> bool:
    return (
        txn.is_readable
        and len(txn.requested) == len(txn.ops)
        and all(
            asked[0] == done[0]
            and identity(asked[1]) == identity(done[1])
            and (asked[0] == "r" or identity(asked[2]) == identity(done[2]))
            for asked, done in zip(txn.requested, txn.ops, strict=True)
        )
    )


def _intermediate_writers(txns: list[Txn]) -> dict[tuple[Any, Any], tuple[Txn, bool]]:
    """Return the writer of each value that the same transaction overwrote, by key and value.

    Returns:
        The transaction, and whether its reply has the write: one that only the request has counts, too.
    """
    asked = [(txn.number, txn, txn.requested, False) for txn in txns]
    replied = [(math.inf if txn.end is None else txn.end, txn, txn.ops, True) for txn in txns]
    found: dict[tuple[Any, Any], tuple[Txn, bool]] = {}
    for _, txn, ops, is_reply in sorted([*asked, *replied], key=lambda step: step[0]):
        for key, values in _written_by(ops).items():
            for value in filter(is_something, values[:-1]):
                found[key, identity(value)] = txn, is_reply
    return found


def _in_words(cycle: Cycle, names: dict[Any, str]) -> dict[str, Any]:
    return {
        "cycle": cycle.way("T"),
        "steps": [edge.why or f"T{edge.source} {edge.kind} T{edge.target}" for edge in cycle.edges],
        "txns": [names.get(edge.source, str(edge.source)) for edge in cycle.edges],
    }


def _summary(cases: list[str]) -> str:
    """Return the first of some cases, and how many more there are."""
    return cases[0] if len(cases) == 1 else f"{cases[0]} (and {len(cases) - 1} more)"


def _first(cases: list[dict[str, Any]]) -> str:
    return str(cases[0].get("cycle") or json_of(cases[0]))
