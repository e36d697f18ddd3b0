"""Clusters on real hosts: they notice what they should, and as the simulation predicts."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest
import trio

from tests.hosts.hosts import require_hosts
from tests.hosts.stories import STORIES
from tests.hosts.worlds import Layout, open_real, open_simulated
from tests.security.keys import key_of
from tests.waiting import DEADLINE_S
from trionet.security.key_file import new_key_file
from trionet.simulation import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hosts.worlds import World

pytestmark = pytest.mark.slow

POLL_S = 0.2
ROUNDS = 5
SEEDS = 24


def layout_in(folder: Path, each: int) -> Layout:
    key_file = str(folder / "key")
    new_key_file(key_file, key_of(1))
    return Layout(5, each, key_file)


async def wait_views(world: World, *sides: list[int]) -> None:
    """Wait until the nodes of each of these sides of hosts know exactly each other."""
    with trio.fail_after(DEADLINE_S):
        while True:
            reports = await world.reports()
            views = {name: sorted(report.members) for name, report in reports.items()}
            names = [sorted(name for host in side for name in world.layout.names(host)) for side in sides]
            if all(views[name] == side for side in names for name in side):
                return
            await trio.sleep(POLL_S)


async def test_a_cluster_on_five_hosts_survives_a_death_a_one_way_block_and_a_partition(tmp_path: Path) -> None:
    require_hosts()
    layout = layout_in(tmp_path, 2)
    async with open_real(layout, tmp_path, is_prompt=True) as world:  # the load of other tests is not the subject
        await world.kill_host(4)
        world.mute(3)
        await wait_views(world, [0, 1, 2])
        world.heal()
        await wait_views(world, [0, 1, 2, 3])
        world.part([0], by_route=True)
        await wait_views(world, [1, 2, 3])
        world.heal()
        await wait_views(world, [0, 1, 2, 3])


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("story", STORIES)
def test_what_happens_on_hosts_is_among_what_is_simulated(story: str, tmp_path: Path) -> None:
    require_hosts()
    layout = layout_in(tmp_path, 8)
    simulated = [run(live_simulated, layout, story, seed, seed=seed) for seed in range(SEEDS)]
    real = []
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        real.append(trio.run(live_for_real, layout, story, folder))
    for figure in simulated[0]:
        median = statistics.median(found[figure] for found in real)
        least, most = (end(found[figure] for found in simulated) for end in (min, max))
        assert 0.8 * least <= median <= 1.2 * most, (figure, median, least, most)


async def live_simulated(layout: Layout, story: str, seed: int) -> dict[str, float]:
    async with open_simulated(layout, seed) as world:
        return await STORIES[story](world)


async def live_for_real(layout: Layout, story: str, folder: Path) -> dict[str, float]:
    async with open_real(layout, folder, is_prompt=True) as world:
        return await STORIES[story](world)
