"""The processors that simulated nodes share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.hosts.processors import Processors
from trionet import Remote
from trionet.simulation import Network, open_cluster, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def live(story: Callable[[Processors], Awaitable[None]]) -> Processors:
    processors = Processors(2, 1.0)
    run(partial(story, processors), seed=1)
    return processors


def test_the_nodes_that_find_no_free_processor_wait_for_the_first_one() -> None:
    async def story(processors: Processors) -> None:
        one, other, third, fourth = (processors.lag_of(name) for name in "abcd")
        assert one() == 1.0
        await trio.sleep(0.25)
        assert (other(), third(), fourth()) == (1.0, 1.75, 2.0)
        await trio.sleep(10)
        assert (third(), fourth(), one()) == (1.0, 1.0, 2.0)

    live(story)


def test_what_has_come_until_a_node_begins_is_handled_together_and_takes_its_time() -> None:
    async def story(processors: Processors) -> None:
        one, other, third = (processors.lag_of(name) for name in "abc")
        assert (one(), other(), third()) == (1.0, 1.0, 2.0)
        await trio.sleep(0.5)
        assert (third(), third()) == (1.5, 1.5)  # it has not begun
        assert one() == 1.5  # after its first input, on the other processor
        await trio.sleep(1.0)
        assert third() == 3.5  # it works on three until 4.0
        assert processors.used_s("c") == 4.0

    live(story)
    assert live(story).used_s("a") == 2.0


def test_a_call_takes_its_input_at_both_ends() -> None:
    async def took_s(input_s: float) -> float:
        processors = Processors(1, input_s)
        async with open_cluster(2, seed=1, network=Network(latency="constant", latency_s=0.001)) as sim:
            for node in sim.nodes:
                sim.fabric.endpoints[node.address].add_lag(processors.lag_of(str(node.address)))
            caller, callee = sim.nodes
            remote = Remote(node=callee.address, service="status", method="get")
            await caller.local.comm.send(["sid"], remote)  # connects
            began = trio.current_time()
            await caller.local.comm.send(["sid"], remote)
            return trio.current_time() - began

    assert run(partial(took_s, 0.0), seed=1) == pytest.approx(0.002)
    assert run(partial(took_s, 0.01), seed=1) >= 0.022  # and other inputs, which come first
