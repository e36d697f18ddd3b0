"""Every transport, ready for one suite: a table of how to make an endpoint, and peers that serve on one."""

from __future__ import annotations

import itertools
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import trio

from tests.maelstrom.lines import Lines
from trionet import NodeAddress, NodeConfig
from trionet.router import Method, Router
from trionet.transports.base import Request
from trionet.transports.memory import MemoryFabric
from trionet.transports.network import TCPNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from trionet.events import OrphanedCall
    from trionet.message import Call
    from trionet.prepared_call import PreparedCall
    from trionet.transports.base import Endpoint

__all__ = ["SERVICE", "TRANSPORTS", "Fabric", "Peer"]

SERVICE = "probe"


class Fabric(Protocol):
    """What connects the peers of one test."""

    async def open_endpoint(self, config: NodeConfig, router: Router) -> Endpoint:
        """Return an endpoint that doesn't serve yet."""
        ...

    def address_of_nobody(self) -> NodeAddress:
        """Return an address that nobody listens on, and nobody will as long as the test lasts."""
        ...

    def close(self) -> None:
        """The test has ended."""
        ...


class Network:
    """Loopback sockets, with calls going out by one of the network's transports."""

    def __init__(self, transport: str) -> None:
        self._transport = transport
        self._stack = ExitStack()
        self.orphans: list[OrphanedCall] = []

    async def open_endpoint(self, config: NodeConfig, router: Router) -> Endpoint:
        config = msgspec.structs.replace(config, transport=self._transport)
        return await TCPNetwork().open_endpoint(config, router, self.orphans.append)

    def address_of_nobody(self) -> NodeAddress:
        sock = self._stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))  # and never listens
        return NodeAddress("127.0.0.1", sock.getsockname()[1])

    def close(self) -> None:
        self._stack.close()


class Memory:
    """No sockets."""

    def __init__(self) -> None:
        self._fabric = MemoryFabric()

    async def open_endpoint(self, config: NodeConfig, router: Router) -> Endpoint:
        return self._fabric.endpoint(config, router)

    def address_of_nobody(self) -> NodeAddress:
        return NodeAddress("127.0.0.1", 65_535)

    def close(self) -> None:
        pass


class Documented:
    """The transport that docs/write-transport.md shows."""

    def __init__(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "write-transport.md").read_text(encoding="utf-8")
        program = re.search(r"^```python\n(# desk\.py\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
        assert program is not None
        names: dict[str, Any] = {"__name__": "desk"}
        exec(compile(program[1], "desk.py", "exec"), names)
        self._desk = names["Desk"]()

    async def open_endpoint(self, config: NodeConfig, router: Router) -> Endpoint:
        endpoint: Endpoint = await self._desk.open_endpoint(config, router, on_orphan=print)
        return endpoint

    def address_of_nobody(self) -> NodeAddress:
        return NodeAddress("127.0.0.1", 65_535)

    def close(self) -> None:
        pass


TRANSPORTS: Final[dict[str, Callable[[], Fabric]]] = {
    "http": lambda: Network("http"),
    "link": lambda: Network("link"),
    "memory": Memory,
    "maelstrom": Lines,
    "desk": Documented,
}
"""Each transport that must pass the suite."""


class NotingRouter(Router):
    """A router that notes each call that comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def prepare(self, call: Call, *, is_rumor: bool = False) -> PreparedCall:
        self.calls.append(call)
        return super().prepare(call, is_rumor=is_rumor)


class Peer:
    """An endpoint that serves.

    Attributes:
        router: behind the endpoint; its `calls` are what has come in so far.
        endpoint: its place.
    """

    def __init__(self) -> None:
        self.router = NotingRouter()
        self.endpoint: Endpoint
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._numbers = itertools.count(1)

    @property
    def address(self) -> NodeAddress:
        return self.endpoint.address

    def expose(self, **methods: Callable[..., Any]) -> None:
        """Have these functions called by others."""
        self.router.put("local", SERVICE, {name: Method(function) for name, function in methods.items()})

    async def serve(
        self, fabric: Fabric, config: NodeConfig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            with self._scope:
                self.endpoint = await fabric.open_endpoint(config, self.router)
                try:
                    await self.endpoint.serve(task_status=task_status)
                finally:
                    if self.endpoint.datagrams is not None:
                        self.endpoint.datagrams.close()
        finally:
            self._ended.set()

    async def tear_down(self) -> None:
        """End it at once; return when it has ended."""
        self._scope.cancel()
        await self._ended.wait()

    # ---- its own calls

    def request(
        self,
        method: str,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        gid: str = "local",
        service: str = SERVICE,
        id_: str | None = None,
    ) -> Request:
        codec = self.endpoint.transport.codec
        return Request(
            gid=gid,
            service=service,
            method=method,
            args=codec.encode(list(args)),
            kwargs=None if kwargs is None else codec.encode(dict(kwargs)),
            id=id_ or f"call-{next(self._numbers)}",
            caller=self.address,
        )

    async def call(self, to: Peer | NodeAddress, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of another peer."""
        address = to if isinstance(to, NodeAddress) else to.address
        return await self.endpoint.transport.call(address, self.request(method, *args, **options))

    def stream(self, to: Peer, method: str, *args: Any) -> AbstractAsyncContextManager[Any]:
        """Run a stream of another peer."""
        return self.endpoint.transport.stream(to.address, self.request(method, *args))
