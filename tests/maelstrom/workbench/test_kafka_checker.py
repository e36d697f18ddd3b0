from __future__ import annotations

from typing import Any

import pytest

from trionet.maelstrom.workbench.checkers import check_kafka
from trionet.maelstrom.workbench.history import History

Rows = list[tuple[Any, ...]]


def send(process: int, message: int, offset: int | None, kind: str = "ok") -> Rows:
    asked = [["send", "k", message]]
    done = [["send", "k", [offset, message]]] if kind == "ok" else asked
    return [("invoke", process, "send", asked), (kind, process, "send", done)]


def poll(process: int, *pairs: tuple[int, int], kind: str = "ok") -> Rows:
    shown = {"k": [list(pair) for pair in pairs]} if pairs else {}
    return [("invoke", process, "poll", [["poll"]]), (kind, process, "poll", [["poll", shown]])]


def assign(process: int, *keys: str) -> Rows:
    return [("invoke", process, "assign", list(keys)), ("ok", process, "assign", list(keys))]


def errors_of(*ops: Rows) -> list[str]:
    found: list[str] = check_kafka(History.from_rows(row for op in ops for row in op))["bad-error-types"]
    return found


THREE = [*send(0, 1, 0), *send(0, 2, 1), *send(0, 3, 2)]
ALL = poll(9, (0, 1), (1, 2), (2, 3))


def test_a_log_that_is_read_in_order_is_right() -> None:
    assert errors_of(THREE, poll(1, (0, 1)), poll(1), poll(1, (1, 2), (2, 3)), ALL) == []


def test_gaps_between_offsets_do_not_matter() -> None:
    assert errors_of(send(0, 1, 10), send(0, 2, 500), poll(1, (10, 1)), poll(1, (500, 2))) == []


BAD = {
    "inconsistent-offsets": [send(0, 1, 0), send(1, 2, 0), poll(2, (0, 1)), poll(3, (0, 2))],
    "duplicate": [send(0, 1, 0), poll(1, (0, 1)), poll(2, (1, 1))],
    "lost-write": [THREE, poll(1, (0, 1)), assign(1), poll(1, (2, 3))],
    "unseen": [THREE, poll(1, (0, 1), (1, 2))],
    "G1a": [send(0, 1, None, "fail"), poll(1, (0, 1))],
    "poll-skip": [THREE, ALL, poll(1, (0, 1)), poll(1, (2, 3))],
    "nonmonotonic-poll": [THREE, ALL, poll(1, (0, 1), (1, 2)), poll(1, (1, 2), (2, 3))],
    "int-poll-skip": [THREE, ALL, poll(1, (0, 1), (2, 3))],
    "int-nonmonotonic-poll": [THREE, ALL, poll(1, (1, 2), (0, 1))],
    "nonmonotonic-send": [send(0, 1, 5), send(0, 2, 3), poll(1, (3, 2), (5, 1))],
    "G1c-realtime": [poll(1, (0, 1)), send(0, 1, 0)],
    "G1c-process": [poll(0, (0, 1)), send(0, 1, 0)],
}


@pytest.mark.parametrize("error", BAD)
def test_each_error_is_found_and_no_other(error: str) -> None:
    found = errors_of(*BAD[error])
    assert error in found
    assert set(found) == {error, "unseen"} if error == "lost-write" else {error}  # nobody saw it, either


def test_an_operation_that_polls_its_own_send_reads_before_the_commit() -> None:
    both = [["send", "k", 1], ["poll"]]
    done = [["send", "k", [0, 1]], ["poll", {"k": [[0, 1]]}]]
    assert errors_of([("invoke", 0, "txn", both), ("ok", 0, "txn", done)]) == ["precommitted-read"]


def test_a_cycle_of_sends_and_polls_is_found() -> None:
    one, two = [["send", "k", 1], ["poll"]], [["send", "l", 2], ["poll"]]
    rows: Rows = [
        ("invoke", 0, "txn", one),
        ("invoke", 1, "txn", two),
        ("ok", 0, "txn", [["send", "k", [0, 1]], ["poll", {"l": [[0, 2]]}]]),
        ("ok", 1, "txn", [["send", "l", [0, 2]], ["poll", {"k": [[0, 1]]}]]),
    ]
    assert errors_of(rows) == ["G1c"]


def test_an_assignment_that_drops_the_key_allows_a_jump_and_one_that_keeps_it_does_not() -> None:
    jump = [THREE, ALL, poll(1, (0, 1)), poll(1, (2, 3))]
    assert errors_of(*jump[:3], assign(1, "l"), jump[3]) == []
    assert errors_of(*jump[:3], assign(1, "k"), jump[3]) == ["poll-skip"]


def test_a_send_of_unknown_outcome_counts_once_its_message_was_polled() -> None:
    assert errors_of(send(0, 1, None, "info"), send(1, 2, 1), poll(2, (1, 2))) == []
    seen = [send(0, 1, None, "info"), send(1, 2, 1), poll(2, (0, 1), (1, 2))]
    assert errors_of(*seen) == []
    assert errors_of(*seen, poll(3, (1, 2)), poll(3, (0, 1))) == ["nonmonotonic-poll"]


def test_a_failed_poll_shows_entries_of_the_log_but_does_not_count_as_a_poll_of_them() -> None:
    assert errors_of(send(0, 1, 0), poll(1, (0, 1), kind="fail")) == ["unseen"]


def empty_poll(process: int) -> Rows:
    return [("invoke", process, "poll", [["poll"]]), ("ok", process, "poll", [["poll", {"k": []}]])]


def verdicts_of(*ops: Rows) -> tuple[Any, Any, list[str]]:
    results = check_kafka(History.from_rows(row for op in ops for row in op))
    return results["maelstrom-valid?"], results["valid?"], [finding["name"] for finding in results["only-ours"]]


def test_a_poll_with_an_empty_list_separates_the_polls_before_and_after_it() -> None:
    assert errors_of(THREE, ALL, poll(1, (0, 1)), empty_poll(1), poll(1, (2, 3))) == []
    assert errors_of(THREE, ALL, poll(1, (1, 2)), empty_poll(1), poll(1, (0, 1))) == []
    assert errors_of(THREE, ALL, poll(1, (0, 1)), poll(1), poll(1, (2, 3))) == ["poll-skip"]


def test_a_history_that_crashes_maelstroms_checker_is_unknown_there_and_judged_here() -> None:
    assert verdicts_of(send(0, 1, 0), poll(1, (0, 1), (1, 9))) == ("unknown", False, ["unsent"])
    assert verdicts_of(send(0, 1, 0), empty_poll(1)) == ("unknown", False, ["unseen"])
    assert verdicts_of([*send(0, 1, 0), *poll(1, (0, 1))], empty_poll(1)) == (True, True, [])


def test_a_log_of_which_nothing_follows_from_anything_is_invalid() -> None:
    assert errors_of(send(0, 1, None, "info")) == ["empty-transaction-graph"]
