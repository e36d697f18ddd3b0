"""Transactions of reads and writes of a few keys: txn-rw-register and txn-list-append.

Source of the requests: Elle, ``elle.txn/wr-txns``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from trionet.maelstrom.workbench.checkers.list_append import check_list_append
from trionet.maelstrom.workbench.checkers.rw_register import check_rw_register
from trionet.maelstrom.workbench.checkers.transactions import is_micro_op
from trionet.maelstrom.workbench.client import is_list

from .base import Request, Worker, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trionet.maelstrom.workbench.checkers.base import Results
    from trionet.maelstrom.workbench.history import History
    from trionet.maelstrom.workbench.options import Options

__all__ = ["KeyPool", "TxnListAppend", "TxnRwRegister"]

_KEYS: Final = 10


class KeyPool:
    """A pool of keys; later keys are chosen more often, and a new key replaces one after its last write.

    Args:
        count: the number of keys in the pool.
        max_writes: the number of writes to a key.
        random: chooses key i with a probability proportional to 2 to the power i.
    """

    def __init__(self, count: int, max_writes: int, random: Random) -> None:
        self._keys = list(range(count))
        self._next = count
        self._written = [0] * count
        self._max_writes = max_writes
        self._random = random
        self._weights = [2.0**index for index in range(count)]

    def _pick(self) -> int:
        (position,) = self._random.choices(range(len(self._keys)), self._weights)
        return position

    def key(self) -> int:
        """Return a key to read."""
        return self._keys[self._pick()]

    def write(self) -> tuple[int, int]:
        """Return a key, and a new value for it: 1, 2, 3 and so on."""
        while True:
            position = self._pick()
            if self._written[position] < self._max_writes:
                self._written[position] += 1
                return self._keys[position], self._written[position]
            self._keys[position], self._written[position] = self._next, 0
            self._next += 1


class _Transactions(Workload):
    is_reusable = True
    write: ClassVar[str]

    def __init__(self, options: Options, random: Random) -> None:
        super().__init__(options, random)
        self._pool = KeyPool(options.key_count or _KEYS, options.max_writes_per_key, random)

    def next(self, _worker: Worker, _now_s: float) -> Request:
        """Return a transaction of 1 to ``--max-txn-length`` micro-operations, half of them writes."""
        return Request("txn", [self._op() for _ in range(self.random.randint(1, self.options.max_txn_length))])

    def _op(self) -> list[Any]:
        return [self.write, *self._pool.write()] if self.random.random() < 1 / 2 else ["r", self._pool.key(), None]

    async def perform(self, worker: Worker, request: Request) -> Any:
        """Run a transaction; return it with the values that were read."""
        shape = {"txn": self._is_txn}
        return (await worker.client.call(worker.node, {"type": "txn", "txn": request.value}, shape))["txn"]

    def _is_txn(self, value: Any) -> bool:
        return is_list(value) and all(is_micro_op(op, self.write) for op in value or ())


class TxnRwRegister(_Transactions):
    """Transactions that read and write registers."""

    write = "w"

    def check(self, history: History, is_late: Callable[[], bool]) -> Results:
        """See `check_rw_register`."""
        return check_rw_register(history, self.options.consistency_models, is_late)


class TxnListAppend(_Transactions):
    """Transactions that read lists and append to them."""

    write = "append"

    def check(self, history: History, is_late: Callable[[], bool]) -> Results:
        """See `check_list_append`."""
        return check_list_append(history, self.options.consistency_models, is_late)
