"""Members in virtual time, few seeds; the full figures come from ``python -m benchmarks gossip``."""

from __future__ import annotations

import pytest

from tests.protocols.swim_clusters import Members
from trionet.profiles import LAN, LOCAL, WAN
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.statements import State
from trionet.protocols.swim_events import MemberChange
from trionet.protocols.swim_settings import SwimOptions

DATAGRAMS_ONLY = SwimOptions(is_falling_back=False)
SEEDS = [1, pytest.param(2, marks=pytest.mark.soak)]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_members_that_start_at_once_and_know_one_seed_find_each_other(seed: int, loss: float) -> None:
    members = Members(seed, 40, are_known=False, loss=loss)
    members.join_all()
    members.wait(10 if not loss else 20, members.is_whole)
    assert len(members.order.of(MemberChange.JOINED)) == 40 * 39, "each once"
    assert len(members.order.changes) == 40 * 39 or loss


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("profile", [LOCAL, WAN])
def test_a_failure_is_known_by_all_and_reported_once(seed: int, profile: object) -> None:
    members = Members(seed, 30, profile=profile, options=DATAGRAMS_ONLY)  # type: ignore[arg-type]
    victim = members.names[7]
    members.cluster.run(10)
    members.cluster.crash(victim)
    members.swims.pop(victim)
    members.wait(60, members.is_whole)
    members.cluster.run(members.cluster.now + 60)
    assert sorted(at for _, at, _ in members.order.of(MemberChange.FAILED)) == sorted(members.swims)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_failure_among_a_hundred_is_known_within_seconds(seed: int) -> None:
    members = Members(seed, 100, options=DATAGRAMS_ONLY)
    members.cluster.run(3)
    members.cluster.crash(members.names[50])
    members.swims.pop(members.names[50])
    assert members.wait(12, members.is_whole) > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_makes_no_false_failure(seed: int) -> None:
    members = Members(seed, 50, loss=0.3, options=DATAGRAMS_ONLY)
    members.cluster.run(60)
    assert members.order.of(MemberChange.FAILED) == []
    assert members.order.of(MemberChange.SUSPECTED), "there was something to refute"


@pytest.mark.parametrize("seed", SEEDS)
def test_stalled_members_make_no_healthy_one_fail(seed: int) -> None:
    members = Members(seed, 50, options=DATAGRAMS_ONLY)
    random = members.cluster.random_for("stalls")
    stalled = members.names[:5]
    for name in stalled:
        for at in (2, 25, 50):
            members.cluster.at(at + random.random(), members.cluster.pause, name, random.uniform(5, 20))
    members.cluster.run(90)
    assert {name for _, _, name in members.order.of(MemberChange.FAILED)} <= set(stalled)
    members.wait(30, members.is_whole)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alone", [1, 15])
def test_a_partition_heals_by_itself(seed: int, alone: int) -> None:
    members = Members(seed, 30, options=DATAGRAMS_ONLY)
    side = set(members.names[:alone])
    members.cluster.run(2)
    members.cluster.is_cut = lambda source, target: (source in side) != (target in side)
    members.cluster.run(300)
    counts = {swim.present_count for name, swim in members.swims.items() if name not in side}
    assert counts == {30 - alone}
    members.cluster.is_cut = None
    members.wait(60, members.is_whole)
    assert all(member.state is State.ALIVE for member in members.swims[members.names[0]].members())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_is_reported_as_failed_and_joined_once_each(seed: int) -> None:
    members = Members(seed, 20, options=DATAGRAMS_ONLY)
    name, others = members.names[3], [each for each in members.names if each != members.names[3]]
    members.act(name, lambda core, now: core.set_tags({"life": "first"}, now))
    members.cluster.run(5)
    members.start(name, tags={"life": "second"}, incarnation=0)
    members.act(name, lambda core, now: core.join(others[:1], now))
    members.wait(20, members.is_whole)
    members.cluster.run(members.cluster.now + 30)
    for change in (MemberChange.FAILED, MemberChange.JOINED):
        assert sorted(at for _, at, _ in members.order.of(change, name)) == sorted(others)
    assert all(members.swims[other].member(name).tags == {"life": "second"} for other in others)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leaving_member_is_known_as_left_and_not_as_failed(seed: int) -> None:
    members = Members(seed, 50, loss=0.1)
    members.cluster.run(2)
    name = members.names[9]
    members.act(name, lambda core, now: core.leave(now))
    took = members.wait(3, lambda: members.swims[name].is_left)
    assert took > 0
    members.cluster.crash(name)
    members.swims.pop(name)
    members.wait(10, members.is_whole)
    members.cluster.run(members.cluster.now + 20)
    assert len(members.order.of(MemberChange.LEFT, name)) == 49
    assert members.order.of(MemberChange.FAILED) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leave_while_other_news_waits_takes_no_longer(seed: int) -> None:
    members = Members(seed, 6, are_known=False)
    members.join_all()
    members.wait(10, members.is_whole)
    name = members.names[2]
    members.act(name, lambda core, now: core.leave(now))
    members.wait(4 * LAN.gossip_interval_s, lambda: members.swims[name].is_left)


def test_all_leave_at_once_in_bounded_time() -> None:
    members = Members(1, 100)
    members.cluster.run(2)
    for name in members.names:
        members.act(name, lambda core, now: core.leave(now))
    assert members.wait(3, lambda: all(core.is_left for core in members.swims.values())) <= 2.5
    assert members.order.of(MemberChange.FAILED) == []


@pytest.mark.parametrize("count", [10, 40, 160])
def test_the_cost_at_rest_does_not_depend_on_the_number_of_members(count: int) -> None:
    members = Members(1, count)
    members.cluster.run(2)
    before = members.cluster.sent
    members.cluster.run(22)
    # Until each probe comes between two others, some are delayed.
    assert 1.9 < (members.cluster.sent - before) / count / 20 <= 2.01


class Blocked(ProtocolMux):
    """The protocols of a member whose datagrams are blocked, or of one who sends to such a member."""

    blocked = "10.0.0.3:8080"

    def packets(self, effects, now):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        return [
            packet
            for packet in super().packets(effects, now)
            if packet.is_reliable or self.blocked not in (packet.to, self.me)
        ]


def test_a_member_whose_datagrams_are_blocked_is_reached_by_a_connection() -> None:
    members = Members(1, 20, mux=Blocked)
    members.cluster.run(60)
    assert members.order.of(MemberChange.FAILED) == []
    assert members.order.of(MemberChange.SUSPECTED) == []
    members.act(members.names[0], lambda core, now: core.set_tags({"new": "s"}, now))
    members.wait(60, members.is_whole)


class Connections(ProtocolMux):
    """The protocols of a member that sends everything by connections."""

    def packets(self, effects, now):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        return [
            type(packet)(packet.to, packet.messages, packet.encoded, is_reliable=True)
            for packet in super().packets(effects, now)
        ]


def test_without_any_datagrams_everything_works_by_connections() -> None:
    members = Members(1, 20, are_known=False, loss=0.2, mux=Connections)
    members.join_all()
    members.wait(20, members.is_whole)
    members.cluster.crash(members.names[5])
    members.swims.pop(members.names[5])
    members.wait(15, members.is_whole)
    assert {name for _, _, name in members.order.of(MemberChange.FAILED)} == {members.names[5]}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    runs = []
    for _ in range(2):
        members = Members(seed, 20, loss=0.3)
        members.cluster.run(20)
        runs.append((members.cluster.sent, [(time, at, str(event)) for time, at, event in members.order.changes]))
    assert runs[0] == runs[1]
