"""Links on a memory fabric: what becomes of calls when a node crashes, is cancelled, or is called by nonsense."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.transports.endpoints import SERVICE, Peer
from trionet import ConnectionLost, NodeConfig, NodeUnreachable, Remote, TrionetError, open_node
from trionet.router import Method, Router
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from random import Random

    from trio.testing import MockClock

    from trionet.identity import NodeAddress
    from trionet.transports.memory import Message
    from trionet.transports.memory.endpoint import MemoryEndpoint

Serve = Callable[[], Coroutine[Any, Any, Peer]]


class Fabric:
    """A fabric that notes how calls begin and end."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.fabric = MemoryFabric(observer=self)

    async def open_endpoint(self, config: NodeConfig, router: Router) -> MemoryEndpoint:
        return self.fabric.endpoint(config, router)

    def address_of_nobody(self) -> NodeAddress:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def called(self, *_: object) -> None:
        self.notes.append("called")

    def answered(self, *_: object) -> None:
        self.notes.append("answered")

    def cancelled(self, *_: object) -> None:
        self.notes.append("cancelled")

    def sent(self, *_: object) -> None: ...

    def delivered(self, *_: object) -> None: ...

    def dropped(self, *_: object) -> None: ...

    def link_lost(self, *_: object) -> None: ...


@pytest.fixture
def network() -> Fabric:
    return Fabric()


@pytest.fixture
def serve(network: Fabric, nursery: trio.Nursery) -> Serve:
    async def serve() -> Peer:
        peer = Peer()
        await nursery.start(peer.serve, network, NodeConfig())
        peer.expose(echo=lambda value: value, stay=trio.sleep_forever)
        return peer

    return serve


async def test_a_node_that_has_crashed_makes_no_further_calls(
    autojump_clock: MockClock, serve: Serve, network: Fabric
) -> None:
    crashed, other = await serve(), await serve()
    assert await crashed.call(other, "echo", 1) == 1
    network.fabric.crash(crashed.address)
    with trio.fail_after(60), pytest.raises(NodeUnreachable):
        await crashed.call(other, "echo", 1)


async def test_the_connections_of_a_held_node_that_is_cancelled_break(
    autojump_clock: MockClock, serve: Serve, nursery: trio.Nursery
) -> None:
    caller, held = await serve(), await serve()

    async def end_it() -> None:
        await trio.sleep(0.5)
        held.endpoint.hold()  # type: ignore[attr-defined]
        await trio.sleep(1)  # a ping of the caller is not answered
        await held.tear_down()

    nursery.start_soon(end_it)
    with pytest.raises(ConnectionLost, match="the other side closed it"):
        await caller.call(held, "stay")
    assert trio.current_time() < 2


async def test_a_call_that_comes_as_the_last_handler_of_a_cancelled_node_ends_breaks_nothing(
    serve: Serve, nursery: trio.Nursery
) -> None:
    """In real time the handler and the fabric run in one scheduler pass, in any order."""
    for _ in range(10):
        caller, cancelled, hold = await serve(), await serve(), trio.Event()

        async def end_late(hold: trio.Event) -> None:
            with trio.CancelScope(shield=True):
                await hold.wait()

        async def ask(caller: Peer, called: Peer, method: str, *args: Any) -> None:
            with suppress(TrionetError):  # that of the last handler may be answered
                await caller.call(called, method, *args)

        cancelled.expose(late=functools.partial(end_late, hold), stay=trio.sleep_forever)
        nursery.start_soon(ask, caller, cancelled, "late")
        await wait_all_tasks_blocked(0.001)
        nursery.start_soon(cancelled.tear_down)
        await wait_all_tasks_blocked(0.001)
        nursery.start_soon(ask, caller, cancelled, "stay")
        hold.set()
        await wait_all_tasks_blocked(0.001)


async def test_nonsense_from_a_node_does_not_end_the_attempt_to_reach_it(
    autojump_clock: MockClock, serve: Serve, network: Fabric
) -> None:
    caller, other = await serve(), await serve()
    fabric = network.fabric

    def late(message: Message, _: Random) -> float:
        return 0.0 if message.data == b"nonsense" else 1.0

    with fabric.rule(late):
        link = fabric.new_link()
        for at_s, kind, data in ((0.4, "connect", b""), (0.5, "hello", b"nonsense")):
            message = fabric.new_message(other.address, caller.address, kind, data, trio.current_time(), link)
            fabric.pump.at(trio.current_time() + at_s, fabric.arrive, message)
        assert await caller.call(other, "echo", 1) == 1


async def test_a_stream_whose_reader_fails_has_ended_for_the_observer(serve: Serve, network: Fabric) -> None:
    reader, other = await serve(), await serve()

    async def numbers() -> AsyncGenerator[int]:
        yield 1

    other.router.put("local", SERVICE, {"numbers": Method(numbers)})
    with pytest.raises(ZeroDivisionError):
        async with reader.stream(other, "numbers"):
            raise ZeroDivisionError
    assert network.notes == ["called", "answered"]


@pytest.mark.parametrize("lags_s", [[0.0], [0.0, 0.0], [0.0, 0.5], [1e-300]])
async def test_a_slow_host_handles_its_input_however_short_its_lag_is(
    autojump_clock: MockClock, lags_s: list[float]
) -> None:
    fabric, handled = MemoryFabric(), list[float]()
    host = fabric.endpoint(NodeConfig(), Router())
    for lag_s in lags_s:
        host.add_lag(functools.partial(float, lag_s))
    begun = trio.current_time()
    for _ in range(3):
        host.admit(lambda: handled.append(trio.current_time() - begun))
    await trio.sleep(10)
    assert handled == pytest.approx([sum(lags_s)] * 3)


async def test_a_handler_that_closes_its_own_link_is_cancelled(autojump_clock: MockClock) -> None:
    fabric, ended = MemoryFabric(), trio.Event()

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    def close_and_wait() -> Coroutine[Any, Any, None]:
        for link in list(called._endpoint.transport._open):  # type: ignore[attr-defined]  # noqa: SLF001  a look inside
            link.abort()
        return wait()

    async with open_node(fabric=fabric) as node, open_node(fabric=fabric) as called:
        await called.local.routes.put({"close": close_and_wait}, "probe")
        with pytest.raises(ConnectionLost):
            await node.local.comm.send([], Remote(node=called.address, service="probe", method="close"))
        with trio.fail_after(5):
            await ended.wait()


async def test_the_first_call_takes_a_round_trip_for_the_connection_one_for_the_hellos_and_its_own(
    autojump_clock: MockClock, serve: Serve, network: Fabric
) -> None:
    caller, other = await serve(), await serve()
    with network.fabric.rule(lambda *_: 0.01):
        for round_trips in (3, 1):
            begun = trio.current_time()
            assert await caller.call(other, "echo", 1) == 1
            assert trio.current_time() - begun == pytest.approx(0.02 * round_trips)
