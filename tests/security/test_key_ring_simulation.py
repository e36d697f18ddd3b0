"""Rotation and rollout with loss, partitions, crashes and full disks between any two steps: nobody is stranded."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.security.ring_nodes import Cluster
from trionet.security.rollout import STEPS


def rotated(seed: int, steps: int = 600) -> Cluster:
    cluster = Cluster(Random(seed))
    cluster.run(steps)
    cluster.heal()
    cluster.check_agreed()
    return cluster


def rolled_out(seed: int, steps: int = 600) -> Cluster:
    cluster = Cluster(Random(seed), rollout=STEPS[0])
    cluster.run(steps, rollout=True)
    cluster.heal()
    for _ in range(len(STEPS)):
        for node in cluster.nodes:
            cluster.step(node)
            cluster.check_nobody_is_stranded()
        cluster.heal()
    assert {node.ring.rollout for node in cluster.nodes} == {STEPS[-1]}
    cluster.check_agreed()
    return cluster


def test_rotation_strands_nobody_in_10_seeds() -> None:
    done = Counter[str]()
    for seed in range(10):
        done.update(rotated(seed).done)
    assert min(done[what] for what in ("install", "use", "retire", "forget", "refused")) > 20


def test_rollout_strands_nobody_in_10_seeds() -> None:
    done = Counter[str]()
    for seed in range(10):
        done.update(rolled_out(seed).done)
    assert done["step"] == 10 * 5 * 3


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_rotation_and_rollout_strand_nobody_in_1000_seeds(first: int) -> None:
    for seed in range(first, first + 50):
        rotated(seed)
        rolled_out(seed)
