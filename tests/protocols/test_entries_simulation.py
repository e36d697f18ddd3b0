from __future__ import annotations

from random import Random

import pytest

from tests.protocols.gossip_meshes import Mesh
from trionet.protocols.gossip_settings import GossipSettings

_KEYS = ("a", "b", "c", "d")


def _partition(mesh: Mesh, count: int) -> None:
    aside = set(mesh.names[:count])
    mesh.cluster.is_cut = lambda source, to: (source in aside) != (to in aside)


def _heal(mesh: Mesh) -> None:
    mesh.cluster.is_cut = None


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_an_entry_reaches_every_member_and_each_is_told_once(loss: float) -> None:
    for seed in range(5):
        mesh = Mesh(seed, 30, loss=loss)
        mesh.run(1.0)
        mesh.put("n0", "k", b"v")
        mesh.run(10.0)
        assert mesh.maps() == [{"k": b"v"}] * 30, f"seed {seed}"
        assert sorted(name for _, name, _ in mesh.changed) == sorted(mesh.names), f"seed {seed}"
        assert mesh.conflicts == []


def _write_on_both_sides(seed: int, *, size: int = 20, loss: float = 0.05) -> Mesh:
    """Return a mesh whose sides have written, crashed and restarted apart, and that has been healed for 10 s."""
    mesh, random = Mesh(seed, size, loss=loss), Random(f"{seed} program")
    mesh.put("n0", "a", b"first")
    mesh.run(2.0)
    _partition(mesh, random.randint(1, size - 1))
    for number in range(20):
        mesh.run(random.uniform(0.0, 1.0))
        name = random.choice(mesh.names)
        match random.choice(["put", "put", "put", "remove", "crash"]):
            case "put":
                mesh.put(name, random.choice(_KEYS), str(number).encode())
            case "remove":
                mesh.put(name, random.choice(_KEYS), None)
            case _:
                mesh.cluster.crash(name)
                mesh.add(name, life=f" {number}")  # it has lost all, and has the same name
    _heal(mesh)
    mesh.run(10.0)
    return mesh


@pytest.mark.parametrize("seed", range(10))
def test_both_sides_of_a_partition_agree_within_ten_seconds(seed: int) -> None:
    mesh = _write_on_both_sides(seed)
    assert mesh.agree()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_both_sides_of_a_partition_agree_within_ten_seconds_for_many_seeds() -> None:
    failed = [seed for seed in range(1000) if not _write_on_both_sides(seed).agree()]
    assert failed == []


def test_a_conflict_is_seen_on_both_sides_and_the_same() -> None:
    mesh = Mesh(1, 10)
    mesh.run(1.0)
    _partition(mesh, 5)
    lost, kept = mesh.put("n0", "k", b"lost"), mesh.put("n9", "k", b"kept")
    if lost.stamp > kept.stamp or (lost.stamp == kept.stamp and lost.id > kept.id):
        lost, kept = kept, lost
    mesh.run(5.0)
    assert mesh.conflicts == []
    _heal(mesh)
    mesh.run(10.0)
    assert {(event.winner, event.loser) for _, _, event in mesh.conflicts} == {(kept, lost)}
    assert mesh.agree()


def test_one_comparison_across_a_healed_partition_starts_an_epidemic() -> None:
    times_s = []
    for seed in range(5):
        mesh = Mesh(seed, 100)
        mesh.run(1.0)
        _partition(mesh, 50)
        mesh.put("n0", "k", b"v")
        mesh.run(30.0)
        assert len(mesh.changed) == 50
        _heal(mesh)
        mesh.run(10.0)
        first, *_, last = sorted(at for at, _, _ in mesh.changed[50:])
        times_s.append(last - first)
    assert sorted(times_s)[2] < 0.6


@pytest.mark.slow
def test_a_late_member_has_all_entries_soon() -> None:
    for seed in range(10):
        mesh = Mesh(seed, 20)
        for number in range(60):
            mesh.put("n1", f"k{number}", b"v")
        mesh.run(10.0)
        mesh.cluster.crash("n0")
        mesh.add("n0", life=" 2")
        mesh.run(0.4)
        assert len(mesh.cores["n0"].entries("g")) == 60, f"seed {seed}"


@pytest.mark.slow
def test_a_full_map_reaches_a_late_member() -> None:
    mesh = Mesh(3, 10)
    for number in range(1024):
        mesh.put(f"n{number % 10}", f"k{number}", bytes(200))
        if number % 16 == 0:
            mesh.run(0.1)
    mesh.run(20.0)
    assert mesh.agree()
    mesh.cluster.crash("n0")
    mesh.add("n0", life=" 2")
    mesh.run(2.0)
    assert len(mesh.cores["n0"].entries("g")) == 1024


def test_clocks_that_differ_by_hours_decide_and_never_prevent_agreement() -> None:
    mesh = Mesh(4, 10)
    mesh.cluster.members["n3"].skew_s = 7200.0
    mesh.put("n3", "k", b"ahead")
    mesh.run(3.0)
    mesh.put("n5", "k", b"later")
    mesh.run(3.0)
    assert mesh.maps() == [{"k": b"later"}] * 10  # its writer had seen the other, so its stamp is greater
    assert mesh.conflicts == []


def test_at_rest_entries_cost_a_comparison_per_interval_and_nothing_is_pulled() -> None:
    mesh = Mesh(5, 20)
    mesh.put("n0", "k", b"v")
    mesh.put("n0", "gone", None)
    mesh.run(30.0)
    sent, pulled = mesh.cluster.sent, mesh.total("pulled")
    mesh.run(100.0)
    interval_s = GossipSettings().compare_interval_s
    assert mesh.total("pulled") == pulled
    assert mesh.cluster.sent - sent <= 20 * 100.0 / interval_s * 1.1


def test_a_stale_member_is_brought_up_to_date_without_end_of_pulls() -> None:
    mesh = Mesh(6, 10)
    mesh.put("n0", "k", b"old")
    mesh.run(5.0)
    _partition(mesh, 1)
    mesh.put("n5", "k", b"new")
    mesh.run(200.0)  # beyond the memory of superseded ids
    _heal(mesh)
    mesh.run(10.0)
    assert mesh.maps() == [{"k": b"new"}] * 10
    pulled = mesh.total("pulled")
    mesh.run(300.0)
    assert mesh.total("pulled") == pulled


def test_at_rest_groups_without_entries_cost_what_they_did() -> None:
    mesh = Mesh(7, 20)
    mesh.run(30.0)
    sent = mesh.cluster.sent
    mesh.run(400.0)
    every_s = 4 * GossipSettings().compare_interval_s  # without anything held
    assert mesh.cluster.sent - sent <= 20 * (400.0 / every_s + 1)
