"""Pings by datagram from a command, which is no member.

Without a key the command answers for itself on a UDP port of its own, and runs nothing else. With one, datagrams are
sealed, and members hear only whom a sealed link has proven to be alive: then a whole node, which joins nothing, sends
the pings.
"""

from __future__ import annotations

import itertools
import secrets
import socket
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trionet.config import NodeConfig
from trionet.errors import ConfigError, NodeUnreachable
from trionet.identity import NodeAddress
from trionet.nurseries import open_background_nursery
from trionet.profiles import LAN
from trionet.protocols.effects import Send
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.swim import Swim
from trionet.protocols.swim_events import PingAnswered
from trionet.protocols.swim_messages import ASKED_SEQ, Ping
from trionet.transports.datagrams import UDPDatagrams
from trionet.transports.sockaddrs import ip_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet.node import Node

    from .client import Access

__all__ = ["DatagramPings", "open_datagram_pings", "resolved_node"]

_SEQ_BITS: Final = 60
_BOOT_ID_BITS: Final = 63


class DatagramPings(Protocol):
    """Pings nodes by datagram."""

    async def ping(self, node: NodeAddress, within_s: float) -> float | None:
        """Return the round trip in seconds; None if no answer has come in time."""


class _Plain:
    """Pings from a UDP port without a node."""

    def __init__(self, own: NodeAddress, datagrams: UDPDatagrams) -> None:
        self._datagrams = datagrams
        self._numbers = itertools.count(ASKED_SEQ + secrets.randbits(_SEQ_BITS))
        self._open: dict[int, trio.Event] = {}
        random = Random()  # noqa: S311  no secret is drawn from it
        swim = Swim(str(own), LAN, random, trio.current_time(), boot_id=random.getrandbits(_BOOT_ID_BITS))
        self._mux = ProtocolMux(str(own), [swim])

    async def ping(self, node: NodeAddress, within_s: float) -> float | None:
        """See `DatagramPings.ping`."""
        seq = next(self._numbers)
        answered = self._open[seq] = trio.Event()
        begun_at = trio.current_time()
        for packet in self._mux.packets([Send(str(node), Ping(seq))], begun_at):
            self._datagrams.send_nowait(node, packet.encoded)
        with trio.move_on_after(within_s):
            await answered.wait()
        del self._open[seq]
        return trio.current_time() - begun_at if answered.is_set() else None

    def receive(self, data: bytes) -> None:
        """Handle a datagram."""
        for packet in self._mux.receive_bytes(data, trio.current_time()):  # the proof of this address, if asked for
            self._datagrams.send_nowait(NodeAddress.of(packet.to), packet.encoded)
        for event in self._mux.pop_events():
            if type(event) is PingAnswered and event.seq in self._open:
                self._open[event.seq].set()


class _OfNode:
    """Pings from a node that joins nothing."""

    def __init__(self, node: Node) -> None:
        self._pinging = node.local.diagnosis.pinging

    async def ping(self, node: NodeAddress, within_s: float) -> float | None:
        """See `DatagramPings.ping`."""
        return await self._pinging.ping(node, within_s)


@asynccontextmanager
async def open_datagram_pings(to: NodeAddress, access: Access) -> AsyncGenerator[DatagramPings | None]:
    """Ping nodes on the network of `to`, for the length of a block; None if they can't be pinged: by a token alone."""
    if access.token is not None:
        yield None
    elif access.keys is None:
        ip = _own_ip(to)
        datagrams = UDPDatagrams.bound(ip, 0)
        try:
            async with open_background_nursery() as nursery:
                pings = _Plain(NodeAddress(ip, datagrams.port), datagrams)
                nursery.start_soon(datagrams.serve, pings.receive)
                yield pings
        finally:
            datagrams.close()
    else:
        from trionet.runtime import open_node  # slow to import: on use

        own = {"ip": _own_ip(to), "cluster": access.settings.cluster} | access.settings.certificate_settings
        async with open_node(NodeConfig.from_mapping(own), keys=access.keys) as node:
            node.keys.withdraw()
            await _prove(node, to)
            yield _OfNode(node)


async def _prove(node: Node, to: NodeAddress) -> None:
    """Open a link, which proves this node alive to the other one."""
    from trionet.message import Remote

    await node.local.comm.send(["sid"], Remote(node=to, service="status", method="get"))


async def resolved_node(node: NodeAddress) -> NodeAddress:
    """Return the address with a host name replaced by one of its IP addresses.

    Raises:
        NodeUnreachable: the name can't be resolved.
    """
    try:
        found = await trio.socket.getaddrinfo(node.ip, node.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise NodeUnreachable(f"{node.ip} can't be resolved: {reason}", node=str(node)) from exc
    return NodeAddress(ip_of(found[0][4]), node.port)


def _own_ip(node: NodeAddress) -> str:
    """Return this machine's address for datagrams to a node."""
    try:
        ((family, *_, place),) = socket.getaddrinfo(
            node.ip, node.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(place)  # nothing is sent
            return ip_of(sock.getsockname())
    except OSError as exc:
        raise ConfigError(f"{node} can't be reached from here: {exc.strerror or exc}") from exc
