"""The keys of a node: what seals, what opens, what merges, and which steps wait for whom."""

from __future__ import annotations

import copy
import pickle
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.keys import shown_in
from tests.security.ring_nodes import Cluster, new_key
from trionet.errors import EncodeError, MalformedRequest, PreconditionFailed
from trionet.security.held_keys import HeldKeys
from trionet.security.key_entries import KeyEntry
from trionet.security.key_material import KeyMaterial
from trionet.security.key_records import KeyRecords
from trionet.security.key_reports import Holding, KeyReport, KeyReports, Readiness, is_newer, is_valid_report
from trionet.security.key_ring import KeyRing
from trionet.security.key_statements import (
    MAX_EXCEPTED,
    MAX_SEQUENCE,
    KeyState,
    KeyStatement,
    is_valid,
    merged,
)
from trionet.security.keys import KEY_BYTES, ClusterKey
from trionet.security.rollout import STEPS, Accept, Rollout, Send

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = [new_key(Random(seed)) for seed in range(6)]
SEEDS_OF_ONE_ID = (17394, 23460)
"""Their keys have the same key id: found by search."""

SECRETS = [Random(seed).randbytes(KEY_BYTES) for seed in range(6)]
IDS = [key.id for key in KEYS]
ONE, TWO, THREE = KEYS[:3]
FIRST = KeyRecords((KeyEntry.of(ONE),))


def stated(key_id: bytes, state: int, sequence: int, by_file: bool, excepted: tuple[str, ...]) -> KeyStatement:
    return KeyStatement(key_id, state, sequence, by_file, excepted if state == KeyState.RETIRED else ())


statements = st.builds(
    stated,
    st.sampled_from(IDS[:3]),
    st.integers(0, 2),
    st.integers(0, 3),
    st.booleans(),
    st.lists(st.sampled_from([f"n{index:02}" for index in range(MAX_EXCEPTED + 9)]), max_size=MAX_EXCEPTED)
    .map(set)
    .map(sorted)
    .map(tuple),
)
reports = st.builds(
    KeyReport,
    st.just("a"),
    st.integers(0, 2),
    st.integers(0, 2),
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 2)),
    st.sampled_from([b"", *IDS]),
    st.integers(0, 2),
    st.integers(0, 1),
)


def ring(name: str = "me", *keys: ClusterKey, used: int = 1) -> KeyRing:
    """Return a ring with written keys, of which the first ones are used."""
    records = tuple(
        KeyEntry(key.id, KeyState.USED if place < used else KeyState.INSTALLED, place, key=key)
        for place, key in enumerate(keys or (ONE,))
    )
    return KeyRing(name, KeyRecords(records))


def written(one: KeyRing) -> KeyRing:
    one.note_written(one.records())
    return one


def talk(*rings: KeyRing) -> None:
    """Have all rings tell each other all, over sealed links, and write it."""
    for _ in range(3):
        for one in rings:
            for other in rings:
                other.keys.merge(one.keys.statements())
                other.keys.take_material(one.keys.material_for(other.keys.wanted()))
                written(other)
                one.merge_reports([other.report(), *other.reports])


# ------------------------------------------------------------------------------------------------------- the merge laws


@given(st.lists(statements, max_size=8), st.randoms(use_true_random=False))
def test_statements_merge_alike_in_any_order_and_number(found: list[KeyStatement], rng: Random) -> None:
    one, other = ring(), ring()
    one.keys.merge(found)
    again = [*found, *found]
    rng.shuffle(again)
    for statement in again:
        other.keys.merge([statement])
    assert set(one.keys.statements()) == set(other.keys.statements())
    assert not one.keys.merge(other.keys.statements())


@given(statements, statements, statements)
def test_the_merge_of_statements_is_a_join(one: KeyStatement, other: KeyStatement, third: KeyStatement) -> None:
    other, third = (msgspec.structs.replace(each, key_id=one.key_id) for each in (other, third))
    assert merged(one, one) == one
    assert merged(one, other) == merged(other, one)
    assert merged(merged(one, other), third) == merged(one, merged(other, third))
    assert is_valid(merged(one, other))
    assert merged(one, other).state == max(one.state, other.state)


@given(reports, reports, reports)
def test_the_newest_report_holds_in_any_order(one: KeyReport, other: KeyReport, third: KeyReport) -> None:
    assert is_newer(one, other) + is_newer(other, one) == (one != other)
    found = []
    for order in ((one, other, third), (third, one, other), (other, third, one)):
        table = KeyReports()
        for report in order:
            table.merge(report)
        found.append(table.get("a"))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "wrong",
    [
        KeyStatement(b"short"),
        KeyStatement(IDS[1], 3),
        KeyStatement(IDS[1], -1),
        KeyStatement(IDS[1], 1, -1),
        KeyStatement(IDS[1], 1, MAX_SEQUENCE + 1),
        KeyStatement(IDS[1], 1, 1, excepted=("a",)),
        KeyStatement(IDS[1], 2, 1, excepted=("b", "a")),
        KeyStatement(IDS[1], 2, 1, excepted=("a", "a")),
        KeyStatement(IDS[1], 2, 1, excepted=("x" * 129,)),
        KeyStatement(IDS[1], 2, 1, excepted=("a\n",)),
        KeyStatement(IDS[1], 2, 1, excepted=tuple(f"{index:03}" for index in range(MAX_EXCEPTED + 1))),
    ],
)
def test_a_statement_that_no_correct_node_makes_is_ignored(wrong: KeyStatement) -> None:
    one = ring()
    assert not one.keys.merge([wrong])
    assert len(one.keys.statements()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        KeyReport("", 1, 1),
        KeyReport("x" * 129, 1, 1),
        KeyReport("a\nmember=b", 1, 1),
        KeyReport("a,b", 1, 1),
        KeyReport("x", -1, 1),
        KeyReport("x", 1, 1 << 63),
        KeyReport("x", 1, 1, {b"short": 1}),
        KeyReport("x", 1, 1, {IDS[0]: 3}),
        KeyReport("x", 1, 1, {index.to_bytes(4, "big"): 1 for index in range(65)}),
        KeyReport("x", 1, 1, sealing=b"12345"),
        KeyReport("x", 1, 1, accept=3),
        KeyReport("x", 1, 1, send=-1),
    ],
)
def test_a_report_that_no_correct_member_makes_is_ignored(wrong: KeyReport) -> None:
    one = ring()
    assert not is_valid_report(wrong)
    assert not one.merge_reports([wrong])
    assert one.records().members == ()


def test_statements_and_reports_travel_and_carry_no_key() -> None:
    one = ring("me", ONE, TWO)
    for kind, sent in ((list[KeyStatement], list(one.keys.statements())), (KeyReport, one.report())):
        data = msgspec.msgpack.encode(sent)
        assert msgspec.msgpack.decode(data, type=kind) == sent
        assert not any(
            key.reveal().encode() in data or secret in data for key, secret in zip(KEYS, SECRETS, strict=True)
        )


def test_no_text_shows_a_key() -> None:
    one = ring("me", ONE)
    for shown in (repr(one), repr(one.records()), repr(one.keys.material_for([IDS[0]])), str(one.records())):
        assert not shown_in(shown, SECRETS)
    assert "<hidden>" in repr(one.keys.material_for([IDS[0]]))


def test_a_ring_is_neither_sent_nor_copied_and_no_encoder_carries_its_records() -> None:
    one = ring("me", ONE)
    for travel in (pickle.dumps, copy.copy, copy.deepcopy, msgspec.msgpack.encode):
        for thing in (one, one.keys):
            with pytest.raises((EncodeError, TypeError)) as caught:
                travel(thing)
            assert not shown_in(str(caught.value), SECRETS)
    for encode in (pickle.dumps, msgspec.msgpack.encode, msgspec.json.encode):
        with pytest.raises((EncodeError, TypeError)):
            encode(one.records())


# ---------------------------------------------------------------------------------------- what seals, opens and travels


def test_the_key_that_was_used_last_seals_and_all_open() -> None:
    one = ring("me", ONE, TWO, THREE)
    assert (one.keys.sealing, one.keys.opening) == (IDS[0], (IDS[0], IDS[2], IDS[1]))
    one.use(IDS[1], {"me"})
    assert (one.keys.sealing, set(one.keys.opening)) == (IDS[1], set(IDS[:3]))
    one.use(IDS[0], {"me"})
    assert one.keys.sealing == IDS[0]
    sequences = {statement.key_id: statement.sequence for statement in one.keys.statements()}
    one.use(IDS[0], {"me"})
    assert {statement.key_id: statement.sequence for statement in one.keys.statements()} == sequences


def test_two_operators_that_use_keys_in_a_partition_end_with_the_same_one() -> None:
    one, other = ring("one", ONE, TWO, THREE), ring("other", ONE, TWO, THREE)
    one.use(IDS[1], {"one"})
    other.use(IDS[2], {"other"})
    talk(one, other)
    assert one.keys.sealing == other.keys.sealing == max(IDS[1], IDS[2])


def test_a_retired_key_never_comes_back() -> None:
    one, other = ring("one", ONE, TWO, used=2), ring("other", ONE, TWO, used=2)
    talk(one, other)
    one.retire(IDS[0], {"one", "other"})
    other.use(IDS[0], {"one", "other"})  # it has not heard yet
    talk(one, other)
    for each in (one, other):
        each.forget_retired({"one", "other"})
        assert each.keys.opening == (IDS[1],)
        with pytest.raises(PreconditionFailed, match="final"):
            each.keys.install(ONE)
        with pytest.raises(PreconditionFailed, match="not installed"):
            each.use(IDS[0], {"one", "other"})
        assert not each.keys.take_material([KeyMaterial(KeyStatement(IDS[0], KeyState.USED), ONE.reveal())])
        assert not each.keys.reload(FIRST.keys)
        assert each.keys.opening == (IDS[1],)
    again = KeyRing("one", written(one).records(), life=1)
    assert (again.keys.opening, again.keys.statements()) == (one.keys.opening, one.keys.statements())


def test_a_member_that_was_away_is_given_the_new_key_under_an_old_one() -> None:
    one, away = ring("one", ONE, TWO), ring("away", ONE)
    one.use(IDS[1], {"one"})
    assert (one.keys.sealing, away.keys.sealing) == (IDS[1], IDS[0])
    assert away.keys.dialing[0] in one.keys.opening
    talk(one, away)
    assert away.keys.sealing == IDS[1]
    assert away.is_written


def test_a_key_by_file_never_travels_and_so_evicts() -> None:
    one, other = ring("one"), ring("other")
    intruder = ring("intruder")
    for each in (one, other):
        each.keys.install(TWO, by_file=True)
    talk(one, other, intruder)
    present = {"one", "other", "intruder"}
    assert one.keys.material_for([IDS[1]]) == ()
    assert intruder.keys.wanted() == ()
    assert one.may_use(IDS[1], present).lacking == ("intruder",)
    one.use(IDS[1], present, ["intruder"])
    talk(one, other, intruder)
    other.retire(IDS[0], present, ["intruder"])
    talk(one, other)
    for each in (one, other):
        assert each.forget_retired(present) == (IDS[0],)
    assert not set(intruder.keys.opening) & set(one.keys.opening)


def test_a_key_by_file_is_not_taken_from_a_peer_that_denies_it() -> None:
    one = ring("one")
    one.keys.merge([KeyStatement(IDS[1], by_file=True)])
    assert not one.keys.take_material([KeyMaterial(KeyStatement(IDS[1]), TWO.reveal())])
    assert not one.keys.take_material([KeyMaterial(KeyStatement(IDS[2], by_file=True), THREE.reveal())])
    assert one.keys.opening == (IDS[0],)
    assert one.keys.reload([KeyEntry(IDS[1], KeyState.INSTALLED, by_file=True, key=TWO)])
    assert set(one.keys.opening) == set(IDS[:2])


@pytest.mark.parametrize(
    "wrong",
    [
        KeyMaterial(KeyStatement(IDS[1]), THREE.reveal()),
        KeyMaterial(KeyStatement(IDS[1]), TWO.reveal()[:-1]),
        KeyMaterial(KeyStatement(IDS[1]), ""),
        KeyMaterial(KeyStatement(IDS[1]), "hunter2"),
        KeyMaterial(KeyStatement(IDS[1], 7), TWO.reveal()),
    ],
)
def test_a_key_under_the_wrong_id_is_not_taken(wrong: KeyMaterial) -> None:
    one = ring()
    assert not one.keys.take_material([wrong])
    assert len(one.keys.statements()) == 1
    assert one.keys.opening == (IDS[0],)


def test_of_two_keys_with_one_id_the_first_is_held() -> None:
    one, other = (ClusterKey(Random(seed).randbytes(KEY_BYTES)) for seed in SEEDS_OF_ONE_ID)
    assert one.id == other.id
    held = HeldKeys([KeyEntry.of(one)])
    with pytest.raises(PreconditionFailed, match="another key has the id"):
        held.install(other)
    assert not held.take_material(HeldKeys([KeyEntry.of(other)]).material_for([one.id]))
    assert held.key(one.id) == one


def test_what_is_no_key_is_not_installed() -> None:
    wrong: Any
    for wrong in (ONE.reveal(), SECRETS[0], None):
        with pytest.raises(MalformedRequest, match="a ClusterKey is installed") as caught:
            ring().keys.install(wrong)
        assert not shown_in(str(caught.value), SECRETS)


def test_keys_are_bounded() -> None:
    one = ring()
    rng = Random(1)
    for _ in range(15):
        one.keys.install(new_key(rng))
    with pytest.raises(PreconditionFailed, match="retire some first"):
        one.keys.install(new_key(rng))
    assert len(one.keys.opening) == 16
    one.keys.merge(KeyStatement(index.to_bytes(4, "big")) for index in range(10_000))
    assert len(one.keys.statements()) == 4096


# ------------------------------------------------------------------------------------------------------------ the steps


def test_a_key_is_used_once_every_present_member_holds_it() -> None:
    one, other = ring("one"), ring("other")
    talk(one, other)
    one.keys.install(TWO)
    with pytest.raises(PreconditionFailed, match="not ready: other: wait, or look at their logs"):
        one.use(IDS[1], {"one", "other"})
    assert one.may_use(IDS[1], {"one"}).absent == ("other",)
    assert one.may_use(IDS[1], {"one"}, ["other"]).is_ready
    talk(one, other)
    assert one.may_use(IDS[1], {"one", "other"}).is_ready
    assert one.may_use(IDS[1], {"one"}).is_ready  # the absent one has it in its file


def test_a_key_in_memory_only_may_be_used_and_blocks_the_retirement_of_its_predecessor() -> None:
    one, other = ring("one"), ring("other")
    talk(one, other)
    one.keys.install(TWO)
    other.keys.merge(one.keys.statements())
    other.keys.take_material(one.keys.material_for(other.keys.wanted()))
    one.merge_reports([other.report()])
    assert one.report().holdings[IDS[1]] == Holding.VOLATILE
    one.use(IDS[1], {"one", "other"})
    other.keys.merge(one.keys.statements())
    one.merge_reports([other.report()])
    written(one)
    readiness = one.may_retire(IDS[0], {"one", "other"})
    assert (readiness.lacking, readiness.volatile) == ((), ("other",))
    assert "make room" in str(readiness)
    one.merge_reports([written(other).report()])
    assert one.may_retire(IDS[0], {"one", "other"}).is_ready


def test_a_key_by_file_must_be_written_before_it_is_used() -> None:
    one = ring("one")
    one.keys.install(TWO, by_file=True)
    assert one.may_use(IDS[1], {"one"}).volatile == ("one",)
    assert written(one).may_use(IDS[1], {"one"}).is_ready


def test_the_key_that_seals_is_not_retired() -> None:
    one = ring("one", ONE, TWO)
    with pytest.raises(PreconditionFailed, match="use another one first"):
        one.retire(IDS[0], {"one"})
    with pytest.raises(PreconditionFailed, match="there is no key"):
        one.retire(IDS[5], {"one"})
    only_installed = ring("one", ONE, TWO, used=0)
    assert not only_installed.may_retire(IDS[0], {"one"}).is_ready
    assert not only_installed.may_retire(IDS[1], {"one"}).is_ready


def test_a_key_is_retired_once_every_member_seals_with_another_one() -> None:
    one, other = ring("one", ONE, TWO), ring("other", ONE, TWO)
    talk(one, other)
    one.use(IDS[1], {"one", "other"})
    assert one.may_retire(IDS[0], {"one", "other"}).lacking == ("other",)
    talk(one, other)
    assert one.may_retire(IDS[0], {"one"}).absent == ("other",)
    assert one.may_retire(IDS[0], {"one", "new"}).lacking == ("new",)
    statement = one.retire(IDS[0], {"one", "new"}, ["other", "new"])
    assert (statement.state, statement.excepted) == (KeyState.RETIRED, ("new",))  # who is absent is not waited for
    assert one.may_retire(IDS[0], {"one"}).is_ready  # again
    with pytest.raises(PreconditionFailed, match="excepted by their names"):
        ring("x", ONE, TWO, used=2).retire(IDS[0], {"x"}, ["a b"])
    many = [str(index) for index in range(65)]
    with pytest.raises(PreconditionFailed, match="at most 64"):
        ring("x", ONE, TWO, used=2).retire(IDS[0], {"x", *many}, many)


def test_a_retired_key_opens_until_every_present_member_has_written_its_retirement() -> None:
    one, other = ring("one", ONE, TWO, used=2), ring("other", ONE, TWO, used=2)
    talk(one, other)
    one.retire(IDS[0], {"one", "other"})
    assert one.keys.sealing == IDS[1]
    assert one.keys.dialing == (IDS[1],)
    assert one.keys.opening == (IDS[1], IDS[0])
    assert one.forget_retired({"one"}) == ()  # not even its own file says so
    assert KeyRing("one", one.records()).keys.opening == one.keys.opening
    written(one)
    assert one.forget_retired({"one", "other"}) == ()
    talk(one, other)
    assert one.forget_retired({"one", "other"}) == (IDS[0],)
    assert IDS[0] not in one.keys.opening
    with pytest.raises(KeyError):
        one.keys.key(IDS[0])
    assert one.records().keys[0] == KeyEntry(IDS[0], KeyState.RETIRED)


def test_a_node_that_has_just_started_knows_from_its_file_whom_to_wait_for() -> None:
    one, other = ring("one", ONE, TWO, used=2), ring("other", ONE, TWO, used=2)
    talk(one, other)
    again = KeyRing("one", one.records(), life=1)
    assert again.may_retire(IDS[0], {"one"}).absent == ("other",)
    again.forget_member("other")
    assert again.may_retire(IDS[0], {"one"}).is_ready
    assert again.records().members == ()


def test_used_up_sequence_numbers_are_named() -> None:
    one = ring("one", ONE, TWO)
    one.keys.merge([KeyStatement(IDS[0], KeyState.USED, MAX_SEQUENCE)])
    with pytest.raises(PreconditionFailed, match="sequence numbers"):
        one.use(IDS[1], {"one"})


def test_a_report_is_numbered_anew_only_when_it_changes() -> None:
    one = ring("one")
    assert one.report() == one.report()
    before = one.report()
    one.keys.install(TWO)
    assert is_newer(one.report(), before)


@given(st.integers(0, 5), st.integers(0, 50))
def test_a_report_of_an_earlier_life_is_overruled(life: int, number: int) -> None:
    one, other = ring("one"), ring("other")
    stale = KeyReport("one", life, number, {IDS[5]: 1})
    other.merge_reports([stale])
    one.merge_reports([stale])
    other.merge_reports([one.report()])
    assert other.reports.get("one") == one.report() != stale


def test_many_names_are_listed_shortly() -> None:
    text = str(Readiness(lacking=tuple(f"n{index}" for index in range(100))))
    assert text.endswith("n9 and 90 more: wait, or look at their logs")
    assert str(Readiness()) == "ready"


# -------------------------------------------------------------------------------------------------------------- rollout


def test_members_a_step_apart_accept_each_other_and_others_may_not() -> None:
    for place, one in enumerate(STEPS):
        for other in STEPS[place : place + 2]:
            assert one.accepts(other.send)
            assert other.accepts(one.send)
    assert not STEPS[3].accepts(STEPS[1].send)
    assert not STEPS[0].accepts(STEPS[2].send)
    assert [step.is_protected for step in STEPS] == [False, False, False, True]


def plain(name: str, keys: Sequence[ClusterKey] = (ONE,)) -> KeyRing:
    records = KeyRecords(tuple(KeyEntry.of(key) for key in keys))
    return KeyRing(name, records, rollout=STEPS[0])


def test_each_step_of_a_rollout_waits_for_all() -> None:
    one, other = plain("one"), plain("other")
    present = {"one", "other"}
    talk(one, other)
    one.step(STEPS[1], present)
    for step in STEPS[2:]:
        with pytest.raises(PreconditionFailed, match="not ready: other"):
            one.step(step, present)
        other.step(STEPS[STEPS.index(step) - 1], present)
        talk(one, other)
        one.step(step, present)
    assert (one.rollout, other.rollout) == (STEPS[3], STEPS[2])


@pytest.mark.parametrize("wrong", [STEPS[0], STEPS[2], STEPS[3], Rollout(Accept.PLAIN, Send.SEALED)])
def test_a_rollout_goes_forward_one_step_at_a_time(wrong: Rollout) -> None:
    with pytest.raises(PreconditionFailed, match="a step at a time"):
        plain("one").step(wrong, {"one"})


def test_a_rollout_needs_a_key() -> None:
    with pytest.raises(PreconditionFailed, match="install one by file"):
        plain("one", ()).step(STEPS[1], {"one"})


def test_a_member_without_the_key_or_that_would_lose_it_blocks_a_rollout() -> None:
    one, other = plain("one"), plain("other", ())
    one.step(STEPS[1], {"one", "other"})
    one.merge_reports([other.report()])
    assert one.may_step(STEPS[2], {"one", "other"}).lacking == ("other",)
    other.keys.install(ONE)
    other.step(STEPS[1], {"one", "other"})
    one.merge_reports([other.report()])
    assert one.may_step(STEPS[2], {"one", "other"}).volatile == ("other",)
    one.merge_reports([written(other).report()])
    assert one.may_step(STEPS[2], {"one", "other"}).is_ready
    assert one.may_step(STEPS[2], {"one"}).is_ready  # the absent one is as far
    other.rollout = STEPS[0]
    one.merge_reports([other.report()])
    assert one.may_step(STEPS[2], {"one"}).absent == ("other",)


def test_a_cluster_of_the_simulation_begins_agreed() -> None:
    cluster = Cluster(Random(1))
    cluster.check_nobody_is_stranded()
    cluster.check_agreed()
