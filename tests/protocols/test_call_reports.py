"""Reports of running calls: what strangers send is bounded, and the tree of any reports is complete and finite."""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.made_up_reports import NODES, clusters, node_reports
from trionet import CallTimeout, DecodeError, NodeAddress, RunningCall
from trionet.call_tree import CallTree, tree_from_plain, with_all_below
from trionet.protocols.assembling import MOST_ROWS, assemble
from trionet.protocols.call_reports import (
    MOST_CALLS,
    MOST_CHARS,
    CallReport,
    NodeReport,
    Pause,
    RequestReport,
    decode_report,
    encode_report,
)

few = settings(max_examples=40)

A, B, C = NODES


def call(id_: str, parent: str = "", caller: NodeAddress | None = None, **more: Any) -> CallReport:
    fields: dict[str, Any] = {"age_s": 1.0} | more
    return CallReport(id_, parent, "" if caller is None else str(caller), "local", "shop", "order", "anyone", **fields)


def request(id_: str, parent: str, node: NodeAddress, state: str = "sent", **more: bool) -> RequestReport:
    return RequestReport(id_, parent, str(node), "local", "shop", "order", state, **more)


def report(*calls: CallReport, requests: tuple[RequestReport, ...] = ()) -> NodeReport:
    return NodeReport(calls, requests)


def drawn(tree: CallTree) -> list[tuple[int, str, str]]:
    """Return level, node and id of the calls of a tree."""
    return [(one.level, str(one.node), one.id) for one in tree.calls]


# ---- any reports


@few
@given(data=st.binary(max_size=60) | st.text() | node_reports.map(encode_report))
def test_no_bytes_are_more_than_a_decode_error(data: object) -> None:
    with contextlib.suppress(DecodeError):
        decode_report(data)


@given(reported=node_reports)
def test_a_report_travels(reported: NodeReport) -> None:
    again = decode_report(encode_report(reported))
    assert repr(again.calls) == repr(reported.calls)  # a time may be NaN
    assert (again.requests, again.orphans) == (reported.requests, reported.orphans)


def test_a_huge_report_is_cut() -> None:
    long = "x" * 10_000
    calls = tuple(call(f"{number}") for number in range(MOST_CALLS + 5))
    huge = NodeReport((call(long, long, pauses=(Pause("code", long),) * 100), *calls), (), (("n", long),) * 100)
    again = decode_report(encode_report(huge))
    assert len(again.calls) == MOST_CALLS
    assert again.omitted == 6
    first = again.calls[0]
    assert (len(first.id), len(first.parent), len(first.pauses)) == (MOST_CHARS, MOST_CHARS, 16)
    assert len(first.pauses[0].place) == MOST_CHARS
    assert len(again.orphans) == 64


@few
@given(reports=clusters)
def test_every_reported_call_is_in_the_tree_once_whatever_its_parents_are(
    reports: dict[NodeAddress, NodeReport],
) -> None:
    tree = assemble(reports)
    reported = [(node, one.id) for node, each in reports.items() for one in each.calls]
    assert sorted((one.node, one.id) for one in tree.calls) == sorted(reported)
    assert all(second.level <= first.level + 1 for first, second in itertools.pairwise(tree.calls))
    assert all((one.level == 0) == bool(one.root) for one in tree.calls)
    above: list[RunningCall] = []
    for one in tree.calls:
        del above[one.level :]
        if above:
            assert (above[-1].id, above[-1].node) == (one.parent, one.caller)
        assert not one.deadline_of or one.deadline_of in {each.id for each in [*above, one]}
        above.append(one)


@few
@given(reports=clusters)
def test_the_tree_does_not_depend_on_the_order_of_the_reports(reports: dict[NodeAddress, NodeReport]) -> None:
    again = dict(reversed(reports.items()))
    assert repr(assemble(reports)) == repr(assemble(again))


@few
@given(reports=clusters, width=st.none() | st.integers(min_value=0, max_value=200), ascii_only=st.booleans())
def test_a_drawing_shows_no_control_characters(
    reports: dict[NodeAddress, NodeReport], width: int | None, ascii_only: bool
) -> None:
    tree = assemble(reports, {"0123456789": CallTimeout("late\x1b[31m\r\n")})
    for line in tree.lines(width=width, ascii_only=ascii_only):
        assert line.isprintable()
        if width is not None and width >= 80:
            assert len(line) <= width


@few
@given(reports=clusters)
def test_a_tree_travels_as_plain_data(reports: dict[NodeAddress, NodeReport]) -> None:
    tree = assemble(reports, {"0123456789": CallTimeout("late")})
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(tree.plain()))
    assert repr(tree_from_plain(plain)) == repr(tree)


@pytest.mark.parametrize("plain", [None, [], {}, {"calls": [{}]}, {"calls": [7]}, {"calls": None}], ids=repr)
def test_what_is_no_tree_is_a_decode_error(plain: object) -> None:
    with pytest.raises(DecodeError):
        tree_from_plain(plain)


# ---- certain reports


def test_a_call_is_below_the_call_of_its_caller() -> None:
    tree = assemble({A: report(call("1"), call("2", "1", A)), B: report(call("2", "1", A), call("3", "2", B))})
    assert drawn(tree) == [(0, str(A), "1"), (1, str(A), "2"), (1, str(B), "2"), (2, str(B), "3")]
    assert len(tree.below(tree.calls[2])) == 2
    assert [one.node for one in tree.find("2")] == [A, B]


def test_a_circle_of_forged_parents_has_a_root_and_what_hangs_from_it_is_below() -> None:
    tree = assemble({A: report(call("0", "1", A, age_s=9.0), call("1", "2", B)), B: report(call("2", "1", A))})
    assert drawn(tree) == [(0, str(A), "1"), (1, str(A), "0"), (1, str(B), "2")]
    assert tree.calls[0].root == "parent unknown"


def test_its_own_parent_is_a_root() -> None:
    assert drawn(assemble({A: report(call("1", "1", A))})) == [(0, str(A), "1")]


def test_an_unknown_parent_makes_a_root_that_says_so() -> None:
    tree = assemble({B: report(call("1", "gone", B), call("2", "unknown", A), call("3"))})
    assert [one.root for one in tree.calls] == ["parent ended", "parent unknown", "made outside"]
    assert "whose call gone has ended" in str(tree.calls[0])
    assert f"within unknown at {A}" in str(tree.calls[1])


def test_the_callers_clock_tells_whose_deadline_holds() -> None:
    reports = {
        A: report(
            call("1", left_s=10.0),
            requests=(request("2", "1", B, is_own_deadline=False), request("3", "1", C, is_own_deadline=True)),
        ),
        B: report(call("2", "1", A, left_s=9.0), call("4", "2", B, left_s=9.0, is_own_deadline=False)),
        C: report(call("3", "1", A, left_s=9.9)),
    }
    tree = assemble(reports)
    assert {one.id: one.deadline_of for one in tree.calls} == {"1": "1", "2": "1", "4": "1", "3": "3"}


def test_without_the_callers_word_a_much_earlier_deadline_is_its_own() -> None:
    tree = assemble(
        {A: report(call("1", left_s=10.0)), B: report(call("2", "1", A, left_s=9.9), call("3", "1", A, left_s=2.0))}
    )
    assert {one.id: one.deadline_of for one in tree.calls} == {"1": "1", "2": "1", "3": "3"}


def test_a_call_below_one_without_a_deadline_has_its_own() -> None:
    tree = assemble({A: report(call("1"), call("2", "1", A, left_s=3.0))})
    assert [one.deadline_of for one in tree.calls] == ["", "2"]


def test_it_waits_for_its_calls_by_method_and_state() -> None:
    requests = (request("2", "1", B), request("2", "1", C), request("3", "1", B, "queued"), request("4", "other", B))
    (one,) = assemble({A: report(call("1", pauses=(Pause("thread", "work (shop.py:3)"),)), requests=requests)}).calls
    assert [(each.kind, each.what, each.nodes, each.state) for each in one.waits_for] == [
        ("call", "shop/order", (B,), "queued"),
        ("call", "shop/order", (B, C), "sent"),
        ("thread", "work (shop.py:3)", (), ""),
    ]
    assert str(one).endswith(
        f"waits for shop/order at {B} (queued), shop/order at {B}, {C}, a thread, work (shop.py:3)"
    )


def test_orphans_and_cancelled_calls_are_marked() -> None:
    reports = {
        A: NodeReport((call("1"),), (), ((str(B), "2"),)),
        B: report(call("2", "1", A), call("3", "1", A, is_cancelled=True)),
    }
    assert {one.id: one.state for one in assemble(reports).calls} == {"1": "running", "2": "orphan", "3": "cancelled"}


def test_the_call_that_asks_is_left_out() -> None:
    assert not assemble({A: report(call("1"))}, without=[(A, "1")]).calls


def test_a_tree_has_a_bound() -> None:
    calls = tuple(call(f"{number}") for number in range(MOST_CALLS))
    tree = assemble({node: report(*calls) for node in NODES})
    assert len(tree.calls) == MOST_ROWS
    assert tree.omitted == 3 * MOST_CALLS - MOST_ROWS
    assert f"and {tree.omitted:,} more" in str(tree)


def test_a_long_chain_of_calls_is_drawn() -> None:
    chain = [call("0"), *(call(f"{number}", f"{number - 1}", A) for number in range(1, 3000))]
    tree = assemble({A: report(*chain)})
    assert [one.level for one in tree.calls] == list(range(3000))
    assert len(list(tree.lines(width=80))) >= 3001


def test_calls_of_one_forged_id_are_not_compared_with_each_other() -> None:
    calls = tuple(CallReport("a", "a", str(A), "local", "s", "m", "anyone", 1.0) for _ in range(3))
    tree = assemble({A: NodeReport(calls)})
    assert len({id(call.waits_for[0]) for call in tree.calls}) == 1  # found once, for all of them


def test_a_forged_chain_is_not_drawn_ever_further_to_the_right() -> None:
    calls = tuple(CallReport(f"{n}", f"{n - 1}", str(A), "local", "s", "m", "anyone", 1.0) for n in range(1000))
    tree = assemble({A: NodeReport(calls)})
    assert max(call.level for call in tree.calls) == 999
    assert max(map(len, tree.lines())) < 400


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"))))
def test_what_is_below_calls_with_an_id_is_found_once(shape: list[tuple[int, str]]) -> None:
    calls, level = [], -1
    for wanted, call_id in shape:
        level = min(wanted, level + 1)
        calls.append(RunningCall(node=A, id=call_id, gid="", service="", method="", principal="", age_s=0, level=level))
    tree = CallTree(calls=tuple(calls))
    expected = {id(one): one for call in tree.find("a") for one in tree.below(call)}
    assert [id(one) for one in with_all_below(tree.calls, "a")] == list(expected)


def test_a_drawing_of_three_levels() -> None:
    tree = assemble(
        {
            A: report(call("1", left_s=5.0), call("2", "1", A), call("4", "1", A)),
            B: report(call("3", "2", A)),
        },
        {"0123456789": CallTimeout("no answer")},
    )
    lines = list(tree.lines())
    assert [re.split(r"  | at ", line)[0] for line in lines[:4]] == ["1", "├─ 2", "│", "└─ 4"]
    assert lines[2].startswith("│  └─ 3  shop/order at 127.0.0.1:2; 1.0 s, no deadline")
    assert lines[4:] == ["4 running calls on 2 nodes", "no report of 0123456789: CallTimeout: no answer"]
    assert next(iter(list(tree.lines(ascii_only=True))[1:])).startswith("|- 2")
