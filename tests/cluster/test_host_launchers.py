"""How nodes of several hosts start: few logins at once, one node first, and the others join it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from trionet import NodeAddress, NodeConfig, SpawnError, SSHLauncher
from trionet.cli.cluster.host_launchers import HostLauncher, Running

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeHost(SSHLauncher):
    """A host whose login and boots take time, and may fail.

    Attributes:
        configs: those of the nodes that were started, in order.
        logging_in: how many nodes wait for the login now.
        logins: how many were begun.
        fails: ``login`` or ``boot``, if that fails.
    """

    def __init__(self, number: int, *, login_s: float = 1.0, boot_s: float = 1.0, fails: str = "") -> None:
        super().__init__(f"host{number}")
        self.number = number
        self.configs: list[NodeConfig] = []
        self.logging_in = 0
        self.begun: list[float] = []
        self.logins, self.fails = 0, fails
        self._login_s, self._boot_s = login_s, boot_s

    async def connect(self) -> None:
        self.logging_in += 1
        self.logins += 1
        try:
            await trio.sleep(self._login_s)
            if self.fails == "login":
                raise SpawnError("no route to host")
        finally:
            self.logging_in -= 1

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        self.configs.append(config)
        port = 7000 + len(self.configs)
        self.begun.append(trio.current_time())
        await trio.sleep(self._boot_s)
        if self.fails == "boot":
            raise SpawnError("the port is in use")
        task_status.started(NodeAddress(f"10.0.0.{self.number}", port))
        await trio.sleep_forever()
        raise AssertionError


async def start_all(
    hosts: list[FakeHost], nodes: int, then: Callable[[], None] = lambda: None, config: NodeConfig | None = None
) -> list[NodeAddress]:
    """Start some nodes of each host; return the addresses of those that have booted, and stop them."""
    running, booted = Running(), list[NodeAddress]()
    launchers = [HostLauncher(host, f"host{host.number}", running) for host in hosts]

    async def start_one(launcher: HostLauncher) -> None:
        with suppress(SpawnError):
            booted.append(await nursery.start(launcher.start, config or NodeConfig(join=[])))
        left.pop()
        if not left:
            then()
            nursery.cancel_scope.cancel()

    left = [None] * (len(hosts) * nodes)
    async with trio.open_nursery() as nursery:
        for launcher in launchers:
            for _ in range(nodes):
                nursery.start_soon(start_one, launcher)
    assert not running.seeds(), "they have been stopped"
    return booted


async def test_at_most_eight_hosts_are_logged_in_to_at_once_however_many_nodes_they_have(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hosts, most, shared = [FakeHost(number) for number in range(30)], 0, 0

    async def watch() -> None:
        nonlocal most, shared
        while True:
            most = max(most, sum(bool(host.logging_in) for host in hosts))
            shared = max(shared, *(host.logging_in for host in hosts))
            await trio.sleep(0.25)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        assert len(await start_all(hosts, 5)) == 150
        nursery.cancel_scope.cancel()
    assert (most, shared) == (8, 5), "the nodes of a host wait for its login together"


async def test_one_node_starts_first_and_all_others_join_it(autojump_clock: trio.testing.MockClock) -> None:
    hosts = [FakeHost(number) for number in (1, 2, 3)]
    await start_all(hosts, 3)
    configs = [config for host in hosts for config in host.configs]
    (first,) = [config for config in configs if not config.join]
    of_first = next(host for host in hosts if first in host.configs)
    address = f"10.0.0.{of_first.number}:7001"
    assert all(config is first or address in (config.join or []) for config in configs)


async def test_a_host_that_can_t_be_reached_keeps_no_other_waiting(autojump_clock: trio.testing.MockClock) -> None:
    hosts = [FakeHost(1, login_s=10.0, fails="login"), FakeHost(2), FakeHost(3)]
    assert {address.ip for address in await start_all(hosts, 2)} == {"10.0.0.2", "10.0.0.3"}
    assert max(begun for host in hosts[1:] for begun in host.begun) < trio.current_time() - 5


async def test_if_the_first_node_does_not_boot_the_next_is_the_first(autojump_clock: trio.testing.MockClock) -> None:
    hosts = [FakeHost(1, login_s=0.5, fails="boot"), FakeHost(2), FakeHost(3)]
    assert len(await start_all(hosts, 2)) == 4
    begun = [config for host in hosts[1:] for config in host.configs if not config.join]
    assert len(begun) == 1


async def test_all_start_at_once_where_there_is_a_cluster_to_join(autojump_clock: trio.testing.MockClock) -> None:
    hosts = [FakeHost(number) for number in (1, 2)]
    await start_all(hosts, 2, config=NodeConfig(join=["10.0.0.9:7000"]))
    assert trio.current_time() < 3 + hosts[0].begun[0]
    assert {begun for host in hosts for begun in host.begun} == {hosts[0].begun[0]}
    assert all((config.join or [""])[0] == "10.0.0.9:7000" for host in hosts for config in host.configs)


async def test_a_node_that_is_started_again_joins_those_that_run(autojump_clock: trio.testing.MockClock) -> None:
    hosts, running = [FakeHost(number) for number in (1, 2)], Running()
    launchers = [HostLauncher(host, f"host{host.number}", running) for host in hosts]
    async with trio.open_nursery() as others:
        await others.start(launchers[1].start, NodeConfig(join=[]))
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                await nursery.start(launchers[0].start, NodeConfig(join=[]))
                nursery.cancel_scope.cancel()
        others.cancel_scope.cancel()
    assert [config.join for config in hosts[0].configs] == [["10.0.0.2:7001"]] * 2


async def test_a_host_of_a_running_cluster_that_refuses_logins_is_tried_until_it_is_back(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    host, running = FakeHost(1, fails="login"), Running()
    running.have_all_started = True
    launcher = HostLauncher(host, "host1", running)
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def come_back() -> None:
            await trio.sleep(300)
            host.fails = ""

        nursery.start_soon(come_back)
        await nursery.start(launcher.start, NodeConfig(join=[]))
        assert 300 < trio.current_time() - begun < 335
        nursery.cancel_scope.cancel()
    assert 10 < host.logins < 16, "it backs off"
    assert "host1 can't be reached, and is tried again: no route to host" in caplog.text


def test_seeds_are_of_as_many_hosts_as_possible() -> None:
    running = Running()
    for number in range(20):
        running.put(NodeAddress("10.0.0.1", 7000 + number), "one")
    running.put(NodeAddress("10.0.0.2", 7000), "two")
    for have_all_started, count in ((False, 3), (True, 8)):
        running.have_all_started = have_all_started
        seeds = running.seeds()
        assert len(seeds) == count
        assert "10.0.0.2:7000" in seeds


@pytest.mark.parametrize("boot_s", [1000.0, 25.0])
async def test_a_node_that_hangs_holds_up_only_itself_and_joins_the_others_when_it_is_started_again(
    autojump_clock: trio.testing.MockClock, boot_s: float
) -> None:
    hangs = FakeHost(1, login_s=0.5, boot_s=boot_s)
    others = [FakeHost(2), FakeHost(3)]
    begun = trio.current_time()
    with trio.move_on_after(900):
        await start_all([hangs, *others], 2)
    alone, *again = hangs.configs
    assert not alone.join
    assert [bool(config.join) for config in again] == [True, True], "its nodes are started again, to join"
    assert max(host.begun[-1] for host in (hangs, *others)) - begun < 15
    assert sum(not config.join for host in others for config in host.configs) == 1, "of which one began the cluster"


async def test_while_all_hang_one_node_of_each_host_starts_alone_and_the_first_to_boot_is_joined_by_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hosts = [FakeHost(number, boot_s=35.0) for number in (1, 2, 3)]
    booted = await start_all(hosts, 2)
    assert sorted({address.ip for address in booted}) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert len(booted) == 6
    assert [sum(not config.join for config in host.configs) for host in hosts] == [1, 1, 1]
    assert trio.current_time() < 1 + 35 + 35 + 1


async def test_a_node_that_boots_at_the_moment_that_another_one_has_is_started_again_and_reported_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hosts = [FakeHost(1, login_s=0.5, boot_s=15.0), FakeHost(2, boot_s=5.0)]
    booted = await start_all(hosts, 1)
    assert sorted(address.ip for address in booted) == ["10.0.0.1", "10.0.0.2"]
    (one, other) = (host.configs for host in hosts)
    assert sorted([len(one), len(other)]) == [1, 2]


@pytest.mark.parametrize("which", ["rem", "give_up"])
async def test_a_cluster_of_which_nobody_runs_any_more_begins_again_with_one_node(which: str) -> None:
    running = Running()
    address = NodeAddress("10.0.0.1", 7000)
    scope = await running.wait_turn("one")
    assert scope is not None
    if which == "rem":
        running.put(address, "one", scope)
        assert await running.wait_turn("two") is None
        running.rem(address)
    else:
        running.give_up("one", scope)
    assert await running.wait_turn("one") is not None
    with trio.move_on_after(0.01) as waiting:
        await running.wait_turn("two")
    assert waiting.cancelled_caught
