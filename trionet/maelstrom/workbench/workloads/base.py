"""The base of workloads: requests, the reading of replies, and the verdict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from trionet.maelstrom.workbench.checkers.base import Results
    from trionet.maelstrom.workbench.client import Client
    from trionet.maelstrom.workbench.history import History, Op
    from trionet.maelstrom.workbench.options import Options

    Perform = Callable[["Request"], Awaitable[Op]]

__all__ = ["ClientCrashed", "Request", "Worker", "Workload"]


class Request(NamedTuple):
    """An operation to invoke; `is_rewind` is for assignments: begin at offset 0."""

    f: str
    value: Any = None
    is_rewind: bool = False


class ClientCrashed(Exception):
    """The operation is a crash of the client."""


class Worker:
    """A worker, which runs one operation after the other, always on the same node.

    Attributes:
        index: its position among the workers.
        node: its node.
        process: its logical process, a new one after each operation of unknown outcome.
        client: its client on the network.
        memory: the workload's state for it, until its client is replaced.
    """

    def __init__(self, index: int, node: str, client: Client) -> None:
        self.index = index
        self.node = node
        self.process: int = index
        self.client = client
        self.client_process: int = index
        self.memory: dict[str, Any] = {}


class Workload(ABC):
    """A kind of test.

    Attributes:
        maps_errors: whether a definite error reply makes an operation ``fail``; else all errors are ``info``.
        idempotent: the operations that count as failed when their outcome is unknown.
        is_reusable: whether a client is used again after an operation of unknown outcome.
        has_final: whether there are operations after the time limit.
    """

    maps_errors: ClassVar[bool] = True
    idempotent: ClassVar[frozenset[str]] = frozenset()
    is_reusable: ClassVar[bool] = False
    has_final: ClassVar[bool] = False

    def __init__(self, options: Options, random: Random) -> None:
        self.options = options
        self.random = random

    def begin(self, workers: list[Worker]) -> None:  # noqa: B027  (most workloads need nothing here)
        """Register the workers; raise `ConfigError` if they are too few."""

    async def set_up(self, client: Client, node: str) -> None:  # noqa: B027
        """Prepare a node that has been initialised."""

    @abstractmethod
    def next(self, worker: Worker, now_s: float) -> Request:
        """Return the next operation of a worker."""

    @abstractmethod
    async def perform(self, worker: Worker, request: Request) -> Any:
        """Run an operation; return the value of its completion.

        Raises:
            RpcTimeout, RpcError, MalformedReply: it is not ok.
            ClientCrashed: it is a crash.
        """

    def observe(self, worker: Worker, completion: Op) -> None:  # noqa: B027
        """Handle the completion of an operation."""

    async def finish(self, worker: Worker, perform: Perform) -> None:  # noqa: B027
        """Run a worker's final operations, with `perform`."""

    @abstractmethod
    def check(self, history: History, is_late: Callable[[], bool]) -> Results:
        """Judge a history; stop long searches when `is_late`."""
