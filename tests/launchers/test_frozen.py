"""Processes that are stopped (SIGSTOP) hold up nobody for ever."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.launchers.misfit import SERVICES, ask, sleep_at_start
from tests.waiting import DEADLINE_S
from trionet import ChildEnded, NodeConfig, SpawnError, open_node
from trionet.launchers.base import KILL_AFTER_S

if TYPE_CHECKING:
    from tests.launchers.families import Family

pytestmark = [pytest.mark.slow]

CONFIG = NodeConfig(services=SERVICES, stop_grace_s=0.2)
LONGEST_S = 0.2 + 3 * KILL_AFTER_S + 10
"""The bounds one after the other, and what a busy machine takes."""


async def test_a_frozen_fork_server_is_killed_when_a_spawn_is_given_up_and_the_next_spawn_gets_another(
    family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            events = node.events()
            first = await node.local.status.spawn(CONFIG)
            server = await ask(node, first, "parent")
            os.kill(server, signal.SIGSTOP)
            with trio.fail_after(LONGEST_S):
                with trio.move_on_after(0.1) as scope:
                    await node.local.status.spawn(CONFIG)
                assert scope.cancelled_caught
            assert await anext(events) == ChildEnded(node=first, status=-signal.SIGKILL)
            assert "the fork server does not answer, and is killed" in caplog.text
            second = await node.local.status.spawn(CONFIG)
            assert await ask(node, second, "parent") != server
    assert not family.pids()


async def test_a_spawn_that_waits_for_a_frozen_fork_server_ends_when_that_is_killed() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            server = await ask(node, await node.local.status.spawn(CONFIG), "parent")
            os.kill(server, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:

                async def spawn() -> None:
                    with pytest.raises(SpawnError, match="ended before it had booted: signal 9"):
                        await node.local.status.spawn(CONFIG)

                nursery.start_soon(spawn)
                await trio.testing.wait_all_tasks_blocked(0.05)
                os.kill(server, signal.SIGKILL)


@pytest.mark.parametrize("spawned", [0, 2])
async def test_a_node_whose_fork_server_is_frozen_can_be_closed(family: Family, spawned: int) -> None:
    with trio.fail_after(LONGEST_S + DEADLINE_S):
        async with open_node() as node:
            await node.prewarm()
            (server,) = family.pids()
            for _ in range(spawned):
                await node.local.status.spawn(CONFIG)
            os.kill(server, signal.SIGSTOP)
            node.stop()
            await trio.sleep_forever()
        await family.wait_gone()


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_a_spawn_can_be_given_up_though_what_is_started_for_it_was_frozen_before_it_has_read_anything(
    family: Family, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer_than_a_buffer = [f"/nowhere/{number}/{'x' * 200}" for number in range(5000)]
    monkeypatch.setattr("sys.path", [*sys.path, *longer_than_a_buffer])
    with trio.fail_after(LONGEST_S + DEADLINE_S):
        async with open_node() as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.local.status.spawn, NodeConfig(launcher=launcher))
                (pid,) = await family.wait_for(1)
                os.kill(pid, signal.SIGSTOP)
                nursery.cancel_scope.deadline = trio.current_time() + 0.1
                begun = trio.current_time()
            assert trio.current_time() - begun < LONGEST_S
        await family.wait_gone()


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
@pytest.mark.parametrize("is_booting", [False, True])
async def test_a_frozen_node_is_killed_after_its_grace(family: Family, launcher: str, is_booting: bool) -> None:
    config = NodeConfig(services=SERVICES, stop_grace_s=0.2, launcher=launcher)
    with trio.fail_after(LONGEST_S + DEADLINE_S):
        async with open_node() as node:
            if not is_booting:
                os.kill(await ask(node, await node.local.status.spawn(config), "pid"), signal.SIGSTOP)
            else:
                await node.prewarm()
                servers = family.pids()
                async with trio.open_nursery() as nursery:
                    stuck = NodeConfig(on_start=sleep_at_start, launcher=launcher, stop_grace_s=0.2)
                    nursery.start_soon(node.local.status.spawn, stuck)
                    (pid,) = await family.wait_for(len(servers) + 1) - servers
                    os.kill(pid, signal.SIGSTOP)
                    nursery.cancel_scope.cancel()
                assert family.pids() == servers
        assert not family.pids()
