"""A small network for Maelstrom nodes of this process, in virtual time: messages, services, partitions and loss."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.maelstrom import MaelstromNode

__all__ = ["Network", "Refused"]


class Refused(Exception):
    """A node answered a client with an error."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(f"{body['code']}: {body['text']}")
        self.body = body
        self.code: int = body["code"]


class _Out(trio.abc.SendChannel[bytes]):
    """A channel that calls `handle` with each line of a node."""

    def __init__(self, handle: Callable[[bytes], None]) -> None:
        self._handle = handle

    async def send(self, value: bytes) -> None:
        await trio.lowlevel.checkpoint()
        assert value.endswith(b"\n")
        for line in value.splitlines():
            self._handle(line)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Network:
    """Nodes n0, n1 and so on, clients, and the services.

    Attributes:
        sent: messages between nodes, and to and from services.
        kinds: the types of the messages between nodes, in order.
        cut: pairs (from, to) between which nothing arrives.
        loss: the probability that a message between nodes is lost.
        is_over: whether there are no more partitions.
        latency_s: how long a message between nodes takes, and one to or from a service.
        values: the contents of the key-value stores, by service and key.
    """

    def __init__(
        self, build: Callable[[], MaelstromNode], count: int, *, seed: int = 1, latency_s: float = 0.0
    ) -> None:
        self.names = [f"n{number}" for number in range(count)]
        self.sent = 0
        self.kinds: list[str] = []
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.is_over = False
        self.latency_s = latency_s
        self.values: dict[str, dict[str, Any]] = {"lin-kv": {}, "seq-kv": {}, "lww-kv": {}}
        self.nodes: dict[str, MaelstromNode] = {}
        self._build = build
        self._seed = seed
        self._random = random.Random(seed)
        self._inboxes: dict[str, trio.MemorySendChannel[bytes]] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._replies: dict[tuple[str, int], list[Any]] = {}
        self._arrived = trio.lowlevel.ParkingLot()
        self._numbers = itertools.count(1)
        self._starts = itertools.count(1)
        self._stamps = itertools.count()
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[Network] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all nodes until cancelled."""
        async with trio.open_nursery() as self._nursery:
            async with trio.open_nursery() as starting:
                for name in self.names:
                    starting.start_soon(self.start, name)
            task_status.started(self)
            await trio.sleep_forever()

    async def start(self, name: str) -> None:
        """Start a node, or start it again, and initialise it."""
        node = self.nodes[name] = self._build()
        node.random.seed(f"{self._seed} {name} {next(self._starts)}")
        self._inboxes[name], receive = trio.open_memory_channel[bytes](1_000_000)
        scope = self._scopes[name] = trio.CancelScope()

        async def serve() -> None:
            with scope:
                await node.serve(receive, _Out(lambda line: self._handle_line(line, scope)))

        self._nursery.start_soon(serve)
        await self.call(name, {"type": "init", "node_id": name, "node_ids": self.names})

    def kill(self, name: str) -> None:
        """End a node without warning; messages that it has sent arrive."""
        self._scopes[name].cancel()
        del self._inboxes[name]

    def partition(self, *sides: Iterable[str]) -> None:
        """Let only nodes of one side reach each other; without sides, heal."""
        groups = [set(side) for side in sides]
        self.cut = {(a, b) for one in groups for other in groups if one is not other for a in one for b in other}

    def heal(self) -> None:
        """End all partitions for good."""
        self.cut, self.is_over = set(), True

    async def call(self, name: str, body: dict[str, Any], client: str = "c1") -> dict[str, Any]:
        """Send a request of a client; return the reply's body.

        Raises:
            Refused: the reply is an error.
        """
        msg_id = next(self._numbers)
        slot = self._replies[client, msg_id] = list[Any]()
        self.post(client, name, {**body, "msg_id": msg_id})
        while not slot:
            await self._arrived.park()
        (reply,) = slot
        if reply["type"] == "error":
            raise Refused(reply)
        assert reply.pop("in_reply_to") == msg_id
        assert reply["type"] == f"{body['type']}_ok"
        del reply["type"]
        result: dict[str, Any] = reply
        return result

    def post(self, src: str, dest: str, body: dict[str, Any]) -> None:
        """Put a message into a node's inbox."""
        if dest in self._inboxes:
            self._inboxes[dest].send_nowait(json.dumps({"src": src, "dest": dest, "body": body}).encode())

    def _handle_line(self, line: bytes, scope: trio.CancelScope) -> None:
        if scope.cancel_called:
            return
        message = json.loads(line)
        src, dest, body = message["src"], message["dest"], message["body"]
        if dest.startswith("c"):
            slot = self._replies.pop((dest, body["in_reply_to"]), None)
            if slot is not None:
                slot.append(body)
                self._arrived.unpark_all()
            return
        self.sent += 1
        if dest in self.values or dest == "lin-tso":
            self._nursery.start_soon(self._serve, src, dest, body)
        else:
            self.kinds.append(body["type"])
            if self._random.random() >= self.loss:
                self._nursery.start_soon(self._deliver, src, dest, body)

    async def _deliver(self, src: str, dest: str, body: dict[str, Any]) -> None:
        await trio.sleep(self.latency_s)
        if (src, dest) not in self.cut:
            self.post(src, dest, body)

    async def _serve(self, src: str, service: str, body: dict[str, Any]) -> None:
        await trio.sleep(self.latency_s)
        answer = {"type": "ts_ok", "ts": next(self._stamps)} if service == "lin-tso" else self._answer(service, body)
        self.sent += 1
        await trio.sleep(self.latency_s)
        self.post(service, src, {**answer, "in_reply_to": body["msg_id"]})

    def _answer(self, service: str, body: dict[str, Any]) -> dict[str, Any]:
        store, key = self.values[service], json.dumps(body["key"])
        if body["type"] == "write":
            store[key] = body["value"]
        elif key not in store and not body.get("create_if_not_exists"):
            return {"type": "error", "code": 20, "text": "key does not exist"}
        elif body["type"] == "read":
            return {"type": "read_ok", "value": store[key]}
        elif key in store and store[key] != body["from"]:
            return {"type": "error", "code": 22, "text": f"current value {store[key]} is not {body['from']}"}
        else:
            store[key] = body["to"]
        return {"type": f"{body['type']}_ok"}
