"""The schedule of the workers' operations.

Invariants: one schedule for all workers: operations begin with gaps that are uniform between 0 and 2 / rate; if all
workers are busy, the schedule slips, without catching up. After an operation of unknown outcome, a worker is a new
process, and has a new client for its next operation, unless the workload's clients are reusable. Source:
Jepsen, ``jepsen.generator/stagger`` and ``jepsen.generator.interpreter``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from .errors import BadMessage, MalformedReply, RpcError, RpcTimeout, is_definite
from .workloads.base import ClientCrashed, Request, Worker, Workload

if TYPE_CHECKING:
    from random import Random

    from .client import Clients
    from .history import History, Op, OpType

__all__ = ["Scheduler"]

_LATE_S: Final = 0.05


class Scheduler:
    """Runs a workload's operations on workers.

    Args:
        workload: makes the operations.
        workers: the workers.
        clients: opens new clients.
        history: records the operations.
        random: chooses free workers and gaps.
    """

    def __init__(
        self, workload: Workload, workers: list[Worker], clients: Clients, history: History, random: Random
    ) -> None:
        self._workload = workload
        self._workers = workers
        self._clients = clients
        self._history = history
        self._random = random
        self._free = list(workers)
        self._freed = trio.lowlevel.ParkingLot()

    async def run(self, rate: float, duration_s: float) -> None:
        """Run operations for `duration_s`, then wait for those in progress."""
        begun = trio.current_time()
        end = begun + duration_s
        if rate == 0:
            await trio.sleep_until(end)
            return
        due = begun
        async with trio.open_nursery() as nursery:
            while True:
                is_busy = not self._free
                with trio.move_on_at(end):
                    while not self._free:
                        await self._freed.park()
                # A timer that is late by a millisecond does not make the schedule slip.
                if is_busy or trio.current_time() - due > _LATE_S:
                    due = max(due, trio.current_time())
                if due >= end:
                    break
                await trio.sleep_until(due)
                worker = self._free.pop(self._random.randrange(len(self._free)))
                request = self._workload.next(worker, due - begun)
                nursery.start_soon(self._do, worker, request)
                due += self._random.uniform(0, 2 / rate)

    async def _do(self, worker: Worker, request: Request) -> None:
        await self.perform(worker, request)
        self._free.append(worker)
        self._freed.unpark()

    async def finish(self) -> None:
        """Run the final operations of all workers at once."""

        async def work(worker: Worker) -> None:
            async def perform(request: Request) -> Op:
                return await self.perform(worker, request, is_final=True)

            await self._workload.finish(worker, perform)

        async with trio.open_nursery() as nursery:
            for worker in self._workers:
                nursery.start_soon(work, worker)

    async def perform(self, worker: Worker, request: Request, *, is_final: bool = False) -> Op:
        """Run one operation of a worker, and record it; return the completion."""
        if worker.client_process != worker.process:
            worker.client_process = worker.process
            if not self._workload.is_reusable:
                worker.client.close()
                worker.client = self._clients.open()
                worker.memory.clear()
        invocation = self._history.invoke(worker.process, request.f, request.value, is_final=is_final, node=worker.node)
        value, error, kind, worker.client.flaw = None, None, "ok", None
        try:
            value = await self._workload.perform(worker, request)
        except (RpcTimeout, RpcError, MalformedReply, BadMessage, ClientCrashed) as exc:
            kind, error = self._outcome(request.f, exc), str(exc) or None
        completion = self._history.complete(invocation, kind, value, error)  # type: ignore[arg-type]
        completion.flaw = worker.client.flaw
        self._workload.observe(worker, completion)
        if completion.type == "info":
            worker.process += len(self._workers)
        return completion

    def _outcome(self, f: str, exc: Exception) -> OpType:
        workload = self._workload
        if not workload.maps_errors or not isinstance(exc, RpcTimeout | RpcError):
            return "info"
        if f in workload.idempotent or (isinstance(exc, RpcError) and is_definite(exc.code)):
            return "fail"
        return "info"
