"""Whole tests in virtual time: schedule, faults, seeds, results, plots."""

from __future__ import annotations

import re
import statistics
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tests.maelstrom.workbench.simulated import BROKEN, results_of, simulate
from trionet import ConfigError
from trionet.cli.maelstrom import StatusLine
from trionet.maelstrom.workbench import Options, SetupFailed, exit_status, judge, render, run, verdict_line
from trionet.maelstrom.workbench.history import History
from trionet.maelstrom.workbench.options import parse_availability, parse_concurrency, parse_faults
from trionet.maelstrom.workbench.plots import latency_svg, rate_svg, round_ticks
from trionet.maelstrom.workbench.running import Status
from trionet.maelstrom.workbench.space_time import space_time_svg

pytestmark = pytest.mark.slow


def trace(history: History) -> list[dict[str, Any]]:
    return [op.as_json() for op in history]


def test_a_seed_gives_the_same_run_each_time_and_another_seed_another() -> None:
    settings: dict[str, Any] = {
        "node_count": 3,
        "concurrency": 6,
        "latency_ms": 20,
        "latency_dist": "exponential",
        "p_loss": 0.1,
        "nemesis": ("partition", "kill", "pause"),
        "nemesis_interval_s": 0.5,
    }
    one, two = (simulate("broadcast", "values", seed=5, **settings) for _ in range(2))
    assert trace(one.history) == trace(two.history)
    assert one.network == two.network
    assert one.arrows == two.arrows
    assert trace(simulate("broadcast", "values", seed=6, **settings).history) != trace(one.history)


def test_gaps_are_uniform_around_the_rate() -> None:
    done = simulate("echo", "values", node_count=5, concurrency=50, rate=100.0, time_limit_s=20.0)
    times = [op.time / 1e9 for op in done.history.invocations]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 0
    assert statistics.mean(gaps) == pytest.approx(0.01, rel=0.05)
    assert max(gaps) < 0.0201
    assert statistics.pstdev(gaps) == pytest.approx(0.02 / 12**0.5, rel=0.05)


def test_workers_call_their_own_nodes_equally_often() -> None:
    done = simulate("echo", "values", node_count=3, concurrency=6, time_limit_s=10.0)
    nodes = Counter((op.process, op.node) for op in done.history.invocations)
    assert set(nodes) == {(process, f"n{int(process) % 3}") for process in range(6)}
    assert min(nodes.values()) > 0.75 * max(nodes.values())


def test_with_all_workers_busy_the_schedule_slips() -> None:
    done = simulate("echo", "values", "silent", node_count=1, concurrency=1, rate=100.0, time_limit_s=12.0)
    ops = done.history.invocations
    assert len(ops) < 400  # of 1,200, had it been caught up with
    assert max(later.time - earlier.time for earlier, later in pairwise(ops)) >= 5e9


def test_an_operation_of_unknown_outcome_makes_a_new_process_and_client() -> None:
    done = simulate("echo", "values", "silent", node_count=1, concurrency=2, time_limit_s=8.0)
    lost = next(op for op in done.history.completions if op.type == "info")
    assert lost.error == "no reply within 5 s"
    processes = [op.process for op in done.history.invocations]
    assert isinstance(lost.process, int)
    assert lost.process + 2 in processes
    assert lost.process not in [op.process for op in done.history.invocations if op.index > lost.index]
    clients = {arrow.src for arrow in done.arrows if arrow.src.startswith("c")}
    assert len(clients) == len(set(processes))


def test_a_rate_of_nought_leaves_the_final_operations() -> None:
    results = results_of("g-counter", "values", "counts", rate=0.0, node_count=3, concurrency=3)
    assert results["workload"]["final-reads"] == [0, 0, 0]


def test_faults_alternate_begin_at_once_and_are_over_before_the_final_reads() -> None:
    done = simulate(
        "broadcast",
        "values",
        node_count=5,
        concurrency=5,
        rate=20.0,
        time_limit_s=20.0,
        nemesis=("partition", "kill", "pause"),
        nemesis_interval_s=1.0,
    )
    partitions = [op for op in done.history.faults if "partition" in op.f]
    assert partitions[0].f == "start-partition"
    assert partitions[0].time == 0
    assert {op.f for op in partitions[::2]} == {"start-partition"}
    assert {op.f for op in partitions[1::2]} == {"stop-partition"}
    last = {op.f: op.index for op in done.history.faults}
    for begin, end in (("start-partition", "stop-partition"), ("kill", "start"), ("pause", "resume")):
        assert last[begin] < last[end]
    finals = [op for op in done.history.invocations if op.is_final]
    assert finals[0].time >= 30e9
    assert len(finals) == 5
    assert done.crashes == []


def test_plots_are_wellformed_and_show_operations_and_faults() -> None:
    done = simulate(
        "broadcast", "values", node_count=3, concurrency=3, latency_ms=20, p_loss=0.3, nemesis=("partition", "kill")
    )
    for svg in (latency_svg(done.history), rate_svg(done.history)):
        assert ET.fromstring(svg).tag.endswith("svg")
        texts = [text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert {"partition", "kill"} <= {text for text in texts if text}  # the legend
        assert "time (s)" in texts
        titles = re.findall(r"<title>(.*?), [\d.]+ to [\d.]+ s</title>", svg)
        assert any(re.fullmatch(r"partition (one|majority|minority-third|majorities-ring)", title) for title in titles)
        assert any(re.fullmatch(r"kill n\d(, n\d)*", title) for title in titles)
    assert ">latency (ms)<" in latency_svg(done.history)
    assert ">completions per second<" in rate_svg(done.history)
    assert ET.fromstring(latency_svg(History())) is not None
    assert ET.fromstring(rate_svg(History())) is not None


def test_a_space_time_diagram_distinguishes_clients_from_nodes_and_arrived_from_lost() -> None:
    done = simulate("broadcast", "values", node_count=3, concurrency=3, latency_ms=20, p_loss=0.3)
    diagram = space_time_svg(done.arrows)
    lost = sum(arrow.received is None for arrow in done.arrows)
    assert lost > 0
    assert diagram.count("<line") == len(done.arrows) + 2  # the legend shows either kind
    assert diagram.count('class="lost"') == lost + 1
    assert "never arrived: lost, cut off by a partition, or still on its way" in diagram
    assert 'addEventListener("wheel"' in diagram
    places = {name: int(x) for x, name in re.findall(r'<text x="(\d+)" [^>]*font-size="13">(\w+)</text>', diagram)}
    order = sorted(places, key=places.__getitem__)
    gaps = {(one, other): places[other] - places[one] for one, other in pairwise(order)}
    within = {gap for (one, other), gap in gaps.items() if one[0] == other[0]}
    between = {gap for (one, other), gap in gaps.items() if one[0] != other[0]}
    assert len(within) == len(between) == 1
    assert min(between) > max(within)
    assert ET.fromstring(space_time_svg([])) is not None


@pytest.mark.parametrize("until", [1e-9, 0.013, 0.5, 1, 3, 7, 10, 37, 47.3, 60, 99.99, 100, 12345.6, 1e9])
def test_ticks_are_round_and_few(until: float) -> None:
    ticks = round_ticks(until)
    assert ticks[0] == 0
    assert 3 <= len(ticks) <= 7
    assert ticks[-1] <= until * (1 + 1e-6)
    step = ticks[1]
    assert until - ticks[-1] < step
    assert f"{step:.10e}"[:3] in {"1.0", "2.0", "5.0"}


@pytest.mark.parametrize("until", [0, -1, float("nan")])
def test_nothing_to_show_has_one_tick(until: float) -> None:
    assert round_ticks(until) == [0]


def test_the_report_has_the_figures_and_the_verdict() -> None:
    results = results_of("broadcast", "values", "loses", node_count=3, concurrency=3)
    text = render(results)
    for part in ("stable-latencies", "servers", "per operation", "acknowledgement", "missing at n0", "lost-count"):
        assert part in text
    assert exit_status(results) == 1
    assert verdict_line(results) == "INVALID: something is wrong; see workload, final-reads."
    good = results_of("unique-ids", "values")
    assert exit_status(good) == 0
    assert "Valid" in verdict_line(good)
    unknown = results_of("unique-ids", "values", "mixed-types")
    assert exit_status(unknown) == 2
    assert verdict_line(unknown).startswith("Unknown")


def test_final_reads_can_be_left_to_maelstroms_verdict() -> None:
    results = results_of("broadcast", "values", "invents", node_count=3, concurrency=3, compares_final_reads=False)
    assert results["valid?"] is True
    assert results["final-reads"]["invented"]


def test_a_node_that_raises_has_crashed(tmp_path: Any) -> None:
    program = tmp_path / "crashing.py"
    program.write_text(
        "import trio\n"
        "class Node:\n"
        "    async def serve(self, lines, out):\n"
        "        async for line in lines:\n"
        "            if b'init' not in line: raise ValueError('it is too much')\n"
        '            await out.send(b\'{"src":"n0","dest":"c0","body":{"type":"init_ok","in_reply_to":1}}\\n\')\n'
        "build = Node\n"
    )
    options = Options(
        workload="echo", bin=str(program), nodes=("n0",), concurrency=1, is_simulated=True, time_limit_s=3.0
    )
    done = run(options)
    assert [(crash.node, crash.reason) for crash in done.crashes] == [("n0", "ValueError: it is too much")]
    assert judge(done)["nodes"]["valid?"] is False


def test_a_program_is_found_though_the_working_directory_has_been_deleted(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    settings: dict[str, Any] = {"concurrency": 1, "time_limit_s": 1.0, "nodes": ("n0",), "is_simulated": True}
    run(Options(workload="echo", bin="tests.maelstrom.broken.values:build", **settings))


def test_a_test_that_can_not_begin_has_a_reason() -> None:
    with pytest.raises(SetupFailed, match="there is no challenge 'nonsense'"):
        run(Options(workload="echo", bin="nonsense", is_simulated=True))
    with pytest.raises(SetupFailed, match="can't be simulated"):
        run(Options(workload="echo", bin=f"{BROKEN}/values.py", arguments=("--speed", "9"), is_simulated=True))
    with pytest.raises(SetupFailed, match="there is no program"):
        run(Options(workload="echo", bin="/nowhere/to/be/found"))
    with pytest.raises(ConfigError, match="needs a concurrency of 10, or a multiple"):
        run(Options(workload="lin-kv", bin=f"{BROKEN}/lin_kv.py", is_simulated=True))


def test_options_are_checked() -> None:
    assert parse_concurrency("4n", 3) == 12
    assert parse_concurrency("10", 3) == 10
    assert parse_availability("total") == "total"
    assert parse_availability("0.9") == 0.9
    assert parse_faults("kill, partition") == ("kill", "partition")
    for parse, text in ((parse_availability, "2"), (parse_availability, "all"), (parse_faults, "flood")):
        with pytest.raises(ConfigError):
            parse(text)
    for text in ("n", "0", "-1", "4m"):
        with pytest.raises(ConfigError):
            parse_concurrency(text, 3)
    for wrong in ({"bin": ""}, {"p_loss": 2.0}, {"rate": -1.0}, {"topology": "star"}, {"nodes": ("n1", "n1")}):
        with pytest.raises(ConfigError):
            Options(**{"bin": "x", **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phase", "elapsed_s", "shown"),
    [
        ("working", 0.0, "0 of 3 s: 7 operations"),
        ("working", 4.9, "3 of 3 s: 7 operations"),
        ("recovering", 5.0, "recovering, 2 s after the time limit: 7 operations"),
        ("final operations", 15.2, "final operations, 12 s after the time limit: 7 operations"),
    ],
)
def test_progress_never_shows_more_seconds_than_the_time_limit(
    capsys: pytest.CaptureFixture[str], phase: str, elapsed_s: float, shown: str
) -> None:
    StatusLine(3.0)(Status(phase, elapsed_s, 7, 0, 20, "kill (n1)"))
    assert capsys.readouterr().err.startswith(shown)
