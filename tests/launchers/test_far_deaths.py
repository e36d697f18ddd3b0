"""No node of another machine is left, whatever dies: `ssh` is a script that runs its command here."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask
from tests.launchers.spawner import Wishes, open_spawner, open_spawner_early
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import ChildEnded, NodeConfig, open_node

if TYPE_CHECKING:
    from tests.launchers.families import Family

pytestmark = [pytest.mark.slow]

GONE_S = 5.0
SSH = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
eval "exec $3"
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH, encoding="utf-8")
    (folder / "ssh").chmod(0o755)
    (folder / "trionet-node").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m trionet.cli.node "$@"\n', encoding="utf-8"
    )
    (folder / "trionet-node").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


@pytest.mark.parametrize("depth", [1, 2])
async def test_none_is_left_when_the_spawner_is_killed(family: Family, depth: int) -> None:
    async with open_spawner(Wishes(launcher="ssh:attic", depth=depth)) as (spawner, born):
        assert len(born.pids) == 2 * depth
        spawner.kill()
        assert await family.wait_gone() < GONE_S


@pytest.mark.parametrize("processes", [2, 3])
async def test_nor_when_that_happens_while_they_are_being_started(family: Family, processes: int) -> None:
    async with open_spawner_early(Wishes(launcher="ssh:attic", count=3)) as spawner:
        await wait_until(lambda: len(family.pids()) >= processes)
        spawner.kill()
        assert await family.wait_gone() < GONE_S


async def test_nor_when_event_loops_are_blocked_for_ever_in_every_generation(family: Family, tmp_path: Path) -> None:
    (tmp_path / "handlers").mkdir()
    at_start = tmp_path / "at start"
    block, block_at_start = str(tmp_path / "handlers"), str(at_start)
    wishes = Wishes(launcher="ssh:attic", count=1, depth=3, block=block, block_at_start=block_at_start)
    async with open_spawner(wishes) as (spawner, _):
        spawner.kill()
        assert is_running(int(at_start.read_text(encoding="ascii")))
        assert await family.wait_gone() < GONE_S


async def test_nor_when_a_helper_has_been_stopped_before(family: Family) -> None:
    async with open_spawner(Wishes(launcher="ssh:attic")) as (spawner, born):
        (helper,) = set(map(parent_of, born.pids))
        os.kill(helper, signal.SIGSTOP)
        spawner.kill()
        assert await family.wait_gone() < GONE_S


async def test_nodes_of_a_helper_that_is_killed_end_at_once_and_the_next_spawn_gets_another(family: Family) -> None:
    config = NodeConfig(launcher="ssh:attic", services=SERVICES)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            addresses = [await node.local.status.spawn(config) for _ in range(2)]
            helper = await ask(node, addresses[0], "parent")
            events = node.events()
            os.kill(helper, signal.SIGKILL)
            ended = [await anext(events) for _ in addresses]
            assert {event.node for event in ended} == set(addresses)
            assert all(isinstance(event, ChildEnded) and event.status == -signal.SIGKILL for event in ended)
            await wait_until(lambda: not family.pids())
            again = await node.local.status.spawn(config)
            assert await ask(node, again, "parent") != helper
