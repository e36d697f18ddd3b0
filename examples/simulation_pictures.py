"""Pictures of simulations: those of docs/pictures.md, drawn into the working directory, or into a folder that is named.

Five nodes live through a partition and a crash; a fan-out meets one node that is cut off; twenty rumors spread among a
hundred nodes. It needs matplotlib, which `pip install 'trionet[plots]'` brings along. It prints::

    members.svg, rate.svg: 5 nodes, 2 faults
    space_time.svg: 3 of the 4 others have answered
    spread.svg: 20 rumors, each at 100 of 100 nodes
    sheet.png: 20 nodes, 11 faults
"""

import logging
import sys
from collections import Counter
from pathlib import Path
from random import Random

import trio
from PIL import Image

import trionet
from trionet import simulation
from trionet.simulation import Crash, Isolate, Partition, Trace
from trionet.simulation.scenarios import anything

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
STATUS = trionet.Remote(service="status", method="get")


async def partition_and_crash() -> Trace:
    """Cut five nodes in two for a while; then crash one, and restart it."""
    schedule = [
        Partition(at_s=5, duration_s=30, sides=[[0, 1], [2, 3, 4]]),
        Crash(at_s=50, duration_s=20, node=3),
    ]
    async with simulation.open_cluster(5, seed=7, faults=schedule) as sim:
        await trio.sleep(85)
    assert sim.trace is not None
    return sim.trace


async def fan_out() -> tuple[Trace, int]:
    """Call all of five nodes, one of which is cut off, and give up after half a second."""
    faults = [Isolate(at_s=2, duration_s=2, node=3)]
    async with simulation.open_cluster(5, seed=8, network="wan", faults=faults) as sim:
        await trio.sleep(2.02)
        with trio.move_on_after(0.5):
            await sim.nodes[0].all.comm.send(["nid"], STATUS)
        await trio.sleep(1)
    assert sim.trace is not None
    answers = sim.trace.select("answer", node="n0")
    return sim.trace, sum(answer.what == "local/status/get" and " " not in answer.detail for answer in answers)


async def rumors() -> Trace:
    """Send rumors from one after another of a hundred nodes."""
    async with simulation.open_cluster(100, seed=3) as sim:
        for _ in range(20):
            await trio.sleep(0.5)
            await sim.nodes[sim.random.randrange(100)].all.gossip.send(["nid"], STATUS)
        await trio.sleep(3)
    assert sim.trace is not None
    return sim.trace


async def all_faults() -> Trace:
    """Let twenty nodes live through faults of all kinds, while one or another sends a rumor each second."""
    async with simulation.open_cluster(20, seed=5, faults=anything(20, 60.0, Random("5 faults"))) as sim:
        while sim.now < 65:
            await trio.sleep(1)
            up = sim.up
            await up[sim.random.randrange(len(up))].all.gossip.send(["nid"], STATUS)
    assert sim.trace is not None
    return sim.trace


def begun(trace: Trace) -> int:
    """Return how many faults of the schedule have begun."""
    return sum(event.what.endswith("begins") for event in trace.select("fault"))


logging.getLogger("trionet").setLevel(logging.CRITICAL)

trace = simulation.run(partition_and_crash, seed=7)
simulation.draw(trace, FOLDER / "members.svg", ["members"])
simulation.draw(trace, FOLDER / "rate.svg", ["rate"])
print(f"members.svg, rate.svg: 5 nodes, {begun(trace)} faults")

trace, answers = simulation.run(fan_out, seed=8)
simulation.draw(trace, FOLDER / "space_time.svg", ["space_time"])
print(f"space_time.svg: {answers} of the 4 others have answered")

trace = simulation.run(rumors, seed=3)
simulation.draw(trace, FOLDER / "spread.svg", ["spread"])
reached = Counter(event.detail for event in trace.select("rumor"))
print(f"spread.svg: {len(reached)} rumors, each at {min(reached.values())} of 100 nodes")

trace = simulation.run(all_faults, seed=5)
simulation.draw(trace, FOLDER / "sheet.png")
Image.open(FOLDER / "sheet.png").convert("RGB").quantize().save(FOLDER / "sheet.png")  # a third as long
print(f"sheet.png: 20 nodes, {begun(trace)} faults")
