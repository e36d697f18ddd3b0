"""Rates and latencies between two looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.top.made_up import call_figures, figures, look, timed
from trionet.cli.top.looks import MEMBER_ORDERS, view_of
from trionet.figures import ClusterFigures, GossipFigures, LinkFigures
from trionet.histograms import LIMITS_S
from trionet.rates import node_rates, quantile_s


def test_rates_are_differences_over_the_time_of_the_node() -> None:
    before = figures(10.0, [call_figures("till/add", *[0.001] * 5)], calls_made=[call_figures("a/b", 0.1)])
    after = figures(
        14.0,
        [call_figures("till/add", *[0.001] * 25), call_figures("till/add", *[0.1] * 4, outcome="error")],
        calls_made=[call_figures("a/b", *[0.1] * 9)],
        gossip=GossipFigures(delivered=8),
        links=LinkFigures(bytes_sent=400),
        cluster=ClusterFigures(lag=timed(0.003), probe_round_trips=timed(0.002)),
    )
    rates = node_rates(before, after)
    assert rates is not None
    one = rates.served["till/add"]
    assert (one.calls, one.errors, one.per_s, one.errors_per_s) == (24, 4, 6.0, 1.0)
    assert (rates.made, rates.rumors, rates.sent_bytes) == (2.0, 2.0, 100.0)
    assert rates.lag_s is not None
    assert 0.0016 < rates.lag_s <= 0.0032
    assert rates.total == one.__class__("", "", 24, 4, 4.0, one.buckets, one.time_s, {"ok": 20, "error": 4})


def test_a_cancelled_call_is_no_error_and_the_commands_own_calls_are_none() -> None:
    after = figures(
        2.0,
        [
            call_figures("till/add", 0.1, outcome="cancelled"),
            call_figures("diagnosis/figures", 0.1),
            call_figures("inspection/members", 0.1),
        ],
    )
    rates = node_rates(figures(1.0), after)
    assert rates is not None
    assert {name: one.errors for name, one in rates.served.items()} == {"till/add": 0}


def test_a_node_that_has_restarted_has_no_rates_yet() -> None:
    before = figures(100.0, [call_figures("till/add", 0.1, 0.1)])
    assert node_rates(before, figures(101.0, [call_figures("till/add", 0.1)])) is None
    assert node_rates(before, figures(3.0, [call_figures("till/add", 0.1, 0.1)])) is None
    assert node_rates(before, before) is None


@given(st.lists(st.floats(0, 200), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    found = quantile_s(timed(*seconds).buckets, share)
    assert found is not None
    rank = max(0, -(-len(seconds) * share // 1) - 1)
    true = sorted(seconds)[int(rank)]
    place = next((place for place, limit in enumerate(LIMITS_S) if true < limit), len(LIMITS_S))
    low = LIMITS_S[place - 1] if place else 0.0
    high = LIMITS_S[place] if place < len(LIMITS_S) else LIMITS_S[-1]
    assert low * 0.999 <= found <= high * 1.001


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile_s([], 0.5) is None
    assert quantile_s([0, 0], 0.5) is None


def test_members_that_don_t_answer_and_failed_ones_have_rows_too() -> None:
    after = look({"a:1": figures(2.0, calls_running=3), "b:2": None, "c:3": None}, c_3="failed")
    view = view_of(look({"a:1": figures(1.0)}), after)
    assert [(row.address, row.state, row.running, row.served_per_s) for row in view.members] == [
        ("a:1", "alive", 3, 0.0),
        ("b:2", "alive", None, None),
        ("c:3", "failed", None, None),
    ]
    assert view.members[1].error == "CallTimeout: no answer"


def test_the_first_look_has_states_and_no_rates() -> None:
    (row,) = view_of(None, look({"a:1": figures(1.0)})).members
    assert (row.state, row.served_per_s, row.running) == ("alive", None, 0)


def test_methods_are_those_of_all_members_or_of_the_picked_one() -> None:
    before = look({"a:1": figures(0.0), "b:2": figures(0.0)})
    after = look(
        {
            "a:1": figures(2.0, [call_figures("till/add", *[0.001] * 4)]),
            "b:2": figures(1.0, [call_figures("till/add", *[0.001] * 3), call_figures("x/y", 0.1, 0.1)]),
        }
    )
    assert [(row.name, row.per_s) for row in view_of(before, after).methods] == [("till/add", 5.0), ("x/y", 2.0)]
    assert [(row.name, row.per_s) for row in view_of(before, after, picked="a:1").methods] == [("till/add", 2.0)]
    assert view_of(before, after, picked="gone:9").methods == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("address", ["a:9", "b:10", "b:9", "c:1"]),
        ("calls", ["b:10", "a:9", "b:9", "c:1"]),
        ("running", ["b:9", "a:9", "b:10", "c:1"]),
        ("state", ["c:1", "a:9", "b:10", "b:9"]),
    ],
)
def test_members_are_sorted(order: str, expected: list[str]) -> None:
    found = {
        "a:9": figures(1.0, [call_figures("x/y", 0.1)]),
        "b:10": figures(1.0, [call_figures("x/y", 0.1, 0.1)]),
        "b:9": figures(1.0, calls_running=7),
    }
    after = look({**found, "c:1": None}, c_1="failed")
    view = view_of(look(dict.fromkeys(found, figures(0.0))), after, order)
    shown = [row.address for row in view.members]
    if order == "address":
        assert shown == ["a:9", "b:9", "b:10", "c:1"]  # ports are numbers
    else:
        assert shown == expected


def test_each_order_puts_a_member_without_figures_last_but_for_its_state() -> None:
    late = ClusterFigures(lag=timed(0.1))
    after = look({"a:1": None, "b:2": figures(2.0, [call_figures("x/y", 0.1)], cluster=late)})
    before = look({"b:2": figures(1.0)})
    for order in MEMBER_ORDERS:
        first = view_of(before, after, order).members[0].address
        assert first == ("a:1" if order in ("address", "state") else "b:2"), order
