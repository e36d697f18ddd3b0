from __future__ import annotations

from typing import Any

import pytest

from trionet.maelstrom.workbench.checkers import (
    Finding,
    Maelstrom,
    check_availability,
    check_counter,
    check_echo,
    check_performance,
    check_stats,
    check_unique_ids,
    judged,
    quantiles,
    worst,
)
from trionet.maelstrom.workbench.history import NEMESIS, History


def history(*ops: tuple[str, str, Any, Any] | tuple[str, str, Any, Any, str]) -> History:
    """Return one operation after the other: outcome, name, request, reply."""
    rows: list[tuple[Any, ...]] = []
    for process, (kind, f, asked, answered, *extra) in enumerate(ops):
        rows += [("invoke", process, f, asked, *extra), (kind, process, f, answered, *extra)]
    return History.from_rows(rows)


def test_quantiles_are_at_the_position_of_the_floor() -> None:
    assert quantiles(range(100)) == {"0": 0, "0.5": 50, "0.95": 95, "0.99": 99, "1": 99}
    assert quantiles([3, 1]) == {"0": 1, "0.5": 3, "0.95": 3, "0.99": 3, "1": 3}
    assert quantiles([]) == {}


def test_the_worst_verdict_counts() -> None:
    assert worst([True, "unknown", False]) is False
    assert worst([True, "unknown"]) == "unknown"
    assert worst([]) is True


def test_a_counter_is_the_sum_with_any_additions_of_unknown_outcome() -> None:
    ops = [("ok", "add", 3, 3), ("info", "add", 4, 4), ("fail", "add", 100, 100), ("info", "add", -5, -5)]
    for value, is_right in ((3, True), (7, True), (-2, True), (2, True), (4, False), (103, False)):
        results = check_counter(history(*ops, ("ok", "read", None, value, "final")))
        assert results["valid?"] is is_right, value
    assert results["acceptable"] == [[-2, -2], [2, 3], [7, 7]]


def test_reads_of_a_counter_before_the_end_do_not_matter() -> None:
    assert check_counter(history(("ok", "read", None, 99)))["valid?"] is True


def test_an_addition_that_never_returned_may_have_been_done() -> None:
    rows = [("invoke", 0, "add", 2), ("invoke", 1, "read", None, "final"), ("ok", 1, "read", 2)]
    assert check_counter(History.from_rows(rows))["valid?"] is True


def test_an_echo_must_come_and_be_the_same() -> None:
    assert check_echo(history(("ok", "echo", "a", "a")))["valid?"] is True
    assert check_echo(history(("ok", "echo", "a", "b")))["valid?"] is False
    assert check_echo(history(("info", "echo", "a", None)))["valid?"] is False
    assert check_echo(History.from_rows([("invoke", 0, "echo", "a")]))["valid?"] is False


def test_ids_are_compared_as_json() -> None:
    ids = [("ok", "generate", None, value) for value in ("1", "2", "a")]
    assert check_unique_ids(history(*ids))["valid?"] is True
    assert check_unique_ids(history(*ids, ids[0]))["duplicated"] == {"1": 2}
    assert check_unique_ids(history(*ids, ("ok", "generate", None, 1)))["valid?"] == "unknown"
    assert check_unique_ids(history(("ok", "generate", None, [1]), ("ok", "generate", None, [1])))["valid?"] is False


def test_only_acknowledged_ids_count() -> None:
    assert check_unique_ids(history(("info", "generate", None, None), ("ok", "generate", None, 1)))["valid?"] is True


def test_every_kind_needs_one_that_is_ok_but_crashes() -> None:
    crash = ("info", "crash", None, None)
    assert check_stats(history(("ok", "read", None, []), ("info", "read", None, None), crash))["valid?"] is True
    results = check_stats(history(("ok", "read", None, []), ("info", "add", 1, 1)))
    assert results["valid?"] is False
    assert results["by-f"]["add"] == {"valid?": False, "count": 1, "ok-count": 0, "fail-count": 0, "info-count": 1}


@pytest.mark.parametrize(
    ("wanted", "is_enough"), [(None, True), (0.5, True), (2 / 3, True), (0.7, False), ("total", False)]
)
def test_availability_is_the_fraction_of_invocations(wanted: float | str | None, is_enough: bool) -> None:
    ops = history(("ok", "read", 1, 1), ("ok", "read", 1, 1), ("fail", "read", 1, 1))
    results = check_availability(ops, wanted)
    assert results["valid?"] is is_enough
    assert results["ok-fraction"] == 2 / 3


def test_total_availability_is_all_and_faults_do_not_count() -> None:
    rows = [("invoke", 0, "read", 1), ("ok", 0, "read", 1), ("info", NEMESIS, "kill", None)]
    assert check_availability(History.from_rows(rows), "total")["valid?"] is True
    assert check_availability(History.from_rows([*rows, ("invoke", 0, "read", 1)]), "total")["valid?"] is False


def test_acknowledgements_are_measured_by_kind_of_operation() -> None:
    rows = [
        ("invoke", 0, "add", 1, 0),
        ("ok", 0, "add", 1, 12.5),
        ("invoke", 0, "add", 1, 20),
        ("info", 0, "add", 1, 99),
    ]
    results = check_performance(History.from_rows(rows))
    assert results["latencies"]["add"]["1"] == 12.5
    assert results["rate"] == 100.0


@pytest.mark.parametrize(
    ("ids", "maelstroms", "ours"),
    [
        ([{"a": 1}, {"a": 2}], "unknown", "unknown"),
        ([{"a": 1}, {"a": 1}], "unknown", False),
        ([1, None], True, True),
        ([None, None], False, False),
        ([1, "a"], "unknown", "unknown"),
        ([1, "a", 1], "unknown", False),
        ([1, True], "unknown", "unknown"),
        ([1, 1.0], True, True),
        ([[1], [2]], True, True),
        ([[1], ["a"]], "unknown", "unknown"),
        ([[1], ["a", 2]], True, True),
    ],
)
def test_ids_need_an_order_for_maelstrom(ids: list[Any], maelstroms: bool | str, ours: bool | str) -> None:
    results = check_unique_ids(history(*(("ok", "generate", None, value) for value in ids)))
    assert (results["maelstrom-valid?"], results["valid?"]) == (maelstroms, ours)


def test_an_echo_of_unknown_outcome_is_wrong_for_us_alone() -> None:
    results = check_echo(history(("info", "echo", "a", None)))
    assert (results["maelstrom-valid?"], results["valid?"]) == (True, False)
    assert [finding["name"] for finding in results["only-ours"]] == ["no-echo"]
    results = check_echo(history(("fail", "echo", "a", None)))
    assert (results["maelstrom-valid?"], results["only-ours"]) == (False, [])


@pytest.mark.parametrize(
    ("ok", "count", "wanted", "is_enough"),
    [
        (9, 10, 0.9, False),  # 32 bits make 0.9 of 9 / 10 a little less
        (9, 10, 0.8999999, True),
        (7, 10, 0.7, False),
        (6, 10, 0.6, True),  # and a little more of 6 / 10
        (1, 2, 0.5, True),
        (1, 1, 1.0, True),
    ],
)
def test_availability_is_compared_in_32_bits(ok: int, count: int, wanted: float, is_enough: bool) -> None:
    ops = [("ok" if number < ok else "info", "read", 1, 1) for number in range(count)]
    results = check_availability(history(*ops), wanted)
    assert results["valid?"] is is_enough
    assert results["maelstrom-valid?"] is is_enough
    assert results["ok-fraction"] == ok / count


@pytest.mark.parametrize(
    ("findings", "maelstroms", "ours", "only_ours"),
    [
        ([], True, True, []),
        ([Finding("a")], False, False, []),
        ([Finding("a", verdict="unknown")], "unknown", "unknown", []),
        ([Finding("a", "why", Maelstrom.OVERLOOKS)], True, False, ["a"]),
        ([Finding("a", "why", Maelstrom.CRASHES, "unknown")], "unknown", "unknown", []),
        ([Finding("a", "why", Maelstrom.CRASHES)], "unknown", False, ["a"]),
        ([Finding("a"), Finding("b", "why", Maelstrom.CRASHES, "unknown")], "unknown", False, ["a"]),
        ([Finding("a"), Finding("b", "why", Maelstrom.OVERLOOKS)], False, False, ["b"]),
    ],
)
def test_both_verdicts_follow_from_the_findings(
    findings: list[Finding], maelstroms: bool | str, ours: bool | str, only_ours: list[str]
) -> None:
    results = judged(findings, {"count": 1})
    assert (results["maelstrom-valid?"], results["valid?"]) == (maelstroms, ours)
    assert [finding["name"] for finding in results["only-ours"]] == only_ours
    assert results["count"] == 1
