"""Datagrams: by UDP and by a queue."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.ports import free_port
from tests.waiting import DEADLINE_S, wait_until
from trionet import AddressInUse, NodeAddress, NodeConfig
from trionet.router import Router
from trionet.transports.datagrams import QueuedDatagrams, UDPDatagrams
from trionet.transports.network import TCPNetwork

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock

    from trionet.transports.datagrams import Datagrams


def _bound(ip: str) -> tuple[UDPDatagrams, NodeAddress]:
    datagrams = UDPDatagrams.bound(ip, 0)
    return datagrams, NodeAddress(ip, datagrams._socks[0].getsockname()[1])  # noqa: SLF001  nodes never ask for port 0


@pytest.fixture(params=["127.0.0.1", "::1", "memory"])
async def pair(request: pytest.FixtureRequest) -> AsyncGenerator[tuple[Datagrams, NodeAddress, Datagrams]]:
    """A sender, the address of a receiver, and this one."""
    sender: Datagrams
    receiver: Datagrams
    if request.param == "memory":
        inbox = QueuedDatagrams(lambda to, data: None)
        address, receiver = NodeAddress("127.0.0.1", 5), inbox
        sender = QueuedDatagrams(lambda to, data: inbox.put(data) if to == address else None)
    else:
        try:
            (sender, _), (receiver, address) = _bound(request.param), _bound(request.param)
        except OSError:
            pytest.skip("this machine has no IPv6")
    yield sender, address, receiver
    sender.close()
    receiver.close()


async def test_what_is_sent_comes_in_order_and_whole(
    nursery: trio.Nursery, pair: tuple[Datagrams, NodeAddress, Datagrams]
) -> None:
    sender, address, receiver = pair
    sent = [bytes([number]) * size for number, size in enumerate((1, 1400, 0, 60_000, 5) * 10)]
    came: list[bytes] = []
    nursery.start_soon(receiver.serve, came.append)
    for number, data in enumerate(sent):
        assert sender.send_nowait(address, data) is True
        await wait_until(lambda number=number: len(came) > number)  # type: ignore[misc]
    assert came == sent


async def test_serving_waits(nursery: trio.Nursery, pair: tuple[Datagrams, NodeAddress, Datagrams]) -> None:
    sender, address, receiver = pair
    came: list[bytes] = []
    nursery.start_soon(receiver.serve, came.append)
    await trio.testing.wait_all_tasks_blocked()
    sender.send_nowait(address, b"at last")
    await wait_until(lambda: came == [b"at last"])


async def test_what_came_before_serving_is_kept(
    nursery: trio.Nursery, pair: tuple[Datagrams, NodeAddress, Datagrams]
) -> None:
    sender, address, receiver = pair
    sender.send_nowait(address, b"early")
    came: list[bytes] = []
    nursery.start_soon(receiver.serve, came.append)
    await wait_until(lambda: came == [b"early"])


async def test_a_receiver_that_always_has_more_lets_others_run() -> None:
    sender, _ = _bound("127.0.0.1")
    receiver, address = _bound("127.0.0.1")
    for _ in range(100):
        sender.send_nowait(address, b"more")
    steps, steps_then = 0, list[int]()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:

            async def count() -> None:
                nonlocal steps
                while True:
                    steps += 1
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(count)
            nursery.start_soon(receiver.serve, lambda _: steps_then.append(steps))
            await wait_until(lambda: len(steps_then) == 100)
            nursery.cancel_scope.cancel()
    assert steps_then[0] < steps_then[-1]
    sender.close()
    receiver.close()


async def test_closing_ends_serving_at_once_and_later(
    pair: tuple[Datagrams, NodeAddress, Datagrams],
) -> None:
    sender, address, receiver = pair
    came: list[bytes] = []
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.serve, came.append)
            await trio.testing.wait_all_tasks_blocked()
            receiver.close()
        await receiver.serve(came.append)
    assert came == []
    receiver.close()
    sender.close()
    assert sender.send_nowait(address, b"too late") is True


async def test_sending_to_nobody_is_no_error_then_or_later(
    pair: tuple[Datagrams, NodeAddress, Datagrams],
) -> None:
    sender, address, receiver = pair
    receiver.close()
    for _ in range(5):
        assert sender.send_nowait(address, b"anybody?") is True


async def test_a_datagram_that_met_nobody_does_not_end_receiving(nursery: trio.Nursery) -> None:
    here, address = _bound("127.0.0.1")
    gone, nobody = _bound("127.0.0.1")
    gone.close()
    other, _ = _bound("127.0.0.1")
    came: list[bytes] = []
    nursery.start_soon(here.serve, came.append)
    for count in range(1, 21):
        here.send_nowait(nobody, b"anybody?")
        other.send_nowait(address, b"here")
        await wait_until(lambda count=count: came == count * [b"here"])  # type: ignore[misc]
    here.close()
    other.close()


@pytest.mark.parametrize(
    "to",
    [NodeAddress("localhost", 5), NodeAddress("node.example", 5), NodeAddress("::1", 5), NodeAddress("127.0.0.1", 0)],
    ids=str,
)
async def test_an_address_that_no_datagram_can_go_to_is_refused(to: NodeAddress) -> None:
    sender, _ = _bound("127.0.0.1")
    assert sender.send_nowait(to, b"a name") is False
    sender.close()


async def test_what_is_too_long_for_any_datagram_is_lost() -> None:
    sender, address = _bound("127.0.0.1")
    assert sender.send_nowait(address, bytes(70_000)) is True
    sender.close()


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=str(port)):
            UDPDatagrams.bound("127.0.0.1", port)


async def test_a_queue_has_a_bound(autojump_clock: MockClock) -> None:
    inbox = QueuedDatagrams(lambda to, data: None)
    for number in range(5000):
        inbox.put(b"%d" % number)
    assert inbox.lost == 5000 - 4096
    came: list[bytes] = []
    inbox.close()
    await inbox.serve(came.append)
    assert came == [b"%d" % number for number in range(4096)]


# ---------------------------------------------------------------------------------------------------- one port for both


async def test_a_free_port_is_free_for_both_and_a_fixed_one_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    bound = UDPDatagrams.bound

    def taken_at_first(ip: str, port: int) -> UDPDatagrams:
        tried.append(port)
        if len(tried) < 4:
            raise AddressInUse("taken")
        return bound(ip, port)

    monkeypatch.setattr(UDPDatagrams, "bound", taken_at_first)
    endpoint = await TCPNetwork().open_endpoint(NodeConfig(), Router(), lambda _: None)
    assert len(tried) == 4
    assert endpoint.address.port == tried[-1]
    assert endpoint.datagrams is not None
    endpoint.close()
    endpoint.datagrams.close()
    with ExitStack() as stack:
        taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        port = free_port()  # as for TCP, where nobody has it
        taken.bind(("127.0.0.1", port))
        with pytest.raises(AddressInUse, match="UDP port"):
            await TCPNetwork().open_endpoint(NodeConfig(port=port), Router(), lambda _: None)


async def test_without_datagrams_no_udp_socket_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bind: Callable[..., None] = pytest.fail
    monkeypatch.setattr(UDPDatagrams, "bound", bind)
    endpoint = await TCPNetwork().open_endpoint(NodeConfig(datagrams=False), Router(), lambda _: None)
    assert endpoint.datagrams is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", endpoint.address.port))
    endpoint.close()


async def test_where_udp_is_not_permitted_all_goes_over_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(ip: str, port: int) -> UDPDatagrams:
        raise PermissionError("no UDP here")

    monkeypatch.setattr(UDPDatagrams, "bound", refuse)
    endpoint = await TCPNetwork().open_endpoint(NodeConfig(), Router(), lambda _: None)
    assert endpoint.datagrams is None
    assert "all goes over connections" in caplog.text
    endpoint.close()


async def test_a_handler_of_datagrams_that_fails_ends_serving(nursery: trio.Nursery) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError(data)

    receiver, address = _bound("127.0.0.1")
    sender, _ = _bound("127.0.0.1")
    sender.send_nowait(address, b"a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        await receiver.serve(fail)
    sender.close()
    receiver.close()


async def test_a_handler_of_datagrams_may_close_them(nursery: trio.Nursery) -> None:
    receiver, address = _bound("127.0.0.1")
    sender, _ = _bound("127.0.0.1")
    for _ in range(3):
        sender.send_nowait(address, b"close")
    came: list[bytes] = []

    def close(data: bytes) -> None:
        came.append(data)
        receiver.close()

    with trio.fail_after(DEADLINE_S):
        await receiver.serve(close)
    assert came == [b"close"]
    sender.close()


async def test_ctrl_c_reaches_a_handler_of_datagrams(nursery: trio.Nursery) -> None:
    receiver, address = _bound("127.0.0.1")
    sender, _ = _bound("127.0.0.1")
    protected: list[bool] = []
    nursery.start_soon(receiver.serve, lambda _: protected.append(trio.lowlevel.currently_ki_protected()))
    sender.send_nowait(address, b"x")
    await wait_until(lambda: protected == [False])
    sender.close()
    receiver.close()


async def test_garbage_wakes_nobody_else(nursery: trio.Nursery) -> None:
    receiver, address = _bound("127.0.0.1")
    came: list[bytes] = []
    nursery.start_soon(receiver.serve, came.append)
    sender, _ = _bound("127.0.0.1")
    for data in (b"", b"\x00" * 60_000, b"\xff"):
        sender.send_nowait(address, data)
    await wait_until(lambda: len(came) == 3)
    sender.close()
    nursery.cancel_scope.cancel()
    receiver.close()
