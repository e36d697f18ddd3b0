"""The tests themselves, where signals are ignored, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.children import child, reset_signals
from tests.launchers.families import marked_family
from tests.waiting import DEADLINE_S, is_running

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
ENDLESS = [sys.executable, "-c", "import signal, time; print(flush=True); time.sleep(600)"]


def ignoring(*numbers: signal.Signals) -> Callable[[], None]:
    """Return what makes a child begin as in the background of a shell that runs a script."""

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return ignore


def state_of(pid: int) -> str:
    """Return the state of a process, such as Z for one that has ended; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


WITHOUT_ITS_FIRST_THREAD = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_runs_until_its_last_thread_has_ended() -> None:
    until = time.monotonic() + DEADLINE_S
    with marked_family() as family, child([sys.executable, "-c", WITHOUT_ITS_FIRST_THREAD]) as process:
        while state_of(process.pid) != "Z":
            assert time.monotonic() < until
        assert is_running(process.pid)
        assert family.pids() == {process.pid}
        assert process.poll() is None
        process.kill()
        while is_running(process.pid):
            assert time.monotonic() < until
        assert process.poll() == -signal.SIGKILL


@pytest.mark.slow
def test_the_tests_of_ctrl_c_run_where_it_is_ignored() -> None:
    name = "tests/transports/test_pump.py::test_ctrl_c_ends_a_run_in_which_no_task_ever_can_run"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name],
        cwd=ROOT,
        preexec_fn=ignoring(signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_signals_that_are_ignored_are_ours_again_and_those_that_are_caught_stay() -> None:
    program = """
        import os, signal, subprocess, sys
        from tests.children import reset_signals
        signal.signal(signal.SIGTERM, print)
        reset_signals()
        numbers = signal.SIGINT, signal.SIGQUIT, signal.SIGTERM
        print([signal.getsignal(each) == was for each, was in zip(numbers, (
            signal.default_int_handler, signal.SIG_DFL, print))], flush=True)
        os.kill(os.getpid(), signal.SIGHUP)  # which ends neither the tests, nor is ignored by what they start
        tell = "import signal; print(repr(signal.getsignal(signal.SIGHUP)))"
        subprocess.run([sys.executable, "-c", tell], check=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        preexec_fn=ignoring(signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == "[True, True, True]\n<Handlers.SIG_DFL: 0>\n"


def test_what_was_not_ignored_is_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)]
    reset_signals()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)] == before


def test_a_child_ends_with_its_block_even_by_an_exception() -> None:
    pids = []

    def fail() -> None:
        with child(ENDLESS, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            pids.append(process.pid)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc elsewhere")
def test_what_a_test_leaves_behind_ends_with_the_session(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(f"""
        import subprocess, pathlib
        def test_leaving():
            process = subprocess.Popen({ENDLESS!r}, stdout=subprocess.PIPE)
            process.stdout.readline()
            pathlib.Path("pid").write_text(str(process.pid))
            process.returncode = 0  # so that nothing warns of it
            process.stdout.close()
    """)
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=pytester.path,
        env=environment,
        capture_output=True,
        timeout=100,
        check=True,
    )
    pid = int((pytester.path / "pid").read_text())
    assert state_of(pid) in {"", "Z"}  # whoever is to reap it may take a while
