"""One core, or two back to back: statements, events and answers."""

from __future__ import annotations

import itertools
from random import Random

import msgspec
import pytest

from tests.protocols.swim_clusters import alive, changes_in, sent, stated, swim
from trionet.profiles import LAN
from trionet.protocols.effects import Send
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.statements import MOST_INCARNATION, State, Statement
from trionet.protocols.swim import Swim
from trionet.protocols.swim_messages import Ack, IndirectAck, Nack, News, Ping, PingReq, Sync, SyncDigest
from trionet.protocols.swim_settings import SwimOptions


def state_of(core: Swim, name: str) -> State | None:
    member = core.member(name)
    return None if member is None else member.state


def next_ping(core: Swim) -> tuple[str, Ping, float]:
    """Run a core's timers until it pings somebody: whom, how, when."""
    while True:
        now = core.next_deadline()
        for effect in core.on_timer(now):
            if isinstance(effect, Send) and isinstance(effect.message, Ping):
                return effect.to, effect.message, now


def test_a_ping_is_answered_with_its_number_and_the_view() -> None:
    core = swim("a", "b")
    assert sent(core.receive("b", Ping(7), 0.1)) == [Ack(7, core.view)]


def test_at_rest_nothing_is_sent_but_pings_and_acks() -> None:
    one, other = swim("a", "b"), swim("b", "a")
    kinds = set()
    for _ in range(50):
        for core, peer in ((one, other), (other, one)):
            now = core.next_deadline()
            if now > 20:
                continue
            for message in sent(core.on_timer(now)):
                kinds.add(type(message))
                for answer in sent(peer.receive(core.me, message, now)):
                    kinds.add(type(answer))
                    core.receive(peer.me, answer, now)
    assert kinds == {Ping, Ack}


def test_an_ack_counts_only_from_the_one_who_was_asked_and_once() -> None:
    core = swim("a", "b", "c")
    to, ping, now = next_ping(core)
    other = "c" if to == "b" else "b"
    core.receive(other, Ack(ping.seq, 0), now)
    core.receive(to, Ack(ping.seq + 1, 0), now)
    assert core.counts.unexpected == 2
    core.receive(to, Ack(ping.seq, 0), now)
    assert core.counts.unexpected == 2
    core.receive(to, Ack(ping.seq, 0), now)
    assert core.counts.unexpected == 3


def test_unexpected_answers_are_counted() -> None:
    core = swim("a", "b")
    for message in (Ack(1, 2), IndirectAck(3), Nack(4)):
        assert core.receive("b", message, 0.1) == []
    assert core.counts.unexpected == 3


def test_a_failed_probe_is_repeated_then_relayed_and_leads_to_a_suspicion() -> None:
    core = swim("a", *"bcdef")
    to, _, began = next_ping(core)
    seen: list[object] = []
    effects = []
    while state_of(core, to) is State.ALIVE:
        effects = core.on_timer(core.next_deadline())
        seen += [type(message) for message in sent(effects)]
    assert seen.count(PingReq) >= LAN.indirect_probes
    assert changes_in(effects) == [("suspected", to)]
    assert core.counts.failed_probes == 1
    member = core.member(to)
    assert member is not None
    assert member.since == pytest.approx(began + LAN.probe_interval_s - LAN.probe_timeout_s / 3)


def test_an_indirect_ack_of_a_relay_ends_the_probe() -> None:
    core = swim("a", *"bcdef")
    to, ping, began = next_ping(core)
    asked: list[str] = []
    while not asked:
        now = core.next_deadline()
        effects = core.on_timer(now)
        asked = [each.to for each in effects if isinstance(each, Send) and isinstance(each.message, PingReq)]
    core.receive(asked[0], IndirectAck(ping.seq), now)
    while core.next_deadline() < began + 2 * LAN.probe_interval_s:
        now = core.next_deadline()
        for each in core.on_timer(now):
            if isinstance(each, Send) and isinstance(each.message, Ping):
                core.receive(each.to, Ack(each.message.seq, core.view), now)
    assert state_of(core, to) is State.ALIVE
    assert core.counts.unexpected == 0


def test_a_ping_req_is_relayed_and_so_is_its_answer() -> None:
    core = swim("b", "a", "c")
    (ping,) = sent(core.receive("a", PingReq(5, "c"), 0.1), to="c")
    assert sent(core.receive("c", Ack(ping.seq, core.view), 0.2)) == [IndirectAck(5)]


def test_a_ping_req_without_answer_gives_a_nack_in_time() -> None:
    core = swim("b", "a", "c")
    core.receive("a", PingReq(5, "c"), 0.0)
    answers: list[tuple[float, object]] = []
    while core.next_deadline() < LAN.probe_timeout_s:
        now = core.next_deadline()
        answers += [(now, message) for message in sent(core.on_timer(now), to="a") if isinstance(message, Nack)]
    assert [message for _, message in answers] == [Nack(5)]
    assert answers[0][0] < LAN.probe_timeout_s


def test_no_ping_is_relayed_for_an_unknown_sender() -> None:
    core = swim("b", "c")
    assert core.receive("x", PingReq(5, "c"), 0.1) == []
    assert core.counts.unknown_sender == 1


def test_a_suspicion_of_this_node_is_refuted_at_once_and_before_other_news() -> None:
    core = swim("a", "b")
    effects = core.receive("b", stated("a", State.SUSPECT, 0, suspected_by=["b"]), 0.1)
    assert sent(effects, to="b") == [alive("a", 1)]
    assert core.own.incarnation == 1
    assert core.health == 1
    assert list(core.piggyback("b", 1000, 0.1)) == [alive("a", 1)]


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
@pytest.mark.parametrize("incarnation", [0, 5])
def test_any_statement_of_others_about_this_node_is_refuted(state: State, incarnation: int) -> None:
    core = swim("a", "b")
    core.receive("b", stated("a", state, incarnation), 0.1)
    assert core.own.incarnation == incarnation + 1
    assert core.own.state == State.ALIVE


def test_a_statement_about_an_older_incarnation_needs_no_new_one() -> None:
    core = swim("a", "b", incarnation=3)
    effects = core.receive("b", stated("a", State.SUSPECT, 2), 0.1)
    assert core.own.incarnation == 3
    assert sent(effects, to="b") == [core.own], "the suspecting member is answered once more"
    assert core.receive("b", core.own, 0.1) == []


def test_a_refutation_makes_a_suspect_recover() -> None:
    core = swim("a", "b", "c")
    assert changes_in(core.receive("c", stated("b", State.SUSPECT, suspected_by=["c"]), 0.1)) == [("suspected", "b")]
    assert changes_in(core.receive("b", alive("b", 1), 0.2)) == [("recovered", "b")]
    assert changes_in(core.receive("c", stated("b", State.SUSPECT, suspected_by=["c"]), 0.3)) == []


def test_the_dead_are_sent_their_statement_and_refute() -> None:
    one, other = swim("a", "b"), swim("b", "a")
    one.receive("b", stated("b", State.DEAD), 0.1)
    assert state_of(one, "b") is State.DEAD
    answers = sent(one.receive("b", Ping(1), 0.2))
    assert answers[0] == stated("b", State.DEAD)
    objections = [message for answer in answers for message in sent(other.receive("a", answer, 0.2))]
    assert alive("b", 1) in objections
    assert changes_in(one.receive("b", alive("b", 1), 0.3)) == [("joined", "b")]


def test_a_restart_is_a_failure_of_the_old_one_and_a_new_member_once_each() -> None:
    core = swim("a", "b", "c")
    new = alive("b", 1, boot_id=99)
    assert changes_in(core.receive("b", new, 0.1)) == [("failed", "b"), ("joined", "b")]
    assert changes_in(core.receive("c", new, 0.2)) == []
    assert changes_in(core.receive("c", stated("b", State.DEAD, 0), 0.3)) == [], "a statement about the previous start"


def test_a_restarted_node_whose_clock_went_back_rises_above_its_previous_start() -> None:
    observer = swim("a", "b")
    observer.receive("b", alive("b", 50), 0.1)
    reborn = swim("b", boot_id=2, incarnation=3)
    (refusal,) = sent(observer.receive("b", reborn.own, 0.2), to="b")
    reborn.assume([alive("a")], 0.2)
    (answer,) = sent(reborn.receive("a", refusal, 0.3), to="a")
    assert answer == alive("b", 51, boot_id=2)
    assert changes_in(observer.receive("b", answer, 0.4)) == [("failed", "b"), ("joined", "b")]


def test_changed_tags_are_reported_once_and_raise_the_incarnation() -> None:
    one, other = swim("a", "b"), swim("b", "a")
    one.set_tags({"role": "x"}, 0.1)
    assert one.own == alive("a", 1, role="x")
    assert changes_in(other.receive("a", one.own, 0.2)) == [("updated", "a")]
    assert changes_in(other.receive("a", one.own, 0.2)) == []
    assert one.set_tags({"role": "x"}, 0.3) == []
    assert one.own.incarnation == 1


def test_tags_that_are_too_long_are_refused() -> None:
    core = swim("a")
    with pytest.raises(ValueError, match="bytes"):
        core.set_tags({"a": "b" * 600}, 0.0)
    with pytest.raises(ValueError, match="no statement"):
        swim("a" * 200)


@pytest.mark.parametrize(
    "statement",
    [
        Statement("b", 1, 9, 1),
        Statement("b", 1, -1, 1),
        alive("b", MOST_INCARNATION + 1),
        alive("", 1),
        alive("n" * 300, 1),
        alive("b", 1, text="t" * 600),
        stated("b", State.SUSPECT, 1, suspected_by=[str(n) for n in range(9)]),
        alive("a", 2**63),
        stated("a", State.DEAD, -5),
    ],
)
def test_an_invalid_statement_changes_nothing_and_is_counted(statement: Statement) -> None:
    core = swim("a", "b", "c")
    before = list(core.members())
    assert core.receive("c", statement, 0.1) == []
    assert list(core.members()) == before
    assert core.counts.invalid == 1


def test_an_unknown_sender_may_send_statements_about_itself_only() -> None:
    core = swim("a", "b")
    assert core.receive("x", stated("b", State.DEAD), 0.1) == []
    assert core.receive("x", Sync((stated("b", State.LEFT),)), 0.1) == []
    assert core.counts.unknown_sender == 2
    assert changes_in(core.receive("x", alive("x"), 0.2)) == [("joined", "x")]


def test_an_unknown_sender_that_holds_this_node_dead_is_not_answered_because_it_may_be_of_another_cluster() -> None:
    core = swim("a", "b")
    assert core.receive("x", stated("a", State.DEAD), 0.1) == []
    assert core.counts.unknown_sender == 1


def test_a_join_goes_to_seeds_until_one_has_sent_its_view() -> None:
    core, seed = swim("a"), swim("s", "b", "c")
    (hello, digest) = sent(core.join(["dead", "s", "a"], 0.0), to="s")
    assert core.is_joining
    asked_at = []
    while core.next_deadline() < 20:
        now = core.next_deadline()
        if any(isinstance(message, SyncDigest) for message in sent(core.on_timer(now))):
            asked_at.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert 2 <= len(gaps) <= 8, "again and again, less and less often"
    assert changes_in(seed.receive("a", hello, 20.0)) == [("joined", "a")]
    (answer,) = sent(seed.receive("a", digest, 20.0), to="a")
    core.receive("s", answer, 20.1)
    assert not core.is_joining
    assert {member.name for member in core.members()} == {"a", "s", "b", "c"}


@pytest.mark.parametrize(
    ("state", "is_asked"),
    [(None, True), (State.DEAD, True), (State.ALIVE, False), (State.SUSPECT, False), (State.LEFT, False)],
)
def test_seeds_are_asked_again_later_on_unless_they_are_members_or_have_left(
    state: State | None, *, is_asked: bool
) -> None:
    core, seed = swim("a"), swim("s")
    _, digest = sent(core.join(["s", "other"], 0.0), to="s")
    (answer,) = sent(seed.receive("a", digest, 0.0), to="a")
    core.receive("s", answer, 0.1)
    assert not core.is_joining
    core.receive("s", stated("s", State.LEFT), 0.1)  # the seed that has answered doesn't matter here
    if state is not None:
        core.receive("other", stated("other", state) if state != State.ALIVE else alive("other"), 0.1)
    asked = 0
    while (now := core.next_deadline()) < 400:
        messages = sent(core.on_timer(now), to="other")
        asked += sum(isinstance(message, SyncDigest) and message.is_join for message in messages)
        if state in (State.ALIVE, State.SUSPECT):  # it stays what it is
            core.receive("other", stated("other", state, 1 + int(now)) if state else alive("other", 1 + int(now)), now)
    assert (2 <= asked <= 5) if is_asked else (asked == 0), "less and less often"


def test_a_join_of_this_node_alone_is_complete() -> None:
    core = swim("a")
    assert core.join(["a"], 0.0) == []
    assert not core.is_joining


def test_a_view_of_thousands_comes_in_pieces_that_fit() -> None:
    core, seed = swim("a"), swim("s", *[f"10.0.{n // 250}.{n % 250}:8080" for n in range(5000)])
    hello, digest = sent(core.join(["s"], 0.0), to="s")
    seed.receive("a", hello, 0.1)
    answers = sent(seed.receive("a", digest, 0.1), to="a")
    assert all(len(msgspec.msgpack.encode(answer)) <= 64 * 1024 for answer in answers)
    assert len(answers) > 2
    for answer in answers:
        core.receive("s", answer, 0.2)
    assert core.view == seed.view


def test_a_leaving_node_spreads_it_is_not_suspected_and_completes() -> None:
    one, other = swim("a", "b"), swim("b", "a")
    one.leave(0.1)
    assert changes_in(other.receive("a", one.own, 0.2)) == [("left", "a")]
    assert sent(one.receive("b", Ping(1), 0.3))[-1] == Ack(1, one.view)
    while not one.is_left:
        now = one.next_deadline()
        assert now < 5
        one.on_timer(now)
    assert one.own.state == State.LEFT


def test_an_own_statement_that_comes_back_needs_no_answer() -> None:
    core = swim("a", "b")
    assert core.receive("b", core.own, 0.1) == []
    core.leave(0.2)
    assert core.receive("b", core.own, 0.3) == []


def test_members_without_room_are_refused_and_counted() -> None:
    core = swim("a", "b", options=SwimOptions(members=2))
    assert core.receive("b", alive("c"), 0.1) == []
    assert core.counts.refused == 1
    assert changes_in(core.receive("b", alive("b", 1, role="x"), 0.2)) == [("updated", "b")]


def test_a_node_called_late_lowers_its_health_and_gives_others_more_time() -> None:
    core = swim("a", "b", "c")
    to, _, began = next_ping(core)
    late = began + 10.0
    assert changes_in(core.on_timer(late)) == []
    assert core.health == 8
    assert core.counts.stalls == 1
    while core.next_deadline() < late + LAN.probe_timeout_s:
        assert changes_in(core.on_timer(core.next_deadline())) == []
    assert state_of(core, to) is State.ALIVE


def test_a_dead_member_is_tried_again_and_forgotten_at_last() -> None:
    core = swim("a", "b")
    core.receive("b", stated("b", State.DEAD), 0.0)
    tries = _tries(core, 600.0)
    first, last = [now for now in tries if now < 60], [now for now in tries if now > 540]
    assert 10 <= len(first) <= 40
    assert 1 <= len(last) <= 8
    assert state_of(core, "b") is State.DEAD


def _tries(core: Swim, until: float) -> list[float]:
    found = []
    while (now := core.next_deadline()) < until:
        if stated("b", State.DEAD) in sent(core.on_timer(now), to="b"):
            found.append(now)
    return found


def test_ill_typed_truncated_and_oversized_packets_are_dropped_and_counted() -> None:
    core = swim("a", "b")
    mux = ProtocolMux("a", [core])
    good = msgspec.msgpack.encode([1, "b", [["ping", 1]]])
    assert len(mux.receive_bytes(good, 0.1)) == 1
    bad = [
        good[:-1],
        b"",
        msgspec.msgpack.encode([1, "b", [["ping", "one"]]]),
        msgspec.msgpack.encode([1, "b", [["state", "c", 1.5, 0, 1]]]),
        msgspec.msgpack.encode([1, "b", [["state", 5, 1, 0, 1]]]),
        msgspec.msgpack.encode([1, "b", [["nonsense"]]]),
        msgspec.msgpack.encode([2, "b", []]),
    ]
    for data in bad:
        assert mux.receive_bytes(data, 0.1) == []
    assert mux.dropped.malformed == len(bad)
    assert mux.receive_bytes(good + b"x" * 1400, 0.1) == []
    assert mux.dropped.oversized == 1


def news_times(core: Swim, until: float, late_s: float = 0.0) -> list[float]:
    """Run a core's timers, each `late_s` late; return when it sends packets of news alone."""
    times: dict[float, None] = {}
    while (due := core.next_deadline()) < until:
        if any(isinstance(message, News) for message in sent(core.on_timer(due + late_s))):
            times[due] = None
    return list(times)


@pytest.mark.parametrize(("late_s", "most", "least"), [(0.0, 16, 8), (0.05, 6, 4), (3.0, 3, 1)])
def test_a_node_whose_timers_are_late_sends_its_news_in_fewer_packets(late_s: float, most: int, least: int) -> None:
    core = swim("a", *(f"m{number}" for number in range(1, 30)))
    for number in range(200, 260):
        core.receive("m1", alive(f"m{number}"), 0.1)
    assert least <= len(news_times(core, 3.2, late_s)) <= most


def test_a_node_whose_timers_are_late_refutes_a_suspicion_no_later_for_that() -> None:
    core = swim("a", *(f"m{number}" for number in range(1, 30)))
    core.receive("m1", alive("m30"), 0.1)
    now = core.next_deadline() + 0.5
    core.on_timer(now)  # its own gossip: late, so it waits for the next
    while News() not in sent(core.on_timer(now)):
        now = core.next_deadline() + 0.5
    core.receive("m1", stated("a", State.SUSPECT, suspected_by=["m1"]), now)
    first, *_ = news_times(core, now + 3)
    assert first <= now + LAN.gossip_interval_s


def test_with_one_target_for_news_it_is_not_always_the_same() -> None:
    profile = msgspec.structs.replace(LAN, gossip_nodes=1, retransmit_mult=6)
    core = Swim("a", profile, Random(1), 0.0, boot_id=1)
    core.assume([alive(f"m{number}") for number in range(1, 30)], 0.0)
    core.receive("m1", alive("m30"), 0.1)
    targets: list[str] = []
    while (now := core.next_deadline()) < 0.8:
        found = [one.to for one in core.on_timer(now) if isinstance(one, Send) and isinstance(one.message, News)]
        assert len(found) <= 1
        targets += found
    assert len(set(targets)) > 1


def test_in_a_large_group_news_of_new_members_alone_is_repeated_slowly_and_other_news_is_not() -> None:
    core = swim("a", *(f"m{number}" for number in range(1, 400)))
    for number in range(400, 410):
        core.receive("m1", alive(f"m{number}"), 0.1)
    first, second, *_ = news_times(core, 2.0)
    assert first < 0.2
    assert second - first == pytest.approx(0.2 * 4, rel=0.1)
    core.receive("m1", alive("m2", 1), 2.0)
    times = news_times(core, 3.0)
    assert times[0] < 2.0 + LAN.gossip_interval_s
    assert times[1] - times[0] == pytest.approx(0.2)


def test_in_a_large_group_one_more_new_member_is_news_at_once() -> None:
    core = swim("a", *(f"m{number}" for number in range(1, 400)))
    core.receive("m1", alive("m400"), 0.1)
    news_times(core, 1.0)
    core.receive("m1", alive("m401"), 1.0)
    assert news_times(core, 2.0)[0] <= 1.25
