"""Workloads in which values are added or returned: echo, unique-ids, broadcast, g-set, pn-counter and g-counter."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

from trionet.maelstrom.workbench.checkers.set_full import check_set_full
from trionet.maelstrom.workbench.checkers.simple import check_counter, check_echo, check_unique_ids
from trionet.maelstrom.workbench.client import is_anything, is_integer, is_list
from trionet.maelstrom.workbench.topologies import topology

from .base import Request, Worker, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trionet.maelstrom.workbench.checkers.base import Results
    from trionet.maelstrom.workbench.client import Client, Shape
    from trionet.maelstrom.workbench.history import History
    from trionet.maelstrom.workbench.options import Options

    from .base import Perform

__all__ = ["Broadcast", "Echo", "GCounter", "GSet", "PNCounter", "UniqueIds"]


class Echo(Workload):
    """Nodes return the text of the request."""

    def next(self, _worker: Worker, _now_s: float) -> Request:
        """Return a text with a number below 128."""
        return Request("echo", f"Please echo {self.random.randrange(128)}")

    async def perform(self, worker: Worker, request: Request) -> Any:
        """Return the text of the reply."""
        body = {"type": "echo", "echo": request.value}
        return (await worker.client.call(worker.node, body, {"echo": is_anything}))["echo"]

    def check(self, history: History, _is_late: Callable[[], bool]) -> Results:
        """See `check_echo`."""
        return check_echo(history)


class UniqueIds(Workload):
    """Nodes return ids, each only once."""

    is_reusable = True

    def next(self, _worker: Worker, _now_s: float) -> Request:
        """Return a request for an id."""
        return Request("generate")

    async def perform(self, worker: Worker, _request: Request) -> Any:
        """Return the id."""
        return (await worker.client.call(worker.node, {"type": "generate"}, {"id": is_anything}))["id"]

    def check(self, history: History, _is_late: Callable[[], bool]) -> Results:
        """See `check_unique_ids`."""
        return check_unique_ids(history)


class _Additions(Workload):
    """Half of the operations add a value, half read; at the end, each worker reads once more."""

    has_final = True
    add: ClassVar[str] = "add"
    added: ClassVar[str]  # the key of the value in a request that adds it
    read: ClassVar[Shape] = {"value": is_list}  # the shape of a reply to a read

    def __init__(self, options: Options, random: Random) -> None:
        super().__init__(options, random)
        self._numbers = itertools.count()

    def next(self, _worker: Worker, _now_s: float) -> Request:
        """Return an addition, or a read."""
        return Request(self.add, self._value()) if self.random.random() < 1 / 2 else Request("read")

    def _value(self) -> int:
        return next(self._numbers)

    async def perform(self, worker: Worker, request: Request) -> Any:
        """Add a value, or return those that the node has."""
        if request.f == "read":
            (key,) = self.read
            return (await worker.client.call(worker.node, {"type": "read"}, self.read))[key]
        await worker.client.call(worker.node, {"type": self.add, self.added: request.value}, {})
        return request.value

    async def finish(self, _worker: Worker, perform: Perform) -> None:
        """Read."""
        await perform(Request("read"))

    def check(self, history: History, _is_late: Callable[[], bool]) -> Results:
        """See `check_set_full`."""
        return check_set_full(history, self.add)


class Broadcast(_Additions):
    """Nodes send each other all values that they receive."""

    idempotent: ClassVar[frozenset[str]] = frozenset(("read",))
    add = "broadcast"
    added = "message"
    read: ClassVar[Shape] = {"messages": is_list}

    async def set_up(self, client: Client, node: str) -> None:
        """Send the topology to the node."""
        neighbors = topology(self.options.topology, self.options.nodes)
        await client.call(node, {"type": "topology", "topology": neighbors}, {})


class GSet(_Additions):
    """A set that only grows."""

    maps_errors = False
    added = "element"


class PNCounter(_Additions):
    """A counter that goes up and down."""

    maps_errors = False
    added = "delta"
    read: ClassVar[Shape] = {"value": is_integer}

    def _value(self) -> int:
        return self.random.randrange(-5, 5)

    def check(self, history: History, _is_late: Callable[[], bool]) -> Results:
        """See `check_counter`."""
        return check_counter(history)


class GCounter(PNCounter):
    """A counter that only grows: the pn-counter's operations without negative additions."""

    def next(self, worker: Worker, now_s: float) -> Request:
        """Return an addition of 0 to 4, or a read: one to two."""
        while True:
            request = super().next(worker, now_s)
            if request.f == "read" or request.value >= 0:
                return request
