"""A random round-robin order.

Invariant: each round returns each element once, in a new random order; an element that is added during a round comes at
a random place in the rest of it. Every operation is O(1): the order is drawn step by step (a Fisher-Yates shuffle, one
step per element), never sorted or shuffled at once.

Source: SWIM (Das, Gupta, Motivala 2002), section 4.3: round-robin probing bounds the time until each is probed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["Placed", "Ring"]


class Placed(Protocol):
    """An element of a ring.

    Attributes:
        place: its position, which the ring sets.
    """

    place: int


Element = TypeVar("Element", bound=Placed)

_places: Final[list[int]] = []
"""The positions so far: all rings of a process share these ints, of which each would take 32 bytes for each element."""


def _shared(place: int) -> int:
    """Return an int equal to `place`, the same object for all rings."""
    if place == len(_places):  # never less: this ring has had all places before
        _places[place : place + 1] = (place,)  # in one step, as nodes may run in several threads
    return _places[place]


class Ring(Generic[Element]):
    """Elements in a random order, each of them in at most one ring."""

    __slots__ = ("_elements", "_next", "_random")

    def __init__(self, random: Random) -> None:
        self._elements: list[Element] = []
        self._next = 0
        self._random = random

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[Element]:
        """Iterate over all elements, in no particular order."""
        return iter(self._elements)

    def add(self, element: Element) -> None:
        """Add an element, which must be in no ring."""
        element.place = _shared(len(self._elements))
        self._elements.append(element)

    def remove(self, element: Element) -> None:
        """Remove an element of this ring."""
        place = element.place
        assert self._elements[place] is element
        if place < self._next:  # keep the elements of this round in front
            self._next -= 1
            self._move(self._next, place)
            place = self._next
        last = len(self._elements) - 1
        if place != last:
            self._move(last, place)
        self._elements.pop()
        element.place = -1

    def next(self) -> Element | None:
        """Return the next element of the round; None if the ring is empty."""
        count = len(self._elements)
        if not count:
            return None
        if self._next >= count:
            self._next = 0
        place = self._next + int(self._random.random() * (count - self._next))
        element, first = self._elements[place], self._elements[self._next]
        self._elements[place], self._elements[self._next] = first, element
        first.place, element.place = element.place, first.place  # the shared ints, no new ones
        self._next += 1
        return element

    def sample(self, count: int, without: Element | None = None) -> list[Element]:
        """Return up to `count` different random elements, not `without`; rarely fewer than possible."""
        elements = self._elements
        size = len(elements)
        if size <= count:
            return [element for element in elements if element is not without]
        found: list[Element] = []
        random = self._random.random
        for _ in range(4 * count + 4 if count else 0):
            element = elements[int(random() * size)]
            if element is not without and element not in found:
                found.append(element)
                if len(found) == count:
                    break
        return found

    def _move(self, source: int, target: int) -> None:
        element = self._elements[source]
        self._elements[target] = element
        element.place = _shared(target)
