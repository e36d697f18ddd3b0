"""Logs: one message for each offset; none lost, skipped, seen twice, or out of order.

The names of errors are Jepsen's; all of them are errors in Maelstrom's workload, ``unseen`` included. Source:
Jepsen, ``jepsen.tests.kafka``.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.json_values import identity

from .base import SEARCH_TIMEOUT, SHOWN, UNKNOWN, Finding, Maelstrom, Results, judged
from .elle_cycles import Graph, find_cycles, realtime_edges
from .kafka_logs import ACCESSES, Logs, Poll, polls_of, sends_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trionet.maelstrom.workbench.history import History, Op

__all__ = ["check_kafka"]

_Case = dict[str, Any]
_Cases = defaultdict[str, list[_Case]]


def _inconsistent_offsets(logs: Logs) -> list[_Case]:
    return [
        {"key": key, "offset": offset, "messages": logs.named(values)}
        for key, log in logs.logs.items()
        for offset, values in log.offsets.items()
        if len(values) > 1
    ]


def _duplicates(logs: Logs) -> list[_Case]:
    cases = []
    for key, log in logs.logs.items():
        places = defaultdict(list)
        for offset in sorted(log.offsets):
            for value in log.offsets[offset]:
                places[value].append(offset)
        cases += [
            {"key": key, "message": logs.values.get(value), "offsets": offsets}
            for value, offsets in places.items()
            if len(offsets) > 1
        ]
    return cases


def _lost_writes(logs: Logs) -> list[_Case]:
    """Find messages that were not polled below the highest index that was."""
    cases = []
    for key, polled in logs.polled.items():
        log = logs.logs[key]
        bound = max((log.first[value] for value in polled if value in log.first), default=-1)
        for value, last in log.last.items():
            sender = logs.senders.get((key, value))
            if last <= bound and value not in polled and sender is not None and logs.has_happened(sender):
                cases.append(
                    {"key": key, "message": logs.values[value], "index": log.first[value], "max-read-index": bound}
                )
    return cases


def _unseen(history: History, logs: Logs) -> list[_Case]:
    """Find acknowledged messages that no ok poll showed by the end."""
    unseen = defaultdict(list)
    for (key, value), op in logs.senders.items():
        if op.type == "ok" and value not in logs.polled.get(key, ()):
            unseen[key].append(logs.values[value])
    for key, messages in _just_polled(history).items():
        unseen[key] += messages
    return [{"key": key, "count": len(messages), "messages": messages[:SHOWN]} for key, messages in unseen.items()]


def _just_polled(history: History) -> dict[str, list[Any]]:
    """Return the messages that Jepsen counts as unseen: those of keys that only the last ok operation shows."""
    done = [op for op in history.completions if op.type == "ok" and op.f in ACCESSES]
    if not done:
        return {}
    known = {key for op in done for key, _, _ in sends_of(op)} | {key for op in done[:-1] for key in polls_of(op)}
    return {
        key: [message for _, message in pairs]
        for key, pairs in polls_of(done[-1]).items()
        if pairs and key not in known
    }


def _crashes(logs: Logs) -> list[Finding]:
    """Return the findings at which Jepsen's checker raises an exception."""
    findings = []
    unsent = [
        (key, logs.values[value])
        for poll in logs.polls
        for key, values in poll.reads.items()
        for value in values
        if (key, value) not in logs.senders
    ]
    if unsent:
        text = f"{unsent[0][1]!r} is polled from {unsent[0][0]!r}, to which it was never sent"
        findings.append(Finding("unsent", text, Maelstrom.CRASHES))
    empty = sorted(key for key, values in logs.polled.items() if not values & logs.logs[key].first.keys())
    if empty:
        text = f"all polls of the key {empty[0]!r} got empty lists"
        findings.append(Finding("only-empty-polls", text, Maelstrom.CRASHES, UNKNOWN))
    return findings


def _ok_polls(logs: Logs) -> Iterator[tuple[Op, str, Any, Op]]:
    """Return each message that an ok poll got, with its sender: poll, key, message and send."""
    for poll in logs.polls:
        for key, values in poll.reads.items() if poll.op.type == "ok" else ():
            for value in values:
                if (sender := logs.senders.get((key, value))) is not None:
                    yield poll.op, key, value, sender


def _aborted_reads(logs: Logs) -> list[_Case]:
    return [
        {"key": key, "message": logs.values[value], "poll": poll.index, "send": sender.index}
        for poll, key, value, sender in _ok_polls(logs)
        if sender.type == "fail"
    ]


def _precommitted_reads(logs: Logs) -> list[_Case]:
    """Find operations that polled their own sends."""
    cases = []
    for poll in logs.polls:
        own = {(key, identity(message)) for key, _, message in sends_of(poll.op)}
        both = own & {(key, value) for key, values in poll.reads.items() for value in values}
        cases += [{"key": key, "message": logs.values[value], "op": poll.op.index} for key, value in sorted(both)]
    return cases


def _compare(cases: _Cases, prefix: str, logs: Logs, key: str, one: Any, other: Any, where: _Case) -> None:
    """Add a case if a message is polled after another that it does not follow in the log."""
    log = logs.logs[key]
    delta = log.step(one, other)
    case = {"key": key, "messages": logs.named((one, other)), "delta": delta, **where}
    if delta > 1:
        case["skipped"] = logs.named(log.order[log.index[one] + 1 : log.index[other]])[:SHOWN]
    if delta != 1:
        cases[f"{prefix}{'poll-skip' if delta > 1 else 'nonmonotonic-poll'}"].append(case)


def _internal_steps(cases: _Cases, logs: Logs) -> None:
    for poll in logs.polls:
        for key, values in poll.reads.items():
            for one, other in pairwise(values):
                _compare(cases, "int-", logs, key, one, other, {"op": poll.op.index})


def _by_process(history: History) -> list[list[Op]]:
    by_process = defaultdict(list)
    for op in history.completions:
        by_process[op.process].append(op)
    return list(by_process.values())


def _external_steps(cases: _Cases, history: History, logs: Logs) -> None:
    """Compare each process's consecutive polls of a key.

    An assignment that keeps the key does not separate them. A poll between them with an empty list does: it has no
    message to compare with the next one.
    """
    polls = {poll.op.index: poll for poll in logs.polls}
    for ops in _by_process(history):
        last: dict[str, Poll] = {}
        for op in ops:
            if op.f == "assign" and op.type != "fail":
                last = {key: poll for key, poll in last.items() if key in op.value}
            if (poll := polls.get(op.index)) is None:
                continue
            for key, values in poll.reads.items():
                before = last.get(key)
                if before is not None and values and before.reads[key]:
                    where = {"ops": [before.op.index, op.index], "process": op.process}
                    _compare(cases, "", logs, key, before.reads[key][-1], values[0], where)
                if op.type == "ok":
                    last[key] = poll


def _nonmonotonic_sends(history: History, logs: Logs) -> list[_Case]:
    """Compare each process's consecutive sends to a key: offsets must rise."""
    cases = []
    for ops in _by_process(history):
        last: dict[str, tuple[Any, int]] = {}
        for op in ops:
            if op.type == "fail":
                continue
            if op.f == "assign":
                last = {key: sent for key, sent in last.items() if key in op.value}
            for key, _, message in sends_of(op) if op.f in ACCESSES else ():
                value = identity(message)
                if key in last and logs.logs[key].step(last[key][0], value) < 1:
                    cases.append(
                        {"key": key, "messages": logs.named((last[key][0], value)), "ops": [last[key][1], op.index]}
                    )
                last[key] = value, op.index
    return cases


def _cycles(cases: _Cases, history: History, logs: Logs, is_late: Callable[[], bool]) -> bool:
    """Find cycles of sends, polls and the order of time: polls of the future. Return whether the search is complete."""
    graph = _graph(history, logs)
    if graph.is_empty:
        cases["empty-transaction-graph"] = [{"found": "no operation depends on another"}]
    found, is_complete = find_cycles(graph, ("G1c", "G1c-process", "G1c-realtime"), is_late)
    for cycle in found:
        cases[cycle.name].append({"cycle": cycle.way(), "steps": [edge.why for edge in cycle.edges]})
    return is_complete


def _graph(history: History, logs: Logs) -> Graph:
    graph = Graph()
    ops = [op for op in history.invocations if op.f in ACCESSES]
    for poll, key, value, sender in _ok_polls(logs):
        if sender.type != "fail":
            one, other = sender.invocation.index, poll.invocation.index
            graph.add(one, "wr", other, f"{logs.values[value]} of {key}, sent by {one}, is polled by {other}")
    last: dict[Any, int] = {}
    spans = []
    for op in ops:
        spans.append((op.index, op.index, op.completion.index if op.outcome == "ok" else None))
        if op.outcome == "fail":
            continue
        if op.process in last:
            graph.add(last[op.process], "process", op.index, f"process {op.process} did both")
        last[op.process] = op.index
    for one, other in realtime_edges(spans):
        graph.add(one, "realtime", other, f"{one} had ended when {other} began")
    return graph


def check_kafka(history: History, is_late: Callable[[], bool] = lambda: False) -> Results:
    """Judge a history of ``send``, ``poll``, ``assign`` and ``crash``.

    Args:
        history: the operations of clients; ``kafka_logs.py`` describes their values.
        is_late: returns whether the time to look for cycles is over; the verdict is unknown then.
    """
    logs = Logs(history)
    cases: _Cases = defaultdict(list)
    is_complete = _cycles(cases, history, logs, is_late)
    cases |= {
        "inconsistent-offsets": _inconsistent_offsets(logs),
        "duplicate": _duplicates(logs),
        "lost-write": _lost_writes(logs),
        "unseen": _unseen(history, logs),
        "G1a": _aborted_reads(logs),
        "precommitted-read": _precommitted_reads(logs),
        "nonmonotonic-send": _nonmonotonic_sends(history, logs),
    }
    _internal_steps(cases, logs)
    _external_steps(cases, history, logs)
    wrong = sorted(name for name, found in cases.items() if found)
    findings = [*(Finding(name, _first(cases[name])) for name in wrong), *_crashes(logs)]
    if not is_complete:
        findings.append(SEARCH_TIMEOUT)
    return judged(
        findings,
        {
            "bad-error-types": sorted(finding.name for finding in findings if finding.verdict is False),
            "errors": {name: {"count": len(cases[name]), "errors": cases[name][:SHOWN]} for name in wrong},
            "key-count": len(logs.logs),
            "sent-count": sum(op.type == "ok" for op in logs.senders.values()),
            "polled-count": sum(map(len, logs.polled.values())),
        },
    )


def _first(cases: list[_Case]) -> str:
    return str(cases[0].get("cycle") or cases[0])
