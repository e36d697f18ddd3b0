from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.gossip_meshes import Mesh
from trionet.protocols.gossip_settings import GossipSettings
from trionet.protocols.push import Direct, Push, Star


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("size", "seeds"), [(10, 20), (100, 4)])
def test_a_rumor_reaches_every_member_once(size: int, seeds: int, loss: float) -> None:
    for seed in range(seeds):
        mesh = Mesh(seed, size, loss=loss)
        mesh.run(1.0)
        rumor = mesh.send("n0")
        mesh.cluster.run(50.0, while_=lambda: len(mesh.delivered[rumor]) < size)  # noqa: B023 - called in this turn
        assert mesh.who(rumor) == mesh.live(), f"seed {seed}"


@pytest.mark.slow
def test_a_thousand_members_have_it_soon_and_receive_few_copies() -> None:
    mesh = Mesh(1, 1000)
    mesh.run(1.0)
    rumor = mesh.send("n0")
    mesh.run(2.0)
    assert mesh.who(rumor) == mesh.live()
    times = sorted(at for at, _, _ in mesh.delivered[rumor])
    assert times[989] - 1.0 <= 0.6
    copies = (mesh.total("duplicates") + mesh.total("delivered") - 1) / 1000
    assert copies <= 4.0


def test_ages_never_run_ahead_of_time() -> None:
    mesh = Mesh(1, 50, loss=0.1)
    rumor = mesh.send("n0")
    mesh.run(10.0)
    assert all(age_s <= at + 0.3 for at, _, age_s in mesh.delivered[rumor])  # a millisecond too much for each hop


@pytest.mark.slow
def test_the_origin_may_crash_right_after_the_first_hop() -> None:
    for seed in range(10):
        mesh = Mesh(seed, 30)
        mesh.run(0.5)
        rumor = mesh.send("n0")
        mesh.cluster.crash("n0")
        mesh.run(5.0)
        assert mesh.who(rumor) == sorted(mesh.names), f"seed {seed}"


@pytest.mark.slow
def test_a_member_that_stalls_gets_it_when_it_goes_on() -> None:
    mesh = Mesh(3, 30)
    for name in ("n5", "n6", "n7"):
        mesh.cluster.pause(name, 10.0)
    rumor = mesh.send("n0")
    mesh.run(5.0)
    assert len(mesh.who(rumor)) == 27
    mesh.run(15.0)
    assert mesh.who(rumor) == mesh.live()


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 15])
def test_both_sides_of_a_partition_have_all_when_it_heals(cut: int) -> None:
    mesh = Mesh(4, 30)
    aside = set(mesh.names[:cut])
    mesh.cluster.is_cut = lambda source, to: (source in aside) != (to in aside)
    rumors = [mesh.send("n0") for _ in range(100)] + [mesh.send("n29") for _ in range(100)]
    mesh.run(20.0)
    assert all(len(mesh.who(rumor)) in (cut, 30 - cut) for rumor in rumors)
    mesh.cluster.is_cut = None
    mesh.run(15.0)
    assert all(mesh.who(rumor) == mesh.live() for rumor in rumors)


@pytest.mark.slow
def test_a_late_joiner_gets_what_is_young_enough_and_nothing_else() -> None:
    mesh = Mesh(5, 20, settings=GossipSettings(retention_s=20.0))
    mesh.cluster.crash("n9")
    old = mesh.send("n0")
    mesh.run(15.0)
    young = mesh.send("n1")
    mesh.run(8.0)
    mesh.add("n9")
    mesh.run(5.0)
    assert "n9" in mesh.who(young)
    assert "n9" not in mesh.who(old)
    mesh.run(60.0)
    assert mesh.who(young) == mesh.live()
    assert not any(core._groups["g"].held for core in mesh.cores.values())  # noqa: SLF001 - that all is let go of


def test_a_member_that_learns_of_the_group_later_gets_its_rumors() -> None:
    mesh = Mesh(6, 20)
    mesh.cores["n3"].drop_group("g")
    rumor = mesh.send("n0")
    mesh.run(3.0)
    assert "n3" not in mesh.who(rumor)
    assert mesh.cores["n3"].counts.unknown_group > 0
    mesh.join("n3")
    mesh.run(3.0)
    assert mesh.who(rumor) == mesh.live()


@pytest.mark.slow
def test_two_groups_at_once_do_not_mix() -> None:
    mesh = Mesh(7, 40, gids=("g", "h"), loss=0.1)
    in_g = [mesh.send("n0", "g") for _ in range(10)]
    in_h = [mesh.send("n1", "h") for _ in range(10)]
    mesh.run(20.0)
    assert all(mesh.who(rumor) == mesh.live() for rumor in in_g + in_h)
    assert mesh.total("delivered") == 20 * 40


@pytest.mark.slow
def test_at_rest_it_costs_a_few_dozen_bytes_whatever_the_size() -> None:
    per_member: list[float] = []
    for size in (10, 100):
        mesh = Mesh(8, size, is_measuring_bytes=True)
        mesh.send("n0")
        mesh.run(10.0)
        before = mesh.cluster.sent_bytes
        mesh.run(20.0)
        per_member.append((mesh.cluster.sent_bytes - before) / size / 10)  # for each interval of 2 s
    assert all(bytes_ <= 64 for bytes_ in per_member), per_member
    assert per_member[1] <= 1.2 * per_member[0]
    mesh.run(60.0)  # the rumor is gone
    before = mesh.cluster.sent_bytes
    mesh.run(80.0)
    assert (mesh.cluster.sent_bytes - before) / size / 40 <= 16


def test_long_rumors_go_by_a_connection() -> None:
    mesh = Mesh(9, 20)
    rumor = mesh.send("n0", payload=bytes(100_000))
    mesh.run(10.0)
    assert mesh.who(rumor) == mesh.live()


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        mesh = Mesh(10, 40, loss=0.2)
        mesh.send("n0")
        mesh.run(10.0)
        runs.append((mesh.delivered, mesh.cluster.sent))
    assert runs[0] == runs[1]


@pytest.mark.slow
@given(
    st.integers(0, 1 << 32),
    st.integers(2, 12),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 11)), min_size=1, max_size=8),
    st.floats(0, 0.5),
    st.sampled_from(["random", "direct", "star"]),
)
@settings(max_examples=25)
def test_every_live_member_delivers_exactly_once(
    seed: int, size: int, sends: list[tuple[float, int]], loss: float, how: str
) -> None:
    pushes = {"random": None, "direct": Direct, "star": lambda: Star(up_wait_s=0.1, down_wait_s=0.2, failover_s=1.0)}
    mesh = Mesh(seed, size, loss=loss, push=pushes[how], settings=GossipSettings(retention_s=120.0))
    _double_some(mesh, seed)
    ids: list[bytes] = []
    for at, number in sends:
        mesh.cluster.at(at, lambda name: ids.append(mesh.send(name)), f"n{number % size}")
    mesh.run(60.0)
    assert len(ids) == len(sends)
    assert all(mesh.who(rumor) == mesh.live() for rumor in ids)


def _double_some(mesh: Mesh, seed: int) -> None:
    """Let a third of the packets arrive a second time, some of them much later."""
    random, send = Random(seed), mesh.cluster._send  # noqa: SLF001 - a fault that the heap hasn't got

    def doubled(member: object, packet: object) -> None:
        send(member, packet)  # type: ignore[arg-type]
        if random.random() < 0.33:
            mesh.cluster.at(mesh.cluster.now + random.random() * 3, send, member, packet)

    mesh.cluster._send = doubled  # type: ignore[method-assign]  # noqa: SLF001


_FAST = GossipSettings(interval_s=0.5, nodes=1, rounds=20, grace_s=0.2, pull_timeout_s=0.25, compare_interval_s=2.0,
                       settle_s=0.3, catch_up_interval_s=0.3, retention_s=3600.0)  # fmt: skip
_FRUGAL = GossipSettings(interval_s=1.0, nodes=1, rounds=10, grace_s=1.1, pull_timeout_s=0.25, compare_interval_s=4.0,
                         settle_s=1.3, catch_up_interval_s=0.3, retention_s=3600.0)  # fmt: skip


def _star() -> Push:
    return Star(up_wait_s=0.3, down_wait_s=0.6, failover_s=1.6)


def _glomers(mesh: Mesh, seed: int, seconds: float) -> int:
    """Do 100 operations a second, half of them broadcasts, at nodes in turn; return how many."""
    random, at, count = Random(seed), 0.0, 0
    while at < seconds:
        at += random.random() * 2 / 100
        count += 1
        if random.random() < 0.5:
            mesh.cluster.at(at, _send_if_up, mesh, f"n{count % 25}")
    mesh.cluster.run(seconds)
    return count


def _send_if_up(mesh: Mesh, name: str) -> None:
    if mesh.cluster.members[name].is_up:
        mesh.send(name)


def _latencies(mesh: Mesh) -> list[float]:
    """Return after how long each rumor had reached the last of all."""
    return sorted(max(at for at, _, _ in found) - mesh.sent_at[one] for one, found in mesh.delivered.items())


@pytest.mark.slow
def test_direct_push_takes_one_hop_and_thirteen_messages_per_operation() -> None:
    mesh = Mesh(1, 25, settings=_FAST, push=Direct, packet_bytes=1 << 20, latency=lambda _: 0.1)
    operations = _glomers(mesh, 1, 10.0)
    per_operation = mesh.cluster.sent / operations
    mesh.run(10.0)
    assert per_operation <= 13.0
    assert _latencies(mesh)[-1] <= 0.11
    assert all(mesh.who(rumor) == mesh.live() for rumor in mesh.delivered)


@pytest.mark.slow
def test_a_star_takes_less_than_one_message_per_operation() -> None:
    mesh = Mesh(1, 25, settings=_FRUGAL, push=_star, packet_bytes=1 << 20, latency=lambda _: 0.1)
    operations = _glomers(mesh, 1, 10.0)
    per_operation = mesh.cluster.sent / operations
    mesh.run(10.0)
    latencies = _latencies(mesh)
    assert per_operation <= 1.0
    assert latencies[len(latencies) // 2] <= 0.8
    assert latencies[-1] <= 1.2
    assert all(mesh.who(rumor) == mesh.live() for rumor in mesh.delivered)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["loss", "partition", "hub"])
@pytest.mark.parametrize(("settings_", "push"), [(_FAST, Direct), (_FRUGAL, _star)], ids=["direct", "star"])
def test_trouble_loses_nothing(settings_: GossipSettings, push: type[Direct], trouble: str) -> None:
    mesh = Mesh(2, 25, settings=settings_, push=push, packet_bytes=1 << 20, latency=lambda _: 0.1)
    if trouble == "loss":
        mesh.cluster.loss = 0.5
    elif trouble == "partition":
        aside = set(mesh.names[:12])
        mesh.cluster.is_cut = lambda source, to: (source in aside) != (to in aside)
    else:
        mesh.cluster.at(2.0, mesh.cluster.crash, "n0")
    _glomers(mesh, 2, 4.0)
    mesh.cluster.is_cut = None
    mesh.run(20.0)
    assert all(set(mesh.live()) <= set(mesh.who(rumor)) for rumor in mesh.delivered if mesh.who(rumor) != ["n0"])
    assert all(len(set(mesh.who(rumor))) == len(mesh.who(rumor)) for rumor in mesh.delivered)
