"""Nodes that are processes: the command, its output and files, and nodes that break the protocol."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.children import child
from tests.maelstrom.workbench.simulated import BROKEN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROTOCOL = BROKEN / "protocol.py"


def command(
    *arguments: str, folder: Path, timeout_s: float = 60, hash_seed: str = "random"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trionet", "maelstrom", "test", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def echo(folder: Path, fault: str, *options: str, seconds: float = 1.0) -> tuple[int, dict[str, Any], str]:
    common = ("-w", "echo", "--bin", str(PROTOCOL), "--node-count", "1", "--time-limit", str(seconds), "--rate", "30")
    done = command(*common, "--json", *options, "--", fault, folder=folder)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_the_command_prints_a_report_and_keeps_everything(tmp_path: Path) -> None:
    done = command(
        "-w", "echo", "--bin", str(PROTOCOL), "--node-count", "2", "--time-limit", "1", "--rate", "50", "--seed", "4",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "echo, 2 nodes, seed 4" in done.stdout
    assert done.stdout.endswith("Valid: all is as it should be.\n")
    kept = tmp_path / "store" / "latest"
    assert kept.resolve() == (tmp_path / "store" / "echo" / "latest").resolve()
    assert {path.name for path in kept.iterdir()} == {
        "history.jsonl", "latency.svg", "messages.jsonl", "messages.svg", "node-logs", "rate.svg", "results.json",
    }  # fmt: skip
    history = [json.loads(line) for line in (kept / "history.jsonl").read_text().splitlines()]
    assert [op["index"] for op in history] == list(range(len(history)))
    messages = [json.loads(line) for line in (kept / "messages.jsonl").read_text().splitlines()]
    assert messages[0]["body"]["type"] == "init"
    results = json.loads((kept / "results.json").read_text())
    assert results["net"]["all"]["send-count"] == sum("sent" in message for message in messages)
    assert results["options"]["seed"] == 4


Outcomes = dict[str, tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """Run nodes with faults, all at once, because each has its client wait for 5 s; return status, results, errors."""
    started, found = {}, {}
    with ExitStack() as stack:
        for fault in ("garbage", "wrong-envelope", "unknown-dest", "body-is-a-list", "exits", "dies", "late"):
            seconds = "7" if fault == "late" else "1"
            options = ["--no-store", "--json", "--node-count", "1", "--rate", "30", "--time-limit"]
            command = [sys.executable, "-m", "trionet", "maelstrom", "test", "-w", "echo", "--bin", str(PROTOCOL)]
            command += [*options, seconds, "--", fault]
            env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
            pipe = subprocess.PIPE
            started[fault] = stack.enter_context(child(command, env=env, stdout=pipe, stderr=pipe, text=True))
        for fault, process in started.items():
            output, errors = process.communicate(timeout=60)
            found[fault] = process.returncode, json.loads(output), str(errors)
    return found


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("garbage", "it is not JSON"),
        ("wrong-envelope", "its envelope is not"),
        ("unknown-dest", "is not on the network"),
        ("body-is-a-list", "its body is no object"),
    ],
)
def test_after_a_bad_line_the_output_of_a_node_is_ignored(outcomes: Outcomes, fault: str, reason: str) -> None:
    status, results, errors = outcomes[fault]
    assert status == 1
    assert reason in errors
    assert "nothing it writes is read from now on" in errors
    assert results["stats"]["by-f"]["echo"]["ok-count"] == 4
    assert results["nodes"]["valid?"] is True
    assert len(results["nodes"]["warnings"]) == 1


@pytest.mark.parametrize(("fault", "reason"), [("exits", "exit status 7"), ("dies", "killed by SIGKILL")])
def test_a_node_that_ends_by_itself_fails_the_test(outcomes: Outcomes, fault: str, reason: str) -> None:
    status, results, errors = outcomes[fault]
    assert status == 1
    assert results["nodes"]["crashed"][0]["reason"] == reason
    assert f"n0 has ended by itself: {reason}" in errors
    if fault == "exits":
        assert results["nodes"]["crashed"][0]["stderr"] == ["it is too much"]


def test_after_a_late_reply_to_a_closed_client_the_output_of_a_node_is_ignored(outcomes: Outcomes) -> None:
    status, results, errors = outcomes["late"]
    assert status == 1
    assert "is for 'c2', which is not on the network" in errors
    assert results["stats"]["by-f"]["echo"]["ok-count"] == 4


def test_a_node_that_does_not_initialise_is_reported_at_once(tmp_path: Path) -> None:
    status, _, errors = echo(tmp_path, "ends-at-once", "--no-store")
    assert status == 3
    assert "n0 does not initialise" in errors
    assert "exit status 3" in errors
    assert "no, I won't" in errors
    status, _, errors = echo(tmp_path, "no-init", "--no-store", "--init-timeout", "0.5")
    assert status == 3
    assert "no reply within 0.5 s" in errors


def test_processes_are_killed_paused_and_started_again(tmp_path: Path) -> None:
    faults = ("--nemesis", "kill,pause", "--nemesis-interval", "0.2", "--seed", "3", "--node-count", "3")
    status, results, errors = echo(tmp_path, "none", *faults, "--concurrency", "2n", seconds=2.0)
    history = (tmp_path / "store" / "latest" / "history.jsonl").read_text()
    assert '"f":"kill"' in history
    assert '"f":"start"' in history
    assert '"f":"pause"' in history
    assert results["nodes"]["crashed"] == [], errors
    assert results["stats"]["by-f"]["echo"]["ok-count"] > 0
    assert status in {0, 1}  # an echo that is killed is an error


def test_invalid_options_are_reported_in_one_line(tmp_path: Path) -> None:
    for name in ("runs.py", "plain.py"):
        (tmp_path / name).write_text("import sys\n")
        (tmp_path / name).chmod(0o755)
    for arguments, reason in (
        (("-w", "nonsense", "--bin", "x"), "invalid choice: 'nonsense'"),
        (("-w", "echo", "--bin", "x", "--nemesis", "flood"), "--nemesis knows partition, kill, pause"),
        (("-w", "echo", "--bin", str(BROKEN / "values.py"), "--no-store"), "is not executable"),
        (("-w", "echo", "--bin", "./runs.py", "--no-store"), "make it '#!/usr/bin/env python3'"),
        (("-w", "echo", "--bin", "plain.py", "--no-store", "--simulate"), "it has no function build"),
    ):
        done = command(*arguments, folder=tmp_path)
        assert done.returncode == 3
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_a_typographic_dash_is_pointed_out(tmp_path: Path) -> None:
    done = command(
        "-w", "echo", "--bin", str(PROTOCOL), "--time-limit", "0.2", "--no-store", "--node-count", "1",
        "\u2013-nemesis", "partition", folder=tmp_path,
    )  # fmt: skip
    assert "begins with a typographic dash" in done.stderr


def test_a_simulation_from_the_command_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from trionet.maelstrom import MaelstromNode\n"
        "def build():\n"
        "    node = MaelstromNode()\n"
        "    node.on('generate')(lambda message: {'id': node.random.random()})\n"
        "    return node\n"
    )
    options = (
        "-w",
        "unique-ids",
        "--bin",
        "mine:build",
        "--simulate",
        "--seed",
        "9",
        "--time-limit",
        "2",
        "--rate",
        "50",
    )
    texts = []
    for _ in range(2):
        assert command(*options, folder=tmp_path).returncode == 0
        texts.append((tmp_path / "store" / "latest" / "history.jsonl").read_text())
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) > 100


@pytest.mark.parametrize("program", ["txn-list-append", "kafka-durable", "broadcast"])
def test_a_simulation_does_not_depend_on_the_hashes_of_texts(program: str, tmp_path: Path) -> None:
    workload = "kafka" if program == "kafka-durable" else program
    load = ("--node-count", "4", "--concurrency", "2n", "--rate", "60", "--time-limit", "6", "--latency", "20")
    options = ("-w", workload, "--bin", program, "--simulate", "--seed", "5", "--latency-dist", "uniform", *load)
    texts = []
    for hash_seed in ("1", "2"):
        command(*options, folder=tmp_path, hash_seed=hash_seed)
        texts.append((tmp_path / "store" / "latest" / "messages.jsonl").read_text())
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) > 1000
