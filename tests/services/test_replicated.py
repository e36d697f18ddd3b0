"""The replicated maps of whole nodes, in virtual time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.clusters import Cluster, open_cluster
from tests.waiting import wait_until
from trionet import (
    Abort,
    ConfigError,
    DecodeError,
    GroupNotFound,
    MalformedRequest,
    MessageTooLarge,
    Node,
    NodeConfig,
    TemporarilyUnavailable,
)
from trionet.protocols.entries import Entry
from trionet.protocols.hybrid_time import MOST_STAMP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock

    from trionet.protocols.entries import EntryChanged, EntryConflict

KEY = "setting/limit"


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


def _value(node: Node, key: str = KEY) -> bytes | None:
    entry = node.local.replicated.get("all", key)
    return None if entry is None else entry.value


async def test_what_one_node_puts_all_have(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    nodes[2].local.replicated.put("all", KEY, b"5")
    await wait_until(lambda: [_value(node) for node in nodes] == [b"5"] * 5)
    nodes[4].local.replicated.put("all", KEY, None)
    await wait_until(lambda: [_value(node) for node in nodes] == [None] * 5)
    assert all(node.local.replicated.items("all", "") == {} for node in nodes)


async def test_items_are_those_with_the_prefix_in_the_order_of_their_keys(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    node = await cluster.start()
    for key in ("setting/b", "route/x", "setting/a"):
        node.local.replicated.put("all", key, key.encode())
    assert list(node.local.replicated.items("all", "setting/")) == ["setting/a", "setting/b"]


async def test_a_node_that_joins_has_all_within_half_a_second(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(5)
    nodes[0].local.replicated.put("all", KEY, b"5")
    await trio.sleep(30)
    late = await cluster.start()
    await trio.sleep(0.5)
    assert _value(late) == b"5"


async def test_an_entry_that_comes_by_a_call_holds_at_once(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    cluster.network.sides = [{node.address} for node in nodes]
    written = nodes[0].local.replicated.put("all", KEY, b"5")
    nodes[1].local.replicated.merge(written.encoded)
    assert _value(nodes[1]) == b"5"


async def test_handlers_get_the_changes_and_conflicts_of_their_prefix_on_each_node(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    changed: list[tuple[int, str]] = []
    lost: list[tuple[int, bytes | None]] = []

    def note(number: int) -> tuple[Callable[[EntryChanged], None], Callable[[EntryConflict], None]]:
        return (
            lambda event: changed.append((number, event.entry.key)),
            lambda event: lost.append((number, event.loser.value)),
        )

    nodes = await cluster.start_many(2)
    for number, node in enumerate(nodes):
        change, conflict = note(number)
        node.local.replicated.on("a/", change)
        node.local.replicated.on_conflict("a/", conflict)
    for key in ("a/1", "b/1"):
        nodes[0].local.replicated.put("all", key, b"old")
    await wait_until(lambda: changed == [(0, "a/1"), (1, "a/1")])
    cluster.network.sides = [{node.address} for node in nodes]
    nodes[0].local.replicated.put("all", "a/1", b"first")
    await trio.sleep(0.01)
    nodes[1].local.replicated.put("all", "a/1", b"second")
    cluster.network.sides = []
    await wait_until(lambda: (0, b"first") in lost)  # the other node need not have seen what was lost


async def test_a_handler_that_raises_stops_no_other_and_no_protocol(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    node = await cluster.start()
    keys: list[str] = []

    def fail(_: EntryChanged) -> None:
        raise SystemExit("out of beans")

    node.local.replicated.on("a", fail)
    node.local.replicated.on("a/", lambda event: keys.append(event.entry.key))
    with caplog.at_level(logging.ERROR):
        node.local.replicated.put("all", "a/1", b"v")
    assert keys == ["a/1"]
    assert "the change of 'a/1' in group all could not be handled" in caplog.text


@pytest.mark.parametrize("what", ["put", "begin_put", "get", "items", "merge"])
async def test_a_node_without_a_cluster_says_how_to_start_it(
    autojump_clock: MockClock, cluster: Cluster, what: str
) -> None:
    member = await cluster.start()
    encoded = member.local.replicated.put("all", KEY, b"v").encoded
    node = await cluster.start(NodeConfig())
    args: dict[str, tuple[Any, ...]] = {
        "put": ("all", KEY, b"v"),
        "begin_put": ("all", KEY, b"v"),
        "get": ("all", KEY),
        "items": ("all", ""),
        "merge": (encoded,),
    }
    with pytest.raises(ConfigError, match=r"belongs to no cluster: start it with join=\[\]"):
        getattr(node.local.replicated, what)(*args[what])


async def test_wrong_arguments_are_refused(autojump_clock: MockClock, cluster: Cluster) -> None:
    replicated = (await cluster.start()).local.replicated
    with pytest.raises(GroupNotFound):
        replicated.put("nobody", KEY, b"v")
    with pytest.raises(GroupNotFound):
        replicated.get("nobody", KEY)
    for key in ("", "k" * 256, "é" * 128):
        with pytest.raises(MalformedRequest):
            replicated.put("all", key, b"v")
    with pytest.raises(MessageTooLarge, match="is full: a value has at most 16,384 bytes, not 16,385"):
        replicated.put("all", KEY, bytes(16_385))
    for data in (b"", b"\xc1", b"\x90", b"\x91\xa1r", b"\x01" * 100):
        with pytest.raises(DecodeError):
            replicated.merge(data)


async def test_an_entry_at_the_end_of_time_ends_all_writes_with_an_error_that_says_what_to_do(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    replicated = (await cluster.start()).local.replicated
    last = Entry("all", b"0123456789ab", KEY, MOST_STAMP, 0, "127.0.0.1:9", b"v")
    replicated.merge(msgspec.msgpack.encode(last))
    with pytest.raises(Abort, match="Set the clocks of all nodes, and restart all of them at once"):
        replicated.put("all", "setting/other", b"w")
    assert replicated.get("all", KEY) == last
    assert replicated.get("all", "setting/other") is None


async def test_a_stopping_node_refuses(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        node = await cluster.start()
    with pytest.raises(TemporarilyUnavailable):
        node.local.replicated.put("all", KEY, b"v")
