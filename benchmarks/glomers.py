"""Gossip Glomers on the workbench: every challenge as published, in virtual time or on real processes.

A run is the command ``trionet maelstrom test``, so that what stands here is what everyone gets who types it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from .results import Goal, Result, median
from .workers import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

__all__ = ["run_glomers", "run_glomers_on_processes"]

_SEEDS: Final = 5
_LIMIT_S: Final = 600.0
_KAFKA: Final = "--concurrency 2n --time-limit 20 --rate 1000"
_TXN: Final = f"{_KAFKA} --consistency-models"
_TOTAL: Final = "--availability total --nemesis partition"
_WIDE: Final = "--node-count 25 --time-limit 20 --rate 100 --latency 100"
_FEWEST: Final = "--frugal --up-wait 0 --down-wait 0.32"


class Row(msgspec.Struct, frozen=True):
    """One challenge.

    Attributes:
        name: of the row.
        workload, program, options, arguments: of the command.
        messages, median_ms, worst_ms, ok_fraction: the goals of each run; None for none.
    """

    name: str
    workload: str
    program: str
    options: str
    arguments: str = ""
    messages: float | None = None
    median_ms: float | None = None
    worst_ms: float | None = None
    ok_fraction: float | None = None


ROWS: Final = (
    Row("1 echo", "echo", "echo", "--node-count 1 --time-limit 10"),
    Row("2 unique ids", "unique-ids", "unique-ids", f"--time-limit 30 --rate 1000 --node-count 3 {_TOTAL}"),
    Row("3a broadcast", "broadcast", "broadcast", "--node-count 1 --time-limit 20 --rate 10"),
    Row("3b broadcast", "broadcast", "broadcast", "--node-count 5 --time-limit 20 --rate 10"),
    Row("3c broadcast", "broadcast", "broadcast", "--node-count 5 --time-limit 20 --rate 10 --nemesis partition"),
    Row("3d fast", "broadcast", "broadcast", _WIDE, "--fast", 13, 100, 110),
    Row("3d fewest messages", "broadcast", "broadcast", _WIDE, _FEWEST, 8, 400, 600),
    Row("3e frugal", "broadcast", "broadcast", _WIDE, "--frugal", 1.9, 800, 1200),
    Row("3d fast, partitions", "broadcast", "broadcast", f"{_WIDE} --nemesis partition", "--fast"),
    Row("3e frugal, partitions", "broadcast", "broadcast", f"{_WIDE} --nemesis partition", "--frugal"),
    Row("3d fast, 50 % loss", "broadcast", "broadcast", f"{_WIDE} --p-loss 0.5", "--fast"),
    Row("3e frugal, 50 % loss", "broadcast", "broadcast", f"{_WIDE} --p-loss 0.5", "--frugal"),
    Row(
        "4 g-counter",
        "g-counter",
        "g-counter",
        "--node-count 3 --rate 100 --time-limit 20 --nemesis partition",
        messages=0.3,
    ),
    Row("pn-counter", "pn-counter", "pn-counter", "--node-count 3 --rate 100 --time-limit 20 --nemesis partition"),
    Row("g-set", "g-set", "g-set", "--node-count 5 --rate 100 --time-limit 20 --nemesis partition"),
    Row("5a kafka", "kafka", "kafka", f"--node-count 1 {_KAFKA}"),
    Row("5b, 5c kafka", "kafka", "kafka", f"--node-count 2 {_KAFKA}", messages=1.4, ok_fraction=0.9995),
    Row("kafka, durable", "kafka", "kafka", f"--node-count 2 {_KAFKA}", "--durable"),
    Row(
        "kafka, durable, kills",
        "kafka",
        "kafka",
        f"--node-count 2 {_KAFKA} --nemesis kill --nemesis-interval 3",
        "--durable",
    ),
    Row(
        "6a transactions",
        "txn-rw-register",
        "txn-rw-register",
        f"--node-count 1 {_TXN} read-uncommitted --availability total",
        ok_fraction=1,
    ),
    Row(
        "6b transactions",
        "txn-rw-register",
        "txn-rw-register",
        f"--node-count 2 {_TXN} read-uncommitted {_TOTAL}",
        ok_fraction=1,
    ),
    Row(
        "6c transactions",
        "txn-rw-register",
        "txn-rw-register",
        f"--node-count 2 {_TXN} read-committed {_TOTAL}",
        ok_fraction=1,
    ),
    Row("list append", "txn-list-append", "txn-list-append", "--node-count 2 --time-limit 20 --rate 100"),
    Row("lin-kv", "lin-kv", "lin-kv", "--node-count 2 --concurrency 4n --time-limit 20 --rate 50"),
)


ON_PROCESSES: Final = (
    "3d fast",
    "3d fewest messages",
    "3e frugal",
    "4 g-counter",
    "5b, 5c kafka",
    "kafka, durable",
)
"""The rows that are run on real processes, too, where they take as long as they say."""


async def run_glomers(settings: Settings) -> Result:
    """Run every challenge with 5 seeds in virtual time."""
    return await _run_rows(ROWS, min(_SEEDS, settings.seeds), settings, is_real=False)


async def run_glomers_on_processes(settings: Settings) -> Result:
    """Run some challenges on real processes, each once in each round."""
    return await _run_rows([row for row in ROWS if row.name in ON_PROCESSES], settings.rounds, settings, is_real=True)


async def _run_rows(rows: Sequence[Row], count: int, settings: Settings, *, is_real: bool) -> Result:
    kind = "on real processes" if is_real else "in virtual time"
    result = Result(
        f"Gossip Glomers {kind}, {count} runs of each: median / worst",
        ["challenge", "valid", "msgs/op", "stable median ms", "stable max ms", "acknowledged max ms", "ok fraction"],
    )
    limiter = trio.CapacityLimiter(1 if is_real else os.cpu_count() or 1)
    runs: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}

    async def run(row: Row, seed: int) -> None:
        async with limiter:
            settings.say(f"glomers: {row.name}, run {seed} of {count}")
            try:
                runs[row.name].append(await _run(row, seed, is_real=is_real))
            except (OSError, subprocess.CalledProcessError, msgspec.DecodeError, trio.TooSlowError) as exc:
                result.problems.append(f"{row.name}, seed {seed}: {exc!r}")

    async with trio.open_nursery() as nursery:
        for row in rows:
            for seed in range(1, count + 1):
                nursery.start_soon(run, row, seed)
    for row in rows:
        _add(result, row, runs[row.name])
    return result


async def _run(row: Row, seed: int, *, is_real: bool) -> dict[str, Any]:
    program = str(Path(sys.executable).parent / "trionet-glomers") if is_real else row.program
    words = ["-m", "trionet", "maelstrom", "test", "-w", row.workload, "--bin", program, *row.options.split()]
    words += ["--json", "--no-store", "--seed", str(seed)]
    arguments = row.arguments.split()
    words += ["--", row.program, *arguments] if is_real else ["--simulate", "--", *arguments]
    with trio.fail_after(_LIMIT_S), tempfile.TemporaryDirectory() as folder:
        done = await trio.run_process(
            [sys.executable, *words],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=folder,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        )
    if done.returncode not in (0, 1, 2) or not done.stdout:
        raise subprocess.CalledProcessError(done.returncode, words, stderr=done.stderr[-500:])
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def _add(result: Result, row: Row, runs: list[dict[str, Any]]) -> None:
    """Add a row of the table, and its goals."""
    messages = [run["net"]["servers"].get("msgs-per-op") for run in runs]
    stable = [run["workload"].get("stable-latencies") or {} for run in runs]
    medians, worsts = [one.get("0.5") for one in stable], [one.get("1") for one in stable]
    acknowledged = [max(one["1"] for one in run["perf"]["latencies"].values()) for run in runs if run["perf"]]
    fractions = [run["availability"]["ok-fraction"] for run in runs]
    valid = sum(run["valid?"] is True for run in runs)
    pairs = [_pair(numbers) for numbers in (messages, medians, worsts, acknowledged)]
    result.rows.append([row.name, f"{valid} of {len(runs)}", *pairs, f"{min(fractions, default=0):.5f}"])
    for name, numbers in (("messages", messages), ("median_ms", medians), ("worst_ms", worsts), ("ok", fractions)):
        result.samples.setdefault(name, {})[row.name] = numbers
    if valid < len(runs) or not runs:
        result.problems.append(f"{row.name}: only {valid} of {len(runs)} runs are valid")
    for what, goal, numbers, unit in (
        ("msgs/op", row.messages, messages, ""),
        ("stable median", row.median_ms, medians, "ms"),
        ("stable max", row.worst_ms, worsts, "ms"),
    ):
        if goal is not None:
            worst = max((number for number in numbers if number is not None), default=None)
            result.goals.append(Goal(f"{row.name}, {what}, worst", goal, at_least=False, measured=worst, unit=unit))
    if row.ok_fraction is not None:
        least = min(fractions, default=None)
        name = f"{row.name}, ok fraction, worst"
        result.goals.append(Goal(name, row.ok_fraction, at_least=True, measured=least, unit=""))


def _pair(numbers: list[float | None]) -> str:
    there = [number for number in numbers if number is not None]
    return f"{median(there):.4g} / {max(there):.4g}" if there else "-"
