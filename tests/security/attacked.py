"""A node that is attacked, a bystander that calls it, and attackers on real sockets."""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import trio

from tests.protocols.link.cores import hello
from tests.security.keys import node_keys
from tests.serving import serving
from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeAddress, NodeConfig, Remote, open_node, rpc
from trionet.protocols.link.frames import PREFACE
from trionet.protocols.link.handshake import Handshake
from trionet.protocols.packets import VERSION, sender_of
from trionet.security.cookies import Cookies
from trionet.security.datagram_opener import DatagramOpener
from trionet.security.noise import MESSAGE_BYTES
from trionet.security.sealed_datagrams import DatagramSealer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet import NodeStatistics
    from trionet.security.node_keys import NodeKeys

__all__ = [
    "CLUSTER",
    "HANDSHAKE_BYTES",
    "Guarded",
    "KeyedSocket",
    "Scene",
    "Watched",
    "answering",
    "first_bytes",
    "open_scene",
    "read_to_end",
    "sent_to",
    "watch",
]

CLUSTER: Final = "shop"
HANDSHAKE_BYTES: Final = len(PREFACE) + 5 + MESSAGE_BYTES
"""The size of the first bytes of either side of a sealed link."""


class Guarded:
    """A service that nobody but the bystander may reach; it notes what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @rpc
    def tell(self, what: Any = None) -> int:
        self.told.append(what)
        return len(self.told)

    @rpc(read=True)
    def look(self) -> list[Any]:
        return self.told

    @rpc
    async def count(self, number: int) -> Any:
        for item in range(number):
            yield item
            await trio.sleep(0.01)


class Scene:
    """A node under attack, and a member of its cluster that goes on calling it.

    Attributes:
        victim: the node that is attacked.
        bystander: the member.
        keys: those of both.
    """

    def __init__(self, victim: Node, bystander: Node, guarded: Guarded, keys: NodeKeys) -> None:
        self.victim = victim
        self.bystander = bystander
        self.keys = keys
        self._guarded = guarded
        self._calls = 0

    @property
    def statistics(self) -> NodeStatistics:
        return self.victim.statistics()

    async def check(self) -> None:
        """Check that the bystander's calls go on, and that nobody else's were served."""
        self._calls += 1
        remote = Remote(node=self.victim.address, service="guarded", method="tell")
        with trio.fail_after(DEADLINE_S):
            assert await self.bystander.local.comm.send(["bystander"], remote) == self._calls
        assert self._guarded.told == ["bystander"] * self._calls
        for node in (self.victim, self.bystander):
            assert len(node.all.members()) == len(node.members()) == 2


@asynccontextmanager
async def open_scene(**settings: Any) -> AsyncGenerator[Scene]:
    """Run both nodes; `settings` are the victim's."""
    keys, guarded = node_keys(cluster=CLUSTER), Guarded()
    config = NodeConfig(join=[], connect_timeout_s=settings.pop("connect_timeout_s", 5), **settings)
    async with (
        open_node(config, keys=keys) as victim,
        open_node(NodeConfig(join=[str(victim.address)]), keys=keys) as bystander,
    ):
        await victim.local.routes.put(guarded, "guarded")
        await wait_until(lambda: len(victim.all.members()) == len(bystander.all.members()) == 2)
        scene = Scene(victim, bystander, guarded, keys)
        await scene.check()
        yield scene
        await scene.check()


# ---- connections


def first_bytes(keys: NodeKeys | None) -> bytes:
    """Return the first bytes of a link that a node with these keys makes."""
    own = [] if keys is None else keys.link_keys(secrets.token_bytes)[:1]
    return Handshake(hello(), is_initiator=True, keys=own).data_to_send()


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """Return all that comes until the other side closes the connection."""
    got = b""
    with trio.fail_after(DEADLINE_S):
        try:
            while data := await stream.receive_some():
                got += data
        except trio.BrokenResourceError:
            pass
    return got


async def sent_to(address: NodeAddress, data: bytes, *, cut: bool = False) -> bytes:
    """Send bytes on a new connection, and its end if it is `cut`; return what comes back."""
    async with await trio.open_tcp_stream(address.ip, address.port) as stream:
        await stream.send_all(data)
        if cut:
            await stream.send_eof()
        return await read_to_end(stream)


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncGenerator[tuple[NodeAddress, list[bytes]]]:
    """Run a server that answers with these bytes, or as an echo; yield its address, and what it was sent."""
    received: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        got = bytes(await stream.receive_some())
        received.append(got)
        await stream.send_all(got if answer is None else answer)
        received[-1] += await read_to_end(stream)

    async with serving(serve) as address:
        yield address, received


# ---- datagrams


class KeyedSocket:
    """A UDP socket with keys, whose owner sends packets as a member does.

    Attributes:
        name: its name as that of a node.
        received: all that came.
    """

    def __init__(self, keys: NodeKeys, *, to: NodeAddress, name: str = "") -> None:
        self._sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._keys = keys
        self._to = to
        self.name = name
        self.received: list[bytes] = []

    async def __aenter__(self) -> Self:
        await self._sock.bind(("127.0.0.1", 0))
        self.name = self.name or f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.begin_life()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sock.close()

    def begin_life(self) -> None:
        """Begin another life."""
        keys = self._keys.datagram_keys()
        self._sealer = DatagramSealer(self.name, self._keys.cluster, keys, secrets.randbits(64))
        self._opener = DatagramOpener(self._sealer, Cookies(secrets.token_bytes(32)), sender_of, time.monotonic())

    def sealed(self, to: NodeAddress | None = None, packet: bytes = b"") -> bytes:
        """Return a sealed packet, by default one without messages."""
        packet = packet or msgspec.msgpack.encode([VERSION, self.name, []])
        return self._sealer.seal(str(to or self._to), packet, time.monotonic())

    async def send(self, data: bytes) -> None:
        await self._sock.sendto(data, (self._to.ip, self._to.port))

    async def answer(self) -> None:
        """Wait for a datagram; answer it as an honest node does."""
        with trio.fail_after(DEADLINE_S):
            data, _ = await self._sock.recvfrom(2000)
        self.received.append(data)
        opened = self._opener.open(data, str(self._to), time.monotonic())
        assert opened.answer is not None
        await self.send(opened.answer)

    def drain(self) -> None:
        """Take what has come since."""
        while True:
            try:
                self.received.append(self._sock._sock.recv(2000))  # type: ignore[attr-defined]  # noqa: SLF001
            except BlockingIOError:
                return


# ---- a node in a process of its own


class Watched(Guarded):
    """Tells what the node of a process has refused, and whom it believes to be members."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    @rpc
    def figures(self) -> dict[str, int]:
        """Return the figures of the node's statistics."""
        found: dict[str, int] = msgspec.to_builtins(self._node.statistics())
        return found | {"members": len(self._node.members()), "told": len(self.told)}


async def watch(node: Node) -> None:
    """Offer a `Watched`; for `on_start`."""
    await node.local.routes.put(Watched(node), "watched")
