"""Clients that go away, or are slow: the others don't notice, and handlers that nobody waits for are cancelled."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.robustness.wire import CALL, MEGABYTE, Target, check_refused, open_target, request_bytes, ways_to_go
from tests.waiting import DEADLINE_S
from trionet import NodeConfig

only_on_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")


# ---------------------------------------------------------------------------------------------- clients that disconnect


@ways_to_go
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"P",
        b"PUT /local/trouble/e",
        b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\nContent-Len",
        request_bytes(CALL, "[1, 2, 3]")[:-1],
        request_bytes(CALL, headers={"Content-Length": "1000"}),
        request_bytes(CALL, b"5\r\n[1, 2", headers={"Transfer-Encoding": "chunked", "Content-Length": ""}).replace(
            b"Content-Length: \r\n", b""
        ),
        request_bytes(CALL, "[1]") * 10,
    ],
    ids=["nothing", "a byte", "the first line", "the headers", "the body", "no body", "a chunk", "whole requests"],
)
async def test_a_client_that_disconnects_halfway_harms_nobody(node: Target, sent: bytes, how: str) -> None:
    for _ in range(5):
        async with node.connect() as wire:
            await wire.send(sent)
            wire.vanish(how)


@ways_to_go
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_handler_is_cancelled_when_its_client_goes_away(node: Target, how: str, method: str) -> None:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(node.connect()) for _ in range(3)]
        for wire in wires:
            await wire.send(request_bytes("/local/trouble/wait", "[]", method=method))
        await node.wait_running(3)
        wires[0].vanish(how)
        await node.wait_running(2)
        for wire in wires[1:]:
            wire.vanish(how)
    await node.wait_running(0)


@ways_to_go
async def test_a_stream_ends_when_its_client_goes_away(node: Target, how: str) -> None:
    async with node.connect(receive_buffer=4096) as wire:
        await wire.send(request_bytes("/local/trouble/flow", "[]"))
        await node.wait_running(1)
        wire.vanish(how)
    await node.wait_running(0)


async def test_a_client_that_closes_its_sending_side_alone_is_taken_to_have_gone(node: Target) -> None:
    """HTTP can't tell the two apart: a handler in progress is cancelled, and an answer that was ready is still sent."""
    async with node.connect() as wire:
        await wire.send(request_bytes("/local/trouble/wait", "[]"))
        await node.wait_running(1)
        await wire.stream.send_eof()
        await node.wait_running(0)


@only_on_linux
@pytest.mark.slow
async def test_a_client_that_has_gone_leaves_nothing_open(node: Target) -> None:
    await node.check()
    before = await node.open_files()
    for sent in (b"", b"PUT /lo", request_bytes(CALL, "[1]"), request_bytes(CALL, "[1]")[:-1]):
        for _ in range(50):
            async with node.connect() as wire:
                await wire.send(sent)
    for _ in range(50):
        async with node.connect() as wire:
            assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
        async with node.connect() as wire:
            await wire.send(request_bytes(CALL, "[1]"))
            await wire.stream.send_eof()
            await wire.rest()
    while await node.open_files() > before + 3:
        await node.check()


# --------------------------------------------------------------------------------------------------------- slow clients


@pytest.mark.slow
async def test_a_client_that_dribbles_is_served_in_the_end_and_holds_nobody_up(node: Target) -> None:
    """Between its pieces the node serves others, so that the pieces do arrive one by one."""
    async with node.connect() as wire:
        for byte in request_bytes(CALL, "[1, 2, 3]"):
            await wire.send(bytes([byte]))
            assert await node.call("echo", byte) == [[byte], {}]
        assert (await wire.response()).json() == {"value": [[1, 2, 3], {}]}


@pytest.mark.slow
async def test_clients_that_do_not_read_their_answers_hold_nobody_up(node: Target) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(10):
            wire = await stack.enter_async_context(node.connect(receive_buffer=4096))
            await wire.send(request_bytes("/local/trouble/large", json.dumps([4 * MEGABYTE])) * 5)
        for _ in range(20):
            await node.check()


@pytest.mark.slow
async def test_a_slow_reader_gets_its_whole_answer(node: Target) -> None:
    async with node.connect(receive_buffer=4096) as wire:
        await wire.send(request_bytes("/local/trouble/large", json.dumps([4 * MEGABYTE])))
        await node.check()
        response = await wire.response()
    assert response.json() == {"value": "x" * (4 * MEGABYTE)}


@pytest.mark.slow
async def test_a_head_that_does_not_come_to_its_end_is_cut_off() -> None:
    with open_target(NodeConfig(idle_timeout_s=0.5)) as node, trio.fail_after(DEADLINE_S):
        for sent in (b"", b"P", b"PUT /local/trouble/e", request_bytes(CALL, "[1]")):
            async with node.connect() as wire:
                await wire.send(sent)
                await wire.rest()
        async with node.connect() as wire, trio.open_nursery() as nursery:  # each byte alone is no sign of life

            @nursery.start_soon
            async def dribble() -> None:
                try:
                    await wire.send(b"PUT / HTTP/1.1\r\nX: ")
                    while True:
                        await wire.send(b"x")
                        await node.check()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

            await wire.rest()
        await node.check()
        await node.end()


@pytest.mark.slow
async def test_a_client_that_reads_nothing_of_its_answer_is_cut_off() -> None:
    with open_target(NodeConfig(idle_timeout_s=0.5)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            for _ in range(5):
                wire = await stack.enter_async_context(node.connect(receive_buffer=4096))
                await wire.send(request_bytes("/local/trouble/flow", "[]"))
            while await node.call("count") != [5, 0]:
                pass
            await node.check()
        await node.end()


@pytest.mark.slow
async def test_a_body_that_does_not_come_to_its_end_is_refused() -> None:
    with open_target(NodeConfig(body_timeout_s=0.5)) as node, trio.fail_after(DEADLINE_S):
        async with node.connect() as wire:
            await wire.send(request_bytes(CALL, b"[1", headers={"Content-Length": "1000"}))
            check_refused(await wire.response(), 408)
        await node.check()
        await node.end()
