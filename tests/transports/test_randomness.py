"""All that a link's random numbers offer follows from its text."""

from __future__ import annotations

import copy
import pickle
from random import Random
from typing import Any

import pytest

from trionet.transports.memory.randomness import LinkRandom

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "betavariate": (2, 3),
    "binomialvariate": (10**9, 0.5),
    "choice": (range(10**9),),
    "choices": (range(10**9),),
    "expovariate": (1.0,),
    "gammavariate": (2, 3),
    "getrandbits": (64,),
    "lognormvariate": (0, 1),
    "paretovariate": (2,),
    "randbytes": (8,),
    "randint": (0, 10**9),
    "randrange": (10**9,),
    "sample": (range(10**9), 3),
    "uniform": (1, 2),
    "vonmisesvariate": (0, 1),
    "weibullvariate": (1, 2),
}
OTHERS = {"VERSION", "seed", "getstate", "setstate", "shuffle"}
METHODS = sorted(name for name in set(dir(Random)) - OTHERS if not name.startswith("_"))


@pytest.mark.parametrize("method", METHODS)
def test_each_method_follows_from_the_text(method: str) -> None:
    def numbers(text: str) -> list[Any]:
        random = LinkRandom(text)
        return [getattr(random, method)(*ARGUMENTS.get(method, ())) for _ in range(3)]

    one, other = numbers("1 a b"), numbers("1 b a")
    assert one == numbers("1 a b")
    assert not any(number in other for number in one)
    assert one[0] != one[1]


def test_shuffling_follows_from_the_text() -> None:
    def shuffled(text: str) -> list[int]:
        numbers = list(range(100))
        LinkRandom(text).shuffle(numbers)
        return numbers

    assert shuffled("1 a b") == shuffled("1 a b") != shuffled("1 b a")
    assert sorted(shuffled("1 a b")) == list(range(100))


def test_each_bit_is_as_often_set_as_not() -> None:
    random, rounds = LinkRandom("bits"), 2000
    for bits in (1, 53, 54, 130):
        drawn = [random.getrandbits(bits) for _ in range(rounds)]
        assert max(drawn) < 1 << bits
        for bit in range(bits):
            assert sum(number >> bit & 1 for number in drawn) == pytest.approx(rounds / 2, abs=6 * (rounds / 4) ** 0.5)
    assert random.getrandbits(0) == 0
    with pytest.raises(ValueError, match="negative"):
        random.getrandbits(-1)


def test_a_copy_and_a_state_go_on_as_the_original_does() -> None:
    random = LinkRandom("1 a b")
    random.gauss(0, 1)
    others = [copy.copy(random), pickle.loads(pickle.dumps(random)), LinkRandom("another")]
    others[-1].setstate(random.getstate())
    expected = [random.gauss(0, 1), *(random.random() for _ in range(20))]
    for other in others:
        assert [other.gauss(0, 1), *(other.random() for _ in range(20))] == expected
