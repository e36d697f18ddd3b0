"""Listening: one port number for all addresses of a name, for connections and datagrams."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.waiting import wait_until
from trionet import AddressInUse, ConfigError, NodeAddress, NodeConfig, Remote
from trionet.router import Router
from trionet.transports import listener
from trionet.transports.network import NetworkEndpoint, TCPNetwork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

NAME = "several.example"


class Names(trio.abc.HostnameResolver):
    """Knows one name, and its addresses."""

    def __init__(self, *ips: str) -> None:
        self._ips = ips

    async def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if host not in (NAME, NAME.encode()):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for ip in self._ips for found in socket.getaddrinfo(ip, port, type=socket.SOCK_STREAM)]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


@contextlib.contextmanager
def taken(ip: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[int]:
    """Have a port in use, and give its number."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, kind) as sock:
        if kind == socket.SOCK_STREAM:  # as a node binds: connections that have ended don't count
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock.getsockname()[1]


async def opened(config: NodeConfig) -> NetworkEndpoint:
    return await TCPNetwork().open_endpoint(config, Router(), lambda _: None)


def close(endpoint: NetworkEndpoint) -> None:
    endpoint.close()
    if endpoint.datagrams is not None:
        endpoint.datagrams.close()


def config_of(port: int = 0, *, datagrams: bool = True) -> NodeConfig:
    return NodeConfig(ip=NAME, port=port, insecure=True, datagrams=datagrams)


@pytest.mark.parametrize("ips", [("::1", "127.0.0.1"), ("127.0.0.1", "::1"), ("127.0.0.1", "127.0.0.2", "::1")])
async def test_a_node_is_reached_by_each_address_of_its_name_with_one_port(
    start_node: StartNode, ips: tuple[str, ...]
) -> None:
    trio.socket.set_custom_hostname_resolver(Names(*ips))
    node, other = await start_node(config_of()), await start_node()
    for ip in ips:
        at = NodeAddress(ip, node.address.port)
        assert await other.local.comm.send(["port"], Remote(node=at, service="status", method="get")) == at.port
        with pytest.raises(OSError, match="in use"), taken(ip, at.port, socket.SOCK_DGRAM):
            pass  # its datagrams are received there


async def test_datagrams_come_by_each_address_and_go_out_by_each_family() -> None:
    trio.socket.set_custom_hostname_resolver(Names("::1", "127.0.0.1"))
    one, two = await opened(config_of()), await opened(config_of())
    assert one.datagrams is not None
    assert two.datagrams is not None
    came: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(two.datagrams.serve, came.append)
        for ip in ("::1", "127.0.0.1"):
            assert one.datagrams.send_nowait(NodeAddress(ip, two.address.port), ip.encode())
            await wait_until(lambda ip=ip: came[-1:] == [ip.encode()])  # type: ignore[misc]
        two.datagrams.close()
    assert len(came) == 2
    close(one)
    close(two)


async def test_an_interface_in_an_address_is_understood(nursery: trio.Nursery) -> None:
    endpoint = await opened(NodeConfig(ip="::1%1"))
    assert endpoint.datagrams is not None
    assert endpoint.datagrams.send_nowait(NodeAddress("::1%1", endpoint.address.port), b"hello")
    came: list[bytes] = []
    nursery.start_soon(endpoint.datagrams.serve, came.append)
    await wait_until(lambda: came == [b"hello"])
    assert not endpoint.datagrams.send_nowait(NodeAddress("fe80::1%nowhere", 1), b"lost")
    close(endpoint)


@pytest.mark.parametrize(
    ("ip", "kind"),
    [("127.0.0.1", socket.SOCK_STREAM), ("127.0.0.1", socket.SOCK_DGRAM), ("::1", socket.SOCK_DGRAM)],
)
async def test_another_number_is_tried_when_one_is_not_free_for_all(
    monkeypatch: pytest.MonkeyPatch, ip: str, kind: socket.SocketKind
) -> None:
    """The first numbers that the system gives for the first address are made to be in use for another."""
    trio.socket.set_custom_hostname_resolver(Names("::1", "127.0.0.1"))
    real, tried = listener._listening, list[int]()  # noqa: SLF001  what others bind comes in between

    with contextlib.ExitStack() as stack:

        async def listening(family: int, place: Any) -> Any:
            sock = await real(family, place)
            if place[0] == "::1" and len(tried) < 3:
                tried.append(sock.getsockname()[1])
                with contextlib.suppress(OSError):  # another program has it
                    stack.enter_context(taken(ip, tried[-1], kind))
            return sock

        monkeypatch.setattr(listener, "_listening", listening)
        endpoint = await opened(config_of())
        assert len(tried) == 3
        assert endpoint.address.port not in tried
        close(endpoint)


@pytest.mark.parametrize("ip", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_fixed_port_must_be_free_for_all(ip: str, kind: socket.SocketKind) -> None:
    trio.socket.set_custom_hostname_resolver(Names("::1", "127.0.0.1"))
    endpoint = None
    for _ in range(10):
        with taken(ip, 0, kind) as port, pytest.raises(AddressInUse, match=str(port)):
            await opened(config_of(port))
        with contextlib.suppress(AddressInUse):  # of another program, which has come in between
            endpoint = await opened(config_of(port))  # nothing was left open
            break
    assert endpoint is not None
    assert endpoint.address == NodeAddress(NAME, port)
    close(endpoint)


async def test_an_address_that_this_machine_does_not_have_is_left_out() -> None:
    trio.socket.set_custom_hostname_resolver(Names("2001:db8::1", "127.0.0.1", "127.0.0.1"))
    endpoint = await opened(config_of())
    with pytest.raises(OSError, match="in use"), taken("127.0.0.1", endpoint.address.port):
        pass
    close(endpoint)


async def test_no_address_is_an_error_that_says_why() -> None:
    trio.socket.set_custom_hostname_resolver(Names("2001:db8::1"))
    with pytest.raises(ConfigError, match=r"can't listen on several\.example:0: .*assign"):
        await opened(config_of())
    with pytest.raises(ConfigError, match=r"can't listen on nowhere\.example:0: Name or service not known"):
        await opened(NodeConfig(ip="nowhere.example", insecure=True))
