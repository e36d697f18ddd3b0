"""A kind of fault is one class: nothing else knows it, and everything works with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from tests.simulation.traces import ended, fault_events, joined, trace_of
from trionet import ConfigError
from trionet.simulation import (
    Crash,
    Fault,
    Skew,
    Slow,
    Trial,
    Violation,
    decode_schedule,
    encode_schedule,
    open_cluster,
    run_trial,
    shrink,
)
from trionet.simulation.fields import Chance, Flag, NodeIndex, NodeIndexes, Seconds
from trionet.simulation.pictures.spans import fault_spans, runs_of

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from trionet.simulation import Simulation


class Blackout(Fault, frozen=True, kw_only=True, tag="blackout"):
    """Nodes crash together, some of them perhaps, and a switch drops packets."""

    nodes: NodeIndexes
    switch: NodeIndex
    loss: Chance = 0.0
    lag_s: Seconds
    is_silent: Flag = False

    def begin(self, sim: Simulation) -> None:
        for node in self.nodes:
            sim.crash(node, is_silent=self.is_silent)

    def ended_nodes(self) -> list[int]:
        return self.nodes


class Vague(Fault, frozen=True, kw_only=True, tag="vague"):
    """Its field has no kind."""

    strength: int


def blackout(**fields: object) -> Blackout:
    return Blackout(**{"at_s": 1.0, "nodes": [1, 3], "switch": 2, "lag_s": 0.4} | fields)  # type: ignore[arg-type]


def test_a_new_kind_of_fault_is_encoded_and_decoded_in_schedules_and_in_trials() -> None:
    schedule = [blackout(duration_s=2.0), Crash(at_s=0.0, node=1)]
    assert decode_schedule(encode_schedule(schedule)) == schedule
    trial = Trial(faults=schedule)
    assert Trial.from_json(trial.to_json()) == trial


OUTAGE = """
from trionet.simulation import Fault
from trionet.simulation.fields import NodeIndex

class Outage(Fault, frozen=True, kw_only=True, tag="fault_of_another_process:Outage"):
    node: NodeIndex

    def begin(self, sim):
        return None
"""


def test_a_kind_whose_tag_is_its_import_path_is_decoded_where_it_was_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fault_of_another_process.py").write_text(OUTAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    faults = '[{"fault":"fault_of_another_process:Outage","at_s":1.0,"node":2}]'
    [fault] = Trial.from_json(f'{{"faults":{faults}}}').faults or []
    assert type(fault).__name__ == "Outage"
    assert encode_schedule([fault]).decode() == faults
    assert decode_schedule(faults) == [fault]


@pytest.mark.parametrize(
    "tag", ["no_such_module:Outage", "trionet.simulation:NoSuchFault", "trionet:NodeConfig", "x", 5]
)
def test_a_tag_that_leads_to_no_kind_of_fault_is_an_error(tag: object) -> None:
    with pytest.raises(ConfigError):
        decode_schedule(json.dumps([{"fault": tag, "at_s": 1.0}]))
    with pytest.raises(ConfigError):
        Trial.from_json(json.dumps({"faults": [{"fault": tag, "at_s": 1.0}]}))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"nodes": [-1]}, "Blackout: nodes is a list of nodes' places"),
        ({"switch": None}, "switch is a node's place"),
        ({"loss": 2}, "loss is a chance"),
        ({"lag_s": -1}, "lag_s is a number of seconds"),
        ({"is_silent": 1}, "is_silent is True or False, not 1"),
        ({"at_s": -1}, "at_s"),
    ],
)
def test_the_fields_of_a_new_kind_of_fault_are_checked(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        blackout(**fields)


def test_a_kind_of_fault_with_a_field_of_no_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Vague: strength needs a kind of trionet\.simulation\.fields"):
        Vague(at_s=1.0, strength=3)


def _dusk() -> Blackout:
    class Dusk(Blackout, frozen=True, kw_only=True, tag="dusk"):
        is_long: Flag = False

    return Dusk(at_s=1.0, nodes=[1], switch=2, lag_s=0.1, is_long=True)


def test_a_kind_that_extends_another_one_is_decoded_and_of_a_redefined_kind_the_latest() -> None:
    first, second = _dusk(), _dusk()  # as in a notebook, or after a reload
    assert decode_schedule(encode_schedule([second])) == [second]
    assert type(first) is not type(second)


def test_a_kind_of_fault_that_is_not_defined_is_refused() -> None:
    with pytest.raises(ConfigError, match="no schedule: Invalid value 'meteor'"):
        decode_schedule('[{"fault":"meteor","at_s":1}]')


def test_a_new_kind_of_fault_loses_removed_nodes_and_renumbers_the_others() -> None:
    assert blackout().without(0) == blackout(nodes=[0, 2], switch=1)
    assert blackout().without(1) == blackout(nodes=[2], switch=1)
    assert blackout().without(2) is None
    assert blackout().without(4) == blackout()


def test_a_new_kind_of_fault_is_weakened_field_by_field() -> None:
    strong = blackout(loss=0.4, is_silent=True)
    assert list(strong.weaker()) == [
        blackout(is_silent=True),
        blackout(loss=0.4),
        blackout(loss=0.2, is_silent=True),
        blackout(loss=0.4, is_silent=True, lag_s=0.2),
        blackout(loss=0.4, is_silent=True, lag_s=0.4),
    ]


def test_built_in_faults_get_weaker_towards_their_defaults() -> None:
    assert Skew(at_s=0, node=0, forward_s=8.0) in Skew(at_s=0, node=0, forward_s=8.0, rate=1.5).weaker()
    assert Slow(at_s=0, node=0, lag_s=0.1) in Slow(at_s=0, node=0, lag_s=0.16).weaker()
    assert Crash(at_s=0, node=0) in Crash(at_s=0, node=0, is_silent=True).weaker()


def test_a_new_kind_of_fault_is_shrunk() -> None:
    schedule: list[Fault] = [
        blackout(at_s=1.2345, duration_s=8.0, loss=0.9, is_silent=True),
        Crash(at_s=2.0, node=4),
    ]

    def run(trial: Trial) -> list[Violation]:
        blackouts = [fault for fault in trial.faults or [] if isinstance(fault, Blackout)]
        fails = any(len(fault.nodes) >= 1 and fault.loss >= 0.4 for fault in blackouts)
        return [Violation(invariant="it", at_s=0.0, text="fails")] if fails else []

    (left,) = shrink(Trial(nodes=6, faults=schedule), run).trial.faults or []
    assert left == blackout(at_s=1.0, duration_s=0.1, nodes=[0], switch=1, loss=0.45, lag_s=0.1)


def test_a_new_kind_of_fault_has_a_span_and_a_label_in_pictures_and_ends_its_nodes() -> None:
    events = fault_events(blackout(duration_s=2.0), 1.0, 3.0)
    trace = trace_of(joined(4), events, ended(9))
    (span,) = fault_spans(trace)
    assert (span.begin, span.end, span.kind) == (1.0, 3.0, "blackout")
    assert (span.label, span.nodes) == ("blackout n1 n3 n2", ("n1", "n3", "n2"))
    assert runs_of(trace)["n1"] == [(0.0, 1.0)]
    assert runs_of(trace)["n2"] == [(0.0, 9.0)]


async def test_a_new_kind_of_fault_happens_in_a_cluster(autojump_clock: MockClock) -> None:
    async with open_cluster(4, seed=1, faults=[blackout(at_s=0.5)]) as sim:
        await trio.sleep(1)
        assert [sim.is_up(index) for index in range(4)] == [True, False, True, False]
        assert sim.trace is not None
        assert [event.what for event in sim.trace.select("fault")] == ["Blackout begins", "crash", "crash"]


def test_a_new_kind_of_fault_that_ends_nodes_for_good_may_outlast_a_trial() -> None:
    trial = Trial(nodes=4, duration_s=2.0, faults=[blackout()], program="tests.simulation.programs:nothing")
    assert trial.schedule() == [blackout()]
    assert run_trial(trial).is_fine
