"""The pictures of docs/protocols.md, drawn from simulated runs: a probe, a suspicion, a rumor.

Each is an SVG that is written by hand, from the trace of a run with a fixed seed. They go into the working directory,
or into a folder that is named: ``python examples/protocol_pictures.py docs/pictures/protocols``. It prints::

    probe.svg: ack, call, indirect_ack, ping, ping_req
    suspicion.svg: ... times suspected, 4 times trusted again, 4 times held failed
    rumor.svg: 30 of 30 nodes after ... ms; ... copies pushed, ... copies again, ... copies pulled
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

import trionet
from trionet import simulation
from trionet.simulation import Crash, Network, Pause, Trace
from trionet.simulation.pictures.arrows import Arrow, arrows_of
from trionet.simulation.pictures.look import Colour
from trionet.transports.memory.rules import DROP

if TYPE_CHECKING:
    from random import Random

    from trionet.transports.memory.rules import Message

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
WIDTH, LEFT, RIGHT = 760, 64, 24
WAYS = {"pushed": Colour.BLUE, "again": Colour.GREY, "pulled": Colour.PURPLE}
SEED = 4
LATENCY_S = 0.08
TINY_S = 1e-9
STATES = {"MemberTrusted": Colour.GREEN, "MemberSuspected": Colour.YELLOW, "MemberFailed": Colour.VERMILLION}


class Canvas:
    """An SVG whose horizontal axis is time."""

    def __init__(self, height: int, since: float, until: float, unit: float, name: str) -> None:
        self.height, self.since, self.until = height, since, until
        self.lines: list[str] = []
        bottom = height - 40
        step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 1, 2, 5, 10) if (until - since) / size <= 12)
        for number in range(int((until - since) / step) + 1):
            x = self.x(since + number * step)
            self.line(x, bottom, x, bottom + 5, Colour.GREY)
            self.text(x, bottom + 19, f"{number * step * unit:g}", 'text-anchor="middle"')
        self.text(WIDTH - RIGHT, bottom + 35, name, 'text-anchor="end"')

    def x(self, at: float) -> float:
        """Return the place of a time."""
        share = (min(at, self.until) - self.since) / (self.until - self.since)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> None:
        """Draw a line."""
        self.lines.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" {more}/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.6) -> None:
        """Draw an arrow."""
        self.line(x1, y1, x2, y2, colour, f'stroke-width="{width}" marker-end="url(#a{colour[1:]})"')

    def bar(self, since: float, until: float, y: float, colour: str) -> None:
        """Draw a bar from one time to another."""
        width = round(self.x(until) - self.x(since), 1)
        self.lines.append(f'<rect x="{self.x(since)}" y="{y - 8}" width="{width}" height="16" fill="{colour}"/>')

    def dot(self, at: float, y: float, colour: str) -> None:
        """Draw a dot."""
        self.lines.append(f'<circle cx="{self.x(at)}" cy="{y}" r="3.5" fill="{colour}"/>')

    def text(self, x: float, y: float, text: str, more: str = "") -> None:
        """Write a text."""
        self.lines.append(f'<text x="{x}" y="{y}" {more}>{escape(text)}</text>')

    def save(self, name: str) -> None:
        """Write the file."""
        markers = "".join(
            f'<marker id="a{colour[1:]}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
            for colour in Colour
        )
        size = f'viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
        background = f'<rect width="{WIDTH}" height="{self.height}" rx="6" fill="#FFF"/>'
        text = "\n".join([head, f"<defs>{markers}</defs>", background, *self.lines, "</svg>", ""])
        (FOLDER / name).write_text(text, encoding="utf-8")


class Reader:
    """A rule of the network that notes the kinds within the datagrams by their numbers, and drops some."""

    def __init__(self, *unreached: trionet.NodeAddress) -> None:
        self.kinds: dict[int, str] = {}
        self.unreached = set(unreached)

    def __call__(self, message: Message, _: Random) -> float | None:
        """Note a message; drop a datagram between the two that can't reach each other by UDP."""
        if message.kind != "datagram":
            return None
        self.kinds[message.number] = " ".join(each[0] for each in msgspec.msgpack.decode(message.data)[2])
        return DROP if {message.source, message.target} == self.unreached else None


def lanes(canvas: Canvas, names: list[str], top: int, gap: int) -> dict[str, int]:
    """Draw a line for each node; return their heights."""
    heights = {name: top + gap * index for index, name in enumerate(names)}
    for name, y in heights.items():
        canvas.text(LEFT - 10, y + 4, name, 'text-anchor="end"')
        canvas.line(LEFT, y, WIDTH - RIGHT, y, Colour.GREY, 'stroke-opacity="0.4"')
    return heights


# ------------------------------------------------------------------------------------------------------------- a probe


async def run_probe() -> tuple[Trace, Reader]:
    """Lose all datagrams between n0 and n2, and nothing else."""
    network = Network(latency="constant", latency_s=LATENCY_S)
    async with simulation.open_cluster(4, seed=SEED, network=network) as sim:
        await trio.sleep(1)
        reader = Reader(sim.nodes[0].address, sim.nodes[2].address)
        with sim.rule(reader):
            await trio.sleep(6)
    assert sim.trace is not None
    return sim.trace, reader


def kinds_of(trace: Trace, reader: Reader) -> dict[Arrow, str]:
    """Return what each message on the network carries."""
    numbers = {(event.node, event.peer, event.what, event.at): event.number for event in trace.select("send")}
    arrows = arrows_of(trace)
    return {arrow: reader.kinds.get(numbers[arrow[0], arrow[1], arrow[2], arrow[3]], arrow.kind) for arrow in arrows}


def of_probe(kinds: dict[Arrow, str]) -> tuple[float, dict[Arrow, str]]:
    """Return the begin of the probe of n2 by n0, and its messages: of the others those that its question has caused."""
    own = {arrow: kind for arrow, kind in kinds.items() if (arrow.source, arrow.target) == ("n0", "n2")}
    begin = next(arrow.sent_at for arrow, kind in own.items() if arrow.kind == "datagram" and kind == "ping")
    asking = [arrow for arrow, kind in kinds.items() if kind == "ping_req" and arrow.source == "n0"]
    asked = next(arrow.sent_at for arrow in asking if arrow.sent_at > begin)
    hops = {"ping": 1, "call": 1, "reply": 2, "ack": 2, "indirect_ack": 3}  # after how many latencies each is sent
    return begin, {
        arrow: kind
        for arrow, kind in kinds.items()
        if (arrow in own and begin <= arrow.sent_at <= asked + TINY_S and kind in ("ping", "call"))
        or (abs(arrow.sent_at - asked) < TINY_S and kind == "ping_req")
        or (kind in hops and arrow.target != "n2" and abs(arrow.sent_at - asked - hops[kind] * LATENCY_S) < TINY_S)
        or (kind == "ping" and arrow not in own and abs(arrow.sent_at - asked - LATENCY_S) < TINY_S)
    }


def draw_probe() -> None:
    """Draw the probe of n2 by n0: pings that are lost, the question to others, and the ping by a connection."""
    begin, messages = of_probe(kinds_of(*simulation.run(run_probe, seed=SEED)))
    canvas = Canvas(330, begin, begin + 0.86, 1000, "milliseconds after the first ping")
    heights = lanes(canvas, ["n1", "n0", "n2", "n3"], 34, 80)
    colours = {"ping": Colour.BLUE, "ack": Colour.GREEN, "ping_req": Colour.ORANGE, "indirect_ack": Colour.GREEN}
    for arrow, kind in messages.items():
        y1, y2 = heights[arrow.source], heights[arrow.target]
        x1, colour = canvas.x(arrow.sent_at), colours.get(kind, Colour.PURPLE)
        if arrow.arrived_at is None:
            x2, y2 = x1 + 12, y1 + (y2 - y1) // 2
            canvas.line(x1, y1, x2, y2, colour, 'stroke-width="1.6" stroke-dasharray="5 3"')
            canvas.text(x2 - 3, y2 + 8, "x", f'fill="{Colour.VERMILLION}" font-weight="bold"')
        else:
            x2 = canvas.x(arrow.arrived_at)
            canvas.arrow(x1, y1, x2, y2, colour)
        share = 0.35 if abs(heights[arrow.target] - y1) < 100 else 0.6
        place = round(x1 + share * (x2 - x1) + 6, 1), round(y1 + share * (y2 - y1), 1)
        canvas.text(*place, kind, f'fill="{colour}" font-size="10"')
    canvas.save("probe.svg")
    print(f"probe.svg: {', '.join(sorted(set(messages.values())))}")


# -------------------------------------------------------------------------------------------------------- a suspicion


async def run_suspicion() -> Trace:
    """Let n4 stand still for some seconds, and die later."""
    faults = [Pause(at_s=5, duration_s=2.5, node=4), Crash(at_s=12, node=4, is_silent=True)]
    async with simulation.open_cluster(5, seed=SEED, faults=faults) as sim:
        await trio.sleep(20)
    assert sim.trace is not None
    return sim.trace


def draw_suspicion() -> None:
    """Draw how each of the others sees n4."""
    trace = simulation.run(run_suspicion, seed=SEED)
    canvas = Canvas(250, 4, 20, 1, "seconds")
    heights = lanes(canvas, ["n4", "n0", "n1", "n2", "n3"], 44, 36)
    for since, until, shade in (
        (4.0, 5.0, Colour.GREEN),
        (5, 7.5, Colour.GREY),
        (7.5, 12, Colour.GREEN),
        (12, 20, Colour.INK),
    ):
        canvas.bar(since, until, heights["n4"], shade)
    counts: Counter[str] = Counter()
    for observer in ("n0", "n1", "n2", "n3"):
        since, colour = 4.0, STATES["MemberTrusted"]
        for event in trace.select("state", node=observer, peer="n4", since=4):
            canvas.bar(since, event.at, heights[observer], colour)
            since, colour = event.at, STATES.get(event.what, STATES["MemberTrusted"])
            counts[event.what] += 1
        canvas.bar(since, 20, heights[observer], colour)
    key = (("runs; alive", Colour.GREEN), ("stands still", Colour.GREY), ("dead", Colour.INK))
    for place, (text, colour) in enumerate((*key, ("suspect", Colour.YELLOW), ("failed", Colour.VERMILLION))):
        canvas.lines.append(f'<rect x="{LEFT + 120 * place}" y="10" width="14" height="12" fill="{colour}"/>')
        canvas.text(LEFT + 120 * place + 20, 20, text)
    canvas.save("suspicion.svg")
    named = {"MemberSuspected": "suspected", "MemberTrusted": "trusted again", "MemberFailed": "held failed"}
    print(f"suspicion.svg: {', '.join(f'{counts[what]} times {text}' for what, text in named.items())}")


# ------------------------------------------------------------------------------------------------------------ a rumor


async def run_rumor() -> tuple[Trace, Reader, float]:
    """Send one rumor among thirty nodes, on a network that loses a tenth of all datagrams."""
    network = Network(latency="exponential", latency_s=0.01, least_s=0.002, loss=0.1)
    async with simulation.open_cluster(30, seed=SEED, network=network) as sim:
        await trio.sleep(1)
        reader, begin = Reader(), sim.now
        with sim.rule(reader):
            await sim.nodes[0].all.gossip.send([], trionet.Remote(service="status", method="get"))
            await trio.sleep(1)
    assert sim.trace is not None
    return sim.trace, reader, begin


def draw_rumor() -> None:
    """Draw the copies of a rumor: the first one at each node thick, the others thin."""
    trace, reader, begin = simulation.run(run_rumor, seed=SEED)
    arrived = {event.node: event.at for event in trace.select("rumor", since=begin)}
    last = max(arrived.values())
    canvas = Canvas(60 + 13 * 30, begin - 0.005, last + 0.01, 1000, "milliseconds after it was sent")
    heights = lanes(canvas, [f"n{index}" for index in range(30)], 14, 13)
    kinds = kinds_of(trace, reader)
    pulls = {(arrow.target, arrow.source) for arrow, kind in kinds.items() if "w" in kind.split()}
    counts: Counter[str] = Counter()
    for arrow, kind in kinds.items():
        is_first_hop = arrow.kind == "call" and arrow.source == "n0" and arrow.sent_at == begin
        if arrow.sent_at < begin or arrow.arrived_at is None or not (is_first_hop or "r" in kind.split()):
            continue
        is_first = abs(arrived[arrow.target] - arrow.arrived_at) < TINY_S
        way = "pulled" if (arrow.source, arrow.target) in pulls else "pushed" if is_first else "again"
        counts[way] += 1
        if arrow.arrived_at <= last:
            ends = canvas.x(arrow.sent_at), heights[arrow.source], canvas.x(arrow.arrived_at), heights[arrow.target]
            canvas.arrow(*ends, WAYS[way], 1.5 if is_first else 0.6)
    for node, at in arrived.items():
        canvas.dot(at, heights[node], Colour.BLUE)
    canvas.save("rumor.svg")
    named = ", ".join(f"{counts[way]} copies {way}" for way in WAYS)
    print(f"rumor.svg: {len(arrived)} of 30 nodes after {(last - begin) * 1000:.0f} ms; {named}")


if __name__ == "__main__":
    logging.getLogger("trionet").setLevel(logging.CRITICAL)
    draw_probe()
    draw_suspicion()
    draw_rumor()
