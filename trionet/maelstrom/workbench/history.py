"""The operations of clients and their outcomes, in order: the only input of checkers.

Invariants: indexes are positions; times never decrease; each invocation has at most one completion, which follows
it and has the same process; a process has one operation at a time. Source: Jepsen, ``jepsen.history``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["NEMESIS", "History", "Op", "OpType"]

OpType = Literal["invoke", "ok", "fail", "info"]

NEMESIS: Final = "nemesis"
"""The process of operations that are faults."""


@dataclass(slots=True, eq=False)
class Op:
    """An invocation, or its completion.

    Attributes:
        index: its position in the history.
        time: nanoseconds since the test began.
        type: ``invoke``; of a completion the outcome: ``ok``, ``fail`` (it did not happen), or ``info`` (unknown).
        process: the logical process that did it, a number, or `NEMESIS`.
        f: the function, such as ``"read"``.
        value: of an invocation, the request; of a completion, the result.
        error: the reason why it is not ok.
        is_final: whether it is one of those after the time limit.
        node: the node that received the request.
        flaw: of a completion, the fault in the form of the reply; None if there is none.
        pair: of an invocation its completion, of a completion its invocation; None if there is none.
    """

    index: int
    time: int
    type: OpType
    process: int | str
    f: str
    value: Any
    error: str | None = None
    is_final: bool = False
    node: str | None = None
    flaw: str | None = None
    pair: Op | None = None

    def __repr__(self) -> str:
        return f"<{self.index} {self.type} {self.process} {self.f} {self.value!r:.80}>"

    @property
    def invocation(self) -> Op:
        """The invocation of a completion; of anything else, itself."""
        return self if self.type == "invoke" or self.pair is None else self.pair

    @property
    def completion(self) -> Op:
        """The completion of an invocation; of anything else, itself."""
        return self.pair if self.type == "invoke" and self.pair is not None else self

    @property
    def outcome(self) -> OpType:
        """Of an invocation: ``ok``, ``fail`` or ``info``; without a completion, ``info``."""
        return "info" if self.pair is None else self.pair.type

    @property
    def latency_ms(self) -> float:
        """The time from invocation to completion."""
        return (self.completion.time - self.invocation.time) / 1e6

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in ``history.jsonl``."""
        whole = {"index": self.index, "time": self.time, "type": self.type, "process": self.process, "f": self.f}
        extra = {"error": self.error, "final?": self.is_final or None, "node": self.node, "flaw": self.flaw}
        return {**whole, "value": self.value, **{key: value for key, value in extra.items() if value is not None}}


class History(Sequence[Op]):
    """All operations of a test.

    Args:
        now: returns the nanoseconds since the test began.
    """

    def __init__(self, now: Callable[[], int] = lambda: 0) -> None:
        self._now = now
        self._ops: list[Op] = []

    def __len__(self) -> int:
        return len(self._ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops)

    def __getitem__(self, index: Any) -> Any:
        return self._ops[index]

    def invoke(self, process: int | str, f: str, value: Any, *, is_final: bool = False, node: str | None = None) -> Op:
        """Record an invocation; return it."""
        op = self._add("invoke", process, f, value)
        op.is_final, op.node = is_final, node
        return op

    def complete(self, invocation: Op, kind: OpType, value: Any = None, error: str | None = None) -> Op:
        """Record a completion; return it. One that is not ok has the value of its invocation."""
        if value is None and kind != "ok":
            value = invocation.value
        op = self._add(kind, invocation.process, invocation.f, value)
        op.error, op.is_final, op.node = error, invocation.is_final, invocation.node
        op.pair, invocation.pair = invocation, op
        return op

    def note(self, f: str, value: Any) -> Op:
        """Record a fault, or its end."""
        return self._add("info", NEMESIS, f, value)

    def _add(self, kind: OpType, process: int | str, f: str, value: Any) -> Op:
        op = Op(len(self._ops), self._now(), kind, process, f, value)
        self._ops.append(op)
        return op

    @property
    def invocations(self) -> list[Op]:
        """The operations of clients, without faults."""
        return [op for op in self._ops if op.type == "invoke" and op.process != NEMESIS]

    @property
    def completions(self) -> list[Op]:
        """The completions of clients' operations, in order."""
        return [op for op in self._ops if op.type != "invoke" and op.process != NEMESIS]

    @property
    def faults(self) -> list[Op]:
        """The operations of the nemesis."""
        return [op for op in self._ops if op.process == NEMESIS]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]]) -> History:
        """Return a history of rows (type, process, f, value), a millisecond apart; a fifth item is extra.

        Extra is ``"final"``, or a time in milliseconds. For tests.
        """
        history = cls()
        pending: dict[Any, Op] = {}
        for kind, process, f, value, *extra in rows:
            time_ms = next((each for each in extra if each != "final"), len(history))
            history._now = lambda time_ms=time_ms: int(time_ms * 1_000_000)  # type: ignore[misc]
            if kind == "invoke":
                pending[process] = history.invoke(process, f, value, is_final="final" in extra)
            elif process == NEMESIS:
                history.note(f, value)
            else:
                history.complete(pending.pop(process), kind, value)
        return history
