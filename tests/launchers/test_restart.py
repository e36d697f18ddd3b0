"""The policy in virtual time; with real processes in tests/test_spawned_processes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.fakes import FakeLauncher
from trionet import ChildEnded, ChildGivenUp, ChildRestarted, Event, NodeAddress, NodeConfig, SpawnError, open_node
from trionet.launchers.restart import keep_running, pause_s
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from trio.testing import MockClock

ALWAYS = NodeConfig(restart="always")
ON_FAILURE = NodeConfig(restart="on_failure")
NODE = NodeAddress.of("127.0.0.1:9001")
"""The first node of a `FakeLauncher`."""


@pytest.mark.parametrize(
    ("restarts", "expected"), [(0, 0.1), (1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, 3.2), (6, 5.0), (60, 5.0)]
)
def test_a_pause_doubles_with_each_restart_up_to_five_seconds(restarts: int, expected: float) -> None:
    assert pause_s(restarts) == pytest.approx(expected)


async def test_a_node_that_keeps_crashing_is_started_five_times_more_after_growing_pauses_and_given_up(
    autojump_clock: MockClock,
) -> None:
    launcher, events = FakeLauncher([(0.0, 1)] * 100), list[Event]()
    await keep_running(launcher, ON_FAILURE, events.append)
    assert launcher.pauses() == [0.1, 0.2, 0.4, 0.8, 1.6]
    expected: list[Event] = [ChildEnded(node=NODE, status=1)]
    for restarts in range(1, 6):
        expected += [ChildRestarted(node=NODE, restarts=restarts), ChildEnded(node=NODE, status=1)]
    assert events == [*expected, ChildGivenUp(node=NODE, restarts=5)]


async def test_only_restarts_within_thirty_seconds_count(autojump_clock: MockClock) -> None:
    launcher, events = FakeLauncher([(8.0, 1)] * 50), list[Event]()
    with trio.move_on_after(1000):
        await keep_running(launcher, ON_FAILURE, events.append)
    assert len(launcher.started) == 51
    assert ChildGivenUp not in map(type, events)
    # After a while there are always three restarts within the last 30 s, and so is the pause.
    assert set(launcher.pauses(lambda _: 8.0)[3:]) == {0.8}


async def test_a_sixth_crash_within_thirty_seconds_is_one_too_many_also_after_long_good_service(
    autojump_clock: MockClock,
) -> None:
    launcher, events = FakeLauncher([(3600.0, 1)] + [(4.0, 1)] * 50), list[Event]()
    await keep_running(launcher, ON_FAILURE, events.append)
    assert len(launcher.started) == 6
    assert events[-1] == ChildGivenUp(node=NODE, restarts=5)


async def test_a_node_is_started_again_with_the_port_that_it_got_and_the_rest_of_its_configuration(
    autojump_clock: MockClock,
) -> None:
    launcher = FakeLauncher([(1.0, 1), (1.0, 1)])
    config = NodeConfig(restart="on_failure", services={"counter": "tests.samples:Counter"}, stop_grace_s=7.0)
    with trio.move_on_after(60):
        await keep_running(launcher, config, lambda _: None)
    assert [each.port for each in launcher.configs] == [0, 9001, 9001]
    assert {each.stop_grace_s for each in launcher.configs} == {7.0}
    assert all(each.services for each in launcher.configs)


@pytest.mark.parametrize(
    ("restart", "status", "starts"),
    [
        ("never", 0, 1),
        ("never", 1, 1),
        ("never", -9, 1),
        ("on_failure", 0, 1),
        ("on_failure", 1, 2),
        ("on_failure", -9, 2),
        ("always", 0, 2),
        ("always", 1, 2),
        ("always", -9, 2),
    ],
)
async def test_a_policy_says_after_which_status_a_node_is_started_again(
    autojump_clock: MockClock, restart: str, status: int, starts: int
) -> None:
    launcher, events = FakeLauncher([(1.0, status)]), list[Event]()
    with trio.move_on_after(60):
        await keep_running(launcher, NodeConfig.from_mapping({"restart": restart}), events.append)
    assert len(launcher.started) == starts
    assert events[0] == ChildEnded(node=NODE, status=status)
    assert events[1:] == [ChildRestarted(node=NODE, restarts=1)] * (starts - 1)


async def test_a_node_that_does_not_boot_the_first_time_is_the_spawners_error_and_no_event(
    autojump_clock: MockClock,
) -> None:
    launcher, events = FakeLauncher([SpawnError("no"), (0.0, 0)]), list[Event]()
    with pytest.raises(SpawnError, match="no"):
        await keep_running(launcher, ALWAYS, events.append)
    assert len(launcher.started) == 1
    assert not events


async def test_a_restart_that_fails_counts_as_one_and_says_why(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    launcher, events = FakeLauncher([(0.0, -9), SpawnError("the port is taken"), (0.0, -9)]), list[Event]()
    with trio.move_on_after(60):
        await keep_running(launcher, ON_FAILURE, events.append)
    assert events == [
        ChildEnded(node=NODE, status=-9),
        ChildEnded(node=NODE, status=1),
        ChildRestarted(node=NODE, restarts=2),
        ChildEnded(node=NODE, status=-9),
        ChildRestarted(node=NODE, restarts=3),
    ]
    assert caplog.messages == [f"the spawned node {NODE} could not be started again: the port is taken"]


async def test_a_node_that_is_stopped_on_purpose_is_not_started_again_and_no_event(autojump_clock: MockClock) -> None:
    launcher, events = FakeLauncher(), list[Event]()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(keep_running, launcher, ALWAYS, events.append) == NODE
        nursery.cancel_scope.cancel()
    assert launcher.cancelled == len(launcher.started) == 1
    assert not events


async def test_a_spawner_that_stops_does_not_wait_for_a_pause_to_end(autojump_clock: MockClock) -> None:
    launcher = FakeLauncher([(0.0, 1)] * 5)
    begun = trio.current_time()
    async with open_node(NodeConfig(stop_grace_s=0), fabric=MemoryFabric()) as node:
        node.register_launcher("fake", launcher)
        await node.local.status.spawn(NodeConfig(launcher="fake", restart="always"))
        await trio.sleep(0.2)  # in the middle of the second pause
    assert trio.current_time() - begun == pytest.approx(0.2)
    assert len(launcher.started) == 2


async def test_a_spawner_tells_of_crashes_restarts_and_giving_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    launcher = FakeLauncher([(0.0, -11)] * 6)
    async with open_node(fabric=MemoryFabric()) as node:
        node.register_launcher("fake", launcher)
        events = node.events()
        address = await node.local.status.spawn(NodeConfig(launcher="fake"), restart="on_failure")
        told = [await anext(events) for _ in range(12)]
    assert told[:2] == [ChildEnded(node=address, status=-11), ChildRestarted(node=address, restarts=1)]
    assert told[-1] == ChildGivenUp(node=address, restarts=5)
    assert caplog.messages.count(f"the spawned node {address} ended: signal 11") == 6
    assert caplog.messages[-1] == f"the spawned node {address} was restarted 5 times, and is given up"
