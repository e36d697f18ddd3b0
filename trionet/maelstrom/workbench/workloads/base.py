"""What a workload is: what clients ask, how answers are read, and how the whole is judged."""

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
    """Something to ask; `is_rewind` is for assignments: begin at offset 0."""

    f: str
    value: Any = None
    is_rewind: bool = False


class ClientCrashed(Exception):
    """The operation was to have the client crash."""


class Worker:
    """Somebody who does one operation after the other, and always asks the same node.

    Attributes:
        index: which of the workers it is.
        node: whom it asks.
        process: its logical process, a new one after each operation whose outcome nobody knows.
        client: its place on the network.
        memory: what the workload keeps for it, until its client is replaced.
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
        maps_errors: whether an error reply that is definite makes an operation ``fail``; else all are ``info``.
        idempotent: the operations that may as well be taken for failed when nobody knows.
        is_reusable: whether a client goes on after an operation of which nobody knows.
        has_final: whether there are operations after the time limit.
    """

    maps_errors: ClassVar[bool] = True
    idempotent: ClassVar[frozenset[str]] = frozenset()
    is_reusable: ClassVar[bool] = False
    has_final: ClassVar[bool] = False

    def __init__(self, options: Options, random: Random) -> None:
        self.options = options
        self.random = random

    def begin(self, workers: list[Worker]) -> None:  # noqa: B027  (most have nothing to do there)
        """Be told who will work; raise `ConfigError` if they are not enough."""

    async def set_up(self, client: Client, node: str) -> None:  # noqa: B027
        """Prepare a node that has been initialised."""

    @abstractmethod
    def next(self, worker: Worker, now_s: float) -> Request:
        """Return what a worker shall do next."""

    @abstractmethod
    async def perform(self, worker: Worker, request: Request) -> Any:
        """Do it; return the value that the completion has.

        Raises:
            RpcTimeout, RpcError, MalformedReply: it is not ok.
            ClientCrashed: it was to crash.
        """

    def observe(self, worker: Worker, completion: Op) -> None:  # noqa: B027
        """Be told what came of an operation."""

    async def finish(self, worker: Worker, perform: Perform) -> None:  # noqa: B027
        """Do a worker's final operations, with `perform`."""

    @abstractmethod
    def check(self, history: History, is_late: Callable[[], bool]) -> Results:
        """Judge what happened; give up what takes long when `is_late`."""
