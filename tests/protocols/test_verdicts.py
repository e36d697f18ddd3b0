"""From a failed probe to the verdict: how soon, and not too soon."""

from __future__ import annotations

from random import Random

import pytest

from tests.protocols.swim_clusters import Members, alive, sent, stated, swim
from trionet.profiles import LAN
from trionet.protocols.digest import hash_of_name
from trionet.protocols.effects import Send
from trionet.protocols.members import Members as Table
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.statements import State, Statement
from trionet.protocols.suspicion import VOLUNTEERS
from trionet.protocols.swim_events import MemberChange
from trionet.protocols.swim_messages import Ack, News, Ping, PingReq
from trionet.protocols.swim_settings import SwimOptions

DATAGRAMS_ONLY = SwimOptions(is_falling_back=False)
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 101))]


def _suspected(by: str) -> Statement:
    return stated("d", State.SUSPECT, suspected_by=[by])


def test_one_who_hears_of_a_suspicion_confirms_it_to_those_who_hold_it_within_a_probe_timeout_or_so() -> None:
    core = swim("a", *"bcdefg")
    core.receive("b", _suspected("b"), 1.0)
    relays: list[str] = []
    confirmed: list[str] = []
    now = 1.0
    while not confirmed:
        now = core.next_deadline()
        effects = core.on_timer(now)
        asked = [one for one in effects if isinstance(one, Send) and isinstance(one.message, PingReq)]
        relays += [one.to for one in asked if isinstance(one.message, PingReq) and one.message.target == "d"]
        confirmed += [
            one.to
            for one in effects
            if isinstance(one, Send) and isinstance(one.message, Statement) and one.message.suspected_by == ("a", "b")
        ]
    assert len(set(relays)) == LAN.indirect_probes
    assert "b" in confirmed
    assert now - 1.0 < 1.5 * LAN.probe_timeout_s


def _volunteers(names: list[str], suspect: str) -> list[str]:
    """Return those who ping a suspect as soon as they hear of the suspicion."""
    first, *others = [name for name in names if name != suspect]
    found = []
    for name in others:
        core = swim(name, *(other for other in names if other != name))
        core.receive(first, stated(suspect, State.SUSPECT, suspected_by=[first]), 0.0)
        if [one for one in sent(core.on_timer(0.001), to=suspect) if isinstance(one, Ping)]:
            found.append(name)
    return found


@pytest.mark.parametrize("count", [4, 8, 60])
def test_the_six_before_a_suspect_on_the_circle_probe_it_at_once_whoever_it_is(count: int) -> None:
    names = [f"m{number}" for number in range(count)]
    for suspect in names[:5]:
        place = hash_of_name(suspect)
        before = sorted(set(names) - {suspect}, key=lambda name: (place - hash_of_name(name)) % (1 << 64))[:VOLUNTEERS]
        first = next(name for name in names if name != suspect)
        assert set(before) - {first} <= set(_volunteers(names, suspect)) <= set(before)


def test_one_who_hears_of_a_suspicion_and_has_an_answer_confirms_nothing() -> None:
    core = swim("a", *"bcdefg")
    core.receive("b", _suspected("b"), 1.0)
    core.receive("d", alive("d", 1), 1.2)
    while (now := core.next_deadline()) < 2.5:
        told = [one for one in sent(core.on_timer(now)) if isinstance(one, Statement) and one.name == "d"]
        assert not [one for one in told if one.suspected_by]


def test_nothing_is_sent_to_a_stranger_that_is_named_in_a_suspicion() -> None:
    core = swim("a", *"bcdefg")
    core.receive("b", stated("d", State.SUSPECT, suspected_by=["10.9.9.9:80", "b", "no address"]), 1.0)
    targets: set[str] = set()
    while (now := core.next_deadline()) < 8.0:
        targets |= {one.to for one in core.on_timer(now) if isinstance(one, Send)}
    assert targets <= set("bcdefg")


def _news(statement: Statement) -> tuple[list[float], int]:
    """Return when a node sends its news about a statement, and to how many at first."""
    core = swim("a", *(f"m{number}" for number in range(50)), "d")
    core.receive("m1", statement, 1.0)
    times: list[float] = []
    first = 0
    while (now := core.next_deadline()) < 1.5:
        count = sum(isinstance(one, News) for one in sent(core.on_timer(now)))
        first = first or count
        times += [now] if count else []
    return times, first


def test_a_suspicion_and_a_failure_go_to_more_members_than_other_news_and_at_once() -> None:
    for state in (State.SUSPECT, State.DEAD):
        times, first = _news(stated("d", state, suspected_by=["m1"]))
        assert first == 2 * LAN.gossip_nodes
        assert times[0] < 1.0 + LAN.gossip_interval_s / 5
    assert _news(alive("new"))[1] == LAN.gossip_nodes


def test_the_next_one_on_the_circle_is_watched_while_the_nearest_is_suspected() -> None:
    table = Table(alive("me"), 0.0, Random(1), DATAGRAMS_ONLY)
    names = [f"m{number}" for number in range(9)]
    for name in names:
        table.put(alive(name), 0.0)
    mine = hash_of_name("me")
    nearest, second, *_ = sorted(names, key=lambda name: (hash_of_name(name) - mine) % (1 << 64))
    first = table.trusted_on_circle()
    assert first is not None
    assert first.name == nearest
    table.put(stated(nearest, State.SUSPECT), 1.0)
    after = table.trusted_on_circle()
    assert after is not None
    assert after.name == second


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_that_stands_still_for_two_seconds_does_not_count_as_failed(seed: int) -> None:
    members = Members(seed, 30, options=DATAGRAMS_ONLY)
    random = members.cluster.random_for("stalls")
    for number, name in enumerate(members.names[:10]):
        members.cluster.at(2 + 3 * number + random.random(), members.cluster.pause, name, 2.0)
    members.cluster.run(40)
    assert members.order.of(MemberChange.SUSPECTED)
    assert members.order.of(MemberChange.FAILED) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [10, 30, 100])
def test_a_member_may_stand_still_for_longer_than_a_probe_and_the_minimum_take(seed: int, count: int) -> None:
    members = Members(seed, count, options=DATAGRAMS_ONLY)
    random = members.cluster.random_for("stalls")
    for name in members.names[:5]:
        members.cluster.at(2 + random.random(), members.cluster.pause, name, 2.8)
    members.cluster.run(9)
    assert members.order.of(MemberChange.SUSPECTED)
    assert members.order.of(MemberChange.FAILED) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3, 101))
def test_no_member_fails_falsely_while_a_third_of_the_datagrams_is_lost(seed: int) -> None:
    members = Members(seed, 50, loss=0.3, options=DATAGRAMS_ONLY)
    members.cluster.run(60)
    assert members.order.of(MemberChange.FAILED) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3, 101))
def test_no_healthy_member_fails_while_others_stall(seed: int) -> None:
    members = Members(seed, 50, options=DATAGRAMS_ONLY)
    random = members.cluster.random_for("stalls")
    stalled = members.names[:5]
    for name in stalled:
        for at in (2, 25, 50):
            members.cluster.at(at + random.random(), members.cluster.pause, name, random.uniform(5, 20))
    members.cluster.run(90)
    assert {name for _, _, name in members.order.of(MemberChange.FAILED)} <= set(stalled)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 101))
def test_no_member_fails_while_all_run_late_again_and_again(seed: int) -> None:
    """As processes that share too few processors: each stands still for up to 1.2 s about every second."""
    members = Members(seed, 50, loss=0.02, options=DATAGRAMS_ONLY)
    random = members.cluster.random_for("stalls")

    def stall(name: str) -> None:
        length_s = min(1.2, random.expovariate(4.0))
        members.cluster.pause(name, length_s)
        members.cluster.at(members.cluster.now + length_s + random.expovariate(1.0), stall, name)

    for name in members.names:
        members.cluster.at(random.uniform(0, 3), stall, name)
    members.cluster.run(60)
    assert members.order.of(MemberChange.FAILED) == []


def test_whoever_suspects_its_neighbour_on_the_circle_probes_the_next_one_at_once() -> None:
    core = swim("a", *(f"m{number}" for number in range(9)))
    mine = hash_of_name("a")
    nearest, second, *_ = sorted((f"m{n}" for n in range(9)), key=lambda name: (hash_of_name(name) - mine) % (1 << 64))
    effects = core.receive(nearest, stated(nearest, State.SUSPECT, suspected_by=["m8"]), 1.0)
    assert [one for one in sent(effects, to=second) if isinstance(one, Ping)]


@pytest.mark.parametrize("gone", [1, 6, 10])
def test_the_nearest_that_are_not_suspected_probe_a_suspect_before_which_others_are_suspected(gone: int) -> None:
    names = sorted((f"m{number}" for number in range(40)), key=hash_of_name)
    suspects, before, first = names[20 : 21 + gone], names[20 - VOLUNTEERS - 2 : 20], names[39]
    found = []
    for name in before:
        core = swim(name, *(other for other in names if other != name))
        for suspect in reversed(suspects):  # the farthest is the first, as its own successor notices its silence
            core.receive(first, stated(suspect, State.SUSPECT, suspected_by=[first]), 0.0)
        probed = {one.to for one in core.on_timer(0.001) if isinstance(one, Send) and isinstance(one.message, Ping)}
        found += [name] if suspects[-1] in probed else []
    assert found == before[-VOLUNTEERS:]


@pytest.mark.parametrize(("suspects", "last"), [(1, 2), (2, 10), (4, 12), (6, 18)])
def test_whoever_finds_a_run_of_suspects_after_itself_probes_eight_after_them_or_twice_as_many(
    suspects: int, last: int
) -> None:
    others = [f"m{number}" for number in range(30)]
    core = swim("a", *others)
    mine = hash_of_name("a")
    order = sorted(others, key=lambda name: (hash_of_name(name) - mine) % (1 << 64))
    pinged: set[str] = set()
    for name in order[:suspects]:
        effects = core.receive(order[20], stated(name, State.SUSPECT, suspected_by=[order[20]]), 1.0)
        pinged |= {one.to for one in effects if isinstance(one, Send) and isinstance(one.message, Ping)}
    assert pinged == set(order[1:last])


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("kind", ["ten side by side", "every second one"])
def test_many_that_fail_at_once_are_found_wherever_they_are_on_the_circle(seed: int, kind: str) -> None:
    members = Members(seed, 60, options=DATAGRAMS_ONLY)
    members.cluster.run(15)
    circle = sorted(members.names, key=hash_of_name)
    gone = set(circle[:10] if kind == "ten side by side" else circle[::2])
    for name in gone:
        members.cluster.crash(name)
    left = [core for name, core in members.swims.items() if name not in gone]
    members.wait(9.0, lambda: all(core.present_count == len(left) for core in left))
    assert {name for _, _, name in members.order.of(MemberChange.FAILED)} == gone


@pytest.mark.parametrize("count", [30, 1_000])
def test_a_node_that_nobody_answers_sends_at_most_some_hundred_packets_a_second_however_many_it_suspects(
    count: int,
) -> None:
    core = swim("a", *(f"m{number}" for number in range(count)), options=DATAGRAMS_ONLY)
    mux = ProtocolMux("a", [core])
    packets = [0] * 200
    while (now := mux.next_deadline()) < len(packets):
        packets[int(now)] += len(mux.on_timer(now))
    assert core.counts.failed_probes > 25
    assert max(packets) <= 300


@pytest.mark.parametrize(("is_one_suspected", "least", "most"), [(False, 1, 2), (True, 4, 5)])
def test_every_other_probe_goes_round_the_ring_only_while_there_is_a_suspect(
    is_one_suspected: bool, least: int, most: int
) -> None:
    others = [f"m{number}" for number in range(60)]
    core = swim("a", *others)
    mine = hash_of_name("a")
    order = sorted(others, key=lambda name: (hash_of_name(name) - mine) % (1 << 64))
    if is_one_suspected:
        core.receive("m1", stated(order[50], State.SUSPECT, suspected_by=["m1"]), 0.0)
    targets: list[str] = []
    while (now := core.next_deadline()) < 9.0:
        for one in core.on_timer(now):
            if isinstance(one, Send) and isinstance(one.message, Ping):
                targets.append(one.to)
                core.receive(one.to, Ack(one.message.seq, core.view), now)
    assert len(targets) >= 8
    assert least <= len([name for name in targets if name != order[0]]) <= most
