"""Whether a history of a register with read, write and compare-and-set is linearizable.

Just-in-time linearization: go through the history, and keep all possible states of the register, each with the
operations in progress that have taken effect already. When an operation returns, it must have taken effect: states in
which it has not are continued by operations in progress until it has; states in which it can't have are dropped. If no
state is left, there is no linearization. An operation of unknown outcome may take effect at any later time, or never;
since an unused operation never does harm, a state is dropped if the same state exists with fewer of them used.

Source: Lowe 2017, "Testing for linearizability", section 4; Wing and Gong 1993.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trionet.maelstrom.workbench.json_values import identity, shown, value_of

from .base import UNKNOWN, Finding, Results, judged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.maelstrom.workbench.history import History

__all__ = ["RegisterOp", "check_linearizable", "check_register"]

_NIL: Final = identity(None)

_SHOWN = 6
_MAX_CONFIGURATIONS = 200_000


class RegisterOp(NamedTuple):
    """An operation on one register.

    Attributes:
        f: ``read``, ``write`` or ``cas``.
        value: the value that was read or written; of ``cas`` the pair of the expected and the new value.
        invoked: the position in the history at which it began.
        returned: the position at which it ended; None if its outcome is unknown.
        process: its logical process.
    """

    f: str
    value: Any
    invoked: int
    returned: int | None
    process: Any = None

    def apply(self, state: Any) -> tuple[bool, Any]:
        """Return whether it can take effect in a state, and the state after it."""
        if self.f == "read":
            # To Knossos, null is the result of a read that may have any.
            return self.value is None or identity(self.value) == state, state
        if self.f == "write":
            return True, identity(self.value)
        before, after = self.value
        return identity(before) == state, identity(after)

    def __str__(self) -> str:
        """Return it in words."""
        value = f"{self.value[0]} -> {self.value[1]}" if self.f == "cas" else self.value
        return f"process {self.process} {self.f} {value}"


class _Search:
    """All configurations: pairs of a state, and a bit for each operation in progress that has taken effect."""

    def __init__(self, is_late: Callable[[], bool]) -> None:
        self.configurations: set[tuple[Any, int]] = {(_NIL, 0)}
        self.in_progress: dict[int, RegisterOp] = {}  # by bit
        self._is_late = is_late
        self._uncertain = 0  # the bits of operations of unknown outcome
        self._same: dict[tuple[str, Any], int] = {}  # of these, the latest bit of each kind of equal operations
        self._first: dict[int, int] = {}  # by bit, the equal operation that must be used before

    def invoke(self, bit: int, op: RegisterOp) -> None:
        self.in_progress[bit] = op
        if op.returned is None:
            self._uncertain |= bit
            kind = op.f, identity(op.value)
            self._first[bit] = self._same.get(kind, 0)
            self._same[kind] = bit

    def complete(self, bit: int) -> bool | None:
        """Return whether an operation that returns can have taken effect; None if the time is over."""
        seen = _Least(self._uncertain)
        found = _Least(self._uncertain)
        todo = deque(sorted(self.configurations, key=lambda each: each[1].bit_count()))
        count = 0
        while todo:
            state, used = todo.popleft()
            if used & bit:
                found.add(state, used & ~bit)
                continue
            count += 1
            if self._is_late() or count > _MAX_CONFIGURATIONS:
                return None
            for other, op in self.in_progress.items():
                first = self._first.get(other, 0)
                if used & other or used & first != first:
                    continue
                is_possible, after = op.apply(state)
                if is_possible and seen.add(after, used | other):
                    todo.append((after, used | other))
        del self.in_progress[bit]
        if found.configurations:
            self.configurations = found.configurations
        return bool(found.configurations)


class _Least:
    """Configurations, without those of which there is one with fewer uncertain operations used."""

    def __init__(self, uncertain: int) -> None:
        self._uncertain = uncertain
        self._masks: defaultdict[tuple[Any, int], list[int]] = defaultdict(list)

    def add(self, state: Any, used: int) -> bool:
        """Add a configuration; return whether it is new and minimal."""
        masks, mask = self._masks[state, used & ~self._uncertain], used & self._uncertain
        if any(smaller & mask == smaller for smaller in masks):
            return False
        masks[:] = [larger for larger in masks if larger & mask != mask]
        masks.append(mask)
        return True

    @property
    def configurations(self) -> set[tuple[Any, int]]:
        return {(state, rest | mask) for (state, rest), masks in self._masks.items() for mask in masks}


def check_register(ops: Sequence[RegisterOp], is_late: Callable[[], bool] = lambda: False) -> Results:
    """Judge the operations on one register, which has no value (null) at first.

    Args:
        ops: all operations that may have happened.
        is_late: returns whether the time is over; the verdict is unknown then.

    Returns:
        If it is not linearizable: the operation that can't have returned, and the possible values of the register.
    """
    events = sorted(
        [(op.invoked, False, number) for number, op in enumerate(ops)]
        + [(op.returned, True, number) for number, op in enumerate(ops) if op.returned is not None]
    )
    search, done = _Search(is_late), list[RegisterOp]()
    for _, is_return, number in events:
        op = ops[number]
        if not is_return:
            search.invoke(1 << number, op)
            continue
        is_possible = search.complete(1 << number)
        if is_possible is None:
            return {"valid?": UNKNOWN, "error": "the time for the search was over"}
        if not is_possible:
            states = sorted({str(shown(state)) for state, _ in search.configurations})
            return {
                "valid?": False,
                "op": str(op),
                "index": op.returned,
                "possible-values": states,
                "previous": [str(each) for each in done[-_SHOWN:]],
                "concurrent": [str(each) for each in search.in_progress.values()][:_SHOWN],
            }
        done.append(op)
    return {"valid?": True}


def check_linearizable(history: History, is_late: Callable[[], bool] = lambda: False) -> Results:
    """Judge a history of registers: values are pairs of a key and the value of a `RegisterOp`.

    Operations that failed never happened; those that are ``info``, or never returned, may have.
    """
    by_key: defaultdict[Any, list[RegisterOp]] = defaultdict(list)
    for op in history.invocations:
        if op.outcome == "fail" or (op.outcome == "info" and op.f == "read"):
            continue
        value = op.completion.value[1] if op.f == "read" else op.value[1]
        returned = op.completion.index if op.outcome == "ok" else None
        by_key[identity(op.value[0])].append(RegisterOp(op.f, value, op.index, returned, op.process))
    results = {key: check_register(ops, is_late) for key, ops in by_key.items()}
    failures = {str(value_of(key)): result for key, result in results.items() if result["valid?"] is False}
    unknown = {str(value_of(key)): result for key, result in results.items() if result["valid?"] == UNKNOWN}
    findings = [Finding("not-linearizable", f"key {key}: {failures[key]['op']}") for key in list(failures)[:1]]
    findings += [Finding("search-timeout", f"key {key}", verdict=UNKNOWN) for key in list(unknown)[:1]]
    return judged(findings, {"key-count": len(results), "failures": failures, "unknown": unknown})
