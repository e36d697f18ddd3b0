"""Maelstrom nodes of this process with trionet endpoints in them, and the lines between them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import trio

from trionet.maelstrom import MaelstromNode
from trionet.maelstrom.fabric import MaelstromFabric
from trionet.maelstrom.transport import address_of
from trionet.security.live_keys import LiveKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trionet import NodeAddress, NodeConfig
    from trionet.maelstrom.transport import MaelstromTransport
    from trionet.router import Router
    from trionet.transports.base import Lives
    from trionet.transports.clock import Clock
    from trionet.transports.datagrams import SourcedDatagrams
    from trionet.transports.shown import Pages

__all__ = ["Lines", "LinesEndpoint"]


class Lines(trio.abc.SendChannel[bytes]):
    """The network: it delivers lines to inboxes, and replies with an error for a receiver that is not there."""

    def __init__(self) -> None:
        self.names = [f"n{number}" for number in range(9)]
        self.inboxes: dict[str, trio.MemorySendChannel[bytes]] = {}

    async def open_endpoint(self, config: NodeConfig, router: Router) -> LinesEndpoint:
        name = self.names[len(self.inboxes)]
        send, receive = trio.open_memory_channel[bytes](math.inf)
        self.inboxes[name] = send
        return LinesEndpoint(self, name, receive, config, router)

    def address_of_nobody(self) -> NodeAddress:
        return address_of("n8")

    def close(self) -> None:
        pass

    async def send(self, value: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for line in value.splitlines():
            message = json.loads(line)
            src, dest, body = message["src"], message["dest"], message["body"]
            try:
                self.inboxes[dest].send_nowait(line)
            except (KeyError, trio.BrokenResourceError):
                if "msg_id" in body and src in self.inboxes:
                    error = {"type": "error", "code": 1, "text": f"no {dest}", "in_reply_to": body["msg_id"]}
                    self.inboxes[src].send_nowait(json.dumps({"src": dest, "dest": src, "body": error}).encode())

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class LinesEndpoint:
    """An endpoint in a Maelstrom node; it serves both."""

    app = None
    keys = LiveKeys()
    links = None
    certificates = None
    requests_refused = 0
    has_real_address = False
    connections_refused = 0
    pages: Pages | None = None

    def __init__(
        self,
        lines: Lines,
        name: str,
        inbox: trio.MemoryReceiveChannel[bytes],
        config: NodeConfig,
        router: Router,
    ) -> None:
        self._maelstrom = MaelstromNode()
        init = {"type": "init", "msg_id": 0, "node_id": name, "node_ids": lines.names}
        lines.inboxes[name].send_nowait(json.dumps({"src": "nobody", "dest": name, "body": init}).encode())
        self._maelstrom.id, self._maelstrom.node_ids = name, tuple(lines.names)
        self._endpoint = MaelstromFabric(self._maelstrom).endpoint(config, router)
        self._maelstrom.id = ""
        self._lines = lines
        self._inbox = inbox
        self.address: NodeAddress = self._endpoint.address
        self.clock: Clock = self._endpoint.clock
        self.transport: MaelstromTransport = self._endpoint.transport
        self.datagrams: SourcedDatagrams | None = self._endpoint.datagrams

    @property
    def reloads(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return self._endpoint.reloads

    def set_members(self, is_member: Callable[[NodeAddress], bool]) -> None:
        self._endpoint.set_members(is_member)

    def set_lives(self, lives: Lives) -> None:
        self._endpoint.set_lives(lives)

    async def can_connect(self, node: NodeAddress) -> bool:
        return await self._endpoint.can_connect(node)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        ready = trio.Event()
        self._maelstrom.on_init(ready.set)

        async def serve_maelstrom(scope: trio.CancelScope) -> None:
            with scope:
                await self._maelstrom.serve(self._inbox, self._lines)
            self._inbox.close()

        scope = trio.CancelScope(shield=True)  # the replies of a cancelled endpoint are still sent
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_maelstrom, scope)
            try:
                await self._serve_endpoint(ready, task_status)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.01)
                scope.cancel()

    async def _serve_endpoint(self, ready: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        await ready.wait()
        await self._endpoint.serve(task_status=task_status)

    def close(self) -> None:
        self._endpoint.close()

    async def drain(self) -> None:
        await self._endpoint.drain()
