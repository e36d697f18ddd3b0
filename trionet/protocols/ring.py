"""The order in which a member goes round the others.

Invariant: in each round each element is taken once, in an order that is drawn afresh; one that is added during a round
comes at a random place of what is left of it. Every operation is O(1): the order is drawn as it is needed (a
Fisher-Yates shuffle, one step per element taken), never sorted or shuffled at once.

Source: SWIM (Das, Gupta, Motivala 2002), section 4.3: round-robin probing bounds the time until each is probed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["Placed", "Ring"]


class Placed(Protocol):
    """What can be in a ring.

    Attributes:
        place: where in its ring it is; it belongs to the ring.
    """

    place: int


Element = TypeVar("Element", bound=Placed)


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
        """Iterate over all elements, in no order that means anything."""
        return iter(self._elements)

    def add(self, element: Element) -> None:
        """Add an element that is in no ring."""
        element.place = len(self._elements)
        self._elements.append(element)

    def remove(self, element: Element) -> None:
        """Take away an element of this ring."""
        place = element.place
        assert self._elements[place] is element
        if place < self._next:  # keep those taken in this round in front
            self._next -= 1
            self._move(self._next, place)
            place = self._next
        last = len(self._elements) - 1
        if place != last:
            self._move(last, place)
        self._elements.pop()
        element.place = -1

    def take(self) -> Element | None:
        """Return the next element of the round; None if there is none at all."""
        count = len(self._elements)
        if not count:
            return None
        if self._next >= count:
            self._next = 0
        place = self._next + int(self._random.random() * (count - self._next))
        element, first = self._elements[place], self._elements[self._next]
        self._elements[place], first.place = first, place
        self._elements[self._next], element.place = element, self._next
        self._next += 1
        return element

    def sample(self, count: int, without: Element | None = None) -> list[Element]:
        """Return at most `count` different elements at random, not `without`; rarely fewer than there could be."""
        elements = self._elements
        size = len(elements)
        if size <= count:
            return [element for element in elements if element is not without]
        found: list[Element] = []
        random = self._random.random
        for _ in range(4 * count + 4):
            element = elements[int(random() * size)]
            if element is not without and element not in found:
                found.append(element)
                if len(found) == count:
                    break
        return found

    def _move(self, source: int, target: int) -> None:
        element = self._elements[source]
        self._elements[target] = element
        element.place = target
