"""The pictures of docs/cancellation.md, drawn from runs of that page's own programs.

The programs are cut out of the page, and run in virtual time. Of the messages only those of their calls are drawn. The
pictures go into the working directory, or into a folder that is named. It prints::

    trio.svg: 3 lamps, 0 messages
    machines.svg: 3 lamps, 8 messages
    deadline.svg: 3 lamps, 9 messages
    cut.svg: 3 lamps, 8 messages, 1 orphan
    killed.svg: 3 lamps, 6 messages
"""

import importlib
import logging
import re
import sys
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import partial
from html import escape
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import trio

from trionet import simulation
from trionet.simulation import Trace
from trionet.simulation.pictures.arrows import Arrow, arrows_of
from trionet.simulation.pictures.look import Colour
from trionet.simulation.pictures.spans import fault_spans

PAGE = Path(__file__).parents[1] / "docs" / "cancellation.md"
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ".").absolute()
ARCHIVES = ["cellar", "tower", "vault"]
CLERKS = ["first clerk", "second clerk", "third clerk"]
NODES = ["n0", "n1", "n2", "n3"]

LEFT, RIGHT, TOP, ROW, BAR, FOOT = 116, 20, 62, 58, 13, 42
WIDTH = 760
LAMP = "#F2B705"
STYLE = {"call": Colour.BLUE, "answer": Colour.GREEN, "cancel": Colour.VERMILLION, "confirmation": Colour.PURPLE}
FAMILIES = {
    "call": "call",
    "reply": "answer",
    "error": "answer",
    "cancel": "cancel",
    "cancelled": "confirmation",
    "reset": "cancel",
}
TICKS_S = (0.1, 0.2, 0.5)


class Bar(NamedTuple):
    """A lamp: from when to when it burns, and when its task is cancelled, if it is."""

    row: int
    begin: float
    end: float
    cancelled_at: float | None


class Picture(NamedTuple):
    """What is drawn: rows, lamps, messages, the time of your own block, and a fault with its row."""

    rows: list[str]
    bars: list[Bar]
    arrows: list[tuple[str, Arrow]]
    block: tuple[float, float]
    until: float
    fault: tuple[int, float, float, str] | None = None
    orphan: int | None = None
    hatched: str = "puts the books back"


# ------------------------------------------------------------------------------------------------------------- the runs


def save_programs(folder: Path) -> None:
    """Save the page's programs that have a file name; of two with one name the last one."""
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if name := re.match(r"# (\w+\.py)\n", block):
            (folder / name[1]).write_text(block, encoding="utf-8")


def in_one_process() -> Picture:
    """Run the program in plain Trio, and take the times."""
    archive, first = importlib.import_module("archive"), importlib.import_module("first")
    bars: list[Bar] = []
    found: list[float] = []

    async def look(row: int, seconds: float) -> str:
        begin = trio.current_time()
        try:
            text: str = await archive.Archive().look(seconds)
            found.append(trio.current_time())
            return text
        finally:
            at = found[0] if found[0] < trio.current_time() else None
            bars.append(Bar(row, begin, trio.current_time(), at))

    async def main() -> tuple[float, float]:
        begin = trio.current_time()
        await first.first(partial(look, 1, 0.8), partial(look, 2, 0.2), partial(look, 3, 0.6))
        return begin, trio.current_time()

    begin, end = simulation.run(main, seed=1)
    own = [bar._replace(cancelled_at=None) if bar.cancelled_at == bar.end else bar for bar in bars]
    return Picture(["you", *ARCHIVES], own, [], (begin, end), end + 0.1)


def of_machines(program: str, rows: list[str]) -> Picture:
    """Run a program of the page, and take the picture from its trace."""
    with redirect_stdout(StringIO()):
        trace: Trace = simulation.run(importlib.import_module(program).main, seed=1)
    (asked,) = (event.at for event in trace.select("note", what="asked"))
    trace_end = max(event.at for event in trace if event.kind == "end" and event.at > asked)
    done = next((event.at for event in trace.select("note", what="done")), None)
    arrows = list(messages_of(trace, asked))
    until = max([trace_end, done or 0, *(arrow.arrived_at or 0 for _, arrow in arrows)]) + 0.1
    fault = None
    for span in fault_spans(trace):
        fault = NODES.index(span.nodes[0]), span.begin, min(span.end, until), span.kind
        done = span.begin if done is None else done
    assert done is not None
    orphans = trace.select("state", what="OrphanedCall")
    orphan = NODES.index(orphans[0].peer) if orphans else None
    return Picture(["you", *rows], list(bars_of(trace, asked)), arrows, (asked, done), until, fault, orphan)


def bars_of(trace: Trace, since: float) -> Iterable[Bar]:
    """Yield the handlers that began since then; each is on a node of its own."""
    for begin in trace.select("begin", since=since):
        if begin.what.startswith("local/membership/"):
            continue
        (end,) = (each.at for each in trace.select("end", node=begin.node, detail=begin.detail))
        cancels = [
            arrow.arrived_at
            for arrow in arrows_of(trace)
            if arrow.target == begin.node and arrow.kind in ("cancel", "reset") and (arrow.arrived_at or 0) > begin.at
        ]
        yield Bar(NODES.index(begin.node), begin.at, end, next((at for at in cancels if at and at < end), None))


def messages_of(trace: Trace, since: float) -> Iterable[tuple[str, Arrow]]:
    """Yield the messages of the programs' calls, with what they are."""
    own = [event for event in trace if event.at >= since and not event.what.startswith("local/membership/")]
    calls = {(event.at, event.node, event.peer) for event in own if event.kind == "call"}
    answers = {(event.at, event.node, event.peer) for event in own if event.kind == "end"}
    cancelled: set[tuple[str, str]] = set()
    for arrow in arrows_of(trace):
        if arrow.sent_at < since or arrow.kind not in FAMILIES:
            continue
        key = (arrow.sent_at, arrow.source, arrow.target)
        family = FAMILIES[arrow.kind]
        if arrow.kind == "cancel":
            cancelled.add((arrow.target, arrow.source))
        if (family == "call" and key not in calls) or (family == "answer" and key not in answers):
            continue  # of membership
        is_late = family == "answer" and key[1:] in cancelled  # its own deadline has ended it before the cancel came
        yield "confirmation" if is_late else family, arrow


# ---------------------------------------------------------------------------------------------------------- the drawing


class Canvas:
    """The lines of an SVG, with the picture's time and rows as coordinates."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.lines: list[str] = []
        self.height = TOP + ROW * len(picture.rows) + FOOT

    def x(self, at: float) -> float:
        """Return the place of a time."""
        begin = self.picture.block[0] - 0.03
        return round(LEFT + (at - begin) / (self.picture.until - begin) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, row: float) -> float:
        """Return the place of a row."""
        return round(TOP + ROW * (row + 0.5), 1)

    def line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        """Draw a line."""
        self.lines.append(f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}" {style}/>')

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Draw a rectangle."""
        self.lines.append(f'<rect x="{x}" y="{y}" width="{round(width, 1)}" height="{height}" {style}/>')

    def text(self, x: float, y: float, text: str, style: str = "") -> None:
        """Write a text."""
        self.lines.append(f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>')


def draw(name: str, picture: Picture) -> None:
    """Draw a picture into a file, and say what is in it."""
    canvas = Canvas(picture)
    draw_rows(canvas)
    for bar in picture.bars:
        draw_bar(canvas, bar)
    for family, arrow in picture.arrows:
        draw_arrow(canvas, family, arrow)
    draw_key(canvas)
    markers = "".join(
        f'<marker id="{family}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        for family, colour in STYLE.items()
    )
    hatch = (
        '<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="5" height="5" fill="#FFF"/><rect width="2.5" height="5" fill="{LAMP}"/></pattern>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {canvas.height}" width="{WIDTH}" '
        f'height="{canvas.height}" font-family="sans-serif" font-size="13" fill="{Colour.INK}">'
    )
    background = f'<rect width="{WIDTH}" height="{canvas.height}" rx="6" fill="#FFF"/>'
    text = "\n".join([head, f"<defs>{markers}{hatch}</defs>", background, *canvas.lines, "</svg>", ""])
    (FOLDER / name).write_text(text, encoding="utf-8")
    orphan = "" if picture.orphan is None else ", 1 orphan"
    print(f"{name}: {len(picture.bars)} lamps, {len(picture.arrows)} messages{orphan}")


def draw_rows(canvas: Canvas) -> None:
    """Draw a line for each row, your block on the first one, the time at the foot, and the fault."""
    picture, begin, done = canvas.picture, *canvas.picture.block
    bottom = TOP + ROW * len(picture.rows)
    if picture.fault is not None:
        row, since, until, kind = picture.fault
        style = 'fill="#D55E00" fill-opacity="0.12"'
        canvas.rect(canvas.x(since), canvas.y(row) - 24, canvas.x(until) - canvas.x(since), 48, style)
        text = "cut off" if kind != "crash" else "killed"
        canvas.text(canvas.x(since) + 4, canvas.y(row) - 12, text, f'fill="{Colour.VERMILLION}" font-size="12"')
    for row, label in enumerate(picture.rows):
        canvas.text(LEFT - 12, canvas.y(row) + 4, label, 'text-anchor="end" font-weight="bold"')
        end = picture.fault[1] if row == 0 and picture.fault and picture.fault[0] == 0 else picture.until
        style = f'stroke="{Colour.GREY}" stroke-width="1"'
        canvas.line((canvas.x(begin - 0.03), canvas.y(row)), (canvas.x(end), canvas.y(row)), style)
    width = canvas.x(done) - canvas.x(begin)
    style = f'rx="3" fill="#DCEBF7" stroke="{Colour.BLUE}" stroke-width="1.5"'
    canvas.rect(canvas.x(begin), canvas.y(0) - BAR, width, 2 * BAR, style)
    canvas.text(canvas.x(begin) + 7, canvas.y(0) + 4.5, "your block", f'font-size="12" fill="{Colour.BLUE}"')
    dashes = f'stroke="{Colour.BLUE}" stroke-dasharray="2 3"'
    canvas.line((canvas.x(done), canvas.y(0) + BAR), (canvas.x(done), bottom), dashes)
    span = picture.until - begin
    step = next((tick for tick in TICKS_S if span / tick <= 12), TICKS_S[-1])
    for number in range(int(span / step) + 1):
        x = canvas.x(begin + number * step)
        canvas.line((x, bottom), (x, bottom + 5), f'stroke="{Colour.GREY}"')
        canvas.text(x, bottom + 19, f"{number * step:.1f}", 'text-anchor="middle" font-size="12"')
    canvas.text(WIDTH - RIGHT, bottom + 35, "seconds", 'text-anchor="end" font-size="12"')


def draw_bar(canvas: Canvas, bar: Bar) -> None:
    """Draw a lamp that burns; hatched while a cancelled task cleans up."""
    end = bar.end if bar.cancelled_at is None else bar.cancelled_at
    y, style = canvas.y(bar.row) - BAR / 2, 'stroke="#8A6A00" stroke-width="0.8"'
    canvas.rect(canvas.x(bar.begin), y, canvas.x(end) - canvas.x(bar.begin), BAR, f'fill="{LAMP}" {style}')
    if bar.cancelled_at is not None:
        canvas.rect(canvas.x(end), y, canvas.x(bar.end) - canvas.x(end), BAR, f'fill="url(#hatch)" {style}')
    if bar.row == canvas.picture.orphan:
        x = canvas.x(canvas.picture.block[1]) + 6
        canvas.text(x, canvas.y(bar.row) + 22, "an orphan, and reported", f'font-size="12" fill="{Colour.VERMILLION}"')


def draw_arrow(canvas: Canvas, family: str, arrow: Arrow) -> None:
    """Draw a message; dashed, with a cross, if the network has lost it at first."""
    source, target = NODES.index(arrow.source), NODES.index(arrow.target)
    down = BAR / 2 if target > source else -BAR / 2
    start = canvas.x(arrow.sent_at), canvas.y(source) + (2 * down if source == 0 else down)
    end = canvas.x(arrow.arrived_at or arrow.sent_at), canvas.y(target) - (2 * down if target == 0 else down)
    dashes = ' stroke-dasharray="5 3"' if arrow.dropped_at is not None else ""
    canvas.line(start, end, f'stroke="{STYLE[family]}" stroke-width="1.6" marker-end="url(#{family})"{dashes}')
    if arrow.dropped_at is not None:
        x, y = (round(a + 0.12 * (b - a), 1) for a, b in zip(start, end, strict=True))
        cross = f'stroke="{Colour.VERMILLION}" stroke-width="2"'
        canvas.line((x - 4, y - 4), (x + 4, y + 4), cross)
        canvas.line((x - 4, y + 4), (x + 4, y - 4), cross)


def draw_key(canvas: Canvas) -> None:
    """Draw what the colours mean."""
    x = float(LEFT)
    used = {family for family, _ in canvas.picture.arrows}
    for family, colour in STYLE.items():
        if family in used:
            label = (
                "the connection breaks" if canvas.picture.block[1] == (canvas.picture.fault or (0, 0))[1] else family
            )
            label = label if family == "cancel" else family
            canvas.line((x, 24), (x + 22, 24), f'stroke="{colour}" stroke-width="1.6" marker-end="url(#{family})"')
            canvas.text(x + 28, 28, label, 'font-size="12"')
            x += 44 + 6.6 * len(label)
    for fill, label in ((LAMP, "a lamp burns"), ("url(#hatch)", canvas.picture.hatched)):
        if fill == LAMP or any(bar.cancelled_at for bar in canvas.picture.bars):
            canvas.rect(x, 18, 22, 11, f'fill="{fill}" stroke="#8A6A00" stroke-width="0.8"')
            canvas.text(x + 28, 28, label, 'font-size="12"')
            x += 44 + 6.6 * len(label)


logging.getLogger("trionet").setLevel(logging.CRITICAL)

with tempfile.TemporaryDirectory() as folder:
    save_programs(Path(folder))
    sys.path.insert(0, folder)
    draw("trio.svg", in_one_process())
    draw("machines.svg", of_machines("simulated", ARCHIVES))
    draw("deadline.svg", of_machines("errand", CLERKS)._replace(hatched="waits for the next clerk"))
    draw("cut.svg", of_machines("cut", ARCHIVES))
    draw("killed.svg", of_machines("killed", ARCHIVES))
