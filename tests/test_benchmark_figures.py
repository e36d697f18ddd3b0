"""The figures of benchmarks: names, ratios, and where they are described."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trionet
from benchmarks import cluster, fanout, installs, sealed, sealed_fleet
from benchmarks.registry import BENCHMARKS
from benchmarks.results import Result, ratios
from benchmarks.settings import Settings
from benchmarks.workers import ROOT

if TYPE_CHECKING:
    from pathlib import Path


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


async def test_an_installation_that_fails_says_why_and_not_what_it_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "npm warn retry after a network Error\nnpm error no way to the registry"
    (tmp_path / "node").write_text("#!/bin/sh\n", encoding="ascii")
    (tmp_path / "npm").write_text(
        f"#!/bin/sh\ntest $1 = --version && exit\necho '{said}' >&2; exit 1\n", encoding="ascii"
    )
    for name in ("node", "npm"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(installs, "NODE", tmp_path / "installed")
    with pytest.raises(installs.NotInstalled, match=r"^npm error no way to the registry$"):
        await installs.install_npm("anything", may_install=True)
