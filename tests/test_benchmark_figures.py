"""The figures of benchmarks: names, ratios, and where they are described."""

from __future__ import annotations

import pytest
import trio

import trionet
from benchmarks import cluster, fanout, sealed, sealed_fleet
from benchmarks.registry import BENCHMARKS
from benchmarks.results import Result, ratios
from benchmarks.settings import Settings
from benchmarks.workers import ROOT


def test_a_peer_that_broke_off_lacks_its_last_rounds_alone() -> None:
    assert ratios([2.0, None, 4.0], [1.0, 1.0]) == [2.0]
    assert ratios([], [1.0]) == []


def test_the_readme_names_each_benchmark() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    usage = next(line for line in text.splitlines() if line.startswith("    python -m benchmarks "))
    assert usage.split()[3].split("|") == [*BENCHMARKS, "all"]
    assert {name for name in BENCHMARKS if f"\n| `{name}` |" not in text} == set()


@pytest.mark.parametrize("name", ["fanout", "cluster"])
def test_runs_of_other_sizes_share_no_measure(name: str) -> None:
    measured = {}
    for nodes in (20, 100):
        result = Result("A title", [])
        summarize = {"fanout": fanout.summarize, "cluster": cluster.summarize}[name]
        for measure in ("first_ms", "then_ms", "then_p99_ms", "gossip_s", "reached"):
            result.samples[measure] = {"link": [1.0], "reference": [2.0]}
        summarize(["link", "reference"], nodes, result)
        measured[nodes] = {figure.what for figure in result.figures if figure.samples}
    assert measured[20]
    assert measured[20].isdisjoint(measured[100])


@pytest.mark.parametrize("error", [trio.TooSlowError(), trionet.NodeUnreachable("it is gone")])
async def test_a_benchmark_of_nodes_that_breaks_off_keeps_what_it_has_measured(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measure(settings: Settings, result: Result) -> None:
        result.rows.append(["1 call at a time", 1.0])
        async with trio.open_nursery():
            raise error

    for module, run in ((sealed, sealed.run_sealed), (sealed_fleet, sealed_fleet.run_sealed_fleet)):
        monkeypatch.setattr(module, "_measure_all", measure)
        result = await run(Settings(peers=[]))
        assert result.rows
        assert type(error).__name__ in result.problems[0]
