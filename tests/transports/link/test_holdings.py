"""The bytes that all links of a node hold together: bounded, and the greediest pays."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.link.ends import MIB, Closed, HandPeer, Hold, call, connect, hello, links, transport
from tests.waiting import wait_until
from trionet import ConfigError, ConnectionLost, Node, NodeConfig
from trionet.protocols.link.frames import CALLS, CHUNK_BYTES, REPLIES, Abandon, Chunk, Reply, encode_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Start = Callable[..., Awaitable[Node]]

CONFIG = NodeConfig(max_message_bytes=MIB, max_held_bytes=4 * MIB)
PART = bytes(CHUNK_BYTES)


# ---- the setting


def test_the_default_has_room_for_the_messages_that_are_allowed() -> None:
    assert NodeConfig().held_bytes_limit == 256 * MIB
    assert NodeConfig(max_message_bytes=100_000_000).held_bytes_limit == 800_000_000


@pytest.mark.parametrize("limit", [-1, 0, 1, 4 * 16 * MIB - 1])
def test_a_limit_that_has_no_room_for_what_is_allowed_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match=r"max_held_bytes is at least 4 times max_message_bytes, here 67,108,864"):
        NodeConfig(max_held_bytes=limit)


# ---- links


def held_bytes(node: Node) -> int:
    account = transport(node).context.account
    return account.partial_bytes + account.whole_bytes


async def test_of_links_that_send_parts_only_the_greediest_are_closed_and_others_are_served(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trionet")
    node, other = await start(CONFIG), await start(CONFIG)
    closed = 0

    async def take_up(peer: HandPeer, parts: int) -> None:
        nonlocal closed
        try:
            for number in range(parts):
                await peer.send(Chunk(number % 2, CALLS if number % 2 else REPLIES, False, PART))
        except trio.BrokenResourceError:
            pass
        try:
            await peer.receive()
        except (Closed, trio.BrokenResourceError):
            closed += 1

    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        modest = await stack.enter_async_context(connect(node))
        await modest.send(Chunk(1, 0, False, PART))
        for _ in range(12):
            peer = await stack.enter_async_context(connect(node))
            nursery.start_soon(take_up, peer, 30)
        await wait_until(lambda: closed > 3)
        assert held_bytes(node) <= 4 * MIB
        data = bytes(CONFIG.max_message_bytes // 2)
        assert await call(other, node, "echo", data) == (data,)
        whole = encode_frame(HandPeer.call(7, "echo", data))
        rest = [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]
        await modest.send(Abandon(1), *(Chunk(2, 0, part is rest[-1], part) for part in rest))
        while not isinstance(answer := (await modest.receive_whole())[0], Reply):
            pass
        assert answer == Reply(7, {"$tuple": [data]})
        nursery.cancel_scope.cancel()
    assert "the node's links held more than max_held_bytes, 4,194,304, and this one most of it" in caplog.text
    await wait_until(lambda: held_bytes(node) == 0)


async def test_complete_calls_count_until_they_are_answered(start: Start) -> None:
    hold = Hold()
    node, other = await start(CONFIG, hold=hold.handle), await start(CONFIG)
    data = bytes(MIB // 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, other, node, "hold", data)
        await hold.wait_started()
        assert len(data) < held_bytes(node) < len(data) + 1_000
        hold.release.set()
    assert held_bytes(node) == held_bytes(other) == 0


async def test_short_calls_count_until_they_are_answered(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trionet")
    hold = Hold()
    node = await start(CONFIG, hold=hold.handle)
    async with AsyncExitStack() as stack:
        modest = await stack.enter_async_context(connect(node))
        await modest.send(modest.call(0, "hold", bytes(60_000)))
        await wait_until(lambda: held_bytes(node) > 60_000)
        for _ in range(5):
            peer = await stack.enter_async_context(connect(node))
            await peer.send(*(peer.call(number, "hold", bytes(60_000)) for number in range(20)))
        await wait_until(lambda: "max_held_bytes" in caplog.text)
        assert held_bytes(node) <= 4 * MIB
        hold.release.set()
        assert isinstance(await modest.receive(), Reply)
        await wait_until(lambda: held_bytes(node) == 0)


async def test_short_answers_count_until_they_are_written(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trionet")
    node = await start(CONFIG, make=bytes)
    async with AsyncExitStack() as stack:
        for _ in range(8):
            peer = await stack.enter_async_context(connect(node, hello(), receive_buffer_bytes=4096))
            await peer.send(*(peer.call(number, "make", 60_000) for number in range(200)))
        await wait_until(lambda: "max_held_bytes" in caplog.text)
        assert held_bytes(node) <= 4 * MIB
    await wait_until(lambda: held_bytes(node) == 0)


async def test_answers_count_until_they_are_written(start: Start) -> None:
    node = await start(CONFIG, make=bytes)
    async with connect(node, hello(), receive_buffer_bytes=64 * 1024) as peer:
        await peer.send(*(peer.call(number, "make", 900_000) for number in range(20)))
        await wait_until(lambda: held_bytes(node) >= 900_000)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert held_bytes(node) < 2 * MIB + 100_000  # a share, and the one that went over it: the others wait
        for _ in range(20):
            await peer.receive_whole()
        await wait_until(lambda: held_bytes(node) == 0)


async def test_a_link_alone_that_keeps_to_its_windows_is_never_closed(start: Start) -> None:
    """Both windows full, and answers that wait, with the least limit that is allowed."""
    node, other = await start(CONFIG), await start(CONFIG)
    data = bytes(CONFIG.max_message_bytes - 1_000)
    await call(node, other, "echo")
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(call, node, other, "echo", data)
            nursery.start_soon(call, other, node, "echo", data)
    assert len(links(node)) == len(links(other)) == 1
    assert held_bytes(node) == held_bytes(other) == 0


async def test_calls_on_the_link_that_pays_are_lost_with_that_reason(start: Start) -> None:
    hold = Hold()
    node, other = await start(CONFIG, hold=hold.handle), await start(CONFIG)
    raised = list[Any]()

    async def ask() -> None:
        try:
            await call(node, other, "stay")
        except ConnectionLost as exc:
            raised.append(str(exc))

    await other.local.routes.put({"stay": trio.sleep_forever}, "probe")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_until(lambda: len(links(node)) == 1 and len(links(node)[0].core.outgoing.in_progress) == 1)
        holding = links(node)[0].core._holding  # noqa: SLF001  a look inside
        holding.change(partial=4 * MIB + 1)
    (text,) = raised
    assert "max_held_bytes" in text
