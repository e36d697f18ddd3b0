"""Families of message kinds; a family has the same colour in all pictures."""

from __future__ import annotations

from typing import Final

from .look import Colour

__all__ = ["FAMILIES", "OTHER", "family_of"]

OTHER: Final = "other"

FAMILIES: Final[dict[str, str]] = {
    "datagrams": Colour.BLUE,
    "calls": Colour.ORANGE,
    "replies": Colour.GREEN,
    "cancels": Colour.PURPLE,
    "streams": Colour.YELLOW,
    "connections": Colour.SKY,
    OTHER: Colour.GREY,
}
"""Colours by name, in the order in which they are stacked."""

_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "datagrams": ("datagram",),
    "calls": ("call",),
    "replies": ("reply", "error"),
    "cancels": ("cancel", "cancelled"),
    "streams": ("item", "end", "credit"),
    "connections": ("connect", "accept", "refuse", "reset", "hello", "ping", "pong", "bye"),
}
_FAMILY: Final = {kind: family for family, kinds in _KINDS.items() for kind in kinds}


def family_of(kind: str) -> str:
    """Return the family of a message kind."""
    return _FAMILY.get(kind, OTHER)
