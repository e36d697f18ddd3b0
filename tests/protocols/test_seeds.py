"""When each seed is contacted."""

from __future__ import annotations

from random import Random

import pytest

from tests.protocols.swim_clusters import sent, swim
from trionet.protocols.seeds import MOST_SEEDS, Seeds
from trionet.protocols.swim_messages import SyncDigest


def _asked(seeds: Seeds, until: float, living: str = "") -> list[tuple[float, str]]:
    found = []
    while (now := seeds.next_due()) <= until:
        found += [(now, name) for name in seeds.pick_due(now, lambda name: name != living)]
    return found


def test_a_seed_is_asked_less_and_less_often() -> None:
    seeds = Seeds(Random(1), 1.0, 8.0, jitter=0.0)
    seeds.add(["a"], 0.0)
    assert [when for when, _ in _asked(seeds, 40.0)] == [0, 1, 3, 7, 15, 23, 31, 39]


@pytest.mark.parametrize("others", [0, 1, 2, 5, 50])
@pytest.mark.parametrize("seed", range(5))
def test_however_many_dead_seeds_there_are_a_new_one_is_asked_at_its_time(others: int, seed: int) -> None:
    seeds = Seeds(Random(seed), 1.0, 30.0)
    seeds.add([f"dead {number}" for number in range(others)], 0.0)
    _asked(seeds, 200.0)  # by now these are asked rarely
    seeds.add(["new"], 200.0)
    first = [when for when, name in _asked(seeds, 400.0) if name == "new"]
    assert first[0] <= 200.0 + 1.5 * (1 + others / 3)
    assert first[1] <= first[0] + 1.5 * (1 + others / 3)


def test_one_that_is_not_wanted_begins_anew() -> None:
    seeds = Seeds(Random(1), 1.0, 64.0, jitter=0.0)
    seeds.add(["a", "b"], 0.0)
    assert {name for _, name in _asked(seeds, 100.0, living="b")} == {"a"}
    assert [name for _, name in _asked(seeds, 102.0)][:1] == ["b"]


def test_seeds_are_bounded_and_three_are_asked_at_once() -> None:
    seeds = Seeds(Random(1), 1.0, 8.0)
    seeds.add([str(number) for number in range(1000)], 0.0)
    assert len(seeds) == MOST_SEEDS
    assert len(seeds.pick_due(0.0)) == 3


@pytest.mark.parametrize("seed", range(10))
def test_a_dead_seed_does_not_take_the_turn_of_one_that_may_live(seed: int) -> None:
    core, other = swim("a", seed=seed), swim("s")
    _, digest = sent(core.join(["s", "dead", "lost"], 0.0), to="s")
    (answer,) = sent(other.receive("a", digest, 0.0), to="a")
    core.receive("s", answer, 0.1)
    assert not core.is_joining
    asked = []
    while (now := core.next_deadline()) < 40:
        if any(isinstance(message, SyncDigest) for message in sent(core.on_timer(now), to="lost")):
            asked.append(now)
    assert len(asked) == 1
