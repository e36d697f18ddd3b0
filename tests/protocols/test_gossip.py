from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.profiles import LAN, LOCAL, WAN
from trionet.protocols.effects import Notify, Send
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import (
    BUCKETS,
    IDS_PER_MESSAGE,
    Answer,
    Buckets,
    Delivered,
    Ihave,
    Listing,
    Query,
    Rumor,
    Summary,
    UnknownGroup,
    Want,
)
from trionet.protocols.gossip_settings import GossipSettings, settings_for
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.push import Star
from trionet.protocols.spread import EXACT_MEMBERS

_MEMBERS = tuple(f"n{number}" for number in range(10))
_ID = b"0123456789ab"


def _core(me: str = "n0", **how: float) -> GossipProtocol:
    core = GossipProtocol(me, Random(1), GossipSettings(**how))  # type: ignore[arg-type]
    core.set_group("g", _MEMBERS, now=0.0)
    return core


def _rumor(rumor_id: bytes = _ID, *, gid: str = "g", age_ms: int = 5, hops: int = 1) -> Rumor:
    return Rumor(gid, rumor_id, "n1", age_ms, hops, b"news")


def _delivered(effects: list[Send | Notify]) -> list[bytes]:
    return [effect.event.id for effect in effects if isinstance(effect, Notify)]


def _sent(effects: list[Send | Notify], kind: type) -> list[str]:
    return [effect.to for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def test_a_sender_that_is_a_member_delivers_and_sends_to_others() -> None:
    sent = _core().send("g", b"news", 1.0)
    assert _delivered(sent.effects) == [sent.id]
    assert len(sent.id) == 12
    assert len(set(_sent(sent.effects, Rumor))) == 8
    assert "n0" not in _sent(sent.effects, Rumor)


def test_a_sender_that_is_no_member_only_sends() -> None:
    core = _core("guest")
    sent = core.send("g", b"news", 1.0)
    assert _delivered(sent.effects) == []
    assert len(set(_sent(sent.effects, Rumor))) == 8


def test_the_same_message_sent_twice_is_two_rumors() -> None:
    core = _core()
    assert core.send("g", b"news", 1.0).id != core.send("g", b"news", 1.0).id


def test_sending_to_an_unknown_group_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        _core().send("nobody", b"news", 1.0)


def test_a_group_of_one_delivers_to_itself() -> None:
    core = GossipProtocol("n0", Random(1))
    core.set_group("g", ["n0"], now=0.0)
    sent = core.send("g", b"news", 1.0)
    assert _delivered(sent.effects) == [sent.id]
    assert _sent(sent.effects, Rumor) == []


def test_a_rumor_is_forwarded_on_first_receipt_and_not_again() -> None:
    core = _core()
    first = core.receive("n1", _rumor(), 1.0)
    assert _delivered(first) == [_ID]
    targets = _sent(first, Rumor)
    assert len(targets) == 2
    assert "n1" not in targets
    assert core.receive("n2", _rumor(), 1.1) == []
    assert core.counts.duplicates == 1
    assert core.counts.delivered == 1


def test_a_rumor_for_an_unknown_group_is_dropped_counted_and_can_come_again() -> None:
    core = _core()
    assert core.receive("n1", _rumor(gid="h"), 1.0) == [Notify(UnknownGroup("h"))]
    assert core.counts.unknown_group == 1
    core.set_group("h", _MEMBERS, now=1.5)
    assert _delivered(core.receive("n1", _rumor(gid="h"), 2.0)) == [_ID]


def test_an_expired_rumor_is_not_accepted() -> None:
    core = _core(retention_s=10.0)
    assert core.receive("n1", _rumor(age_ms=10_000), 1.0) == []
    assert core.counts.expired == 1
    assert _delivered(core.receive("n1", _rumor(age_ms=9_999), 1.0)) == [_ID]


def test_a_rumor_that_may_be_forgotten_is_refused() -> None:
    core = _core(most_seen=10)
    for number in range(11):
        core.receive("n1", _rumor(bytes([number] * 12)), float(number))
    assert core.receive("n1", _rumor(bytes(12), age_ms=12_000), 12.0) == []
    assert core.counts.refused == 1


def test_a_dropped_group_is_not_served_and_its_rumors_are_not_accepted_twice() -> None:
    core = _core()
    core.receive("n1", _rumor(), 1.0)
    core.drop_group("g")
    core.drop_group("g")
    assert core.receive("n1", Want("g", _ID), 1.1) == []
    core.set_group("g", _MEMBERS, now=1.2)
    assert core.receive("n1", _rumor(), 1.3) == []
    assert core.counts.delivered == 1


def test_a_subset_function_that_raises_leaves_the_group_as_it_was() -> None:
    def subset(members: list[str]) -> int:
        raise ZeroDivisionError

    core = _core()
    with pytest.raises(ZeroDivisionError):
        core.set_group("g", ["n0", "n1"], subset, now=1.0)
    with pytest.raises(ZeroDivisionError):
        core.set_group("h", ["n0", "n1"], subset, now=1.0)
    assert core.groups() == ["g"]
    assert len(_sent(core.send("g", b"", 1.0).effects, Rumor)) == 8


def test_an_announced_rumor_is_pulled_after_the_grace_period() -> None:
    core = _core(grace_s=0.02)
    assert core.receive("n3", Ihave("g", _ID), 1.0) == []
    assert core.next_deadline() <= 1.02
    effects = core.on_timer(1.02)
    assert _sent(effects, Want) == ["n3"]
    assert _delivered(core.receive("n3", _rumor(), 1.05)) == [_ID]
    assert core.counts.pulled == 1


def test_a_rumor_that_comes_within_the_grace_period_is_not_pulled() -> None:
    core = _core(grace_s=0.02)
    core.receive("n3", Ihave("g", _ID), 1.0)
    core.receive("n4", _rumor(), 1.01)
    assert _sent(core.on_timer(1.02), Want) == []
    assert core.counts.pulled == 0


def test_a_holder_answers_a_want_with_the_rumors_that_it_holds() -> None:
    core = _core()
    core.receive("n1", _rumor(), 1.0)
    effects = core.receive("n5", Want("g", _ID + bytes(12)), 2.0)
    assert len(effects) == 1
    answer = effects[0]
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Rumor)
    assert answer.message.age_ms >= 1005


def test_ids_are_announced_for_a_few_intervals_and_not_after() -> None:
    core = _core(interval_s=0.2, rounds=4, nodes=3, retention_s=10.0)
    core.send("g", b"news", 0.0)
    announced: list[float] = []
    while core.next_deadline() < 40.0:
        now = core.next_deadline()
        if _sent(core.on_timer(now), Ihave):
            announced.append(now)
    assert 3 <= len(announced) <= 4
    assert announced[-1] <= 1.0


def test_piggybacked_ids_replace_announcements() -> None:
    core = _core()
    core.receive("n1", _rumor(), 1.0)
    assert core.piggyback("n5", 1000, 1.0) == ()  # of its own packet
    ridden = core.piggyback("n5", 1000, 1.01)
    assert list(ridden) == [Ihave("g", _ID)]
    assert core.piggyback("nobody", 1000, 1.02) == []
    assert core.piggyback("n6", 10, 1.02) == ()
    core.piggyback("n6", 1000, 1.03)
    core.piggyback("n7", 1000, 1.04)
    assert core.piggyback("n8", 1000, 1.05) == ()
    assert _sent(core.on_timer(core.next_deadline()), Ihave) == []


@pytest.mark.slow
@given(st.integers(64, 1400), st.integers(1, 200))
def test_piggybacked_ids_fit_the_packet(room: int, count: int) -> None:
    core = _core()
    for number in range(count):
        core.receive("n1", _rumor(number.to_bytes(12, "big")), 1.0)
    mux = ProtocolMux("n0", [core])
    packet = mux.packets([Send("n5", Query("g", _ID))], 1.01)
    assert all(len(one.encoded) <= 1400 for one in packet)


def test_rumors_are_sent_in_batches() -> None:
    core = GossipProtocol("n0", Random(1))
    core.set_group("g", ["n1", "n0", "n2"], now=0.0, push=Star(up_wait_s=0.3, down_wait_s=0.5, failover_s=2.0))
    sent = core.send("g", b"a", 1.0)
    core.send("g", b"b", 1.2)
    assert _sent(sent.effects, Rumor) == []
    assert _sent(core.on_timer(1.29), Rumor) == []
    assert _sent(core.on_timer(1.3), Rumor) == ["n1", "n1"]


def test_the_origin_knows_how_far_its_rumor_has_spread() -> None:
    cores = {name: _core(name) for name in _MEMBERS}
    sent = cores["n0"].send("g", b"news", 0.0)
    found = cores["n0"].tracking.spread("g", sent.id)
    assert found is not None
    assert (found.members, found.confirmed, found.estimated) == (10, 1, 1.0)
    for name in _MEMBERS[1:6]:
        cores[name].receive("n0", Rumor("g", sent.id, "n0", 0, 255, b"news"), 0.1)
    queries = cores["n0"].tracking.query("g", sent.id)
    assert sorted(_sent(queries, Query)) == list(_MEMBERS[1:])
    for query in queries:
        assert isinstance(query, Send)
        for answer in cores[query.to].receive("n0", query.message, 0.3):
            assert isinstance(answer, Send)
            cores["n0"].receive(query.to, answer.message, 0.4)
    found = cores["n0"].tracking.spread("g", sent.id)
    assert found is not None
    assert (found.confirmed, found.denied) == (6, 4)
    cores["n0"].receive("n7", Ihave("g", sent.id), 0.5)
    cores["n0"].receive("n8", Want("g", sent.id), 0.5)  # has it not yet
    found = cores["n0"].tracking.spread("g", sent.id)
    assert found is not None
    assert (found.confirmed, found.denied) == (7, 3)
    assert len(cores["n0"].tracking.query("g", sent.id)) == 3
    assert cores["n0"].tracking.spread("g", bytes(12)) is None


@pytest.mark.parametrize("size", [EXACT_MEMBERS, 4 * EXACT_MEMBERS])
def test_members_that_lack_a_rumor_are_counted_even_if_none_has_confirmed_it(size: int) -> None:
    core = _core()
    core.set_group("g", [f"n{n}" for n in range(size)], now=0.0)
    sent = core.send("g", b"news", 0.0)
    for answered, query in enumerate(core.tracking.query("g", sent.id)[:5], start=1):
        assert isinstance(query, Send)
        core.receive(query.to, Answer("g", sent.id, has=False), 0.1)
        found = core.tracking.spread("g", sent.id)
        assert found is not None
        assert (found.confirmed, found.denied) == (1, answered)


def test_answers_of_nodes_that_are_no_members_do_not_count() -> None:
    core = _core()
    core.set_group("g", ["n0", "n1"], now=0.0)
    sent = core.send("g", b"news", 0.0)
    for name in ("a", "b"):
        core.receive(name, Answer("g", sent.id, has=True), 0.1)
        core.receive(name, Ihave("g", sent.id), 0.1)
        core.receive(name, Rumor("g", sent.id, "n0", 0, 255, b"news"), 0.1)
        core.receive(f"no {name}", Answer("g", sent.id, has=False), 0.1)
    core.set_group("g", ["n0", "n1", "a", "b", "no a", "no b"], now=0.2)
    found = core.tracking.spread("g", sent.id)
    assert found is not None
    assert (found.confirmed, found.denied) == (1, 0)


def test_of_many_members_a_sample_is_queried() -> None:
    core = GossipProtocol("n0", Random(1))
    core.set_group("g", [f"n{number}" for number in range(1000)], now=0.0)
    sent = core.send("g", b"news", 0.0)
    asked = _sent(core.tracking.query("g", sent.id), Query)
    assert 127 <= len(asked) <= 128
    for number, name in enumerate(asked):
        core.receive(name, Answer("g", sent.id, number % 4 != 0), 1.1)
    found = core.tracking.spread("g", sent.id)
    assert found is not None
    assert 700 < found.estimated < 800


@pytest.mark.parametrize(("size", "groupless"), [(100, 99), (1000, 1000)])
def test_an_answer_says_whether_its_sender_knows_the_group_and_the_latest_one_counts(size: int, groupless: int) -> None:
    core = GossipProtocol("n0", Random(1))
    core.set_group("g", [f"n{number}" for number in range(size)], now=0.0)
    sent = core.send("g", b"news", 0.0)
    other = GossipProtocol("n1", Random(1))
    (answer,) = other.receive("n0", Query("g", sent.id), 0.0)
    assert isinstance(answer, Send)
    assert answer.message == Answer("g", sent.id, has=False, knows_group=False)
    asked = [name for name in _sent(core.tracking.query("g", sent.id), Query) if name != "n0"]
    for name in asked:
        core.receive(name, answer.message, 0.1)
    found = core.tracking.spread("g", sent.id)
    assert found is not None
    assert found.groupless == pytest.approx(groupless, rel=0.01)
    assert found.first_groupless == asked[0]
    core.receive(asked[0], Answer("g", sent.id, has=False), 0.2)
    core.receive(asked[1], Ihave("g", sent.id), 0.2)
    found = core.tracking.spread("g", sent.id)
    assert found is not None
    assert found.groupless < groupless - 1
    assert found.first_groupless == asked[2]
    core.tracking.ask_again(sent.id)
    found = core.tracking.spread("g", sent.id)
    assert found is not None
    assert (found.groupless, found.first_groupless) == (0, "")


def test_an_answer_of_an_earlier_version_is_one_of_a_node_that_knows_the_group() -> None:
    wire = msgspec.msgpack.encode(["y", "g", bytes(12), False])
    assert msgspec.msgpack.decode(wire, type=Answer).knows_group


@pytest.mark.parametrize(("profile", "grace_s", "compare_s"), [(LAN, 0.02, 2.0), (LOCAL, 0.01, 1.0), (WAN, 0.05, 5.0)])
def test_the_settings_follow_the_profile(profile: object, grace_s: float, compare_s: float) -> None:
    found = settings_for(profile)  # type: ignore[arg-type]
    assert found.grace_s == pytest.approx(grace_s)
    assert found.compare_interval_s == pytest.approx(compare_s)


_texts = st.sampled_from(["g", "h", "", "x" * 255])
_id_lists = st.binary(max_size=60) | st.lists(st.sampled_from([_ID, bytes(12)]), max_size=4).map(b"".join)
_messages = st.one_of(
    st.builds(Rumor, _texts, st.sampled_from([_ID, bytes(12)]), _texts, st.integers(0, 1 << 53), st.integers(0, 255),
              st.binary(max_size=20)),
    st.builds(Ihave, _texts, _id_lists),
    st.builds(Want, _texts, _id_lists),
    st.builds(Summary, _texts, st.binary(max_size=32)),
    st.builds(Buckets, _texts, st.binary(max_size=12 * BUCKETS)),
    st.builds(Listing, _texts, st.integers(0, (1 << 64) - 1), _id_lists, st.booleans()),
    st.builds(Query, _texts, st.just(_ID)),
    st.builds(Answer, _texts, st.just(_ID), st.booleans()),
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from([*_MEMBERS[1:], "stranger"]), _messages, st.floats(0, 3)), max_size=30))
def test_no_input_raises_and_all_output_can_be_decoded(
    came: list[tuple[str, object, float]],
) -> None:
    core = _core()
    mux, reader = ProtocolMux("n0", [core]), ProtocolMux("n1", [_core("n1")])
    now = 0.0
    for source, message, wait_s in came:
        now += wait_s
        packets = mux.receive(source, [message], now)
        if mux.next_deadline() <= now:
            packets += mux.on_timer(now)
        for packet in packets:
            reader.receive_bytes(packet.encoded, now, is_reliable=packet.is_reliable)
    assert reader.dropped.malformed == reader.dropped.oversized == reader.dropped.unknown == 0
    assert core.counts.delivered <= 2


@pytest.mark.slow
@given(_messages, st.data())
def test_forged_and_truncated_packets_are_dropped_and_counted(message: object, data: st.DataObject) -> None:
    sender, receiver = ProtocolMux("n1", [_core("n1")]), ProtocolMux("n0", [_core()])
    (packet,) = sender.packets([Send("n0", message)], 1.0)  # type: ignore[arg-type]
    encoded = packet.encoded
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert receiver.receive_bytes(encoded[:cut], 1.0) == []
    assert receiver.dropped.malformed == 1
    spot, value = data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.integers(0, 255))
    receiver.receive_bytes(encoded[:spot] + bytes([value]) + encoded[spot + 1 :], 1.0)
    receiver.receive_bytes(encoded + bytes(1400), 1.0)
    assert receiver.dropped.oversized == 1


def test_ids_that_are_too_long_or_too_many_are_malformed() -> None:
    receiver = ProtocolMux("n0", [_core()])
    sender = ProtocolMux("n1", [_core("n1")])
    bad = [
        Rumor("g", b"short", "n1", 0, 0, b""),
        Rumor("g", _ID, "n1", -1, 0, b""),
        Rumor("g", _ID, "n1", 0, 256, b""),
        Ihave("g", bytes(12 * (IDS_PER_MESSAGE + 1))),
        Buckets("g", bytes(12 * (BUCKETS + 1))),
        Rumor("x" * 256, _ID, "n1", 0, 0, b""),
    ]
    for message in bad:
        (packet,) = sender.packets([Send("n0", message)], 1.0)
        receiver.receive_bytes(packet.encoded, 1.0)
    assert receiver.dropped.malformed == len(bad)


def test_a_delivery_has_the_origin_the_payload_and_the_age() -> None:
    (event,) = [effect.event for effect in _core().receive("n2", _rumor(age_ms=250), 1.0) if isinstance(effect, Notify)]
    assert isinstance(event, Delivered)
    assert (event.gid, event.id, event.origin, event.payload) == ("g", _ID, "n1", b"news")
    assert event.age_s == pytest.approx(0.25)


def _comparisons_at(core: GossipProtocol, until: float) -> list[tuple[float, bool]]:
    """Run timers; return when each ran, and whether it has sent something."""
    found = list[tuple[float, bool]]()
    while (now := core.next_deadline()) < until:
        found.append((now, bool(core.on_timer(now))))
    return found


@pytest.mark.parametrize("after", [0.5, 0.95])
def test_what_comes_while_comparisons_are_passed_over_is_compared_within_an_interval(after: float) -> None:
    for seed in range(40):
        core = GossipProtocol(
            "n0", Random(seed), GossipSettings(compare_interval_s=1.6, retention_s=0.1, settle_s=0.01)
        )
        core.set_group("g", _MEMBERS, now=0.0)
        _comparisons_at(core, 100.0)
        core.send("g", b"news", 100.0)
        again = 100.0 + after * 1.6
        _comparisons_at(core, again)
        core.send("g", b"more news", again)
        assert core._comparing.next_due <= again + 1.25 * 1.6  # noqa: SLF001


def test_where_entries_were_forgotten_groups_are_compared_soon() -> None:
    core = _core(compare_interval_s=10.0)
    _comparisons_at(core, 300.0)
    core.forget_entries(300.0)
    assert any(has_sent for _, has_sent in _comparisons_at(core, 300.3))


def test_a_node_that_holds_nothing_runs_timers_only_to_compare() -> None:
    core = _core(compare_interval_s=2.0)
    _comparisons_at(core, 60.0)
    run = _comparisons_at(core, 860.0)
    assert all(has_sent for _, has_sent in run)
    assert 90 <= len(run) <= 110  # every fourth interval, as where another group holds something
    held = core.send("g", b"news", 860.0)
    assert held.effects
    soon = _comparisons_at(core, 865.0)
    assert sum(has_sent for _, has_sent in soon) >= 2
