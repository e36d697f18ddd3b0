"""What a node shows about itself."""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.samples import Counter
from trionet import (
    KeyDoesNotExist,
    MalformedRequest,
    MemberForgotten,
    MemberUpdated,
    NodeAddress,
    NodeConfig,
    PreconditionFailed,
    Remote,
    open_node,
)
from trionet.services.log_ring import LogRing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from trionet import Node

TARGET = Remote(service="counter", method="add")


async def test_services_have_their_origin_signature_and_kind() -> None:
    async with open_node() as node:
        await node.local.routes.put(Counter(), "counter")
        methods = {f"{one['gid']}/{one['service']}/{one['method']}": one for one in node.local.inspection.services()}
    assert methods["local/counter/add"]["signature"] == "add(amount: int = 1) -> int"
    assert methods["local/counter/add"]["origin"] == "put"
    assert methods["local/status/get"]["origin"] == methods["all/status/get"]["origin"] == "built in"
    assert methods["local/inspection/watch_events"]["is_stream"]
    assert methods["local/status/get"]["is_read"]
    assert not methods["local/counter/add"]["is_read"]


async def test_the_configuration_is_plain_data_with_defaults() -> None:
    async with open_node(NodeConfig(on_start=started, tags={"role": "a"}, max_threads=7)) as node:
        settings = {one["setting"]: (one["value"], one["default"]) for one in node.local.inspection.config()}
    assert settings["max_threads"] == (7, 40)
    assert settings["tags"] == ({"role": "a"}, {})
    assert "started" in settings["on_start"][0]
    assert settings.keys() == {*NodeConfig.__struct_fields__}


def started(node: Node) -> None:
    del node


async def test_events_are_kept_in_a_small_form_and_watched() -> None:
    async with open_node(NodeConfig(join=[])) as node:
        await node.all.settings.put("small", 5)
        await node.all.settings.put("large", ["x" * 1000] * 10)
        large = node.local.inspection.events()[-1]
        assert (large["event"], large["key"]) == ("SettingChanged", "large")
        assert len(str(large)) < 2000
        async with node.local.comm.stream(
            [1], Remote(node=node.address, service="inspection", method="watch_events")
        ) as items:
            assert (await anext(items))["key"] == "large"
            await node.all.settings.put("later", 6)
            assert (await anext(items))["value"] == 6


async def test_at_most_256_events_are_kept() -> None:
    async with open_node(NodeConfig(join=[])) as node:
        for number in range(300):
            await node.all.settings.put("number", number)
        assert [one["value"] for one in node.local.inspection.events()] == list(range(44, 300))
        assert [one["value"] for one in node.local.inspection.events(2)] == [298, 299]
        assert node.local.inspection.events(0) == []
        with pytest.raises(MalformedRequest, match="last is a number from 0"):
            node.local.inspection.events(-1)


async def test_the_spread_of_a_rumor_is_shown(
    start_memory_nodes: Callable[..., Awaitable[list[Node]]], autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    nodes = await start_memory_nodes(3)
    for node in nodes:
        await node.local.routes.put(Counter(), "counter")
    receipt = await nodes[0].all.gossip.send([1], TARGET)
    found: dict[str, Any] = {}
    with trio.fail_after(60):
        while (found := nodes[0].local.inspection.spread("all", receipt.id))["known"] < 3:  # noqa: ASYNC110  virtual time
            await trio.sleep(0.1)
    assert found == {"known": 3, "members": 3, "estimate": 3.0}
    with pytest.raises(KeyDoesNotExist):
        nodes[1].local.inspection.spread("all", receipt.id)
    with pytest.raises(MalformedRequest, match="hex digits"):
        nodes[0].local.inspection.spread("all", "rumor")


@pytest.fixture
async def start_memory_nodes(
    start_memory_node: Callable[..., Awaitable[Node]],
) -> Callable[[int], Awaitable[list[Node]]]:
    """Start members of one cluster in memory."""

    async def start(count: int) -> list[Node]:
        nodes = [await start_memory_node(NodeConfig(port=8001, join=[]))]
        for number in range(1, count):
            nodes.append(await start_memory_node(NodeConfig(port=8001 + number, join=[str(nodes[0].address)])))
        with trio.fail_after(60):
            while any(len(node.members()) < count for node in nodes):  # noqa: ASYNC110  virtual time
                await trio.sleep(0.1)
        return nodes

    return start


# ---- forget


async def test_the_tags_of_an_event_are_shown_as_they_were_whatever_a_listener_does_to_them(
    start_memory_nodes: Callable[..., Awaitable[list[Node]]], autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    first, second = await start_memory_nodes(2)
    first.listen(lambda event: event.tags.clear() if isinstance(event, MemberUpdated) else None)
    await second.set_tags({"zone": "b"})
    await trio.sleep(2)
    shown = first.local.inspection.events()[-1]
    assert (shown["event"], shown["tags"]) == ("MemberUpdated", {"zone": "b"})


async def test_a_member_that_is_gone_is_forgotten_and_one_that_is_present_is_not(
    start_memory_nodes: Callable[..., Awaitable[list[Node]]], autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    first, second, third = await start_memory_nodes(3)
    with pytest.raises(PreconditionFailed, match="is present"):
        await first.local.membership.forget(second.address)
    await second.leave()
    await trio.sleep(2)
    events = first.events()
    gone = {one["address"]: one["status"] for one in first.local.inspection.members()}
    assert gone[str(second.address)] == "left"
    for node in (first, third):
        assert await node.local.membership.forget(str(second.address)) is True
        assert await node.local.membership.forget(second.address) is False
    assert await anext(events) == MemberForgotten(node=second.address)
    await trio.sleep(60)
    for node in (first, third):
        assert [one["address"] for one in node.local.inspection.members()] == sorted(
            [str(first.address), str(third.address)], key=lambda name: NodeAddress.of(name).sid
        )
    await second.join([first.address])
    with trio.fail_after(60):
        while len(first.members()) < 3:  # noqa: ASYNC110  virtual time
            await trio.sleep(0.1)


async def test_an_unknown_member_is_no_error_and_no_address_is_one() -> None:
    async with open_node(NodeConfig(join=[])) as node:
        assert await node.local.membership.forget("127.0.0.1:1") is False
        with pytest.raises(MalformedRequest, match="not a node address"):
            await node.local.membership.forget("nobody")
        with pytest.raises(PreconditionFailed):
            await node.local.membership.forget(node.address)


# ---- logs


@pytest.fixture
def ring() -> Generator[LogRing]:
    """A ring of its own, in a program that has set up logging, as pytest has."""
    root = logging.getLogger()
    before, level = LogRing.of_process(), root.level
    if before is not None:
        root.removeHandler(before)
    ring = LogRing.of_process()
    assert ring is not None
    assert LogRing.of_process() is ring
    root.setLevel(logging.INFO)
    yield ring
    root.setLevel(level)
    root.removeHandler(ring)


def test_records_are_kept_as_texts_and_no_object_of_theirs_lives_on(ring: LogRing) -> None:
    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    logging.getLogger("shop").info("sold %s", thing)
    try:
        raise ValueError("oops")
    except ValueError:
        logging.getLogger("shop").exception("failed")
    del thing
    gc.collect()
    first, last = ring.latest(2)
    assert (first["level"], first["logger"]) == ("INFO", "shop")
    assert first["text"].startswith("sold <")
    assert last["text"].splitlines()[-1] == "ValueError: oops"
    assert ring.latest(0) == []
    if not [handler for handler in logging.getLogger().handlers if hasattr(handler, "records")]:
        assert seen() is None


def test_a_long_record_is_cut_and_old_ones_go(ring: LogRing) -> None:
    log = logging.getLogger("shop")
    log.info("x" * 10_000)
    assert len(ring.latest(1)[0]["text"]) == 4000
    for number in range(1500):
        log.info("%d", number)
    assert [one["text"] for one in ring.latest(10_000)] == [str(number) for number in range(500, 1500)]


def test_a_record_that_cannot_be_shown_harms_nobody(ring: LogRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handled: list[Any] = []
    monkeypatch.setattr(ring, "handleError", handled.append)
    ring.handle(logging.LogRecord("shop", logging.INFO, "", 1, "%d", ("x",), None))
    assert len(handled) == 1
    assert [one for one in ring.latest(1) if one["text"] == "%d"] == []


def test_where_logging_is_not_set_up_there_is_no_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert LogRing.of_process() is None
    assert logging.getLogger().handlers == []


async def test_logs_are_watched(ring: LogRing) -> None:
    del ring
    log = logging.getLogger("shop")
    async with open_node() as node:
        log.info("before")
        remote = Remote(node=node.address, service="inspection", method="watch_logs")
        async with node.local.comm.stream([1], remote) as items:
            assert (await anext(items))["text"] == "before"
            log.info("now")
            with trio.fail_after(60):
                assert (await anext(items))["text"] == "now"


async def test_a_watcher_is_told_of_records_that_came_too_fast(ring: LogRing, autojump_clock: Any) -> None:
    del autojump_clock
    log = logging.getLogger("shop")
    log.info("before")
    async with aclosing(ring.watch(1)) as records:
        assert (await anext(records))["text"] == "before"
        for number in range(1200):
            log.info("%d", number)
        assert (await anext(records))["text"].startswith("200 records are not shown")
        assert [(await anext(records))["text"] for _ in range(1000)] == [str(number) for number in range(200, 1200)]
