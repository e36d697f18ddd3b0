"""Pictures as matplotlib has drawn them, and their files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch, PathPatch, StepPatch

from tests.simulation.traces import delivered, ended, fault_events, joined, new_axes, rumor, sent, state, trace_of
from trionet import Remote
from trionet.simulation import (
    Crash,
    Degrade,
    Partition,
    Pause,
    Trace,
    TraceEvent,
    Trial,
    draw,
    open_cluster,
    run,
    run_trial,
)
from trionet.simulation.pictures import PICTURES, draw_members, draw_rate, draw_space_time, draw_spread
from trionet.simulation.pictures.look import tinted
from trionet.simulation.pictures.spreads import median_curve, spreads_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def texts_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    key = [text.get_text() for text in legend.get_texts()] if legend is not None else []
    return [axes.get_title("left"), *(text.get_text() for text in axes.texts), *key]


def xs_of(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata())]


def ys_of(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata())]


def cells_of(axes: Axes) -> dict[str | None, list[tuple[float, float, float]]]:
    """Return the cells of a raster by colour: begin, end, row."""
    found: dict[str | None, list[tuple[float, float, float]]] = {}
    for patch in axes.patches:
        if isinstance(patch, PathPatch):
            corners = np.asarray(patch.get_path().vertices)
            cells = [corners[first : first + 5] for first in range(0, len(corners), 5)]
            found[patch.get_gid()] = [(float(cell[0][0]), float(cell[1][0]), int(cell[0][1])) for cell in cells]
    return found


def lively_trace() -> Trace:
    """Return a trace in which there is something for each picture."""
    n = 12
    messages = [
        event
        for number in range(200)
        for event in (
            sent(number / 20, f"n{number % n}", f"n{number * 5 % n}", number),
            delivered(number / 20 + 0.01, f"n{number % n}", f"n{number * 5 % n}", number)
            if number % 7
            else TraceEvent(number / 20, "drop", f"n{number % n}", f"n{number * 5 % n}", "datagram", number),
        )
    ]
    rumors = [rumor(2 + index / 50, f"n{index}", "n0", id_) for id_ in ("a", "b") for index in range(n)]
    faults = fault_events(Partition(at_s=3, duration_s=2, sides=[[0, 1], [2, 3]]), 3, 5)
    return trace_of(
        joined(n), messages, rumors, faults, state(4, "n0", "n2", "MemberFailed"), state(5, "n0", "n2", "MemberJoined")
    )


# ---- spread


def test_the_curve_of_a_rumor_is_the_count_of_nodes_that_have_it() -> None:
    axes = new_axes()
    draw_spread(trace_of(joined(4), rumor(5, "n0", "n0"), rumor(5.5, "n1", "n0"), rumor(8, "n3", "n0"), ended(9)), axes)
    assert xs_of(axes.lines[0])[:3] == [0, 0.5, 3]
    assert ys_of(axes.lines[0])[:3] == [0.25, 0.5, 0.75]
    assert "A rumor, 4 nodes: 75% get it" in texts_of(axes)
    assert axes.get_xlabel() == "time since it was sent (s)"


def test_many_rumors_are_thin_lines_with_a_bold_median_and_the_model_beside_it() -> None:
    trace, axes = lively_trace(), new_axes()
    draw_spread(trace, axes)
    thin, other, bold, model = axes.lines[:4]
    assert thin.get_linewidth() == other.get_linewidth() < bold.get_linewidth()
    times, shares = median_curve(spreads_of(trace))
    assert xs_of(bold)[: len(times)] == times
    assert ys_of(bold)[: len(times)] == shares
    assert ys_of(model)[0] == pytest.approx(3 / 12)
    assert {"one of 2 rumors", "median", "SI model, fan-out 2"} <= set(texts_of(axes))
    other_axes = new_axes()
    draw_spread(trace, other_axes, fan_out=4)
    assert "SI model, fan-out 4" in texts_of(other_axes)


def test_one_rumor_can_be_chosen_and_a_missing_one_is_refused() -> None:
    trace = trace_of(joined(2), rumor(1, "n0", "n0", "a1"), rumor(2, "n1", "n1", "b2"), rumor(3, "n0", "n1", "b2"))
    axes = new_axes()
    draw_spread(trace, axes, "b2")
    assert xs_of(axes.lines[0])[:2] == [0, 1]
    with pytest.raises(ValueError, match="no rumor c3"):
        draw_spread(trace, new_axes(), "c3")


def test_the_time_axis_is_logarithmic_if_some_nodes_have_a_rumor_far_later() -> None:
    quick = [rumor(1 + index / 1000, f"n{index}", "n0") for index in range(8)]
    axes = new_axes()
    draw_spread(trace_of(joined(12), quick, [rumor(30 + index, f"n{index}", "n0") for index in range(8, 12)]), axes)
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[1] > 40


@pytest.mark.slow
def test_the_si_model_is_close_to_the_spread_in_a_cluster_at_rest() -> None:
    async def rumors() -> Trace:
        async with open_cluster(60, seed=2) as sim:
            for node in sim.nodes:  # a connection takes a round trip, which the model doesn't know
                await node.all.status.get("nid")
            members = [node.address for node in sim.nodes]
            await sim.nodes[0].all.groups.put("all_of_them", members, subset=3)  # a push at random, not along a tree
            for index in range(12):
                group = sim.nodes[index].group("all_of_them")
                await group.gossip.send(["nid"], Remote(service="status", method="get"))
        assert sim.trace is not None
        return sim.trace

    axes = new_axes()
    draw_spread(run(rumors, seed=2), axes)
    bold, model = axes.lines[12:14]

    def half_s(line: Line2D) -> float:
        return next(time for time, share in zip(xs_of(line), ys_of(line), strict=True) if share >= 0.5)

    measured, modelled = map(half_s, (bold, model))
    assert modelled == pytest.approx(measured, rel=0.25)


# ---- members


def test_a_raster_of_a_few_nodes_has_a_row_for_each_pair_and_a_colour_for_each_state() -> None:
    axes = new_axes()
    draw_members(
        trace_of(
            joined(3),
            state(2, "n0", "n2", "MemberSuspected"),
            state(3, "n0", "n2", "MemberFailed"),
            state(4, "n1", "n0", "MemberLeft"),
            fault_events(Crash(at_s=1, node=2), 1),
            ended(6),
        ),
        axes,
    )
    cells = cells_of(axes)
    assert cells["suspected"] == [(2, 3, 1)]
    assert cells["failed"] == [(3, 6, 1)]
    assert cells["left"] == [(4, 6, 2)]
    assert (0, 1, 5) in cells["alive"]  # n2 of n0, until it crashes
    assert {(begin, end) for begin, end, _ in cells["down"]} == {(1, 6)}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["n1", "n2", "n0", "n2", "n0", "n1"]
    colours = {patch.get_gid(): to_hex(patch.get_facecolor()) for patch in axes.patches if patch.get_gid()}
    assert [colours[name] for name in ("suspected", "failed", "left")] == ["#f0e442", "#d55e00", "#0072b2"]
    assert {"n0", "n1", "n2", "crash n2", "really down"} <= set(texts_of(axes))


def test_a_raster_of_many_nodes_has_a_row_for_each_whose_strength_is_the_share_of_observers() -> None:
    axes = new_axes()
    held = [state(1 + index, f"n{index}", "n8", "MemberFailed") for index in range(8)]
    draw_members(trace_of(joined(9), held, ended(20)), axes)
    cells = cells_of(axes)
    assert [cells[f"failed {level}"] for level in (1, 2, 3, 4)] == [[(1, 3, 8)], [(3, 5, 8)], [(5, 7, 8)], [(7, 20, 8)]]
    strengths = [
        to_rgb(patch.get_facecolor())[2] for patch in axes.patches if (patch.get_gid() or "").startswith("failed")
    ]
    assert strengths == sorted(strengths, reverse=True)
    assert len(axes.get_yticklabels()) == 9


def test_a_row_of_many_has_the_hue_of_the_most_frequent_view() -> None:
    axes = new_axes()
    opinions = [state(2, f"n{index}", "n8", "MemberSuspected") for index in range(6)]
    opinions += [state(4, f"n{index}", "n8", "MemberLeft") for index in range(5)]
    draw_members(trace_of(joined(9), state(1, "n7", "n8", "MemberFailed"), opinions, ended(6)), axes)
    cells = cells_of(axes)
    assert cells["failed 1"] == [(1, 2, 8)]
    assert cells["suspected 3"] == [(2, 4, 8)]
    assert cells["left 3"] == [(4, 6, 8)]


# ---- rate


def test_delivered_messages_are_stacked_upwards_and_dropped_ones_downwards() -> None:
    axes = new_axes()
    trace = lively_trace()
    draw_rate(trace, axes)
    stacks: dict[str | None, Any] = {
        patch.get_gid(): patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)
    }
    assert set(stacks) == {"datagrams +1", "datagrams -1"}
    assert min(stacks["datagrams +1"].values) >= 0 > min(stacks["datagrams -1"].values)
    assert max(stacks["datagrams -1"].values) <= 0
    up = stacks["datagrams +1"]
    count = sum(value * length for value, length in zip(up.values, up.edges[1:] - up.edges[:-1], strict=True))
    assert count == pytest.approx(len(trace.select("deliver")))
    assert {"datagrams", "sent", "delivered", "dropped", "partition n0 n1 | n2 n3"} <= set(texts_of(axes))


# ---- space-time


def test_each_message_is_an_arrow_and_a_dropped_one_ends_in_a_cross_midway() -> None:
    axes = new_axes()
    trace = trace_of(
        joined(2),
        sent(1.0, "n0", "n1", 1),
        delivered(1.3, "n0", "n1", 1),
        sent(1.5, "n1", "n0", 2, "call"),
        TraceEvent(1.5, "drop", "n1", "n0", "call", 2),
        state(1.6, "n0", "n1", "MemberSuspected"),
    )
    draw_space_time(trace, axes, 0.9, 2.0)
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert [arrow.get_gid() for arrow in arrows] == ["arrow", "lost"]
    (cross,) = [line for line in axes.lines if line.get_gid() == "cross"]
    assert xs_of(cross) == [1.5]
    assert 0.5 <= ys_of(cross)[0] <= 0.6
    assert {"2 messages between 2 nodes", "datagrams", "calls", "dropped", "suspects"} <= set(texts_of(axes))
    assert axes.get_xlim() == (0.9, 2.0)


def test_the_line_of_a_node_is_broken_while_it_does_not_run() -> None:
    axes = new_axes()
    messages = [sent(at, "n0", "n1", at) for at in range(10)]
    draw_space_time(trace_of(joined(2), messages, fault_events(Crash(at_s=3, duration_s=2, node=1), 3, 5)), axes, 0, 9)
    lines = [xs_of(line) for line in axes.lines if line.get_gid() == "line n1"]
    assert lines == [[0, 3], [5, 9]]


def test_one_message_is_one_between_two_nodes() -> None:
    axes = new_axes()
    draw_space_time(trace_of(sent(1, "n0", "n1", 1)), axes)
    assert axes.get_title("left") == "1 message between 2 nodes"


def test_a_title_shows_the_total_numbers() -> None:
    axes = new_axes()
    messages = [sent(number / 100, f"n{number % 30}", f"n{number * 11 % 30}", number) for number in range(1, 500)]
    draw_space_time(trace_of(messages), axes)
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    title = axes.get_title("left")
    assert title.startswith(f"{len(arrows)} of ")
    assert title.endswith("between 12 of 30 nodes")


# ---- faults


def test_names_of_faults_do_not_touch_and_too_many_are_counted() -> None:
    few, many = new_axes(), new_axes()
    pauses = [fault_events(Pause(at_s=at, duration_s=10, node=at), at, at + 10) for at in range(4)]
    draw_rate(trace_of(lively_trace().events, *pauses), few)
    heights = [text.get_window_extent().y0 for text in few.texts if text.get_text().startswith("pause")]
    assert len(set(heights)) == 4
    degrades = [fault_events(Degrade(at_s=at, duration_s=20, loss=0.1), at, at + 20) for at in range(9)]
    draw_rate(trace_of(lively_trace().events, *degrades, ended(40)), many)
    assert "shaded: 10 faults (degrade, partition)" in texts_of(many)


# ---- files


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_the_same_trace_gives_the_same_bytes_with_any_settings(tmp_path: Path, suffix: str) -> None:
    trace, one, other = lively_trace(), tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    draw(trace, one)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.hashsalt": "salt"}):
        draw(trace, other)
        assert mpl.rcParams["font.size"] == 30
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_size > 10_000


PROGRAM = """
import sys
from tests.simulation.test_pictures import lively_trace
from trionet.simulation import draw
draw(lively_trace(), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""


@pytest.mark.slow
def test_processes_in_which_strings_hash_differently_draw_the_same_bytes(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / f"{seed}.svg")], env=environment, check=True)
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [None, ["rate"], ["spread", "members", "space_time"]])
def test_a_picture_for_a_slide_is_sixteen_to_nine(tmp_path: Path, pictures: list[str] | None) -> None:
    draw(lively_trace(), tmp_path / "sheet.png", pictures)
    assert matplotlib.image.imread(tmp_path / "sheet.png").shape[:2] == (1080, 1920)


@pytest.mark.slow
def test_a_saved_trace_gives_the_same_picture(tmp_path: Path) -> None:
    lively_trace().save(tmp_path / "trace.jsonl")
    draw(lively_trace(), tmp_path / "one.svg")
    draw(Trace.load(tmp_path / "trace.jsonl"), tmp_path / "other.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("events", [[], [ended(0)], [sent(1, "n0", "n1", 1)], [rumor(1, "n0", "n0")], joined(2)[:1]])
def test_a_trace_of_nothing_or_one_event_is_drawn_too(tmp_path: Path, events: list[TraceEvent]) -> None:
    draw(trace_of(events), tmp_path / "all.svg")
    draw(trace_of(events), tmp_path / "each.svg", list(PICTURES))
    assert (tmp_path / "each.svg").stat().st_size > 1000


def test_a_picture_without_data_shows_why() -> None:
    for picture, sentence in [
        (draw_members, "no view of a member in this trace"),
        (draw_rate, "no message in this trace"),
        (draw_space_time, "no message in this trace"),
        (draw_spread, "no rumor in this trace"),
    ]:
        axes = new_axes()
        picture(Trace(), axes)
        assert sentence in texts_of(axes)


def test_unknown_pictures_and_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no picture 'spraed'; there are members, rate, space_time, spread"):
        draw(Trace(), tmp_path / "x.svg", ["rate", "spraed"])
    with pytest.raises(ValueError, match=r"must end in one of \.png, \.svg, \.pdf"):
        draw(Trace(), tmp_path / "x.gif")
    with pytest.raises(FileNotFoundError):
        draw(Trace(), tmp_path / "nowhere" / "x.svg")


def test_without_matplotlib_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeError, match=r"pip install 'trionet\[plots\]'"):
        draw(Trace(), tmp_path / "x.svg")


@pytest.mark.slow
def test_matplotlib_is_imported_only_when_something_is_drawn() -> None:
    program = "import sys, trionet.simulation; sys.exit('matplotlib' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_page_shows_the_pictures_that_its_program_draws() -> None:
    root = Path(__file__).parents[2]
    shown = re.findall(r"\(pictures/(\S+)\)", (root / "docs" / "pictures.md").read_text(encoding="utf-8"))
    drawn = re.findall(
        r'FOLDER / "([\w.]+)"', (root / "examples" / "simulation_pictures.py").read_text(encoding="utf-8")
    )
    assert sorted(shown) == sorted(set(drawn))


def test_a_tint_is_between_white_and_the_colour() -> None:
    assert [tinted("#D55E00", strength) for strength in (0, 0.5, 1)] == ["#FFFFFF", "#EAAE80", "#D55E00"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_trace_that_was_saved_and_loaded_gives_the_same_picture_to_the_byte(tmp_path: Path, suffix: str) -> None:
    trace = run_trial(Trial(seed=2, nodes=4, duration_s=6.0, network="bad")).trace
    now, later = tmp_path / f"now{suffix}", tmp_path / f"later{suffix}"
    draw(trace, now)
    trace.save(tmp_path / "trace.jsonl")
    draw(Trace.load(tmp_path / "trace.jsonl"), later)
    assert now.read_bytes() == later.read_bytes()
