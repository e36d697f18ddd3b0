"""Many connections, and what becomes of them when the node stops."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
import trio

from tests.robustness.wire import (
    CALL,
    MEGABYTE,
    UPGRADE,
    Target,
    Wire,
    check_refused,
    open_target,
    request_bytes,
)
from tests.waiting import DEADLINE_S
from trionet import NodeConfig

# ----------------------------------------------------------------------------------------------------- many connections


def permit_open_files(count: int) -> None:
    """Let this process have so many files open, or skip the test."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            pytest.skip(f"only {hard} open files are permitted here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@pytest.mark.slow
async def test_a_thousand_idle_connections_hold_nobody_up(node: Target) -> None:
    permit_open_files(2_000)
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(node.connect()) for _ in range(1_000)]
        for wire in wires[:100]:
            await wire.exchange(request_bytes(CALL, "[1]"))
        for wire in wires[100:200]:
            await wire.send(b"PUT /local")
        await node.check()
        for wire in wires[:100]:
            assert (await wire.exchange(request_bytes(CALL, "[2]"))).status == 200


async def occupy(wire: Wire) -> None:
    """Have the connection in use from now on: an answer without end is on its way."""
    await wire.send(request_bytes("/local/trouble/flow", "[]"))
    assert await wire.has_more()


@pytest.mark.slow
async def test_when_there_are_too_many_connections_the_longest_idle_gives_way() -> None:
    with open_target(NodeConfig(max_connections=6)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(6)]
            await occupy(wires[0])
            for wire in (*wires[1:], wires[1]):
                assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            async with node.connect() as newcomer:
                assert (await newcomer.exchange(request_bytes(CALL, "[1]"))).status == 200
                assert await wires[2].rest() == b""
                for wire in (newcomer, wires[1], *wires[3:]):
                    assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            for _ in range(20):
                await node.check()
            for _ in range(1_000):  # more than was on its way before
                assert await wires[0].has_more()
                wires[0].discard()
        await node.end()


@pytest.mark.slow
async def test_when_all_connections_are_in_use_a_new_one_is_refused() -> None:
    with open_target(NodeConfig(max_connections=5)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(5)]
            for wire in wires:
                await occupy(wire)
            for _ in range(3):
                assert await node.attack(request_bytes(CALL, "[1]")) == b""
        while not await node.attack(request_bytes("/healthz", method="GET", headers={"Connection": "close"})):
            pass  # until it has noticed that they have gone
        await node.check()
        await node.end()


@pytest.mark.slow
async def test_a_burst_of_connections_leaves_no_more_open_than_permitted() -> None:
    with open_target(NodeConfig(max_connections=10)) as node, trio.fail_after(DEADLINE_S):
        closed = 0
        enough_closed = trio.Event()

        async def hold(sent: bytes) -> None:
            nonlocal closed
            try:
                async with node.connect() as wire:
                    await wire.send(sent)
                    await wire.rest()
            except OSError:
                pass
            closed += 1
            if closed == 90:
                enough_closed.set()

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(hold, (b"", b"GET ", request_bytes(CALL, "[1]"))[number % 3])
            await enough_closed.wait()
            await node.check()
            nursery.cancel_scope.cancel()
        await node.end()


# ------------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.slow
async def test_a_node_stops_quickly_whatever_its_clients_do() -> None:
    with open_target() as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:

            async def connect(sent: bytes, count: int = 3) -> None:
                for _ in range(count):
                    wire = await stack.enter_async_context(node.connect(receive_buffer=4096))
                    await wire.send(sent)

            await connect(b"")
            await connect(b"PUT /loc")
            await connect(request_bytes(CALL, "[1]")[:-1])
            await connect(request_bytes(CALL, b"", headers={"Content-Length": "100000"}))
            await connect(request_bytes("/local/trouble/large", json.dumps([8 * MEGABYTE])) * 4)
            await connect(request_bytes("/local/trouble/flow", "[]"))
            await connect(request_bytes("/local/trouble/wait", "[]"))
            await connect(UPGRADE)
            await connect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            await connect(b"\x00" * 100)
            await node.wait_running(6)
            took_s = await node.end()
    assert took_s < 20  # its grace for calls in progress is 2 s; the rest is for a machine that stalls


@pytest.mark.slow
async def test_idle_connections_do_not_delay_the_end_at_all() -> None:
    with open_target(NodeConfig(stop_grace_s=50.0)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(20)]
            for wire in wires[5:]:
                assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            assert await node.end() < 30
            for wire in wires:
                await wire.rest()


@pytest.mark.slow
async def test_a_stopping_node_answers_the_call_in_progress_and_refuses_new_ones() -> None:
    with open_target(NodeConfig(stop_grace_s=50.0)) as node, trio.fail_after(DEADLINE_S):
        async with node.connect() as wire, node.connect() as busy:
            assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            await busy.send(request_bytes(CALL, "[1, 2, 3]")[:-1])
            await busy.send(b"")
            await node.check()
            async with node.connect() as stopper:
                assert (await stopper.exchange(request_bytes("/local/status/stop", "[]"))).status == 200
            await wire.rest()
            with pytest.raises(OSError, match="refused"):
                await node.ask(CALL, "[]")
            await busy.send(b"]")
            check_refused(await busy.response(), 503)
            await busy.rest()
            node.check_end()
