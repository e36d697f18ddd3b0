"""The rows of the tree of calls: complete, in order, steady, and within a budget."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.made_up_reports import clusters
from trionet.dashboard.call_rows import call_rows, key_of
from trionet.dashboard.ended_rows import MOST_ENDED, SHOWN_S, EndedRows, Outcomes
from trionet.dashboard.merge_patch import merge_patch
from trionet.dashboard.paced_rows import first_rows, paced
from trionet.dashboard.rounds import Rounds
from trionet.identity import NodeAddress
from trionet.protocols.call_reports import CallReport, EndCount, NodeReport, Pause, RequestReport

few = settings(max_examples=40)

A, B, C = (NodeAddress("127.0.0.1", port) for port in (1, 2, 3))
NOW = 1_800_000_000.0

STATES = {"connecting", "queued", "sent", "cancelling", "cancelled", "orphan"}

Rows = dict[str, dict[str, Any]]


def call(id_: str, parent: str = "", caller: NodeAddress | None = None, **more: Any) -> CallReport:
    fields: dict[str, Any] = {"age_s": 1.0} | more
    return CallReport(id_, parent, "" if caller is None else str(caller), "local", "shop", "order", "anyone", **fields)


def request(id_: str, parent: str, node: NodeAddress, state: str = "sent", **more: Any) -> RequestReport:
    return RequestReport(id_, parent, str(node), "local", "shop", "order", state, **more)


def rows_of(reports: dict[NodeAddress, NodeReport], now: float = NOW, before: Rows | None = None) -> Rows:
    return call_rows({node: (now, report) for node, report in reports.items()}, before or {})


# ---- rows


def test_a_row_says_no_more_than_is_unusual() -> None:
    rows = rows_of({A: NodeReport((call("a"),))})
    assert rows == {f"{A.sid}:a": {"node": A.sid, "service": "shop", "method": "order", "begun": NOW - 1}}


def test_the_tree_goes_over_nodes_and_says_whose_deadline_a_call_has() -> None:
    rows = rows_of(
        {
            A: NodeReport((call("a", left_s=5.0),), (request("b", "a", B, is_own_deadline=False),)),
            B: NodeReport((call("b", "a", A, left_s=4.9),), (request("c", "b", C, is_own_deadline=True),)),
            C: NodeReport((call("c", "b", B, left_s=1.0, pauses=(Pause("thread", "in x"), Pause("credit"))),)),
        }
    )
    a, b, c = (key_of(node.sid, id_) for node, id_ in ((A, "a"), (B, "b"), (C, "c")))
    assert list(rows) == [a, b, c]
    assert (rows[b]["parent"], rows[b]["of"]) == (a, 1)
    assert (rows[c]["parent"], rows[c]["deadline"]) == (b, NOW + 1)
    assert "of" not in rows[c]
    assert rows[c]["waits"] == ["the reader of its items", "a thread, in x"]


def test_a_call_on_its_way_is_told_from_one_that_runs_and_a_cancel_from_its_arrival() -> None:
    requests = (request("b", "a", B, "queued"), request("c", "a", B, "cancelled"), request("d", "a", C, "connecting"))
    reports = {A: NodeReport((call("a"),), requests), B: NodeReport((call("c", "a", A),))}
    rows = rows_of(reports)
    states = {key.partition(":")[2]: row.get("state") for key, row in rows.items()}
    assert states == {"a": None, "b": "queued", "c": "cancelling", "d": "connecting"}
    assert {row["parent"] for key, row in rows.items() if not key.endswith(":a")} == {key_of(A.sid, "a")}

    reports[B] = NodeReport((call("c", "a", A, is_cancelled=True),))
    assert rows_of(reports)[key_of(B.sid, "c")]["state"] == "cancelled"
    reports[A] = NodeReport((call("a"),), (), ((str(B), "c"),))
    assert rows_of(reports)[key_of(B.sid, "c")]["state"] == "orphan"


def test_only_its_caller_can_say_that_a_call_is_cancelled() -> None:
    forged = NodeReport((), (request("b", "a", B, "cancelled"),), ((str(B), "b"),))
    rows = rows_of({A: NodeReport((call("a"),)), B: NodeReport((call("b", "a", A),)), C: forged})
    assert "state" not in rows[key_of(B.sid, "b")]


def test_the_tree_goes_on_below_a_node_that_gives_no_report() -> None:
    rows = rows_of({A: NodeReport((call("a"),), (request("b", "a", B),)), C: NodeReport((call("c", "b", B),))})
    assert rows[key_of(C.sid, "c")]["parent"] == key_of(B.sid, "b")
    assert rows[key_of(B.sid, "b")]["parent"] == key_of(A.sid, "a")


def test_a_root_says_why_it_is_one() -> None:
    rows = rows_of({A: NodeReport((call("a"), call("b", "x", A), call("c", "y", B)))})
    whole = {
        key.partition(":")[2]: (row.get("caller"), row.get("within"), row.get("root")) for key, row in rows.items()
    }
    assert whole == {"a": (None, None, None), "b": (A.sid, "x", "ended"), "c": (B.sid, "y", "unknown")}


def test_calls_with_the_same_id_have_rows_each() -> None:
    rows = rows_of({A: NodeReport((call("a"), call("a"), call("b", "a", A)))})
    assert list(rows) == [key_of(A.sid, "a"), key_of(A.sid, "b"), key_of(A.sid, "a") + "#2"]


@few
@given(clusters)
def test_every_reported_call_has_one_row_after_its_parent(reports: dict[NodeAddress, NodeReport]) -> None:
    rows = rows_of(reports)
    running = sum(len(report.calls) for report in reports.values())
    assert sum("begun" in row for row in rows.values()) == running
    seen: set[str] = set()
    for key, row in rows.items():
        assert row.get("parent", key) in {key, *seen}
        assert row.get("state", "sent") in STATES
        seen.add(key)
    msgspec.json.encode(rows)


@few
@given(st.floats(0, 60), st.floats(0, 5), st.floats(-0.2, 4.9))
def test_a_call_that_just_goes_on_changes_nothing(age_s: float, passed_s: float, late_s: float) -> None:
    before = rows_of({A: NodeReport((call("a", age_s=age_s, left_s=90.0),))})
    report = NodeReport((call("a", age_s=age_s + passed_s, left_s=90.0 - passed_s),))
    assert rows_of({A: report}, NOW + passed_s + late_s, before) == before


def test_times_that_are_clearly_others_are_shown_anew() -> None:
    key = key_of(A.sid, "a")
    before = rows_of({A: NodeReport((call("a", age_s=9.0, left_s=9.0),))}, NOW + 3)  # which came late
    after = rows_of({A: NodeReport((call("a", age_s=9.0, left_s=9.0),))}, NOW, before)
    assert (after[key]["begun"], after[key]["deadline"]) == (NOW - 9, NOW + 9)
    other = rows_of({A: NodeReport((call("a", age_s=0.0, left_s=60.0),))}, NOW, before)
    assert (other[key]["begun"], other[key]["deadline"]) == (NOW, NOW + 60)


def test_a_deadline_that_is_over_stays_where_it_was() -> None:
    before = rows_of({A: NodeReport((call("a", left_s=1.0),))})
    after = rows_of({A: NodeReport((call("a", age_s=31.0, left_s=0.0),))}, NOW + 30, before)
    assert after[key_of(A.sid, "a")]["deadline"] == NOW + 1


# ---- within a budget


_made_rows = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.fixed_dictionaries({"node": st.sampled_from("xyz"), "state": st.sampled_from(["queued", "cancelled"])})
    | st.fixed_dictionaries({"node": st.sampled_from("xyz"), "waits": st.lists(st.text(max_size=30), max_size=2)}),
    max_size=12,
)


@few
@given(_made_rows, _made_rows, st.integers(0, 200))
def test_rows_come_to_be_shown_as_they_are_in_steps_within_the_budget(shown: Rows, known: Rows, budget: int) -> None:
    largest = max((len(msgspec.json.encode({key: row})) for key, row in known.items()), default=0) + 16
    for _ in range(30):
        following, spent = paced(shown, known, budget)
        patch = len(msgspec.json.encode(merge_patch(shown, following)))
        assert spent <= budget + largest
        assert patch <= budget + largest + 8 * (len(known) + 2)
        if following == shown:
            break
        shown = following
    assert shown == known


@few
@given(_made_rows, st.integers(0, 12), st.integers(0, 300))
def test_the_first_rows_are_within_both_bounds_and_as_many_as_fit(rows: Rows, most: int, most_bytes: int) -> None:
    found = first_rows(rows, most, most_bytes)
    assert list(found) == list(rows)[: len(found)]
    assert len(found) <= most
    if found:
        assert len(msgspec.json.encode(found)) <= most_bytes
    if len(found) < min(most, len(rows)):
        assert len(msgspec.json.encode(dict(list(rows.items())[: len(found) + 1]))) > most_bytes - 16 * len(rows)


def test_ends_and_states_come_before_new_rows_and_these_before_details() -> None:
    shown: Rows = {"gone": {"node": "a"}, "same": {"node": "a", "waits": ["x"]}, "changed": {"node": "a"}}
    known: Rows = {
        "new": {"node": "b"},
        "same": {"node": "a", "waits": ["y"]},
        "changed": {"node": "a", "state": "cancelled"},
    }
    order: list[str] = []
    for _ in range(4):
        following, _ = paced(shown, known, 0)
        order += [key for key in {**shown, **following} if shown.get(key) != following.get(key)]
        shown = following
    assert order == ["gone", "changed", "new", "same"]


# ---- ends


def ends(**outcomes: int) -> tuple[EndCount, ...]:
    return tuple(EndCount("shop", "order", outcome, count) for outcome, count in outcomes.items())


def how(row: dict[str, Any], before: tuple[EndCount, ...], after: tuple[EndCount, ...], members: set[str]) -> Any:
    outcomes, ended = Outcomes(), EndedRows()
    outcomes.note({A.sid: before})
    outcomes.note({A.sid: after})
    ended.add({"a": row}, members, outcomes, NOW)
    found = ended.shown((), NOW).get("a")
    return None if found is None else found["ended"]


def test_an_end_is_told_as_far_as_it_is_known() -> None:
    row = {"node": A.sid, "service": "shop", "method": "order", "begun": NOW - 9}
    over, cancelled = row | {"deadline": NOW}, row | {"state": "cancelled"}
    here = {A.sid}
    assert how(row, ends(ok=1), ends(ok=2), here) == "ok"
    assert how(row, (), ends(error=2), here) == "error"
    assert how(row, ends(ok=1), ends(ok=2, error=1), here) == "done"
    assert how(over, ends(ok=1), ends(ok=2, timeout=1), here) == "timeout"
    assert how(cancelled, ends(ok=1), ends(ok=2, cancelled=1), here) == "cancelled"
    assert how(over, (), (), here) == "timeout"
    assert how(cancelled, (), (), here) == "cancelled"
    assert how(row, (), (), set()) == "node"


def test_a_short_call_that_just_ends_leaves_no_row_and_one_that_is_cancelled_does() -> None:
    row = {"node": A.sid, "service": "shop", "method": "order", "begun": NOW - 0.4}
    assert how(row, (), ends(ok=1), {A.sid}) is None
    assert how(row, (), ends(cancelled=1), {A.sid}) == "cancelled"


def test_ended_rows_are_few_and_go_after_a_while() -> None:
    ended = EndedRows()
    rows: Rows = {str(number): {"node": A.sid, "service": "", "method": "", "begun": 0.0} for number in range(999)}
    ended.add(rows, {A.sid}, Outcomes(), NOW)
    shown = ended.shown((), NOW + SHOWN_S - 1)
    assert len(shown) == MOST_ENDED
    ended.add(shown, {A.sid}, Outcomes(), NOW + 2)
    assert ended.shown((), NOW + SHOWN_S) == {}


# ---- whom to ask


@few
@given(st.integers(1, 12), st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_each_member_is_asked_in_turn_however_busy_others_are(most: int, count: int, busy: set[int]) -> None:
    rounds = Rounds(most)
    members = [f"{number:02}" for number in range(count)]
    asked: set[str] = set()
    for second in range(4 * count + 8):
        chosen = rounds.next_round(members, float(second))
        assert len(chosen) == len(set(chosen)) <= most
        for sid in chosen:
            rounds.note(sid, float(second), 1 if int(sid) in busy else 0)
        asked |= set(chosen)
    assert asked == set(members)


def test_a_member_with_many_calls_and_one_that_failed_are_asked_less_often() -> None:
    rounds = Rounds(9)
    asked = {"few": 0, "many": 0, "failed": 0}
    for second in range(20):
        for sid in rounds.next_round(asked, float(second)):
            asked[sid] += 1
            if sid == "failed":
                rounds.note_failure(sid, float(second))
            else:
                rounds.note(sid, float(second), 2_000 if sid == "many" else 1)
    assert asked == {"few": 20, "many": 5, "failed": 4}
