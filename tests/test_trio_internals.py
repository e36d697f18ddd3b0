"""With a Trio whose private parts are others, the public fallbacks pass the same tests."""

from __future__ import annotations

import select
import subprocess
import sys

import pytest
import trio
import trio.testing

from tests.node_processes import ROOT, clean_environment
from trionet import trio_internals, trio_tasks, trio_waits
from trionet.simulation.running import deterministic

HIDDEN = ["-p", "tests.hidden_internals", "-p", "no:cacheprovider", "-q"]
LOOKS_INSIDE = [
    "test_an_error_of_the_pumps_own_comes_out_of_run",
    "test_nothing_is_kept_of_threads_and_waits_that_are_over",
]
FOLLOWS_FROM_THE_SEED = "test_what_follows_from_a_seed_does_not_depend_on_how_long_threads_work"
STANDS_STILL_FOR_LONG = [
    "test_time_stands_still_while_a_thread_works_and_goes_on_for_one_that_waits_for_it",
    "test_time_passes_for_a_thread_that_waits_for_it",
    "test_sockets_are_read_though_there_is_always_an_event",
]
LEFT_OUT = f"not ({' or '.join([*LOOKS_INSIDE, FOLLOWS_FROM_THE_SEED, *STANDS_STILL_FOR_LONG])})"


@pytest.mark.slow
@pytest.mark.parametrize(
    "tests",
    [
        [
            "transports/test_base.py",
            "transports/test_pump.py",
            "transports/test_clock.py",
            "transports/test_outside.py",
        ],
        ["templates/test_fan_out.py", "services/test_membership.py"],
        pytest.param(["services/test_gossip.py"], marks=pytest.mark.soak),
        pytest.param(["simulation/test_faults.py"], marks=pytest.mark.soak),
    ],
    ids=["time", "calls", "rumors", "simulation"],
)
def test_the_fallbacks_pass_the_tests_of(tests: list[str]) -> None:
    files = [f"tests/{name}" for name in tests]
    command = [sys.executable, "-m", "pytest", *HIDDEN, "-k", LEFT_OUT, *files]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_trio_needs_no_fallback() -> None:
    async def main() -> None:
        assert trio_internals.LoopState.of_this_run() is not None

    trio.run(main, clock=trio.testing.MockClock())
    assert trio_internals.time_left_s.__name__ == "_time_left_of_scopes_s"
    assert trio_tasks.is_as_entered.__name__ == "_is_as_entered"
    assert trio_tasks.wait_woken.__name__ == "_wait_by_message"
    assert trio_waits._HAS_WAIT or not hasattr(select, "epoll")  # noqa: SLF001


def test_a_simulation_whose_tasks_run_in_no_known_order_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_internals, "_HAS_TASK_ORDER", False)
    with pytest.warns(UserWarning, match="the order of tasks follows from no seed"), deterministic(1):
        pass
