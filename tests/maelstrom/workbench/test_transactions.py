from __future__ import annotations

from typing import Any

import pytest

from trionet import ConfigError
from trionet.maelstrom.workbench.checkers import check_list_append, check_rw_register
from trionet.maelstrom.workbench.checkers.models import MODELS, canonical_model
from trionet.maelstrom.workbench.history import History
from trionet.maelstrom.workbench.options import parse_models

Row = tuple[str, int, str, Any]


def concurrent(*txns: tuple[str, list[Any]]) -> History:
    """Return transactions that all overlap; each is its outcome, and its micro-operations."""
    asked: list[Row] = [("invoke", process, "txn", ops) for process, (_, ops) in enumerate(txns)]
    return History.from_rows([*asked, *((kind, process, "txn", ops) for process, (kind, ops) in enumerate(txns))])


def serial(*txns: list[Any]) -> History:
    rows: list[Row] = []
    for process, ops in enumerate(txns):
        rows += [("invoke", process, "txn", ops), ("ok", process, "txn", ops)]
    return History.from_rows(rows)


def ok(*ops: list[Any]) -> tuple[str, list[Any]]:
    return "ok", list(ops)


REGISTERS = {
    "G1a": concurrent(("fail", [["w", 1, 1]]), ok(["r", 1, 1])),
    "G1b": concurrent(ok(["w", 1, 1], ["w", 1, 2]), ok(["r", 1, 1])),
    "G1c": concurrent(ok(["w", 1, 1], ["r", 2, 1]), ok(["w", 2, 1], ["r", 1, 1])),
    "G0": concurrent(
        ok(["w", 1, 1], ["r", 2, 1], ["w", 2, 2]),
        ok(["r", 1, 1], ["w", 1, 2], ["w", 2, 1]),
    ),
    "internal": concurrent(ok(["w", 1, 1], ["r", 1, 2]), ok(["w", 1, 2])),
    "lost-update": concurrent(ok(["w", 1, 1]), ok(["r", 1, 1], ["w", 1, 2]), ok(["r", 1, 1], ["w", 1, 3])),
    "cyclic-versions": concurrent(ok(["r", 1, 1], ["w", 1, 2]), ok(["r", 1, 2], ["w", 1, 1])),
    "G-single": concurrent(ok(["w", 1, 1], ["w", 2, 1]), ok(["r", 1, None], ["r", 2, 1])),
    "G2": concurrent(ok(["r", 1, None], ["w", 2, 1]), ok(["r", 2, None], ["w", 1, 1])),
    "G-single-realtime": serial([["w", 1, 1]], [["r", 1, None]]),
    "G1c-realtime": serial([["r", 1, 1]], [["w", 1, 1]]),
}


@pytest.mark.parametrize("anomaly", REGISTERS)
def test_registers_show_the_anomaly(anomaly: str) -> None:
    results = check_rw_register(REGISTERS[anomaly])
    assert results["valid?"] is False
    assert anomaly in results["anomaly-types"]


RELATED = ok(["append", 9, 1]), ok(["r", 9, [1]])
"""Two transactions with a dependency; without any, there is nothing to judge."""

LISTS = {
    "G0": concurrent(
        ok(["append", 1, 1], ["append", 2, 2]),
        ok(["append", 1, 2], ["append", 2, 1]),
        ok(["r", 1, [1, 2]], ["r", 2, [1, 2]]),
    ),
    "G1a": concurrent(("fail", [["append", 1, 1]]), ok(["r", 1, [1]]), *RELATED),
    "G1b": concurrent(ok(["append", 1, 1], ["append", 1, 2]), ok(["r", 1, [1]])),
    "G1c": concurrent(ok(["append", 1, 1], ["r", 2, [1]]), ok(["append", 2, 1], ["r", 1, [1]])),
    "dirty-update": concurrent(("fail", [["append", 1, 1]]), ok(["append", 1, 2]), ok(["r", 1, [1, 2]])),
    "internal": concurrent(ok(["append", 1, 1], ["r", 1, []]), *RELATED),
    "future-read": concurrent(ok(["r", 1, [1]], ["append", 1, 1])),
    "incompatible-order": concurrent(
        ok(["append", 1, 1]), ok(["append", 1, 2]), ok(["r", 1, [1, 2]]), ok(["r", 1, [2, 1]])
    ),
    "duplicate-elements": concurrent(ok(["append", 1, 1]), ok(["r", 1, [1, 1]])),
    "lost-update": concurrent(ok(["r", 1, None], ["append", 1, 1]), ok(["r", 1, []], ["append", 1, 2])),
    "G-single": concurrent(ok(["append", 1, 1], ["append", 2, 1]), ok(["r", 1, []], ["r", 2, [1]]), ok(["r", 1, [1]])),
    "G2": concurrent(
        ok(["r", 1, []], ["append", 2, 1]), ok(["r", 2, []], ["append", 1, 1]), ok(["r", 1, [1]], ["r", 2, [1]])
    ),
    "G-nonadjacent": concurrent(
        ok(["append", 1, 1]),
        ok(["r", 1, [1]], ["r", 2, []]),
        ok(["append", 2, 1]),
        ok(["r", 2, [1]], ["r", 1, []]),
    ),
    "G-single-realtime": serial([["append", 1, 1]], [["r", 1, []]], [["r", 1, [1]]]),
}


@pytest.mark.parametrize("anomaly", LISTS)
def test_lists_show_the_anomaly(anomaly: str) -> None:
    results = check_list_append(LISTS[anomaly])
    assert results["valid?"] is False
    assert anomaly in results["anomaly-types"]


@pytest.mark.parametrize(
    ("anomaly", "allowing", "forbidding"),
    [
        ("G1a", "read-uncommitted", "read-committed"),
        ("G1b", "read-uncommitted", "read-committed"),
        ("G1c", "read-uncommitted", "read-committed"),
        ("internal", "read-committed", "read-atomic"),
        ("lost-update", "read-committed", "snapshot-isolation"),
        ("G-single", "read-committed", "consistent-view"),
        ("G2", "snapshot-isolation", "serializable"),
        ("G-single-realtime", "serializable", "strict-serializable"),
    ],
)
def test_models_differ_by_the_anomaly(anomaly: str, allowing: str, forbidding: str) -> None:
    assert check_list_append(LISTS[anomaly], (allowing,))["valid?"] is True
    assert check_list_append(LISTS[anomaly], (forbidding,))["valid?"] is False


def test_a_cycle_of_blind_writes_is_invisible_in_registers() -> None:
    writes = concurrent(ok(["w", 1, 1], ["w", 2, 2]), ok(["w", 1, 2], ["w", 2, 1]), ok(["r", 1, 1]))
    assert check_rw_register(writes, ("read-uncommitted",))["valid?"] is True


def test_a_cycle_is_described_step_by_step() -> None:
    (case,) = check_list_append(LISTS["G1c"], ("read-committed",))["anomalies"]["G1c"]
    assert case["cycle"] == "T0 -wr-> T1 -wr-> T0"
    assert case["steps"][0] == "T0 appended 1 to 1, which T1 read"


def test_each_process_must_see_its_own_past() -> None:
    rows: list[Row] = []
    for ops in ([["append", 1, 1]], [["r", 1, []]]):
        rows += [("invoke", 0, "txn", ops), ("ok", 0, "txn", ops)]
    rows += [("invoke", 1, "txn", [["r", 1, [1]]]), ("ok", 1, "txn", [["r", 1, [1]]])]
    found = check_list_append(History.from_rows(rows), ("strong-session-serializable",))
    assert found["anomaly-types"] == ["G-single-process"]


def test_a_transaction_of_unknown_outcome_may_have_written() -> None:
    unknown = concurrent(("info", [["append", 1, 1]]), ok(["r", 1, [1]]))
    assert check_list_append(unknown)["valid?"] is True


def test_a_serial_history_is_all_models() -> None:
    good = serial([["append", 1, 1]], [["r", 1, [1]], ["append", 1, 2], ["r", 1, [1, 2]]], [["r", 1, [1, 2]]])
    assert check_list_append(good)["not"] == []
    registers = serial([["w", 1, 1]], [["r", 1, 1], ["w", 1, 2], ["r", 1, 2]], [["r", 1, 2]])
    assert check_rw_register(registers)["not"] == []


def test_models_are_known_by_several_names_and_read_with_or_without_spaces() -> None:
    assert canonical_model("PL-2") == "read-committed"
    assert parse_models("read-committed,PL-SI , serializable") == ("read-committed", "PL-SI", "serializable")
    with pytest.raises(ConfigError, match="strict-serializable, not 'quick'"):
        parse_models("quick")
    assert [canonical_model(model) for model in MODELS] == list(MODELS)


LOST = serial([["append", 1, 1]], [["r", 1, None]])


@pytest.mark.parametrize(
    ("history", "model", "anomaly"),
    [
        (LOST, "strict-serializable", "G-single-realtime"),
        (
            concurrent(ok(["append", 1, 1], ["append", 2, 1]), ok(["r", 1, None], ["r", 2, [1]])),
            "consistent-view",
            "G-single",
        ),
        (
            concurrent(ok(["r", 1, None], ["append", 2, 1]), ok(["r", 2, None], ["append", 1, 1])),
            "repeatable-read",
            "G2",
        ),
        (
            concurrent(
                ok(["append", 1, 1], ["append", 2, 1]),
                ok(["append", 1, 2], ["append", 2, 2]),
                ok(["r", 1, [1]], ["r", 2, [2]]),
            ),
            "read-uncommitted",
            "G0",
        ),
    ],
)
def test_an_append_without_a_read_is_later_than_all_reads(history: History, model: str, anomaly: str) -> None:
    results = check_list_append(history, (model,))
    assert (results["valid?"], results["maelstrom-valid?"]) == (False, False)
    assert results["anomaly-types"] == [anomaly]


def test_an_append_of_unknown_outcome_may_stay_unread() -> None:
    rows = [("invoke", 0, "txn", [["append", 1, 1]]), ("info", 0, "txn", [["append", 1, 1]])]
    rows += [("invoke", 1, "txn", [["r", 1, None]]), ("ok", 1, "txn", [["r", 1, None]])]
    rows += [("invoke", 1, "txn", [["r", 1, None]]), ("ok", 1, "txn", [["r", 1, []]])]
    assert check_list_append(History.from_rows(rows))["valid?"] is True


@pytest.mark.parametrize("model", MODELS)
def test_a_read_of_an_unwritten_value_is_wrong_under_all_models(model: str) -> None:
    lists = check_list_append(serial([["append", 1, 1]], [["r", 1, [1, 7]]]), (model,))
    registers = check_rw_register(serial([["w", 1, 1]], [["r", 1, 1]], [["r", 1, 7]]), (model,))
    for results in (lists, registers):
        assert results["valid?"] is False
        assert "garbage-read" in [finding["name"] for finding in results["only-ours"]]
        assert "reads 7 from 1, to which it was never written" in results["anomalies"]["garbage-read"][0]["found"]
    assert lists["maelstrom-valid?"] == "unknown"
    assert registers["maelstrom-valid?"] is True


def test_values_of_failed_and_unknown_transactions_count_as_written() -> None:
    for kind in ("fail", "info"):
        history = concurrent((kind, [["w", 1, 1]]), ok(["r", 1, 1]), ok(["w", 2, 1]), ok(["r", 2, 1]))
        assert "garbage-read" not in check_rw_register(history)["anomalies"]


def test_without_any_dependency_there_is_nothing_to_judge() -> None:
    lists = check_list_append(concurrent(ok(["append", 1, 1]), ok(["append", 2, 1])))
    assert (lists["valid?"], lists["maelstrom-valid?"]) == ("unknown", "unknown")
    registers = check_rw_register(concurrent(ok(["w", 1, 1]), ok(["w", 2, 1])))
    assert (registers["valid?"], registers["maelstrom-valid?"]) == (False, False)
    assert registers["anomaly-types"] == ["empty-transaction-graph"]


def test_nothing_is_held_against_a_first_read_of_null() -> None:
    for first, is_internal in ((None, False), (1, True)):
        history = concurrent(ok(["w", 1, 1]), ok(["w", 1, 2]), ok(["r", 1, first], ["r", 1, 2]))
        results = check_rw_register(history, ("read-atomic",))
        assert ("internal" in results["anomaly-types"]) is is_internal
        assert (results["valid?"], results["maelstrom-valid?"]) == (not is_internal, not is_internal)


@pytest.mark.parametrize(
    ("asked", "replied", "maelstroms"),
    [
        ([["w", 1, 1]], [["w", "1", 1]], "unknown"),
        ([["w", 1, 1]], [], True),
        ([["w", 1, 1], ["r", 2, None]], [["w", 1, 1]], True),
        ([["r", 2, None]], [["r", 3, None]], True),
        ([["w", 1, 1]], [["w", 1, 2]], True),
        ([["r", 2, None]], [["w", 2, 1]], True),
        ([["r", 2, None]], [["r", 2]], "unknown"),
        ([["r", 2, None]], "r2", "unknown"),
    ],
)
def test_a_reply_that_is_not_the_requested_transaction_is_named(asked: Any, replied: Any, maelstroms: Any) -> None:
    rows: list[Row] = [("invoke", 0, "txn", asked), ("ok", 0, "txn", replied)]
    rows += [("invoke", 1, "txn", [["w", 9, 1]]), ("ok", 1, "txn", [["w", 9, 1]])]
    rows += [("invoke", 1, "txn", [["r", 9, None]]), ("ok", 1, "txn", [["r", 9, 1]])]
    results = check_rw_register(History.from_rows(rows))
    assert (results["valid?"], results["maelstrom-valid?"]) == (False, maelstroms)
    (finding,) = [each for each in results["only-ours"] if each["name"] == "reply-differs"]
    assert finding["text"].startswith("a node received T0 [[")
