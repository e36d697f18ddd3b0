"""Clusters in one Trio run: each goes its way in virtual time, whatever the other one waits for."""

from __future__ import annotations

import pytest
import trio

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


def test_a_cluster_begins_as_quickly_beside_others_as_alone() -> None:
    assert run(beside_others, seed=1) == pytest.approx(run(alone, seed=1), abs=0.05)
