"""The figures of benchmarks: names, ratios, and where they are described."""

from __future__ import annotations

import pytest

from benchmarks import cluster, fanout
from benchmarks.registry import BENCHMARKS
from benchmarks.results import Result, ratios
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
