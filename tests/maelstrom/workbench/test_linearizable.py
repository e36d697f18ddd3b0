from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionet.maelstrom.workbench.checkers.linearizable import RegisterOp, check_linearizable, check_register
from trionet.maelstrom.workbench.history import History
from trionet.maelstrom.workbench.json_values import identity


def by_brute_force(ops: list[RegisterOp]) -> bool:
    """Try every order of every choice of the operations of unknown outcome."""
    certain = [op for op in ops if op.returned is not None]
    doubtful = [op for op in ops if op.returned is None]
    for count in range(len(doubtful) + 1):
        for chosen in itertools.combinations(doubtful, count):
            if any(is_right(order) for order in itertools.permutations([*certain, *chosen])):
                return True
    return False


def is_right(order: tuple[RegisterOp, ...]) -> bool:
    state: Any = identity(None)
    for position, op in enumerate(order):
        if any(later.returned is not None and later.returned < op.invoked for later in order[position + 1 :]):
            return False
        is_possible, state = op.apply(state)
        if not is_possible:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[RegisterOp]:
    ops = []
    for process in range(draw(st.integers(1, 5))):
        f = draw(st.sampled_from(["read", "write", "cas"]))
        values = st.integers(0, 2)
        value = draw(st.tuples(values, values)) if f == "cas" else draw(values if f == "write" else values | st.none())
        begun = draw(st.integers(0, 8))
        is_unknown = f != "read" and draw(st.integers(0, 3)) == 0
        returned = None if is_unknown else begun + draw(st.integers(1, 8))
        ops.append((f, value, begun, returned, process))
    # Distinct moments: a history has an order.
    moments = sorted(
        [(op[2], 0, n) for n, op in enumerate(ops)] + [(op[3], 1, n) for n, op in enumerate(ops) if op[3] is not None]
    )
    place = {(n, kind): position for position, (_, kind, n) in enumerate(moments)}
    return [
        RegisterOp(f, value, place[n, 0], None if end is None else place[n, 1], process)
        for n, (f, value, _, end, process) in enumerate(ops)
    ]


@pytest.mark.slow
@settings(max_examples=600, derandomize=True)
@given(histories())
def test_it_agrees_with_trying_every_order(ops: list[RegisterOp]) -> None:
    assert check_register(ops)["valid?"] is by_brute_force(ops)


def test_a_stale_read_is_named_with_the_possible_values() -> None:
    rows = [
        ("invoke", 0, "write", [7, 1]),
        ("ok", 0, "write", [7, 1]),
        ("invoke", 0, "write", [7, 2]),
        ("ok", 0, "write", [7, 2]),
        ("invoke", 1, "read", [7, None]),
        ("ok", 1, "read", [7, 1]),
    ]
    failure = check_linearizable(History.from_rows(rows))["failures"]["7"]
    assert failure["op"] == "process 1 read 1"
    assert failure["possible-values"] == ["2"]
    assert failure["index"] == 5


def test_keys_are_judged_by_themselves() -> None:
    rows = [
        ("invoke", 0, "write", [1, 1]),
        ("ok", 0, "write", [1, 1]),
        ("invoke", 0, "read", [2, None]),
        ("ok", 0, "read", [2, 1]),
    ]
    results = check_linearizable(History.from_rows(rows))
    assert results["valid?"] is False
    assert set(results["failures"]) == {"2"}
    assert results["key-count"] == 2


def test_a_failed_operation_never_happened_and_an_unknown_one_may_happen_much_later() -> None:
    failed = [("invoke", 0, "write", [1, 1]), ("fail", 0, "write", [1, 1])]
    seen = [("invoke", 1, "read", [1, None]), ("ok", 1, "read", [1, 1])]
    unseen = [("invoke", 1, "read", [1, None]), ("ok", 1, "read", [1, None])]
    unknown = [("invoke", 0, "write", [1, 1]), ("info", 0, "write", [1, 1])]
    assert check_linearizable(History.from_rows([*failed, *seen]))["valid?"] is False
    assert check_linearizable(History.from_rows([*unknown, *unseen, *unseen, *seen, *seen]))["valid?"] is True
    again = [("invoke", 1, "read", [1, None]), ("ok", 1, "read", [1, 2])]
    assert check_linearizable(History.from_rows([*unknown, *seen, *again]))["valid?"] is False


def test_a_value_is_not_the_same_as_one_that_only_looks_like_it() -> None:
    for value, is_right in ((1, True), (True, False), (1.0, False), ("1", False)):
        write = [("invoke", 0, "write", [1, 1]), ("ok", 0, "write", [1, 1])]
        read = [("invoke", 0, "read", [1, None]), ("ok", 0, "read", [1, value])]
        assert check_linearizable(History.from_rows([*write, *read]))["valid?"] is is_right


def test_many_operations_of_unknown_outcome_do_no_harm() -> None:
    ops = [RegisterOp("write", number % 5, number, None, number) for number in range(20)]
    at = 20
    for number in range(200):
        ops.append(RegisterOp("read", (number * 7) % 5 if number < 4 else 3, at, at + 1, 99))
        at += 2
    begun = time.process_time()
    assert check_register(ops)["valid?"] is True
    assert time.process_time() - begun < 5


def test_a_search_without_enough_time_is_unknown() -> None:
    ops = [RegisterOp("write", 1, 0, 1, 0), RegisterOp("read", 1, 2, 3, 0)]
    assert check_register(ops, is_late=lambda: True)["valid?"] == "unknown"


def test_a_read_of_null_is_a_read_of_nothing() -> None:
    rows: list[tuple[str, int, str, Any]] = [("invoke", 0, "write", [1, 1]), ("ok", 0, "write", [1, 1])]
    rows += [("invoke", 0, "read", [1, None]), ("ok", 0, "read", [1, None])]
    results = check_linearizable(History.from_rows(rows))
    assert (results["valid?"], results["maelstrom-valid?"]) == (True, True)
