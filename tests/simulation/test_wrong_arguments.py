"""Arguments of wrong types are refused with an error of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trionet import ConfigError, DecodeError
from trionet.errors import SpawnError
from trionet.simulation import (
    Simulation,
    Trace,
    Trial,
    check,
    check_processes,
    draw,
    first_difference,
    open_cluster,
    run,
    run_trial,
    search,
    shrink,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from trio.testing import MockClock

HERE = "tests.simulation.programs"
WRONG: Any = 3
TEXT: Any = "x"
TINY = Trial(nodes=1, duration_s=1.0, faults=[], program=f"{HERE}:nothing")


async def returns_nothing() -> Any:
    pass


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: draw(WRONG, "x.svg"), "pictures are drawn of a Trace, not 3"),
        (lambda: draw(Trace(), WRONG), "a path is a text or a Path, not 3"),
        (lambda: draw(Trace(), "x.svg", WRONG), "pictures are a list of names, not 3"),
        (lambda: draw(Trace(), "x.svg", [WRONG]), "no picture 3"),
        (lambda: check_processes("nope"), "'nope'"),
        (lambda: check_processes(WRONG), "the function and its arguments are texts, not 3"),
        (lambda: check_processes(f"{HERE}:nothing", WRONG), "the function and its arguments are texts, not 3"),
        (lambda: check(WRONG), "a program is an async function, not 3"),
        (lambda: check(returns_nothing), "a trace is a Trace, not None"),
        (lambda: run(WRONG), "a program is an async function, not 3"),
        (lambda: search(WRONG, [1]), "a trial is a Trial, not 3"),
        (lambda: search(TINY, WRONG), "seeds are numbers in ascending order, not 3"),
        (lambda: search(TINY, [1], processes=TEXT), "processes is a number, not 'x'"),
        (lambda: search(TINY, [1], most_real_s=TEXT), "most_real_s is a number of seconds, not 'x'"),
        (lambda: shrink(WRONG, lambda _: []), "a trial is a Trial, not 3"),
        (lambda: shrink(TINY, lambda _: [], most_runs=TEXT), "most_runs is a number, not 'x'"),
        (lambda: run_trial(WRONG), "a trial is a Trial, not 3"),
        (lambda: run_trial(TINY, WRONG), "invariants are a list, not 3"),
        (lambda: run_trial(Trial(nodes=TEXT)), r"no trial: Expected `int`, got `str` - at `\$.nodes`"),
        (lambda: run_trial(Trial(program=WRONG)), r"no trial: Expected `str \| null`, got `int` - at `\$.program`"),
        (lambda: run_trial(Trial(faults=[WRONG])), "a schedule is a list of faults, not 3"),
        (lambda: Trial.from_json(WRONG), "no trial: "),
        (lambda: first_difference(Trace(), WRONG), "a trace is a Trace, not 3"),
    ],
)
def test_a_wrong_argument_is_refused(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        wrong()


def test_lines_that_are_no_trace_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("nope\n", encoding="utf-8")
    for wrong in (lambda: Trace.load(path), lambda: Trace().extend([b'{"at":1}']), lambda: Trace().extend([WRONG])):
        with pytest.raises(DecodeError):
            wrong()


@pytest.mark.slow
def test_a_program_that_fails_in_its_process_is_an_error_with_its_own_words() -> None:
    with pytest.raises(SpawnError, match="ValueError: no plan"):
        check_processes(f"{HERE}:fails_to_plan")


@pytest.fixture
async def sim() -> AsyncGenerator[Simulation]:
    async with open_cluster(2, seed=1) as sim:
        yield sim


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda sim: sim.play(3), "a schedule is a list of faults, not 3"),
        (lambda sim: sim.play([3]), "a schedule is a list of faults, not 3"),
        (lambda sim: sim.is_up("x"), "a node's place is a number, not 'x'"),
        (lambda sim: sim.crash("x"), "a node's place is a number, not 'x'"),
        (lambda sim: sim.stop("x"), "a node's place is a number, not 'x'"),
        (lambda sim: sim.pause("x"), "a node's place is a number, not 'x'"),
        (lambda sim: sim.addresses(["x"]), "a node's place is a number, not 'x'"),
        (lambda sim: sim.address(9), "2 nodes, and none at place 9"),
        (lambda sim: sim.restart_soon(9), "2 nodes, and none at place 9"),
    ],
)
async def test_a_wrong_node_or_schedule_is_refused(
    autojump_clock: MockClock, sim: Simulation, wrong: Callable[[Any], object], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        wrong(sim)


async def test_a_configuration_that_is_none_is_refused(autojump_clock: MockClock, sim: Simulation) -> None:
    with pytest.raises(ConfigError, match="a configuration is a NodeConfig, not 3"):
        await sim.start(3)  # type: ignore[arg-type]
    assert await sim.start() is sim.nodes[2]
