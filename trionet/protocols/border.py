"""The border of a cluster: which nodes can't be members of one cluster with this one, by their names.

Invariant: no message of membership is accepted from beyond the border, nor a statement of others about a node there.
Nothing is sent in return, and no proof is asked for; the answer to the call that brought a packet may say why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Border", "SenderRefused", "SenderUnreachable"]


class Border(NamedTuple):
    """A border.

    Attributes:
        separates: returns whether a node of this name is beyond it; called with the sender of every packet.
        kinds: the messages that are refused from there.
    """

    separates: Callable[[str], bool]
    kinds: frozenset[type]


class SenderRefused(msgspec.Struct, frozen=True):
    """A node beyond the border has sent messages of membership."""

    name: str


class SenderUnreachable(msgspec.Struct, frozen=True):
    """A node is heard, and this node can't connect to it; see `reach`."""

    name: str
