"""The checks of ``trionet doctor``, each by made-up facts: what is wrong is found, named, and told apart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diagnosis.surveys import NAMES, faulty, survey, with_facts
from trionet.diagnosis.checks import CHECKS, diagnose
from trionet.diagnosis.facts import Examination, Gone, GroupFacts, KeyFacts, Survey, survey_from
from trionet.diagnosis.findings import Finding, confirmed, listed
from trionet.diagnosis.network import blocked_ways
from trionet.diagnosis.processes import clock_offsets

A, B, C, D = NAMES


def only(found: list[Finding]) -> Finding:
    """Return the single finding, whose texts say something."""
    (finding,) = found
    assert finding.what
    assert len(finding.advice) > 20
    return finding


def with_answer(of: Survey, name: str, **fields: Any) -> Survey:
    return msgspec.structs.replace(of, members={**of.members, name: Examination(**fields)})


def test_a_healthy_cluster_has_no_findings() -> None:
    assert diagnose(survey()) == []
    assert diagnose(survey(names=(A,))) == []


def test_a_member_that_does_not_answer_is_named_with_the_reason() -> None:
    silent = faulty(with_answer(survey(), C, error="no answer within 8 s"), (A, C, "both"), (B, C, "connect"))
    finding = only(diagnose(silent))
    assert (finding.check, finding.severity, finding.nodes) == ("answers", "error", (C,))
    assert "no answer within 8 s" in finding.what


@pytest.mark.parametrize(
    ("status", "check", "severity", "advice"),
    [("suspect", "suspects", "warning", "its load"), ("failed", "failed", "error", f"trionet forget {A} 10.0.0.9:1")],
)
def test_members_that_are_suspected_or_have_failed_are_named(
    status: str, check: str, severity: str, advice: str
) -> None:
    finding = only(diagnose(with_facts(survey(), A, gone=[Gone("10.0.0.9:1", status, 61.4)])))
    assert (finding.check, finding.severity, finding.nodes) == (check, severity, ("10.0.0.9:1",))
    assert "61 s" in finding.what
    assert advice in finding.advice


def test_a_node_that_has_not_joined_its_cluster_is_named_with_whom_it_seeks() -> None:
    finding = only(diagnose(with_facts(survey(names=(A,)), A, seeks=["10.0.0.9:1"])))
    assert (finding.check, finding.severity, finding.nodes) == ("joined", "error", (A,))
    assert "10.0.0.9:1" in finding.what


def test_a_member_that_does_not_know_another_is_named_with_it() -> None:
    finding = only(diagnose(with_facts(survey(), B, members=[A, B, C], members_digest="x")))
    assert (finding.check, finding.nodes) == ("views", (B,))
    assert f"{B} doesn't know {D}" in finding.what


def test_a_member_that_knows_more_than_the_one_that_was_asked_is_named() -> None:
    finding = only(diagnose(with_facts(survey(), B, members=[*NAMES, "10.0.0.9:1"], members_digest="x")))
    assert "knows 10.0.0.9:1" in finding.what


def test_an_address_out_of_reach_is_one_finding_and_its_datagrams_are_none() -> None:
    lost = faulty(survey(), (A, D, "connect"), (B, D, "connect"), (C, D, "connect"), (D, A, "both"))
    finding = only(diagnose(lost))
    assert (finding.check, finding.severity, finding.nodes) == ("addresses", "error", (D,))
    assert "advertise_ip" in finding.advice
    assert all(name in finding.what for name in (A, B, C))


def test_a_reported_address_out_of_reach_is_found_too() -> None:
    assert only(diagnose(with_facts(survey(), A, unreachable=[(D, A)]))).nodes == (D,)


@pytest.mark.parametrize("node", [A, D])
def test_datagrams_to_a_node_that_don_t_arrive_are_blocked_one_way(node: str) -> None:
    others = [name for name in NAMES if name != node]
    lost = faulty(survey(), *((other, node, "out") for other in others), *((node, other, "back") for other in others))
    assert blocked_ways(lost) == {(other, node) for other in others}
    finding = only(diagnose(lost))
    assert (finding.check, finding.nodes) == ("datagrams", (node,))
    assert f"datagrams to {node} don't arrive" in finding.what
    assert "one way" in finding.what
    assert "port 8080" in finding.advice


def test_datagrams_from_a_node_that_don_t_arrive_are_blocked_the_other_way() -> None:
    others = [name for name in NAMES if name != B]
    lost = faulty(survey(), *((other, B, "back") for other in others))
    assert f"datagrams from {B} don't arrive" in only(diagnose(lost)).what


def test_datagrams_blocked_both_ways_are_told_apart() -> None:
    others = [name for name in NAMES if name != B]
    assert "either direction" in only(diagnose(faulty(survey(), *((other, B, "both") for other in others)))).what


def test_datagrams_blocked_between_two_nodes_name_both() -> None:
    one_way = only(diagnose(faulty(survey(), (A, B, "out"), (B, A, "back"))))
    assert one_way.nodes == (A, B)
    assert f"from {A} to {B}" in one_way.what
    assert "one way" in one_way.what
    both = only(diagnose(faulty(survey(), (A, B, "both"), (B, A, "both"))))
    assert f"between {A} and {B}" in both.what
    assert "one way" not in both.what


def test_in_a_pair_of_nodes_the_direction_is_found() -> None:
    assert f"from {B} to {A}" in only(diagnose(faulty(survey((A, B)), (A, B, "back"), (B, A, "out")))).what


def test_nodes_without_datagrams_lose_none_and_are_a_note() -> None:
    without = faulty(with_facts(survey(), D, datagrams=False), (A, D, "both"))
    finding = only(diagnose(without))
    assert (finding.check, finding.severity, finding.nodes) == ("no-datagrams", "note", (D,))


def test_a_loopback_address_among_others_is_found_from_both_ends() -> None:
    for name, barred in ((A, "127.0.0.1:9000"), (A, "localhost:9000")):
        finding = only(diagnose(with_facts(survey(), name, barred=[barred])))
        assert (finding.check, finding.nodes) == ("loopback", (barred,))
        assert f"advertise_ip (--advertise-ip) of {barred}" in finding.advice


def test_a_node_reached_by_another_address_that_advertises_loopback_is_found() -> None:
    local = ("127.0.0.1:8080", "127.0.0.1:8081")
    assert diagnose(survey(local, asked_as="localhost:8080")) == []
    finding = only(diagnose(survey(local, asked_as="10.0.0.7:8080")))
    assert (finding.check, finding.severity) == ("loopback", "warning")


@pytest.mark.parametrize(("off_s", "severity"), [(1.5, "warning"), (-3.0, "warning"), (3600.0, "error")])
def test_a_clock_that_is_off_is_found_with_its_direction(off_s: float, severity: str) -> None:
    off = with_facts(survey(), C, received_at=1_800_000_000.0 + off_s, sent_at=1_800_000_001.0 + off_s)
    finding = only(diagnose(off))
    assert (finding.check, finding.severity, finding.nodes) == ("clocks", severity, (C,))
    assert ("ahead" if off_s > 0 else "behind") in finding.what
    assert f"{abs(off_s):.1f} s" in finding.what


def test_the_clock_of_the_node_that_is_asked_is_found_too() -> None:
    of = survey()
    for name in NAMES[1:]:
        own = of.facts[name]
        of = with_facts(of, name, received_at=own.received_at + 60, sent_at=own.sent_at + 60)
    finding = only(diagnose(of))
    assert finding.nodes == (A,)
    assert "60.0 s behind" in finding.what


@given(
    offset=st.floats(-100, 100),
    there=st.floats(0, 50),
    back=st.floats(0, 50),
    worked=st.floats(0, 50),
)
def test_an_offset_is_right_within_its_error_whatever_the_way_takes(
    offset: float, there: float, back: float, worked: float
) -> None:
    asked = 1_000.0
    received = asked + there
    sent = received + worked
    of = with_facts(survey((A, B)), B, received_at=received + offset, sent_at=sent + offset)
    one = msgspec.structs.replace(of.members[B], asked_at=asked, answered_at=sent + back)
    found, error = clock_offsets(msgspec.structs.replace(of, members={**of.members, B: one}))[B]
    assert abs(found - offset) <= error + 1e-6


def test_a_slow_way_is_no_wrong_clock() -> None:
    of = survey()
    slow = msgspec.structs.replace(of.members[D], asked_at=of.members[D].asked_at - 10)
    assert diagnose(msgspec.structs.replace(of, members={**of.members, D: slow})) == []


@pytest.mark.parametrize(("profile", "lag_s", "is_found"), [("lan", 0.2, False), ("lan", 0.3, True), ("wan", 1, False)])
def test_a_late_event_loop_is_measured_by_the_profile(profile: str, lag_s: float, is_found: bool) -> None:
    of = survey()
    for name in NAMES:
        of = with_facts(of, name, profile=profile)
    found = diagnose(with_facts(of, B, lag_s=lag_s))
    assert [finding.check for finding in found] == (["lag"] if is_found else [])
    assert all("thread" in finding.advice for finding in found)


@pytest.mark.parametrize(
    ("open_", "limit", "severity"), [(20, 64, "warning"), (900, 1024, "error"), (40, 1024, None), (40, 0, None)]
)
def test_a_file_limit_that_is_too_low_is_found(open_: int, limit: int, severity: str | None) -> None:
    found = diagnose(with_facts(survey(), B, files_open=open_, files_limit=limit))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert all("ulimit -n" in finding.advice for finding in found)


def test_members_of_different_versions_are_found() -> None:
    finding = only(diagnose(with_facts(survey(), D, version="0.1.10")))
    assert (finding.check, finding.nodes) == ("versions", (D,))
    assert "0.1.10 on 10.0.0.4:8080" in finding.what
    assert "bring all to 0.2.0" in finding.advice


def test_a_member_of_a_version_without_the_question_is_found_and_not_silent() -> None:
    finding = only(diagnose(with_answer(survey(), D, error="there is no service 'diagnosis'", is_older=True)))
    assert (finding.check, finding.nodes) == ("versions", (D,))


def test_different_profiles_are_found() -> None:
    assert only(diagnose(with_facts(survey(), D, profile="wan"))).check == "profiles"


def sealed(**keys: Any) -> Survey:
    of = survey(**keys)
    for name in NAMES:
        of = with_facts(of, name, has_key=True, is_protected=True, seals_with="aaaaaaaa")
    return of


def test_a_key_that_a_member_does_not_hold_is_found() -> None:
    used = sealed(keys=[KeyFacts("aaaaaaaa", "used", True, "", [D])])
    finding = only(diagnose(used))
    assert (finding.check, finding.severity, finding.nodes) == ("keys", "error", ("aaaaaaaa", D))
    assert "trionet keys install" in finding.advice
    installed = sealed(keys=[KeyFacts("bbbbbbbb", "installed", False, "not ready", [D])])
    assert only(diagnose(installed)).severity == "warning"
    assert diagnose(sealed(keys=[KeyFacts("bbbbbbbb", "retired", False, "", [D])])) == []


def test_members_that_seal_with_different_keys_are_found() -> None:
    assert "different keys" in only(diagnose(with_facts(sealed(), D, seals_with="bbbbbbbb"))).what


def test_a_key_that_a_restart_loses_is_found() -> None:
    finding = only(diagnose(sealed(keys=[KeyFacts("aaaaaaaa", "used", True, "", [], [D])])))
    assert (finding.check, finding.severity) == ("volatile-keys", "warning")
    assert only(diagnose(sealed(keys_fault="k.key: read-only"))).what.endswith("k.key: read-only")


def test_a_key_that_can_be_retired_is_a_note() -> None:
    finding = only(diagnose(sealed(keys=[KeyFacts("bbbbbbbb", "used", False, "ready")])))
    assert (finding.check, finding.severity) == ("old-keys", "note")
    assert f"trionet keys retire {A} bbbbbbbb" in finding.advice


def test_a_node_without_the_key_and_one_that_still_accepts_plain_peers_are_found() -> None:
    plain = with_facts(sealed(), D, has_key=False, seals_with="", is_protected=False)
    assert (only(diagnose(plain)).severity, only(diagnose(plain)).nodes) == ("error", (D,))
    rolling = with_facts(sealed(), D, is_protected=False)
    assert (only(diagnose(rolling)).severity, only(diagnose(rolling)).nodes) == ("warning", (D,))


@pytest.mark.parametrize(
    ("days", "severity", "what"),
    [(30, None, ""), (10, "warning", "10.0 days"), (1, "error", "1.0 days"), (-1, "error", "has ended")],
)
def test_a_certificate_that_ends_soon_is_found(days: float, severity: str | None, what: str) -> None:
    ends_at = survey().facts[B].sent_at + days * 86_400
    found = diagnose(with_facts(survey(), B, certificate_ends_at=ends_at))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert all(what in finding.what for finding in found)


def test_a_group_that_differs_among_its_members_is_found() -> None:
    own = survey().facts[C].groups
    groups = {**own, "workers": GroupFacts(2, "other", [])}
    finding = only(diagnose(with_facts(survey(), C, groups=groups)))
    assert (finding.check, finding.nodes) == ("groups", ("workers",))
    assert f"{C} has 2" in finding.what
    # A node that is not in the group may hold another set.
    assert diagnose(with_facts(survey(), C, groups={"all": own["all"]})) == []


def test_the_worst_is_reported_first() -> None:
    of = with_facts(with_facts(survey(), D, datagrams=False), C, lag_s=1.0, gone=[])
    of = with_facts(of, A, gone=[Gone("10.0.0.9:1", "failed", 5)])
    assert [finding.severity for finding in diagnose(of)] == ["error", "warning", "note"]


def test_only_what_a_second_look_finds_again_is_confirmed() -> None:
    first = diagnose(with_facts(survey(), A, gone=[Gone("10.0.0.9:1", "suspect", 0.5)]))
    second = diagnose(with_facts(survey(), A, gone=[Gone("10.0.0.9:1", "suspect", 3.5)]))
    assert [finding.what for finding in confirmed(first, second)] == [second[0].what]
    assert confirmed(first, diagnose(survey())) == confirmed([], second) == []


def test_facts_of_another_version_are_read_as_far_as_they_are_known() -> None:
    plain = msgspec.to_builtins(survey())
    for member in plain["members"].values():
        member["facts"]["mood"] = "good"
        del member["facts"]["files_limit"]
    plain["weather"] = "fine"
    assert diagnose(survey_from(plain)) == []


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["out", "back", "both"]))))
def test_each_lost_way_is_in_a_finding_whatever_is_lost(faults: list[tuple[str, str, str]]) -> None:
    lost = faulty(survey(), *((source, target, kind) for source, target, kind in faults if source != target))
    found = [finding for finding in diagnose(lost) if finding.check == "datagrams"]
    named = {name for finding in found for name in finding.nodes}
    assert all(source in named or target in named for source, target in blocked_ways(lost))
    assert bool(found) == bool(blocked_ways(lost))


def test_long_lists_of_names_are_cut_and_counted() -> None:
    assert listed("edcba", 3) == "a, b, c and 2 more"
    assert len(CHECKS) == 16


def test_a_member_that_fails_between_two_looks_is_confirmed() -> None:
    silent = diagnose(with_answer(survey(), C, error="no answer within 8 s"))
    failed = diagnose(with_facts(survey((A, B, D)), A, gone=[Gone(C, "failed", 1.0)]))
    assert [finding.check for finding in confirmed(silent, failed)] == ["failed"]
