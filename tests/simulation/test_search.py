"""A search finds the smallest seed that fails, whatever its processes do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.children import child
from trionet.errors import ConfigError
from trionet.simulation import Trial, Violation, search
from trionet.simulation.search import Worker

HERE = "tests.simulation.programs"


def trial(program: str) -> Trial:
    return Trial(nodes=2, duration_s=1.0, faults=[], program=f"{HERE}:{program}")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_smallest_seed_that_fails_is_found_and_the_search_stops_there(processes: int) -> None:
    done: list[int] = []
    failure = search(trial("fail_from_three_on"), range(100), processes=processes, on_progress=done.append)
    assert failure is not None
    assert failure.trial == Trial(seed=3, nodes=2, duration_s=1.0, faults=[], program=f"{HERE}:fail_from_three_on")
    assert failure.violations[0].text.startswith("AssertionError: seed 3")
    assert done == list(range(1, len(done) + 1))
    assert 4 <= len(done) <= 3 + processes


@pytest.mark.slow
def test_seeds_that_do_not_fail_are_all_run() -> None:
    done: list[int] = []
    assert search(trial("fail_from_three_on"), range(3), processes=2, on_progress=done.append) is None
    assert done == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "seed", "how"), [("kill_at_two", 2, "was ended by SIGKILL"), ("die_at_five", 5, "ended with status 7")]
)
def test_a_process_that_dies_is_a_finding(program: str, seed: int, how: str) -> None:
    failure = search(trial(program), range(20), processes=2)
    assert failure is not None
    assert failure.trial.seed == seed
    (violation,) = failure.violations
    assert violation.invariant == "process"
    assert how in violation.text
    assert how in violation.signature


@pytest.mark.slow
def test_a_worker_replaces_a_dead_process() -> None:
    with Worker() as worker:
        first = worker.pid
        assert worker.run(Trial(seed=2, nodes=1, faults=[], program=f"{HERE}:kill_at_two"))
        assert worker.run(Trial(seed=1, nodes=1, faults=[], program=f"{HERE}:kill_at_two")) == []
        assert worker.pid != first
        last = worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


@pytest.mark.slow
def test_an_endless_trial_is_a_finding_and_its_process_is_killed() -> None:
    failure = search(trial("spin"), range(7, 9), processes=1, most_real_s=1.0)
    assert failure is not None
    assert failure.trial.seed == 7
    how = "did not end within 1 s"
    text = f"the process that ran seed 7 {how}"
    assert failure.violations == [Violation(invariant="process", at_s=0.0, text=text, signature=how)]
    with Worker(most_real_s=1.0) as worker:
        assert worker.run(failure.trial) == failure.violations
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)


@pytest.mark.slow
def test_a_worker_ends_within_a_trial_when_the_searching_process_is_killed() -> None:
    program = f"""
from trionet.simulation.search import Trial, Worker
worker = Worker()
print(worker.pid, flush=True)
worker.run(Trial.from_json({trial("spin").to_json()!r}))
"""
    command = [sys.executable, "-c", program]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as searching:
        assert searching.stdout is not None
        assert searching.stderr is not None
        worker = int(searching.stdout.readline())
        try:
            assert searching.stderr.readline() == b"spinning\n"
            searching.kill()
            searching.communicate(timeout=60)  # the worker has the same stderr, and holds it open as long as it lives
        finally:
            searching.kill()
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def test_a_search_with_a_missing_program_does_not_begin() -> None:
    with pytest.raises(ConfigError, match="no_such_thing"):
        search(trial("no_such_thing"), range(3))


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this ps is Linux's")
def test_there_are_no_more_processes_than_seeds() -> None:
    before = len(children_of(os.getpid()))
    meanwhile: list[int] = []
    search(trial("nothing"), range(1), processes=4, on_progress=lambda _: meanwhile.extend(children_of(os.getpid())))
    assert len(meanwhile) == before + 1


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this ps is Linux's")
def test_ctrl_c_ends_the_command_and_its_processes_without_a_traceback() -> None:
    command = [sys.executable, "-m", "trionet", "simulate", "--seeds", "100000", "--processes", "2"]
    with child(command, stderr=subprocess.PIPE) as process:
        workers: list[int] = []
        deadline = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < deadline:
            workers = children_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"")
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
