"""A ring returns each element once per round, in a random order."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols import ring as rings
from trionet.protocols.ring import Ring

if TYPE_CHECKING:
    import pytest


class Bead:
    """An element."""

    def __init__(self) -> None:
        self.place = -1


@given(st.integers(1, 40), st.integers())
def test_each_is_taken_once_in_a_round(count: int, seed: int) -> None:
    ring: Ring[Bead] = Ring(Random(seed))
    beads = [Bead() for _ in range(count)]
    for bead in beads:
        ring.add(bead)
    for _ in range(3):
        assert {id(ring.next()) for _ in range(count)} == {id(bead) for bead in beads}


@given(st.lists(st.sampled_from(["add", "remove", "take"]), max_size=80), st.integers())
def test_places_are_kept_whatever_is_added_and_removed(steps: list[str], seed: int) -> None:
    random = Random(seed)
    ring: Ring[Bead] = Ring(random)
    beads: list[Bead] = []
    for step in steps:
        if step == "add":
            beads.append(Bead())
            ring.add(beads[-1])
        elif step == "remove" and beads:
            ring.remove(beads.pop(random.randrange(len(beads))))
        else:
            assert (ring.next() in beads) == bool(beads)
        assert sorted(bead.place for bead in ring) == list(range(len(beads)))
        assert {id(bead) for bead in ring} == {id(bead) for bead in beads}


def test_one_added_in_a_round_is_taken_in_it_and_nobody_twice() -> None:
    ring: Ring[Bead] = Ring(Random(1))
    beads = [Bead() for _ in range(10)]
    for bead in beads[:9]:
        ring.add(bead)
    taken = [ring.next() for _ in range(4)]
    ring.add(beads[9])
    taken += [ring.next() for _ in range(6)]
    assert {id(bead) for bead in taken} == {id(bead) for bead in beads}


def test_rounds_differ() -> None:
    ring: Ring[Bead] = Ring(Random(1))
    for _ in range(20):
        ring.add(Bead())
    assert [ring.next() for _ in range(20)] != [ring.next() for _ in range(20)]


@given(st.integers(0, 30), st.integers(1, 5), st.integers())
def test_a_sample_has_no_doubles_and_not_the_excluded(size: int, count: int, seed: int) -> None:
    ring: Ring[Bead] = Ring(Random(seed))
    beads = [Bead() for _ in range(size)]
    for bead in beads:
        ring.add(bead)
    excluded = beads[0] if beads else None
    sample = ring.sample(count, without=excluded)
    assert len({id(bead) for bead in sample}) == len(sample) <= count
    assert excluded not in sample


def test_an_empty_ring_gives_nothing() -> None:
    ring: Ring[Bead] = Ring(Random(1))
    assert ring.next() is None
    assert ring.sample(3) == []


@given(st.integers(0, 12), st.integers(0, 12), st.integers())
def test_a_sample_has_no_more_than_its_count_and_nobody_twice(size: int, count: int, seed: int) -> None:
    ring: Ring[Bead] = Ring(Random(seed))
    for _ in range(size):
        ring.add(Bead())
    found = ring.sample(count)
    assert len(found) == len({id(bead) for bead in found}) <= min(size, count)


def _filled(count: int) -> list[int]:
    ring: Ring[Bead] = Ring(Random(1))
    for _ in range(count):
        ring.add(Bead())
    return [bead.place for bead in ring]


def test_rings_of_several_threads_disturb_each_other_at_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "_places", [])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(_filled, [50_000] * 4))
    finally:
        sys.setswitchinterval(before)
    assert found == [list(range(50_000))] * 4


def test_rings_share_the_ints_of_their_places_whatever_is_removed_and_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "_places", [])
    found: list[list[int]] = []
    for seed in (1, 2):
        random = Random(seed)
        ring: Ring[Bead] = Ring(Random(seed))
        beads = [Bead() for _ in range(1000)]
        for bead in beads:
            ring.add(bead)
        random.shuffle(beads)
        for bead in beads[:400]:
            ring.next()
            ring.remove(bead)
        found.append(sorted(bead.place for bead in ring))
    assert all(one is other for one, other in zip(*found, strict=True))
