"""Elements that are added to a set must show up in reads, and stay: broadcast and g-set.

For each element: it is *known* from the completion of its addition, or of the first read that shows it. *last present*
and *last absent* are the reads, newest by invocation, that did and did not show it. It is *stable* if the last present
one is newer, *lost* if it is known and the last absent one is newer than both, and else *never read*. Its stable
latency is the time from being known to the invocation of the last read anywhere that missed it.

Source: Jepsen, ``jepsen.checker/set-full``, its code rather than its documentation: duplicates and elements that were
never added are ignored. `check_final_reads` is ours: every final read must show every known element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.maelstrom.workbench.json_values import identity

from .base import SHOWN, UNKNOWN, Finding, Maelstrom, Results, judged, quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.maelstrom.workbench.history import History, Op

__all__ = ["check_final_reads", "check_set_full"]


class _Element:
    __slots__ = ("absent", "added", "known", "present", "value")

    def __init__(self, added: Op) -> None:
        self.value: Any = added.value
        self.added = added
        self.known: Op | None = None
        self.present: Op | None = None  # invocations of reads
        self.absent: Op | None = None

    @property
    def outcome(self) -> str:
        present = -1 if self.present is None else self.present.index
        absent = -1 if self.absent is None else self.absent.index
        if self.present is not None and absent < present:
            return "stable"
        if self.known is not None and present < absent and self.known.index < absent:
            return "lost"
        return "never-read"

    def latency_ms(self, since: Op | None) -> int:
        """Return the whole ms from being known to a nanosecond after `since`; 0 if that is None or earlier."""
        assert self.known is not None
        return 0 if since is None else max(0, since.time + 1 - self.known.time) // 1_000_000


def _shown_by(read: Op) -> set[Any]:
    values = read.value or ()
    if set(map(type, values)) <= {int}:
        return set(values)
    return {identity(value) for value in values}


def _elements(history: History, add: str) -> tuple[dict[Any, _Element], list[tuple[Op, set[Any]]]]:
    """Return all elements by identity, and the ok reads with their elements, in the order of completion."""
    elements = {identity(op.value): _Element(op) for op in history if op.f == add and op.type == "invoke"}
    reads = [(op, _shown_by(op)) for op in history if op.f == "read" and op.type == "ok"]
    shown: set[Any] = set()
    first: dict[Any, Op] = {}
    for read, values in reads:
        for value in values - shown:
            first[value] = read
        shown |= values
    for key, element in elements.items():
        added, seen = element.added.pair, first.get(key)
        # A read that ended before the addition began can't have made it known.
        if seen is not None and seen.index < element.added.index:
            seen = next((read for read, values in reads if read.index > element.added.index and key in values), None)
        known = [op for op in (added, seen) if op is not None and op.type == "ok"]
        element.known = min(known, key=lambda op: op.index, default=None)
    return elements, reads


def _place(elements: dict[Any, _Element], reads: list[tuple[Op, set[Any]]]) -> None:
    """Find the newest reads that did and did not show each element, of those that ended after its addition began."""
    newest_first = sorted(reads, key=lambda pair: pair[0].invocation.index, reverse=True)
    latest_end = 0
    ends = []  # for each read, the last completion of it and all older ones
    for read, _ in reversed(newest_first):
        latest_end = max(latest_end, read.index)
        ends.append(latest_end)
    ends.reverse()
    by_age = sorted(elements, key=lambda key: elements[key].added.index)
    unseen, unmissed = set(elements), set(elements)
    for (read, shown), end in zip(newest_first, ends, strict=True):
        while by_age and elements[by_age[-1]].added.index > end:
            gone = by_age.pop()
            unseen.discard(gone)
            unmissed.discard(gone)
        invocation = read.invocation
        for key in [key for key in unseen & shown if elements[key].added.index < read.index]:
            elements[key].present = invocation
            unseen.discard(key)
        for key in [key for key in unmissed - shown if elements[key].added.index < read.index]:
            elements[key].absent = invocation
            unmissed.discard(key)


def check_set_full(history: History, add: str = "add") -> Results:
    """Judge a history of additions and reads.

    Args:
        history: the operations of clients.
        add: the name of additions.
    """
    by_identity, reads = _elements(history, add)
    _place(by_identity, reads)
    elements = sorted(by_identity.values(), key=lambda element: element.added.index)
    stable = [element for element in elements if element.outcome == "stable"]
    lost = [element for element in elements if element.outcome == "lost"]
    never = [element for element in elements if element.outcome == "never-read"]
    latencies = {element: element.latency_ms(element.absent) for element in stable}
    stale = [element for element in stable if latencies[element] > 0]
    findings = []
    if lost:
        findings.append(Finding("lost", f"{len(lost)} elements, such as {lost[0].value!r}"))
    elif not stable:
        findings.append(Finding("nothing-stable", "no element was added and then read", verdict=UNKNOWN))
    details: Results = {
        "attempt-count": len(elements),
        "stable-count": len(stable),
        "lost-count": len(lost),
        "lost": [element.value for element in lost],
        "never-read-count": len(never),
        "never-read": [element.value for element in never],
        "stale-count": len(stale),
        "worst-stale": [
            {"element": element.value, "stable-latency": latencies[element], "node": element.absent.node}
            for element in sorted(stale, key=lambda element: -latencies[element])[:SHOWN]
            if element.absent is not None
        ],
        "stable-latencies": quantiles(latencies.values()),
        "ack-latencies": quantiles(
            round(element.added.latency_ms, 3) for element in elements if element.added.outcome == "ok"
        ),
    }
    if lost:
        details["lost-latencies"] = quantiles(element.latency_ms(element.present) for element in lost)
    return judged(findings, details)


def check_final_reads(history: History, add: str = "add", *, compares: bool = True) -> Results:
    """Compare all final reads: each must show all known elements, only elements that were added, and none twice.

    Args:
        history: the operations of clients.
        add: the name of additions.
        compares: whether the findings count; else the verdict is always True.

    Returns:
        ``missing``, ``invented`` and ``duplicated`` elements by node; unknown where a node has no ok final read.
    """
    elements, _ = _elements(history, add)
    known = {key: element.value for key, element in elements.items() if element.known is not None}
    kinds: dict[str, dict[str, list[Any]]] = {"missing": {}, "invented": {}, "duplicated": {}}
    invoked = [op for op in history.invocations if op.is_final and op.f == "read"]
    reads = [op.completion for op in invoked if op.outcome == "ok"]
    for read in reads:
        shown, where = _shown_by(read), f"{read.node or read.process}"
        wrong = {
            "missing": [value for key, value in known.items() if key not in shown],
            "invented": [value for value in read.value or () if identity(value) not in elements],
            "duplicated": _repeated(read.value or ()),
        }
        for kind, values in wrong.items():
            if values:
                kinds[kind].setdefault(where, []).extend(values)
    findings = [
        Finding(kind, f"{len(values)} elements at {where}, such as {values[0]!r}", Maelstrom.OVERLOOKS)
        for kind, by_node in kinds.items()
        for where, values in list(by_node.items())[:1]
    ]
    if len(reads) < len(invoked):
        text = f"{len(invoked) - len(reads)} of {len(invoked)} final reads are not ok"
        findings.append(Finding("no-final-read", text, Maelstrom.OVERLOOKS, UNKNOWN))
    details = {
        "read-count": len(reads),
        "failed-count": len(invoked) - len(reads),
        "known-count": len(known),
        **kinds,
    }
    return judged(findings if compares else (), details)


def _repeated(values: Iterable[Any]) -> list[Any]:
    seen: set[Any] = set()
    repeated = {}
    for value in values:
        key = identity(value)
        if key in seen:
            repeated[key] = value
        seen.add(key)
    return list(repeated.values())
