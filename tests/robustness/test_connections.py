"""Many connections, and what becomes of them when the node stops."""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

from tests.robustness.wire import (
    CALL,
    HTTP_2_PREFACE,
    MEGABYTE,
    UPGRADE,
    Target,
    Wire,
    check_refused,
    http_2_request,
    open_target,
    request_bytes,
)
from tests.waiting import DEADLINE_S
from trionet import NodeConfig
from trionet.protocols.link.frames import PREFACE as LINK_PREFACE
from trionet.protocols.link.frames import Hello, Ping, Pong, encode_frame, with_length
from trionet.protocols.link.handshake import greeting

if TYPE_CHECKING:
    from collections.abc import Generator

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


# -------------------------------------------------------------------------------------------------- hostile connections


HALF_SENT = {
    "nothing": b"",
    "a byte": b"P",
    "half a head": b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\n",
    "half a body": request_bytes(CALL, headers={"Content-Length": "1000"}) + b"[",
    "half a chunked body": b"PUT /local/trouble/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n[",
    "an HTTP/2 preface": HTTP_2_PREFACE,
    "half a body in HTTP/2": http_2_request(CALL, b"[", end_stream=False),
    "half a head in HTTP/2": http_2_request(CALL, b"", end_stream=False)[:-5],
    "half a hello": LINK_PREFACE + b"\0",
}


@pytest.fixture(scope="module")
def crowded() -> Generator[Target]:
    with open_target(NodeConfig(max_connections=8)) as node:
        yield node
        node.process.terminate()
        node.check_end()


@pytest.mark.slow
@pytest.mark.parametrize("sent", HALF_SENT.values(), ids=HALF_SENT)
async def test_half_sent_requests_displace_each_other_and_nobody_else(crowded: Target, sent: bytes) -> None:
    node = crowded
    with trio.fail_after(DEADLINE_S):
        await node.wait_running(0)
        async with AsyncExitStack() as stack:

            async def connect() -> Wire:
                return await stack.enter_async_context(node.connect())

            # One after the other: the node may still have connections of an earlier test, and displaces who is silent.
            served = await connect()
            assert (await served.exchange(request_bytes(CALL, "[1]"))).status == 200
            http_2 = await connect()
            await http_2.send(http_2_request(CALL, b"[1]", end_stream=True))
            while b'{"value":' not in await http_2.received():
                pass
            busy = await connect()
            await busy.send(request_bytes("/local/trouble/wait", "[]"))
            link = await connect()
            await link.send(greeting(Hello(None, 10, 65_536, 65_536)))
            assert (await link.received()).startswith(LINK_PREFACE)
            half_sent = []
            for _ in range(30):
                half_sent.append(await connect())
                await half_sent[-1].send(sent)
            for wire in half_sent[:20]:  # the oldest of them
                await wire.rest()
            link.discard()
            await link.send(with_length(encode_frame(Ping(7))))
            while with_length(encode_frame(Pong(7))) not in await link.received():
                pass
            assert (await served.exchange(request_bytes(CALL, "[2]"))).status == 200
            assert (await node.call("count"))[1] == 1


@pytest.mark.slow
async def test_a_request_half_sent_behind_a_whole_one_is_half_sent_all_the_same() -> None:
    with open_target(NodeConfig(max_connections=4)) as node, trio.fail_after(DEADLINE_S):
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(node.connect()) for _ in range(4)]
            for wire in wires:
                assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
            await wires[2].send(b"PUT /loc")
            await wires[3].send(request_bytes(CALL, "[1]")[:-1])
            for _ in range(50):  # until it has read them
                await wires[1].exchange(request_bytes(CALL, "[1]"))
            for _ in range(2):
                newcomer = await stack.enter_async_context(node.connect())
                assert (await newcomer.exchange(request_bytes(CALL, "[1]"))).status == 200
            for wire in wires[2:]:
                await wire.rest()
            for wire in wires[:2]:
                assert (await wire.exchange(request_bytes(CALL, "[1]"))).status == 200
        await node.end()


@pytest.fixture(scope="module")
def impatient() -> Generator[tuple[Target, int]]:
    """A node that waits 0.3 s for its clients, and how many files it has open without any."""
    if not os.path.isdir("/proc"):
        pytest.skip("how many files a process has open is only known on Linux")
    with open_target(NodeConfig(idle_timeout_s=0.3, body_timeout_s=0.3, connect_timeout_s=0.3)) as node:
        folder = f"/proc/{node.process.pid}/fd"
        files = len(os.listdir(folder))
        trio.run(node.ask, CALL, "[1]")  # from the first call on, the watchdog has a timer
        yield node, files + len(_timers(folder))
        node.process.terminate()
        node.check_end()


def _timers(folder: str) -> list[str]:
    found = []
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # the connection of the call, which ends meanwhile
            if os.readlink(f"{folder}/{fd}") == "anon_inode:[timerfd]":
                found.append(fd)
    return found


HTTP_2_RESET = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08"
HTTP_2_PING = b"\0\0\x08\x06\0\0\0\0\0abcdefgh"
UNREAD = request_bytes("/local/trouble/large", json.dumps([8 * MEGABYTE]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        *HALF_SENT.values(),
        request_bytes(CALL, "[1]"),
        request_bytes(CALL, "[1]") + b"PUT /local",
        request_bytes(CALL, "[1]") + request_bytes(CALL, "[1]")[:-1],
        request_bytes("/healthz", method="GET", headers={"Content-Length": "1000"}),
        request_bytes("/nowhere", headers={"Content-Length": "1000"}),
        UPGRADE,
        UPGRADE.replace(b"/healthz", b"/local/trouble/wait"),
        UPGRADE.replace(b"Version: 13", b"Version: 99"),
        UNREAD,
        UNREAD * 4,
        http_2_request("/local/trouble/large", json.dumps([8 * MEGABYTE]).encode(), end_stream=True),
        http_2_request("/local/trouble/large", json.dumps([8 * MEGABYTE]).encode(), end_stream=True, window=0),
        http_2_request("/local/trouble/flow", b"[]", end_stream=True, window=0),
        http_2_request(CALL, b"[1]", end_stream=True, window=0),
        http_2_request("/healthz", b"", end_stream=False),
        http_2_request("/local/trouble/wait", b"[]", end_stream=True) + HTTP_2_RESET,
        http_2_request("/local/trouble/wait", b"[", end_stream=False) + HTTP_2_RESET,
        http_2_request("/healthz", b"", end_stream=False, websocket_version="99"),
        http_2_request("/healthz", b"", end_stream=False, websocket_version="13"),
    ],
    ids=[
        *HALF_SENT,
        "nothing more",
        "half a second head",
        "half a second body",
        "a body that nobody reads",
        "a body for nobody",
        "a WebSocket",
        "a WebSocket for a method",
        "a WebSocket of another version",
        "an answer that it does not read",
        "answers that it does not read",
        "an answer that it does not read, in HTTP/2",
        "an answer for which there is no window",
        "a stream for which there is no window",
        "a short answer for which there is no window",
        "half a body that nobody reads, in HTTP/2",
        "a request that was reset",
        "half a request that was reset",
        "a WebSocket of another version in HTTP/2",
        "a WebSocket in HTTP/2",
    ],
)
async def test_a_client_that_does_nothing_more_is_cut_off(impatient: tuple[Target, int], sent: bytes) -> None:
    node, files = impatient
    with trio.fail_after(DEADLINE_S):
        async with node.connect(receive_buffer=4096) as wire:
            await wire.send(sent)
            await node.ask("/healthz", method="GET")  # it has accepted the other connection before this one
            while await node.open_files() > files:  # noqa: ASYNC110  another process sets no trio.Event
                await trio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (b"PUT /", b"x"),
        (b"PUT / HTTP/1.1\r\n", b"X: y\r\n"),
        (HALF_SENT["half a body"], b" "),
        (HALF_SENT["half a chunked body"], b" "),
        (HTTP_2_PREFACE, HTTP_2_PING),
        (HALF_SENT["half a body in HTTP/2"], HTTP_2_PING),
        (http_2_request("/local/trouble/flow", b"[]", end_stream=True, window=0), HTTP_2_PING),
        (http_2_request("/local/trouble/wait", b"[]", end_stream=True) + HTTP_2_RESET, HTTP_2_PING),
        (LINK_PREFACE + b"\0\0\0\xff", b"x"),
    ],
)
async def test_a_client_that_trickles_on_is_cut_off(impatient: tuple[Target, int], sent: bytes, more: bytes) -> None:
    node, _ = impatient
    with trio.fail_after(DEADLINE_S):
        async with node.connect() as wire, trio.open_nursery() as nursery:
            await wire.send(sent)

            @nursery.start_soon
            async def trickle() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    while True:
                        await node.ask("/healthz", method="GET")  # takes some time
                        await wire.send(more)

            await wire.rest()
