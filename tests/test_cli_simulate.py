"""``trionet simulate``: what it finds, what it prints, and how it refuses."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.children import child
from trionet.cli.simulate import main
from trionet.simulation import Trace, Trial

ROOT = Path(__file__).parent.parent

SHOP = """
import trio

async def two_customers(sim):
    left = [1]

    async def buy():
        await trio.sleep(sim.random.random())
        if left[0] > 0:
            await trio.sleep(0.1)
            left[0] -= 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(buy)
        nursery.start_soon(buy)
    sim.left = left[0]

async def think(sim):
    while True:
        pass

def is_not_oversold(sim):
    assert sim.left >= 0, f"{sim.left} are left"
"""
LOUD = """
import os

print("imported")

async def say(sim):
    print("run")
    os.system("echo from a process")
    assert False
"""
LONG = """
import trio

async def for_ever(sim):
    print("begun", flush=True)
    while True:
        await trio.lowlevel.checkpoint()
"""
ARGUMENTS = ["--program", "shop:two_customers", "--invariant", "shop:is_not_oversold", "--duration", "2"]


def simulate(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trionet", "simulate", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_failing_seed_is_found_shrunk_and_repeated_by_the_command_that_is_printed(shop: Path) -> None:
    done = simulate("--seeds", "200", *ARGUMENTS, folder=shop)
    assert (done.returncode, done.stderr) == (1, "")
    first, *_, last = done.stdout.splitlines()
    assert "fails: shop:is_not_oversold, at " in first
    assert first.endswith("s: -1 are left")
    assert "\n1 node, 0.1 s, no faults\nto repeat it:\n" in done.stdout
    program, *words = shlex.split(last)
    assert (program, words[:2]) == ("trionet", ["simulate", "--replay"])
    repeated = simulate(*words[1:], folder=shop)
    assert repeated.returncode == 1
    assert repeated.stdout.startswith("shop:is_not_oversold, at ")


@pytest.mark.slow
def test_a_run_that_does_not_come_to_an_end_fails_and_so_do_the_smaller_ones(shop: Path) -> None:
    arguments = ["--program", "shop:think", "--duration", "0.1", "--nodes", "1", "--most-real-seconds", "0.5"]
    done = simulate("--seeds", "1", *arguments, folder=shop)
    assert (done.returncode, done.stderr) == (1, "")
    text = "process, at 0.000 s: the process that ran seed 0 did not end within 0.5 s"
    first, shrunk, *_ = done.stdout.splitlines()
    assert first == f"seed 0 fails: {text}"
    assert shrunk.endswith(f" runs; then: {text}")


@pytest.mark.slow
def test_a_long_trial_is_written_to_a_file_and_its_trace_is_saved(shop: Path) -> None:
    done = simulate("--seeds", "200", "--no-shrink", "--trace", "trace.jsonl", *ARGUMENTS, folder=shop)
    assert done.returncode == 1
    *_, name = shlex.split(done.stdout.splitlines()[-1])
    trial = Trial.from_json((shop / name).read_bytes())
    assert trial.faults
    assert f"\n5 nodes, 2 s, {len(trial.faults)} faults\n  at " in done.stdout
    repeated = json.loads(simulate("--json", "--replay", name, folder=shop).stdout)
    assert repeated["trace_hash"] == Trace.load(shop / "trace.jsonl").hash()
    assert Trial.from_json(json.dumps(repeated["trial"])) == trial


@pytest.mark.slow
def test_the_result_as_json_is_one_line(shop: Path) -> None:
    failed = simulate("--json", "--seeds", "200", *ARGUMENTS, folder=shop)
    said = json.loads(failed.stdout)
    assert failed.returncode == 1
    assert said["violation"]["invariant"] == "shop:is_not_oversold"
    assert said["trial"]["seed"] == said["seed"]
    fine = simulate("--json", "--seeds", "1", "--first-seed", "7", "--duration", "1", folder=shop)
    assert (fine.returncode, json.loads(fine.stdout)) == (0, {"seeds": 1, "first_seed": 7, "trial": None})


@pytest.mark.slow
@pytest.mark.parametrize("which", [["--seed", "1"], ["--seeds", "1", "--first-seed", "1"]])
def test_what_the_program_prints_is_no_result(tmp_path: Path, which: list[str]) -> None:
    (tmp_path / "loud.py").write_text(LOUD, encoding="utf-8")
    done = simulate("--json", *which, "--program", "loud:say", "--trace", "it.jsonl", folder=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["trial"]["seed"] == 1
    for said in ("imported\n", "run\n", "from a process\n"):
        assert said in done.stderr


@pytest.mark.slow
def test_one_seed_is_not_seeds(tmp_path: Path) -> None:
    done = simulate("--seeds", "1", "--first-seed", "7", "--duration", "1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 seed, 7: nothing violated\n")


@pytest.mark.slow
def test_one_seed_is_run_here_and_its_trace_is_told(tmp_path: Path) -> None:
    arguments = ["--seed", "3", "--nodes", "3", "--duration", "2", "--scenario", "churn", "--trace", "it.jsonl"]
    done = simulate(*arguments, folder=tmp_path)
    trace = Trace.load(tmp_path / "it.jsonl")
    assert done.returncode == 0
    assert done.stdout == f"seed 3: {len(trace):,} events, trace {trace.hash()[:16]}, nothing violated\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--scenario", "moon"], "no scenario 'moon': there are anything, churn"),
        (["--network", "moon"], "no network 'moon': there are perfect, lan"),
        (["--invariant", "moon"], "no invariant 'moon': there are membership_converges"),
        (["--program", "moon:x"], "can't import 'moon'"),
        (["--nodes", "0"], "at least one node"),
        (["--settle", "20"], "settle_s must be at least 24, and more after faults, not 20"),
        (["--seeds", "0"], "--seeds: a positive number, not 0"),
        (["--most-real-seconds", "0"], "--most-real-seconds: a positive number, not 0"),
        (["--seeds", "many"], "argument --seeds: invalid int value: 'many'"),
        (["--replay", "moon"], "--replay: there is no file 'moon', and it is no JSON"),
        (["--replay", '{"moon": 1}'], "no trial: Object contains unknown field `moon`"),
        (["--replay", "{}", "--nodes", "3"], "--replay defines the run"),
        (["--replay", "{}", "--first-seed", "3"], "--replay defines the run"),
        (["--replay", '{"most_messages": 0}'], "at least one message, not 0"),
        (["--seed", "1", "--seeds", "3"], "--seed runs one seed only: no --seeds"),
        (["--seed", "1", "--first-seed", "0"], "--seed runs one seed only: no --seeds"),
        (["--most-messages", "0"], "--most-messages: a positive number, not 0"),
        (["--trace", "moon/trace.jsonl"], "--trace: there is no folder 'moon'"),
        (["--plot", "moon/what.png"], "--plot: there is no folder 'moon'"),
        (["--html", "moon/what.html"], "--html: there is no folder 'moon'"),
        (["--html", "docs"], "--html: 'docs' is a folder"),
        (["--trace", "docs"], "--trace: 'docs' is a folder"),
        (
            ["--scenario", "tests.simulation.programs:fails_to_plan"],
            "programs:fails_to_plan' gives no schedule: ValueError: no plan (programs.py:",
        ),
        (
            ["--scenario", "tests.simulation.programs:plans_five"],
            "gives no schedule: a schedule is a list of faults, not 5",
        ),
    ],
)
def test_what_can_not_be_run_is_refused_in_one_line(
    arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as caught:
        main(arguments)  # in this process, which is much faster; nothing is run
    _check_refused(caught.value.code, *capsys.readouterr(), text)


@pytest.mark.slow
def test_so_it_is_by_a_process() -> None:
    done = simulate("--scenario", "moon")
    _check_refused(done.returncode, done.stdout, done.stderr, "no scenario 'moon': there are anything, churn")


def _check_refused(status: object, stdout: str, stderr: str, text: str) -> None:
    assert (status, stdout) == (2, "")
    assert stderr.startswith("trionet simulate: ")
    assert text in stderr
    assert stderr.count("\n") == 1


@pytest.mark.slow
def test_what_happened_is_drawn_and_a_picture_of_no_known_kind_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = simulate("--seed", "1", "--duration", "2", "--plot", "what.svg", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "what.svg").read_text(encoding="utf-8").startswith("<?xml")
    done = simulate("--seed", "1", "--plot", "what.gif", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--plot: what.gif must end in one of .png, .svg, .pdf" in done.stderr


def document_in(path: Path) -> dict[str, Any]:
    """Return the data of a page."""
    *_, data = path.read_text(encoding="utf-8").split("main.show(document, ")
    document: dict[str, Any] = json.loads(data.partition(");\n</script>")[0])
    return document


@pytest.mark.slow
def test_a_failing_run_becomes_a_page_that_tells_where_it_differs_from_a_passing_one(shop: Path) -> None:
    arguments = ["--seeds", "20", "--processes", "1", "--no-shrink", "--html", "report.html", *ARGUMENTS]
    done = simulate(*arguments, folder=shop)
    assert (done.returncode, done.stderr) == (1, "")
    document = document_in(shop / "report.html")
    assert [one["invariant"] for one in document["violations"]] == ["shop:is_not_oversold"]
    assert document["comparison"]["with"].startswith("the same ")
    assert document["trial"]["command"].startswith("trionet simulate --replay ")
    failing, passing = (Trial.from_json(shlex.split(document[of]["command"])[-1]) for of in ("trial", "comparison"))
    assert failing != passing
    assert f"seed {failing.seed} fails" in done.stdout


@pytest.mark.slow
def test_a_page_of_a_run_whose_process_did_not_end_has_no_events_and_of_a_fine_one_no_failure(shop: Path) -> None:
    arguments = ["--program", "shop:think", "--duration", "0.1", "--nodes", "1", "--most-real-seconds", "0.5"]
    done = simulate("--seeds", "1", "--no-shrink", *arguments, "--html", "report.html", "--trace", "t", folder=shop)
    assert (done.returncode, (shop / "t").exists()) == (1, False)
    assert done.stderr == "there is no trace to save or draw: the process that ran it did not end as it should\n"
    document = document_in(shop / "report.html")
    assert document["violations"][0]["text"] == "the process that ran seed 0 did not end within 0.5 s"
    assert document["run"]["events_in_trace"] == 0
    assert simulate("--seed", "1", "--duration", "1", "--html", "fine.html", folder=shop).returncode == 0
    assert document_in(shop / "fine.html")["violations"] == []
    done = simulate("--seeds", "1", "--duration", "1", "--html", "none.html", folder=shop)
    assert (done.returncode, (shop / "none.html").exists()) == (0, False)
    assert "none.html is not written: no run failed" in done.stderr


@pytest.mark.slow
def test_a_terminal_is_shown_how_far_it_is(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "trionet", "simulate", "--seeds", "3", "--duration", "1", "--processes", "1"]
    with child(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave) as process:
        os.close(slave)
        said, _ = process.communicate(timeout=100)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert said == b"3 seeds, 0 to 2: nothing violated\n"
    assert f"{'#' * 10}{'.' * 20} 1 of 3 seeds, " in shown
    assert shown.endswith("\r\x1b[K")


@pytest.mark.slow
@pytest.mark.parametrize("which", [["--seed", "1"], ["--replay", '{"program":"long:for_ever"}']])
def test_ctrl_c_ends_a_single_run_without_a_traceback(tmp_path: Path, which: list[str]) -> None:
    (tmp_path / "long.py").write_text(LONG, encoding="utf-8")
    command = [sys.executable, "-m", "trionet", "simulate", *which]
    if which[0] == "--seed":
        command += ["--program", "long:for_ever"]
    with child(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
        assert (process.returncode, said) == (130, (b"", b""))


@pytest.mark.slow
def test_the_help_names_scenarios_networks_and_invariants() -> None:
    done = simulate("--help")
    assert done.returncode == 0
    for word in ("split_brain", "lan, wan", "no_handler_outlives_its_caller", "--first-seed", "exit status"):
        assert word in done.stdout
