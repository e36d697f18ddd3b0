from __future__ import annotations

import random
from typing import Any

import pytest

from trionet.maelstrom.workbench.checkers import check_final_reads, check_set_full
from trionet.maelstrom.workbench.history import History, Op


def history(*rows: Any) -> History:
    return History.from_rows(rows)


def add(process: int, value: Any, begun: float, ended: float, kind: str = "ok") -> list[Any]:
    return [(begun, ("invoke", process, "add", value, begun)), (ended, (kind, process, "add", value, ended))]


def read(process: int, values: list[Any], begun: float, ended: float, *extra: str) -> list[Any]:
    return [
        (begun, ("invoke", process, "read", None, begun, *extra)),
        (ended, ("ok", process, "read", values, ended, *extra)),
    ]


def merged(*ops: list[Any]) -> History:
    return History.from_rows(row for _, row in sorted((each for op in ops for each in op), key=lambda each: each[0]))


def test_the_stable_latency_is_from_the_acknowledgement_to_the_last_read_that_missed_it() -> None:
    results = check_set_full(
        merged(
            add(0, 1, 0, 10), read(1, [], 30, 31), read(2, [], 110, 120), read(1, [1], 115, 116), read(2, [1], 200, 201)
        )
    )
    assert results["valid?"] is True
    assert results["stable-latencies"]["1"] == 100
    assert results["stale-count"] == 1
    assert results["ack-latencies"]["0.5"] == 10


def test_an_element_that_is_read_at_once_has_no_latency() -> None:
    results = check_set_full(merged(add(0, 1, 0, 10), read(1, [1], 11, 12)))
    assert results["stable-latencies"] == {"0": 0, "0.5": 0, "0.95": 0, "0.99": 0, "1": 0}
    assert results["stale-count"] == 0


def test_latencies_are_whole_milliseconds_of_time_plus_a_nanosecond() -> None:
    for begun, latency in ((100.499999, 100), (100.499998, 99)):
        results = check_set_full(merged(add(0, 1, 0, 0.5), read(1, [], begun, 101), read(1, [1], 102, 103)))
        assert results["stable-latencies"]["1"] == latency


def test_an_element_that_the_newest_read_lacks_is_lost() -> None:
    results = check_set_full(merged(add(0, 1, 0, 1), read(1, [1], 2, 3), read(1, [], 10, 11)))
    assert results["valid?"] is False
    assert results["lost"] == [1]
    assert results["lost-latencies"]["1"] == 1


def test_newest_means_begun_last_not_ended_last() -> None:
    late_end = merged(add(0, 1, 0, 1), read(1, [], 2, 50), read(2, [1], 3, 4))
    assert check_set_full(late_end)["lost-count"] == 0
    late_begin = merged(add(0, 1, 0, 1), read(1, [1], 2, 50), read(2, [], 3, 4))
    assert check_set_full(late_begin)["lost"] == [1]


def test_an_addition_of_unknown_outcome_must_persist_once_it_was_read() -> None:
    unseen = merged(add(0, 1, 0, 1, "info"), add(0, 2, 1, 2), read(1, [2], 3, 4))
    assert check_set_full(unseen)["lost-count"] == 0
    assert check_set_full(unseen)["never-read"] == [1]
    seen = merged(add(0, 1, 0, 1, "info"), read(1, [1], 3, 4), read(1, [], 5, 6))
    assert check_set_full(seen)["lost"] == [1]


def test_a_read_under_way_when_it_was_added_may_lack_it() -> None:
    results = check_set_full(merged(read(1, [], 0, 10), add(0, 1, 5, 6)))
    assert results["never-read"] == [1]
    assert results["valid?"] == "unknown"


def test_without_stable_elements_the_verdict_is_unknown() -> None:
    assert check_set_full(history())["valid?"] == "unknown"


def test_duplicates_and_inventions_are_maelstroms_blind_spots_and_not_ours() -> None:
    strange = merged(add(0, 1, 0, 1), read(1, [1, 1, 7], 2, 3, "final"))
    assert check_set_full(strange)["valid?"] is True
    final = check_final_reads(strange)
    assert final["valid?"] is False
    assert list(final["invented"].values()) == [[7]]
    assert list(final["duplicated"].values()) == [[1]]


def test_every_final_read_must_have_all() -> None:
    some = merged(add(0, 1, 0, 1), read(1, [], 5, 6, "final"), read(2, [1], 5.1, 6.1, "final"))
    assert check_set_full(some)["valid?"] is True
    assert check_final_reads(some)["valid?"] is False
    assert check_final_reads(some)["missing"] == {"1": [1]}


def test_elements_are_compared_as_json() -> None:
    results = check_set_full(merged(add(0, 1, 0, 1), add(0, [1], 2, 3), read(1, ["1", 1.0, True, [1]], 4, 5)))
    assert results["lost"] == [1]
    assert results["stable-count"] == 1


def naive(history: History) -> dict[Any, tuple[str, int | None]]:
    """Do it as Jepsen does: one operation after the other, each read updating each element."""
    return {value: outcome(**element) for value, element in naive_elements(history).items()}


def outcome(known: Op | None, present: Op | None, absent: Op | None) -> tuple[str, int | None]:
    here, gone = (-1 if op is None else op.index for op in (present, absent))
    if known is not None and present is not None and gone < here:
        return "stable", 0 if absent is None else max(0, absent.time + 1 - known.time) // 1_000_000
    if known is not None and here < gone and known.index < gone:
        return "lost", None
    return "never-read", None


def naive_elements(history: History) -> dict[Any, dict[str, Any]]:
    elements: dict[Any, dict[str, Any]] = {}
    for op in history:
        if op.f == "add" and op.type == "invoke":
            elements[op.value] = {"known": None, "present": None, "absent": None}
        elif op.f == "add" and op.type == "ok":
            elements[op.value]["known"] = elements[op.value]["known"] or op
        elif op.type == "ok" and op.pair is not None:
            for value, element in elements.items():
                kind = "present" if value in op.value else "absent"
                if kind == "present":
                    element["known"] = element["known"] or op
                if element[kind] is None or element[kind].index < op.pair.index:
                    element[kind] = op.pair
    return elements


@pytest.mark.parametrize("seed", range(30))
def test_the_verdict_is_that_of_jepsens_algorithm(seed: int) -> None:
    dice = random.Random(seed)
    ops, clock = [], dict.fromkeys(range(5), 0.0)
    for number in range(60):
        process = dice.randrange(5)
        begun = clock[process] + dice.random() * 10
        clock[process] = ended = begun + dice.random() * 20
        if dice.random() < 0.5:
            ops.append(add(process, number, begun, ended, dice.choice(["ok", "ok", "ok", "info"])))
        else:
            ops.append(read(process, [value for value in range(60) if dice.random() < 0.6], begun, ended))
    whole = merged(*ops)
    results, expected = check_set_full(whole), naive(whole)
    for kind, key in (("lost", "lost"), ("never-read", "never-read")):
        assert sorted(results[key]) == sorted(value for value, (outcome, _) in expected.items() if outcome == kind), (
            seed
        )
    latencies = sorted(latency for outcome, latency in expected.values() if outcome == "stable" and latency is not None)
    assert results["stable-count"] == len(latencies)
    assert not latencies or results["stable-latencies"]["1"] == latencies[-1]
    assert not latencies or results["stable-latencies"]["0.5"] == latencies[len(latencies) // 2]
