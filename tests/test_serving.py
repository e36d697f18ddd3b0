"""What tests share to serve, and to find ports: what ends beside a test does not fail it."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

import pytest
import trio

from tests import ports
from tests.ports import free_port
from tests.proxies import open_proxy
from tests.serving import serving
from trionet import NodeAddress

TESTS = Path(__file__).parent
BY_THEMSELVES = {"serving.py", "hosts/watched_nodes.py"}
"""The latter is the program of a host, whose asker stays until it has the answer."""


async def connected(address: NodeAddress) -> trio.SocketStream:
    return await trio.open_tcp_stream(address.ip, address.port)


def resets(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def test_a_peer_that_resets_its_connection_ends_that_alone() -> None:
    begun, ended = trio.Event(), trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        begun.set()
        try:
            async with trio.open_nursery() as nursery:  # of which the error comes as one of a group
                nursery.start_soon(trio.sleep_forever)
                while True:
                    await stream.send_all(b"x" * 10_000)
        finally:
            ended.set()

    with trio.fail_after(60):
        async with serving(serve) as address:
            stream = await connected(address)
            await begun.wait()
            resets(stream)
            await ended.wait()
            async with await connected(address) as other:
                assert await other.receive_some(1) == b"x"


async def test_who_connects_to_a_proxy_of_nobody_is_disconnected_and_that_is_all() -> None:
    with trio.fail_after(60):
        async with open_proxy(NodeAddress("127.0.0.1", free_port())) as proxy:
            for _ in range(2):
                async with await connected(proxy.address) as stream:
                    assert await stream.receive_some() == b""


async def test_any_other_error_of_a_server_is_the_tests() -> None:
    async def fail(stream: trio.SocketStream) -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(60):
        async with serving(fail) as address, await connected(address):
            await trio.sleep_forever()
    assert caught.group_contains(LookupError)


def test_no_test_serves_in_any_other_way() -> None:
    texts = {str(path.relative_to(TESTS)): path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    found = {name for name, text in texts.items() if re.search(r"\btrio\.serve_(listeners|tcp)\b", text)}
    assert found == BY_THEMSELVES


@pytest.mark.parametrize(("given", "end"), [("40000\t60999\n", 40_000), ("1024\t65535\n", 32_768), (None, 32_768)])
def test_free_ports_are_below_those_that_the_system_gives_if_it_leaves_some(
    given: str | None, end: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_IPV4_RANGE", tmp_path / "range")
    if given is not None:
        (tmp_path / "range").write_text(given, encoding="ascii")
    assert ports._end() == end  # noqa: SLF001


def test_free_ports_are_none_that_the_system_gives_and_nobody_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [free_port(2) for _ in range(20)]
    assert len({*found, *(port + 1 for port in found)}) == 40
    for port in (found[0], found[0] + 1):
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
    assert max(found) + 1 < ports._end()  # noqa: SLF001
    of_workers = list[int]()
    for number in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        of_workers += ports._own_ports()  # noqa: SLF001
    assert len(of_workers) == len(set(of_workers))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_somebody_has_is_passed_over(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as sock:
        taken = (free_port(2) - ports._ports.start + 3) % len(ports._ports) + ports._ports.start  # noqa: SLF001
        sock.bind(("127.0.0.1", taken))
        assert taken not in [free_port() for _ in range(5)]
