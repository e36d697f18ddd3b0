"""All benchmarks in turn, and the comparison with earlier runs. None is run here: programs of a line stand for them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from benchmarks import compare, everything, installs, measured_files
from benchmarks.compare import Side, changes, notes, read_side, shown
from benchmarks.everything import Plan, run_all
from benchmarks.measured_files import Broken, Measured, Run, load, take, write_whole
from benchmarks.registry import BENCHMARKS
from benchmarks.results import Figure, Goal, Result
from benchmarks.tables import written
from benchmarks.workers import ROOT
from tests.waiting import DEADLINE_S, is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINE = {"cores": 2, "architecture": "x86_64", "system": "Linux"}
FAST, SLOW, NAMES = [10.0, 10.1, 9.9, 10.05, 10.0], [7.9, 8.0, 8.1, 8.0, 8.05], ["calls", "fanout"]


def run_of(name: str, samples: list[float], unit: str = "x", **facts: Any) -> Run:
    """Return a run of one benchmark with one figure, of which more is better."""
    result = Result(
        "A title", ["peer", "x"], rows=[["ours", 1.0], ["theirs", 2.0]], figures=[Figure("f", samples, True, unit)]
    )
    return Run(date="2026-11-29", machine=MACHINE | facts, results={name: result})


def side(samples: list[float], unit: str = "x", **facts: Any) -> Side:
    return compare.side_of(run_of("calls", samples, unit, **facts))


# --------------------------------------------------------------------------------------------------------- comparisons


@pytest.mark.parametrize("at_least", [True, False])
def test_a_change_beyond_noise_is_told_in_its_direction(at_least: bool) -> None:
    figures = [[Figure("f", samples, at_least)] for samples in (FAST, SLOW)]
    sides = [Side("", {"calls": Measured(name="calls", date="", columns=[], rows=[], figures=one)}) for one in figures]
    (change,) = changes(*sides)
    assert change.verdict == ("slower" if at_least else "faster")
    assert (change.old, change.new) == (10.0, 8.0)
    assert changes(*reversed(sides))[0].verdict == ("faster" if at_least else "slower")


def test_noise_is_not_called_a_change() -> None:
    draw = random.Random(1)
    verdicts = []
    for _ in range(200):
        old, new = ([draw.gauss(10, 1.5) for _ in range(7)] for _ in range(2))
        verdicts.append(changes(side(old), side(new))[0].verdict)
    assert verdicts.count("same") > 190
    assert changes(side([10.0]), side([8.5]))[0].verdict == "same"
    assert changes(side([10.0]), side([7.5]))[0].verdict == "slower"
    assert changes(side([10.0], "ms"), side([7.0], "ms"))[0].verdict == "same"


def test_other_machines_share_ratios_alone() -> None:
    assert changes(side(FAST, cores=2), side(SLOW, cores=8))[0].verdict == "slower"
    assert changes(side(FAST, "us", cores=2), side(SLOW, "us", cores=8)) == []
    assert changes(side(FAST, "us"), side(SLOW, "us"))[0].verdict == "slower"


def test_a_number_of_errors_that_was_0_is_no_division_by_0() -> None:
    def counted(number: float) -> Side:
        goal = Goal("errors", 0, at_least=False, measured=number, unit="errors")
        return Side("", {"a": Measured(name="a", date="", columns=[], rows=[], goals=[goal])})

    assert changes(counted(0), counted(0))[0].verdict == "same"
    assert changes(counted(0), counted(2))[0].verdict == "slower"


def test_the_release_notes_are_lines_and_the_status_tells_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, samples in (("old", FAST), ("new", SLOW)):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(run_of("calls", samples)))
    assert compare.main([str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--notes"]) == 0
    text = capsys.readouterr().out
    assert "- Slower: calls: f: 8 x, was 10 x (+25 % cost; 99 %: " in text
    assert "- Nothing became faster, beyond noise." in text
    assert text.strip() == notes(read_side(tmp_path / "old.json"), read_side(tmp_path / "new.json"))
    assert "slower  calls: f" in shown(side(FAST), side(SLOW))
    assert "nothing became slower" in shown(side(FAST), side(FAST))


def test_a_broken_file_is_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(run_of("calls", FAST)))
    (tmp_path / "b.json").write_text("{", encoding="utf-8")
    found = read_side(tmp_path)
    assert list(found.runs) == ["calls"]
    assert "b.json is broken" in found.troubles[0]
    assert compare.main([str(tmp_path / "nowhere.json"), str(tmp_path)]) == 2
    assert "nowhere.json: No such file" in capsys.readouterr().out
    (tmp_path / "b.json").write_text('{"name": "calls", "run": "of an earlier version"}', encoding="utf-8")
    assert "one of another version" in read_side(tmp_path / "b.json").troubles[0]


def test_runs_without_a_common_measure_are_not_said_to_be_as_fast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{name}.json" for name in NAMES]
    for name, file in zip(NAMES, files, strict=True):
        file.write_bytes(msgspec.json.encode(run_of(name, FAST)))
    for words in ([], ["--notes"]):
        assert compare.main([*map(str, files), *words]) == 2
        said = capsys.readouterr().out
        assert "There is nothing to compare" in said
        assert "othing became" not in said


def test_another_kind_of_machine_is_told() -> None:
    assert "another kind of machine, so only ratios are compared: calls" in shown(side(FAST), side(FAST, cores=64))
    assert "machine" not in shown(side(FAST), side(FAST))


def test_on_a_full_disk_a_comparison_ends_with_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(msgspec.json.encode(run_of("calls", FAST)))
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "benchmarks.compare", str(file), str(file)]
        ended = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1
    assert ended.stderr == b"error: standard output: No space left on device\n"


_MEASURES_AND_SAYS = """
import sys, benchmarks.__main__ as runner
from benchmarks.results import Result

class Stub:
    def load(self):
        return self.run

    async def run(self, settings):
        settings.say("a step")
        return Result("A title", ["peer"], rows=[["ours"]])

runner.BENCHMARKS["joins"] = Stub()
sys.exit(runner.main(sys.argv[1:]))
"""


def test_what_a_benchmark_has_measured_is_saved_though_nothing_can_be_printed(tmp_path: Path) -> None:
    file = tmp_path / "joins.json"
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-c", _MEASURES_AND_SAYS, "joins", "--json", str(file)]
        ended = subprocess.run(words, cwd=ROOT, stdout=full, stderr=full, check=False)
    assert ended.returncode == 1
    assert list(read_side(file).runs) == ["joins"]


# --------------------------------------------------------------------------------------------------------- what is kept


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the kept runs, which is empty; the pages are left alone."""
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setattr(measured_files, "MEASURED", folder)
    monkeypatch.setattr(everything, "MEASURED", folder)
    monkeypatch.setattr(everything, "put", lambda say: True)
    return folder


def test_a_run_without_the_rows_of_a_peer_does_not_replace_one_that_has_them(tmp_path: Path, kept: Path) -> None:
    file, run = tmp_path / "run.json", run_of("calls", FAST)
    file.write_bytes(msgspec.json.encode(run))
    assert take(file) == ["calls: kept"]
    del run.results["calls"].rows[1]
    run.results["calls"].skipped.append("theirs: there is no node on this machine")
    file.write_bytes(msgspec.json.encode(run))
    assert take(file)[0].startswith("calls: the earlier table stays, because this run has no 'theirs' (1 missing)")
    assert len(load("calls").rows) == 2
    assert take(file, anyway=True) == ["calls: kept"]
    assert "Left out: theirs: there is no node on this machine." in load("calls").run
    (kept / "calls.json").write_text("{", encoding="utf-8")
    assert take(file) == ["calls: kept"]


def test_a_run_in_which_a_peer_failed_does_not_replace_its_figures(tmp_path: Path, kept: Path) -> None:
    file, run = tmp_path / "run.json", run_of("calls", FAST)
    file.write_bytes(msgspec.json.encode(run))
    assert take(file) == ["calls: kept"]
    run.results["calls"].rows[1] = ["theirs", None]
    file.write_bytes(msgspec.json.encode(run))
    assert take(file)[0].startswith(
        "calls: the earlier table stays, because this run has no 'x' of 'theirs' (1 missing)"
    )
    run.results["calls"].columns = ["peer", "y"]
    file.write_bytes(msgspec.json.encode(run))
    assert take(file) == ["calls: kept"], "a column that is no more is no reason"


def test_columns_that_share_a_name_are_told_apart(tmp_path: Path, kept: Path) -> None:
    run = run_of("calls", FAST)
    run.results["calls"].columns, run.results["calls"].rows = ["a", "x", "b", "x"], [["ours", 1, 2, 3]]
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(run))
    take(tmp_path / "run.json")
    assert load("calls").cell("ours", "b x") == 3


def test_on_a_full_disk_the_earlier_file_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_whole(file, b"earlier")

    def fill(path: Path, data: bytes) -> int:
        with path.open("wb") as half:
            half.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"later")
    assert file.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [file]


def test_a_table_whose_file_is_broken_stays_as_it_is(kept: Path) -> None:
    page, said = "<!-- figures: calls -->\nold\n<!-- end -->\n", list[str]()
    assert written(page, said.append) == page
    assert said[0].startswith("the table calls stays as it is: ")
    with pytest.raises(Broken):
        written(page)


async def test_a_node_js_that_is_broken_is_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'error: no version is set' >&2; exit 127\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(installs.NotInstalled, match="no version is set"):
        await installs.install_npm("anything", may_install=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(installs.NotInstalled, match="there is no node on this machine"):
        await installs.install_npm("anything", may_install=False)


# ---------------------------------------------------------------------------------------------------------------- all


class Programs(Plan, kw_only=True):
    """A plan whose benchmarks are programs; `$FILE` in one is the file that it has to write."""

    programs: dict[str, str]

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-S", "-c", self.programs[name].replace("$FILE", str(self.results / f"{name}.json"))]


HANGS = "import os, time; open('$FILE.pid', 'w').write(str(os.getpid())); time.sleep(600)"


@pytest.fixture
def plan_of(tmp_path: Path, kept: Path) -> Callable[..., Programs]:
    def make(programs: dict[str, str], **options: Any) -> Programs:
        (tmp_path / "results").mkdir(exist_ok=True)
        return Programs(names=list(programs), programs=programs, results=tmp_path / "results", **options)

    return make


def pid_in(plan: Plan) -> int:
    """Return the process of ``bulk`` that hangs; 0 as long as there is none."""
    file = plan.results / "bulk.json.pid"
    return int(file.read_text() or 0) if file.exists() else 0


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def measures(name: str, samples: list[float]) -> str:
    """Return the program of a benchmark that works."""
    return f"open('$FILE', 'wb').write({msgspec.json.encode(run_of(name, samples))!r})"


async def test_what_one_has_measured_is_kept_whatever_happens_to_the_others(
    plan_of: Callable[..., Programs], kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Programs, "limit_s", lambda self, name: 0.5 if name == "bulk" else DEADLINE_S)
    programs = {"calls": measures("calls", FAST), "fanout": "raise SystemExit(3)", "bulk": HANGS}
    plan = plan_of(programs | {"links": measures("links", FAST), "spawn": "open('$FILE', 'w').write('{')"})
    write(plan.results / "fanout.json", msgspec.json.encode(run_of("fanout", FAST)))  # of an earlier day
    with trio.fail_after(DEADLINE_S):
        assert await run_all(plan) == 1
    assert names_in(kept) == ["calls.json", "links.json"]
    said = capsys.readouterr().out
    for line in (
        "calls: measured after",
        "fanout: ended with status 3",
        "bulk: stopped: it took too long",
        "spawn.json is broken",
    ):
        assert line in said
    assert not is_running(pid_in(plan))


async def test_ctrl_c_ends_it_and_keeps_what_was_measured(
    plan_of: Callable[..., Programs], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of({"calls": measures("calls", FAST), "bulk": HANGS, "links": measures("links", FAST)})
    statuses: list[int] = []

    async def run() -> None:
        statuses.append(await run_all(plan))

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as inner:
            inner.start_soon(run)
            await wait_until(lambda: bool(pid_in(plan)))
            os.kill(os.getpid(), signal.SIGINT)
    assert statuses == [130]
    assert names_in(kept) == ["calls.json"]
    assert not is_running(pid_in(plan))
    said = capsys.readouterr().out
    assert "bulk: interrupted; nothing was saved" in said
    assert "links: interrupted; nothing was saved" in said


async def test_it_ends_within_the_time_that_it_is_given(
    plan_of: Callable[..., Programs], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of({"bulk": HANGS, "links": HANGS}, within_s=0.5)
    with trio.fail_after(DEADLINE_S):
        assert await run_all(plan) == 1
    assert "links: skipped: no time was left" in capsys.readouterr().out
    assert plan.bound_s() < 60
    assert plan_of({"bulk": ""}).bound_s() > BENCHMARKS["bulk"].limit_s


async def test_it_ends_with_what_became_slower_and_status_0(
    plan_of: Callable[..., Programs], tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run_all(plan_of({"calls": measures("calls", FAST)})) == 0
    assert await run_all(plan_of({"calls": measures("calls", SLOW)}, together=tmp_path / "all.json")) == 0
    assert "slower  calls: f: 8 x, was 10 x" in capsys.readouterr().out
    assert "calls" in read_side(tmp_path / "all.json").runs
    write(tmp_path / "broken.json", b"[")
    assert await run_all(plan_of({"calls": measures("calls", FAST)}, earlier=tmp_path / "broken.json")) == 0
    assert "not compared: " in capsys.readouterr().out


async def test_a_quick_run_leaves_the_kept_ones_and_a_full_disk_is_told(
    plan_of: Callable[..., Programs], kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = {"calls": measures("calls", FAST)}
    assert await run_all(plan_of(programs, is_quick=True)) == 0
    assert await run_all(plan_of(programs, is_writing=False)) == 0
    assert names_in(kept) == []

    def fill(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measured_files, "write_whole", fill)
    assert await run_all(plan_of(programs)) == 1
    assert "calls: not kept: No space left on device; the run is in " in capsys.readouterr().out


def test_each_benchmark_is_there_and_has_a_time() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert callable(benchmark.load()), name
        assert 60 <= benchmark.limit_s <= 3600
