"""The settings of a group: written anywhere, known everywhere, by those that come late, too."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.clusters import Cluster, open_cluster, take
from tests.waiting import wait_until
from trionet import (
    ConfigError,
    DecodeError,
    EncodeError,
    GroupNotFound,
    KeyDoesNotExist,
    MalformedRequest,
    MessageTooLarge,
    Node,
    NodeConfig,
    NodeUnreachable,
    Receipt,
    Remote,
    SettingChanged,
    SettingConflict,
    TemporarilyUnavailable,
    register_type,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock


@register_type
class Limits(msgspec.Struct):
    least: int
    most: float


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


async def _wait_all(nodes: list[Node], items: dict[str, Any], gid: str = "all") -> None:
    """Wait until each node has exactly these settings; removal sets no event that one could wait for."""
    with trio.fail_after(60):
        while [await node.group(gid).settings.items() for node in nodes] != [items] * len(nodes):  # noqa: ASYNC110
            await trio.sleep(0.05)


# ------------------------------------------------------------------------------------------------- writing and reading


async def test_a_setting_holds_at_once_where_it_is_written_and_soon_everywhere(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    receipt = await nodes[3].all.settings.put("limit", 5)
    assert await nodes[3].all.settings.get("limit") == 5
    assert isinstance(receipt, Receipt)
    assert set(receipt.values.values()) == {True}
    assert receipt.errors == {}
    with trio.fail_after(5):
        assert (await receipt.wait_spread()).known == 5
    await _wait_all(nodes, {"limit": 5})


async def test_the_last_writer_wins_and_removal_is_a_write(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5})
    await nodes[1].all.settings.put("limit", 6)
    await _wait_all(nodes, {"limit": 6})
    receipt = await nodes[2].all.settings.del_("limit")
    with trio.fail_after(5):
        await receipt.wait_spread()
    await _wait_all(nodes, {})
    await nodes[0].all.settings.put("limit", 7)
    await _wait_all(nodes, {"limit": 7})


async def test_a_value_is_whatever_travels_in_calls(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    date = datetime(2026, 1, 1, tzinfo=UTC)
    for number, value in enumerate(
        [None, 0, "text", b"b", [1, (2, {3})], {"a": {1: 2}}, math.inf, date, Limits(1, 2.5)]
    ):
        await nodes[0].all.settings.put(f"k{number}", value)
        found = await nodes[1].all.settings.wait(f"k{number}")
        assert found == value
        assert type(found) is type(value)


async def test_a_key_is_any_short_text(autojump_clock: MockClock, cluster: Cluster) -> None:
    settings = (await cluster.start()).all.settings
    keys = ["a", "db/host:port", "предел", " ", "k" * 128, "setting/x"]
    for key in keys:
        await settings.put(key, key)
    assert await settings.items() == {key: key for key in sorted(keys)}


async def test_a_wrong_key_is_refused_with_the_rule(autojump_clock: MockClock, cluster: Cluster) -> None:
    settings = (await cluster.start()).all.settings
    wrong: list[Any] = ["", "k" * 129, "é" * 65, 5, None, b"k", ["k"], "\ud800"]
    for key in wrong:
        for method in (lambda key: settings.put(key, 1), settings.get, settings.del_, settings.wait):
            with pytest.raises(MalformedRequest, match=r"the key .*(text|1 to 128 bytes)"):
                await method(key)


async def test_what_is_not_there_is_an_error_that_says_whose_view_it_is(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    settings = (await cluster.start()).all.settings
    for method in (settings.get, settings.del_):
        with pytest.raises(KeyDoesNotExist, match="the group 'all' has no setting 'limit', as far as this node knows"):
            await method("limit")
    await settings.put("limit", 5)
    await settings.del_("limit")
    for method in (settings.get, settings.del_):
        with pytest.raises(KeyDoesNotExist):
            await method("limit")
    assert await settings.items() == {}


async def test_items_are_in_the_order_of_their_keys_and_belong_to_one_group(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.groups.put("workers", nodes)
    for key in "cab":
        await nodes[0].all.settings.put(key, key)
    await nodes[0].group("workers").settings.put("a", "of the workers")
    assert list(await nodes[0].all.settings.items()) == ["a", "b", "c"]
    assert await nodes[1].group("workers").settings.wait("a") == "of the workers"
    assert await nodes[1].all.settings.wait("a") == "a"


async def test_a_value_that_cannot_travel_or_is_too_long_changes_nothing(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    settings = (await cluster.start()).all.settings
    await settings.put("k", 1)
    with pytest.raises(EncodeError):
        await settings.put("k", object())
    with pytest.raises(MessageTooLarge, match="a value has at most 16,384 bytes"):
        await settings.put("k", bytes(17_000))
    assert await settings.get("k") == 1


async def test_a_full_map_refuses_new_settings_and_says_what_is_full(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    settings = (await cluster.start()).all.settings
    for number in range(1024):
        await settings.put(f"k{number}", number)
    with pytest.raises(MessageTooLarge, match="the replicated map of group 'all' is full: there are 1,024 entries"):
        await settings.put("one more", 1)
    await settings.put("k5", "still fits")


# ------------------------------------------------------------------------------------------------- those that come late


async def test_a_late_node_has_all_settings_within_two_seconds_and_can_wait_for_one(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(5)
    await nodes[1].all.settings.put("limit", 5)
    await trio.sleep(60)
    found: list[Any] = []

    async def on_start(node: Node) -> None:
        with trio.fail_after(2):
            found.append(await node.all.settings.wait("limit"))

    await cluster.start(on_start=on_start, join=[str(nodes[0].address)])
    assert found == [5]


async def test_a_restarted_node_has_its_settings_again(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    await nodes[3].all.settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5})
    address = nodes[3].address
    cluster.kill(nodes[3])
    await trio.sleep(1)
    again = await cluster.start(port=address.port, ip=address.ip, join=[str(nodes[0].address)])
    with trio.fail_after(2):
        assert await again.all.settings.wait("limit") == 5


async def test_settings_live_as_long_as_one_node_does(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5})
    for node in nodes[:2]:
        cluster.kill(node)
    late = await cluster.start(join=[str(nodes[2].address)])
    with trio.fail_after(2):
        assert await late.all.settings.wait("limit") == 5


async def test_a_node_that_is_no_member_of_the_group_writes_and_reads_too(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(4)
    await nodes[0].all.groups.put("workers", nodes[:3])
    await nodes[3].group("workers").settings.put("limit", 5)
    for node in nodes[:3]:
        assert await node.group("workers").settings.wait("limit") == 5
    await nodes[0].group("workers").settings.put("limit", 6)
    await _wait_all(nodes, {"limit": 6}, "workers")


async def test_a_group_without_members_keeps_settings_for_later_ones(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].local.groups.put("workers", [])
    receipt = await nodes[0].group("workers").settings.put("limit", 5)
    assert receipt.values == receipt.errors == {}
    await nodes[0].all.groups.put("workers", [nodes[1]])
    assert await nodes[1].group("workers").settings.wait("limit") == 5


async def test_a_deleted_group_loses_its_settings_and_gets_them_back_from_others(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.groups.put("workers", nodes)
    await nodes[0].group("workers").settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5}, "workers")
    kept = nodes[2].group("workers")
    await nodes[2].local.groups.del_("workers")
    for call in (kept.settings.get("limit"), kept.settings.items(), kept.settings.put("limit", 1)):
        with pytest.raises(GroupNotFound):
            await call
    await nodes[2].local.groups.put("workers", nodes)
    assert await nodes[2].group("workers").settings.wait("limit") == 5


# ------------------------------------------------------------------------------------------------- waiting


async def test_waiting_ends_when_the_setting_is_there_and_costs_nothing_after_cancellation(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    found: list[Any] = []

    async def wait() -> None:
        found.append(await nodes[1].all.settings.wait("limit"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        with trio.move_on_after(1):
            await nodes[1].all.settings.wait("another")
        await nodes[0].all.settings.put("limit", 5)
    assert found == [5, 5, 5]
    assert nodes[1].local.settings._waiting == {}  # noqa: SLF001  nothing may be left


@pytest.mark.parametrize(
    ("end", "error"), [("group", GroupNotFound), ("node", TemporarilyUnavailable), ("cluster", ConfigError)]
)
async def test_waiting_ends_with_the_group_the_node_and_the_cluster(
    autojump_clock: MockClock, cluster: Cluster, end: str, error: type[Exception]
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[1].local.groups.put("workers", nodes)
    settings = nodes[1].group("workers").settings

    async def wait() -> None:
        with pytest.raises(error):
            await settings.wait("limit")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            if end == "group":
                await nodes[1].local.groups.del_("workers")
            elif end == "cluster":
                await nodes[1].leave()
            else:
                nodes[1].stop()


# ------------------------------------------------------------------------------------------------- events


async def test_each_node_has_one_event_for_each_change(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    watched = [node.events() for node in nodes]
    await nodes[0].all.settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5})
    await nodes[1].all.settings.put("limit", 5)  # no change
    await nodes[1].all.settings.put("limit", 6)
    await _wait_all(nodes, {"limit": 6})
    await nodes[2].all.settings.del_("limit")
    await _wait_all(nodes, {})
    for node, events in zip(nodes, watched, strict=True):
        found = await take(events, lambda event: isinstance(event, SettingChanged) and event.is_removed)
        assert [event for event in found if isinstance(event, SettingChanged)] == [
            SettingChanged(
                node=node.address,
                gid="all",
                key="limit",
                value=value,
                is_removed=value is None,
                by=nodes[place].address,
            )
            for place, value in enumerate([5, 6, None])
        ]


async def test_the_losing_value_of_a_conflict_is_in_an_event_of_its_writer_at_least(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(4)
    events = nodes[0].events()
    cluster.network.sides = [{node.address for node in nodes[:2]}, {node.address for node in nodes[2:]}]
    await trio.sleep(0.1)
    with trio.move_on_after(1):
        await nodes[0].all.settings.put("limit", "first")
    with trio.move_on_after(1):
        await nodes[3].all.settings.put("limit", "second")
    cluster.network.sides = []
    await _wait_all(nodes, {"limit": "second"})
    (*_, event) = await take(events, lambda event: isinstance(event, SettingConflict))
    assert event == SettingConflict(
        node=nodes[0].address,
        gid="all",
        key="limit",
        value="second",
        is_removed=False,
        by=nodes[3].address,
        lost="first",
        is_lost_removal=False,
        lost_by=nodes[0].address,
    )
    assert "have written the setting 'limit' of group all without knowing of each other" in caplog.text


async def test_a_value_that_a_node_cannot_decode_breaks_nothing(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(2)
    events = nodes[1].events()
    unknown = msgspec.msgpack.encode({"$type": ["shop:Unknown", {}]})
    with caplog.at_level(logging.WARNING):
        nodes[0].local.replicated.put("all", "setting/odd", unknown)
        await nodes[0].all.settings.put("plain", 1)
        assert await nodes[1].all.settings.wait("plain") == 1
        await wait_until(lambda: "can't be decoded here" in caplog.text)
    for method in (nodes[1].all.settings.get, nodes[1].all.settings.wait):
        with pytest.raises(DecodeError, match="shop:Unknown"):
            await method("odd")
    items = await nodes[1].all.settings.items()
    assert isinstance(items.pop("odd"), DecodeError)
    assert items == {"plain": 1}
    (*_, event) = await take(events, lambda event: isinstance(event, SettingChanged) and event.key == "odd")
    assert isinstance(event, SettingChanged)
    assert isinstance(event.value, DecodeError)


# ------------------------------------------------------------------------------------------------- where it works


async def test_another_node_calls_the_service_of_the_group(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(2)
    put = Remote(node=nodes[1].address, gid="all", service="settings", method="put")
    receipt = await nodes[0].local.comm.send(["limit", 5], put)
    assert isinstance(receipt, Receipt)
    assert await nodes[0].all.settings.wait("limit") == 5
    delete = Remote(node=nodes[1].address, gid="all", service="settings", method="del")
    await nodes[0].local.comm.send(["limit"], delete)
    await _wait_all(nodes, {})


@pytest.mark.parametrize("gid", ["all", "local"])
async def test_a_node_without_a_cluster_says_how_to_start_it(
    autojump_clock: MockClock, cluster: Cluster, gid: str
) -> None:
    settings = (await cluster.start(NodeConfig())).group(gid).settings
    for call in (
        settings.put("limit", 5),
        settings.get("limit"),
        settings.del_("limit"),
        settings.items(),
        settings.wait("limit"),
    ):
        with pytest.raises(ConfigError, match=r"belongs to no cluster: start it with join=\[\] to begin one"):
            await call


async def test_long_values_reach_all_and_those_that_come_late(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(4)
    items = {f"k{number}": bytes([number]) * 16_000 for number in range(15)}
    for number, (key, value) in enumerate(items.items()):
        await nodes[number % 4].all.settings.put(key, value)
    await _wait_all(nodes, items)
    await _wait_all([await cluster.start()], items)


async def test_the_group_local_has_settings_of_its_own_that_stay_there(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].group("local").settings.put("limit", 5)
    await trio.sleep(30)
    assert await nodes[0].group("local").settings.get("limit") == 5
    assert await nodes[1].group("local").settings.items() == {}


async def test_a_node_that_leaves_says_so_and_one_that_joins_again_has_settings(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5})
    await nodes[1].leave()
    with pytest.raises(ConfigError):
        await nodes[1].all.settings.get("limit")
    await nodes[0].all.settings.put("limit", 6)
    await nodes[1].join([nodes[0].address])
    await _wait_all(nodes, {"limit": 6})


async def test_a_node_that_leaves_brings_no_settings_to_the_cluster_that_it_joins_next(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes, other = await cluster.start_many(2), await cluster.start(join=[])
    await nodes[0].all.settings.put("limit", 5)
    await _wait_all(nodes, {"limit": 5})
    await nodes[1].leave()
    await nodes[1].join([other.address])
    await trio.sleep(30)
    assert await nodes[1].all.settings.items() == await other.all.settings.items() == {}
    await nodes[1].leave()
    await nodes[1].join([nodes[0].address])
    with trio.fail_after(2):
        assert await nodes[1].all.settings.wait("limit") == 5


async def test_one_that_waits_for_a_setting_hears_of_a_leave_that_another_node_asked_for(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    leave = Remote(node=nodes[1].address, service="membership", method="leave")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nodes[0].local.comm.send, [], leave)
        with trio.fail_after(60), pytest.raises(ConfigError):
            await nodes[1].all.settings.wait("limit")


async def test_a_first_hop_that_cannot_be_reached_is_in_the_errors_and_the_setting_holds(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    cluster.network.down.add(nodes[1].address)
    receipt = await nodes[0].all.settings.put("limit", 5)
    assert {type(error) for error in receipt.errors.values()} <= {NodeUnreachable, TimeoutError} or receipt.errors
    assert await nodes[0].all.settings.get("limit") == 5
