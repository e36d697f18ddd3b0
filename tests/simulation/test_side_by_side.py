"""Clusters in one Trio run: each goes its way in virtual time, whatever the other one waits for."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trionet.simulation import Simulation, open_cluster, run


async def converged_s(sim: Simulation) -> float:
    """Return when the last node has learnt of the last other one; fail if anything was lost or late."""
    await trio.sleep(20)
    assert sim.trace is not None
    assert not sim.trace.select("state", what="MemberSuspected")
    assert not sim.trace.select("state", what="OrphanedCall")
    return max(event.at for event in sim.trace.select("state", what="MemberJoined"))


async def alone() -> float:
    async with open_cluster(5, seed=1) as sim:
        return await converged_s(sim)


async def beside_others() -> float:
    async with open_cluster(3, seed=2), open_cluster(2, seed=3), open_cluster(5, seed=1) as sim:
        return await converged_s(sim)


def test_a_cluster_starts_as_quickly_beside_others_as_alone() -> None:
    assert run(beside_others, seed=1) == pytest.approx(run(alone, seed=1), abs=0.05)


async def first_come_first_gone() -> None:
    """Two clusters, of which the first ends before the second."""
    is_open, is_over = trio.Event(), trio.Event()

    async def first() -> None:
        async with open_cluster(1, seed=1):
            is_open.set()
            await is_over.wait()

    async def second() -> None:
        await is_open.wait()
        async with open_cluster(1, seed=2):
            is_over.set()
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        nursery.start_soon(second)


def test_randomness_is_restored_after_the_last_of_several_clusters_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core: Any = trio._core._run  # noqa: SLF001  `deterministic` changes it
    monkeypatch.setattr(core, "_ALLOW_DETERMINISTIC_SCHEDULING", False)
    before = random.getstate()
    trio.run(first_come_first_gone, clock=MockClock(autojump_threshold=0))
    assert not core._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001
    assert random.getstate() == before
