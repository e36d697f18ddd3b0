"""The policy in virtual time; with real processes in tests/test_spawned_processes.py."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.fakes import FakeLauncher
from trionet import (
    ChildEnded,
    ChildGivenUp,
    ChildRestarted,
    Event,
    Launcher,
    MalformedRequest,
    NodeAddress,
    NodeConfig,
    Remote,
    SpawnError,
    open_node,
)
from trionet.launchers.restart import keep_running, pause_s
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from pathlib import Path

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
    assert caplog.messages[-1] == f"the spawned node {address} is not started again after 5 restarts"


# ------------------------------------------------------------------------------------------ launchers that go wrong


WRONG = [
    FileNotFoundError(2, "No such file or directory"),
    RuntimeError("can't start new thread"),
    SystemExit(7),
    ExceptionGroup("a nursery", [OSError(24, "Too many open files")]),
    BaseExceptionGroup("a nursery", [SystemExit(7), ValueError("two at once")]),
    GeneratorExit(),
    asyncio.CancelledError(),
]
"""What a launcher may raise and shouldn't."""


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
async def test_whatever_a_launcher_raises_at_a_restart_is_a_failed_one_counted_and_tried_again(
    autojump_clock: MockClock, wrong: BaseException
) -> None:
    launcher, events = FakeLauncher([(1.0, 0), wrong, (1.0, 0), *[wrong] * 9]), list[Event]()
    await keep_running(launcher, ALWAYS, events.append)
    names = [type(event).__name__ for event in events]
    assert names == ["ChildEnded", "ChildEnded", "ChildRestarted", *["ChildEnded"] * 4, "ChildGivenUp"]
    assert len(launcher.started) == 6
    assert events[1] == ChildEnded(node=NODE, status=1)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (WRONG[0], r"FileNotFoundError: \[Errno 2\] No such file or directory"),
        (WRONG[2], "SystemExit: 7"),
        (WRONG[5], "failed: GeneratorExit$"),
        (WRONG[3], r"OSError: \[Errno 24\] Too many open files"),
        (ExceptionGroup("a nursery", [SpawnError("it rains")]), "^it rains"),
        ((1.0, "an end"), "TypeError|no exit status"),
    ],
)
async def test_whatever_it_raises_at_the_first_start_is_a_spawn_error_with_the_reason(
    autojump_clock: MockClock, wrong: BaseException | tuple[float, str], text: str
) -> None:
    launcher = FakeLauncher([wrong])
    if isinstance(wrong, tuple):
        events = list[Event]()
        await keep_running(launcher, NodeConfig(), events.append)
        assert events == [ChildEnded(node=NODE, status=1)]
    else:
        with pytest.raises(SpawnError, match=text):
            await keep_running(launcher, NodeConfig(), list[Event]().append)


class Hasty:
    """A launcher that returns before the node has booted, or says that it has in other words."""

    def __init__(self, *says: object) -> None:
        self._says = says

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        await trio.lowlevel.checkpoint()
        for word in self._says:
            task_status.started(word)  # type: ignore[arg-type]
        return 3


async def test_what_is_no_launcher_is_refused_when_it_is_registered() -> None:
    async with open_node() as node:
        with pytest.raises(MalformedRequest, match="a launcher has an async method 'start'"):
            node.register_launcher("batch", object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("launcher", "text"),
    [
        (Hasty(), "ended before it had booted: exit status 3"),
        (Hasty("127.0.0.1:80"), "needs the node's address, not '127.0.0.1:80'"),
        (Hasty(None), "needs the node's address, not None"),
    ],
)
async def test_a_launcher_that_breaks_the_rules_is_told_by_a_spawn_error(launcher: Launcher, text: str) -> None:
    async with open_node(fabric=MemoryFabric()) as node:
        node.register_launcher("batch", launcher)
        with pytest.raises(SpawnError, match=re.escape(text)):
            await node.local.status.spawn(NodeConfig(launcher="batch"))


async def test_a_second_started_is_a_failed_launcher_and_no_restart(autojump_clock: MockClock) -> None:
    events = list[Event]()
    address = NodeAddress("127.0.0.1", 9001)
    await keep_running(Hasty(address, address), NodeConfig(), events.append)
    assert events == [ChildEnded(node=NODE, status=1)]


async def test_what_a_launcher_raises_when_it_is_cancelled_does_not_come_out_of_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Clumsy(FakeLauncher):
        async def start(
            self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
        ) -> int:
            async def fail() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    raise LookupError("no such job")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                return await super().start(config, task_status=task_status)

    with trio.fail_after(60):
        async with open_node(fabric=MemoryFabric()) as node:
            node.register_launcher("batch", Clumsy())
            await node.local.status.spawn(NodeConfig(launcher="batch"))
    assert "no such job" in caplog.text


@pytest.mark.slow
async def test_a_node_is_started_again_though_its_spawners_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")
    with trio.fail_after(60):
        async with open_node() as node:
            events = node.events()
            address = await node.local.status.spawn(NodeConfig(restart="always"))
            folder.rmdir()
            await node.local.comm.send([], Remote(node=address, service="status", method="stop"))
            assert await anext(events) == ChildEnded(node=address, status=0)
            assert await anext(events) == ChildRestarted(node=address, restarts=1)
