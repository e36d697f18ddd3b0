"""What a person has chosen in ``trionet top``, and what each key does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .looks import MEMBER_ORDERS

if TYPE_CHECKING:
    from .looks import View

__all__ = ["INTERVALS_S", "State"]

INTERVALS_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

_ORDER_KEYS: Final = {
    "a": "address",
    "t": "state",
    "c": "calls",
    "l": "latency",
    "e": "errors",
    "u": "running",
    "o": "rumors",
    "g": "lag",
}


class State:
    """The state of the screen.

    Attributes:
        order: the name of the order of members.
        is_reversed: whether it is reversed.
        selected: the address of the selected member; None for none.
        picked: the address of the member whose methods are shown; None for all.
        interval_s: the time between two looks.
        is_paused: whether there are no new looks.
        is_help: whether the help is shown.
        is_over: whether to end.
        note: a message in the last line; empty for none.
    """

    def __init__(self, interval_s: float = 2.0, order: str = "address") -> None:
        self.order: str = order
        self.is_reversed: bool = False
        self.selected: str | None = None
        self.picked: str | None = None
        self.interval_s: float = interval_s
        self.is_paused: bool = False
        self.is_help: bool = False
        self.is_over: bool = False
        self.note: str = ""
        self._first = 0

    def press(self, key: str, view: View | None) -> None:
        """Handle a key: a character, ``up``, ``down``, ``home``, ``end``, ``enter`` or ``escape``."""
        if key in ("q", "Q"):
            self.is_over = True
        elif self.is_help:
            self.is_help = False
        elif key in ("h", "?", "H"):
            self.is_help = True
        elif key == " ":
            self.is_paused = not self.is_paused
        elif key in ("+", "-", "="):
            self._change_interval(-1 if key == "-" else 1)
        elif key == "r":
            self.is_reversed = not self.is_reversed
        elif key == "s" or key in _ORDER_KEYS:
            names = list(MEMBER_ORDERS)
            self.order = _ORDER_KEYS.get(key) or names[(names.index(self.order) + 1) % len(names)]
            self.is_reversed = False
        elif view is not None:
            self._move(key, [row.address for row in view.members])

    def first_shown(self, view: View, room: int) -> int:
        """Return the place of the first member to show, so that the selected one is among `room` of them."""
        count = len(view.members)
        place = next((place for place, row in enumerate(view.members) if row.address == self.selected), None)
        if place is not None:
            self._first = min(self._first, place)
            self._first = max(self._first, place - room + 1)
        self._first = max(0, min(self._first, count - room))
        return self._first

    def _change_interval(self, by: int) -> None:
        nearest = min(range(len(INTERVALS_S)), key=lambda place: abs(INTERVALS_S[place] - self.interval_s))
        self.interval_s = INTERVALS_S[max(0, min(len(INTERVALS_S) - 1, nearest + by))]

    def _move(self, key: str, addresses: list[str]) -> None:
        if key == "escape":
            self.picked = self.selected = None
        if not addresses:
            return
        place = addresses.index(self.selected) if self.selected in addresses else None
        if key == "enter":
            self.picked = None if place is None or self.picked == self.selected else self.selected
        elif key in ("down", "j"):
            self.selected = addresses[0 if place is None else min(place + 1, len(addresses) - 1)]
        elif key in ("up", "k"):
            self.selected = addresses[-1 if place is None else max(place - 1, 0)]
        elif key == "home":
            self.selected = addresses[0]
        elif key == "end":
            self.selected = addresses[-1]
