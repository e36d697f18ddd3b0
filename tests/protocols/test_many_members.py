"""What very many members that all know each other cost: at rest, and in memory."""

from __future__ import annotations

import gc
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

import pytest

from benchmarks.gossip_membership import rest_figures
from benchmarks.memory import memory
from trionet.profiles import LAN
from trionet.protocols.swim import Swim

KNOWN_BYTES = 160


def members(count: int) -> list[Swim]:
    """Return so many members, each with a view of all."""
    names = [f"10.1.{index // 250}.{index % 250}:8080" for index in range(count)]
    swims = [Swim(name, LAN, Random(index), 0.0, boot_id=index + 1) for index, name in enumerate(names)]
    own = [swim.own for swim in swims]
    for swim in swims:
        swim.assume(own, 0.0)
    return swims


def bytes_for_known(count: int) -> float:
    """Return the memory for each member in each view, without what each node has once."""
    tracemalloc.start()
    try:
        alone = [members(1) for _ in range(count)]
        once, _ = tracemalloc.get_traced_memory()
        together = members(count)
        both, _ = tracemalloc.get_traced_memory()
        return (both - 2 * once) / (len(alone) * len(together))
    finally:
        tracemalloc.stop()


def test_a_known_member_takes_few_bytes_of_a_view() -> None:
    assert bytes_for_known(100) <= KNOWN_BYTES


def resident_bytes_for_known(count: int) -> float:
    """Return the same as `bytes_for_known`, with all that the allocator needs; for a process of its own."""
    gc.disable()
    members(2)
    before = memory()["rss"]
    kept = members(count)
    return (memory()["rss"] - before) / len(kept) ** 2


@pytest.mark.soak
@pytest.mark.slow
def test_three_thousand_members_cost_each_what_a_hundred_do() -> None:
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        few, many = (pool.submit(rest_figures, 0, count, 20.0, driven=count).result() for count in (100, 3_000))
        assert many.messages == pytest.approx(few.messages, rel=0.1)
        assert many.sent_bytes == pytest.approx(few.sent_bytes, rel=0.1)
        found = [pool.submit(resident_bytes_for_known, count).result() for count in (500, 1_000, 3_000)]
        assert max(found) <= KNOWN_BYTES, found
