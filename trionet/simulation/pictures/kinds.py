"""Families of message kinds; a family has the same colour in all pictures."""

from __future__ import annotations

from typing import Final

from .look import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, YELLOW

__all__ = ["FAMILIES", "OTHER", "family_of"]

OTHER: Final = "other"

FAMILIES: Final[dict[str, str]] = {
    "datagrams": BLUE,
    "calls": ORANGE,
    "replies": GREEN,
    "cancels": PURPLE,
    "streams": YELLOW,
    "connections": SKY,
    OTHER: GREY,
}
"""Colours by name, in the order in which they are stacked."""

_FAMILY: Final[dict[str, str]] = {
    "datagram": "datagrams",
    "call": "calls",
    "reply": "replies",
    "error": "replies",
    "cancel": "cancels",
    "cancelled": "cancels",
    "item": "streams",
    "end": "streams",
    "credit": "streams",
    "connect": "connections",
    "accept": "connections",
    "refuse": "connections",
    "reset": "connections",
    "ping": "connections",
    "pong": "connections",
    "bye": "connections",
}


def family_of(kind: str) -> str:
    """Return the family of a message kind."""
    return _FAMILY.get(kind, OTHER)
