"""A trial is data, its outcome follows from it, and whatever goes wrong in it is a violation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
import trio

from tests.simulation import programs
from trionet.errors import ConfigError
from trionet.simulation import (
    INVARIANTS,
    Crash,
    Isolate,
    Network,
    Partition,
    Simulation,
    Trial,
    check_trial,
    invariant_of,
    run_trial,
)

HERE = "tests.simulation.programs"


TINY = Trial(nodes=2, duration_s=2.0, faults=[], program=f"{HERE}:nothing")


def violations(**fields: object) -> list[tuple[str, str]]:
    """Return the violations of a trial with these fields, and otherwise without faults and program."""
    trial = Trial(**{"nodes": 2, "duration_s": 2.0, "faults": [], "program": f"{HERE}:nothing"} | fields)  # type: ignore[arg-type]
    return [(violation.invariant, violation.text) for violation in run_trial(trial).violations]


def test_a_trial_is_the_same_after_a_round_trip_through_json() -> None:
    for trial in (
        Trial(),
        Trial(seed=3, scenario="churn", network=Network(loss=0.1), program="a:b", invariants=["no_orphan", "c:d"]),
        Trial(seed=4, nodes=9).explicit(),
    ):
        assert Trial.from_json(trial.to_json()) == trial
        assert "\n" not in trial.to_json()
    assert Trial.from_json("{}") == Trial()


def test_nothing_of_a_trial_remains_after_it_has_ended_amid_messages() -> None:
    # In a process of its own: pytest keeps all log records, which refer to exceptions.
    code = """
import gc
from tests.simulation.test_seeds import trial_of
from trionet.simulation import run_trial
from trionet.simulation.trace import Trace
from trionet.transports.memory import MemoryFabric

for seed in (1003, 1004, 1013):
    run_trial(trial_of(seed))
gc.collect()
print([type(thing).__name__ for thing in gc.get_objects() if type(thing) in (MemoryFabric, Trace)])
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert ended.stdout == "[]\n"


def test_a_scenario_and_its_explicit_faults_are_the_same_trial() -> None:
    trial = Trial(seed=5, nodes=3, duration_s=5.0)
    assert trial.explicit().faults
    assert run_trial(trial).trace_hash == run_trial(trial.explicit()).trace_hash


def test_no_fault_outlasts_the_trial_except_a_node_that_ends_for_good() -> None:
    faults = [Isolate(at_s=1, node=0), Isolate(at_s=1, duration_s=50, node=1), Isolate(at_s=11, node=1)]
    trial = Trial(duration_s=10.0, faults=[*faults, Crash(at_s=2, node=1), Crash(at_s=3, duration_s=60, node=2)])
    assert trial.schedule() == [
        Isolate(at_s=1, duration_s=9, node=0),
        Isolate(at_s=1, duration_s=9, node=1),
        Crash(at_s=2, node=1),
        Crash(at_s=3, duration_s=7, node=2),
    ]


@pytest.mark.slow
def test_a_replay_in_another_process_where_strings_hash_differently_gives_the_same_trace() -> None:
    trial = Trial(seed=7, nodes=4, duration_s=10.0)
    command = [sys.executable, "-m", "trionet", "simulate", "--json", "--replay", trial.to_json()]
    hashes = {run_trial(trial).trace_hash}
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        hashes.add(json.loads(done.stdout)["trace_hash"])
    assert len(hashes) == 1


def test_an_exception_of_the_program_is_a_violation() -> None:
    ((invariant, text),) = violations(program=f"{HERE}:assertive")
    assert invariant == "program"
    assert text.startswith("AssertionError: as it happens (programs.py:")


def test_a_failure_has_its_own_time_however_long_nothing_else_has_happened() -> None:
    outcome = run_trial(Trial(seed=1, nodes=1, duration_s=2.0, faults=[], program=f"{HERE}:fail_in_two_ways"))
    [violation] = outcome.violations
    assert violation.at_s == pytest.approx(2.0, abs=0.1)
    assert outcome.trace.events[-1].at < 1


def test_a_program_that_does_not_end_is_a_deadlock() -> None:
    ((invariant, text),) = violations(program=f"{HERE}:never_ends", settle_s=30.0)
    assert (invariant, text) == ("deadlock", "the program had not ended after 32 s")


def test_an_exception_of_a_node_is_a_violation() -> None:
    ((invariant, text),) = violations(config=f"{HERE}:CRASHING")
    assert invariant == "node"
    assert text.startswith("ZeroDivisionError (programs.py:")


def test_a_storm_of_messages_ends_the_trial() -> None:
    ((invariant, text),) = violations(most_messages=10)
    assert (invariant, text) == ("storm", "more than 10 messages were sent")


@pytest.mark.parametrize("program", ["flood", "have_somebody_flood"])
def test_a_storm_is_the_only_violation_whichever_task_sends_the_last_message(program: str) -> None:
    for most in range(200, 205):
        found = violations(program=f"{HERE}:{program}", config=f"{HERE}:TALKATIVE", most_messages=most)
        assert found == [("storm", f"more than {most} messages were sent")]


def test_violations_before_a_storm_count() -> None:
    trial = Trial(nodes=2, duration_s=2.0, faults=[], program=f"{HERE}:assertive")
    all_but_one = len(run_trial(trial).trace.select("send")) - 1
    found = run_trial(msgspec.structs.replace(trial, most_messages=all_but_one)).violations
    assert [violation.invariant for violation in found] == ["program", "storm"]


def test_a_users_invariants_are_functions_classes_and_objects() -> None:
    faults = [Crash(at_s=1, node=1)]
    expected = [("three_nodes_run", "1 nodes run")]
    assert violations(faults=faults, invariants=[f"{HERE}:three_nodes_run"])[0][1] == expected[0][1]
    assert violations(nodes=3, invariants=[f"{HERE}:three_nodes_run"]) == []
    assert violations(faults=faults, invariants=[f"{HERE}:NoCrash"]) == [(f"{HERE}:NoCrash", "n1 crashed")]
    trial = Trial(nodes=2, duration_s=2.0, faults=[Crash(at_s=1, node=1)], program=f"{HERE}:nothing")

    def nobody_is_asked(sim: Simulation) -> list[str]:
        return [f"{len(sim.nodes)} there were", "and so on"]

    found = run_trial(trial, [programs.NoCrash(), nobody_is_asked]).violations
    assert [violation.text for violation in found] == ["n1 crashed", "2 there were", "and so on"]
    assert found[0].nodes == ["n1"]


@pytest.mark.parametrize(
    ("returned", "texts"),
    [
        (None, []),
        (True, []),
        ("", []),
        ([], []),
        (False, ["asked returned False"]),
        ("wrong", ["wrong"]),
        (("wrong", "so wrong"), ["wrong", "so wrong"]),
        (
            5,
            ["asked returned 5: an invariant returns None or True if it holds, else False,"],
        ),
        ([5], ["asked returned [5]: an invariant returns"]),
    ],
)
def test_the_result_of_a_users_function_reports_violations(returned: object, texts: list[str]) -> None:
    def asked(sim: Simulation) -> object:
        return returned

    found = run_trial(TINY, [asked]).violations
    assert [violation.invariant for violation in found] == ["asked"] * len(texts)
    for violation, text in zip(found, texts, strict=True):
        assert violation.text.startswith(text)


def test_an_exception_of_a_users_function_is_reported_under_its_name() -> None:
    async def asked(sim: Simulation) -> None:
        await trio.sleep(0.1)
        raise KeyError("k")

    (found,) = run_trial(TINY, [asked]).violations
    assert (found.invariant, found.text.partition(" (")[0]) == ("asked", "KeyError: 'k'")
    assert found.signature.startswith("KeyError test_trials.py:")


@pytest.mark.parametrize("where", ["begin", "take", "is_settled", "check"])
def test_an_exception_of_a_users_watch_is_reported_under_its_name_and_the_others_are_checked(where: str) -> None:
    def asked(sim: Simulation) -> str:
        return "asked"

    trial = msgspec.structs.replace(TINY, faults=[Crash(at_s=1, node=1)])
    one, other = sorted(run_trial(trial, [programs.Broken(where), asked]).violations, key=lambda one: one.invariant)
    assert (one.invariant, one.text.partition(" (")[0]) == ("Broken", f"KeyError: '{where}'")
    assert one.signature.startswith("KeyError programs.py:")
    assert other.text == "asked"


def test_a_watch_that_returns_no_violations_list_is_reported() -> None:
    class Sloppy(programs.NoCrash):
        async def check(self) -> Any:
            return "all is well"

    (found,) = run_trial(TINY, [Sloppy()]).violations
    assert found.invariant == "Sloppy"
    assert found.text.startswith("TypeError: check() returned 'all is well', which is no list of Violations")


def test_a_partitioned_cluster_violates_convergence() -> None:
    """The built-in invariants can fail: here because the network is cut behind the trial's back."""
    trial = Trial(nodes=2, duration_s=10.0, settle_s=30.0, faults=[], program=f"{HERE}:nothing")

    def cut(sim: Simulation) -> None:
        assert not sim.is_converged()

    class Cut(programs.NoCrash):
        def begin(self, sim: Simulation, trial: Trial) -> None:
            Partition(at_s=0, sides=[[0], [1]]).begin(sim)

    found = run_trial(trial, [Cut(), cut]).violations
    seen = {violation.invariant: violation.text for violation in found}
    assert seen["membership_converges"] == "n1 doesn't see n0, 30 s after the last fault"
    assert "no_orphan" not in seen  # the packets of the protocols that got nowhere are none


def test_a_shielded_handler_is_an_orphan() -> None:
    begins, ends = violations(program=f"{HERE}:give_up_on_the_stubborn", config=f"{HERE}:STUBBORN")
    assert begins[0] == ends[0] == "no_orphan"
    assert begins[1].startswith("n0 has cancelled the call ")
    assert begins[1].endswith("to local/stubborn/work on n1, and had no confirmation, though nothing was wrong")
    assert ends[1].startswith("local/stubborn/work still runs on n1 for the call ")
    faults = [Isolate(at_s=0.9, duration_s=1, node=0)]  # then only the second is certain
    found = violations(program=f"{HERE}:give_up_on_the_stubborn", config=f"{HERE}:STUBBORN", faults=faults)
    assert [text.split()[0] for _, text in found] == ["local/stubborn/work"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"nodes": 0}, "at least one node"),
        ({"duration_s": 0.0}, "more than 0 s"),
        ({"network": "moon"}, "no network 'moon': there are perfect, lan"),
        ({"scenario": "moon"}, "no scenario 'moon': there are anything"),
        ({"scenario": "moon:x"}, "can't import 'moon'"),
        ({"program": "moon:x"}, "can't import 'moon'"),
        ({"program": "trionet:__name__"}, "no function"),
        ({"config": f"{HERE}:HERE"}, "no NodeConfig"),
        ({"settle_s": 23.9}, "gossip_reaches_all is judged once .* settle_s must be at least 24, .* not 23.9"),
        ({"settle_s": 11.9, "config": f"{HERE}:LOCAL"}, "settle_s must be at least 12, .* not 11.9"),
        ({"invariants": ["moon"]}, "no invariant 'moon'"),
        ({"invariants": ["trionet:__name__"]}, "neither an Invariant nor a function"),
    ],
)
def test_an_invalid_trial_is_refused_before_it_runs(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        check_trial(Trial(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(("profile", "settle_s"), [("LAN", 24.0), ("LOCAL", 12.0)])
def test_a_lost_rumor_is_detected_in_the_least_quiet_time(profile: str, settle_s: float) -> None:
    ((invariant, text),) = violations(program=f"{HERE}:hide_a_rumor", config=f"{HERE}:{profile}", settle_s=settle_s)
    assert invariant == "gossip_reaches_all"
    assert text.endswith(" has not come to n1")


@pytest.mark.parametrize(
    "fields",
    [{"config": f"{HERE}:LOCAL"}, {"config": f"{HERE}:WAN"}, {"invariants": ["no_orphan", f"{HERE}:three_nodes_run"]}],
)
def test_a_quiet_time_may_be_short_if_gossip_is_quick_or_not_judged(fields: dict[str, object]) -> None:
    check_trial(Trial(settle_s=12.0, **fields))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="settle_s must be at least 24"):
        run_trial(Trial(settle_s=12.0))


def test_json_that_is_no_trial_is_refused() -> None:
    for data in ("", "[]", '{"moon": 1}', '{"nodes": "many"}', '{"faults": [{"fault": "moon", "at_s": 1}]}'):
        with pytest.raises(ConfigError, match="no trial"):
            Trial.from_json(data)


def test_each_trial_has_invariants_of_its_own() -> None:
    for name in INVARIANTS:
        assert invariant_of(name) is not invariant_of(name)
        assert invariant_of(name).name == name
