"""What a protocol asks of the world around it, and what it fulfils for it.

The vocabulary is three verbs: send this, tell that, wake me then. A core never does any of them itself. It is given
the time and its random numbers, so that the same inputs give the same effects, on sockets and in a simulation alike.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Core", "Effect", "Notify", "Proof", "ProtocolMessage", "Send"]


class Proof(enum.IntEnum):
    """Whose message is taken only after the sender has shown that it is where it says; see `proofs`."""

    NOBODY = 0  # whoever says it, it is taken
    STRANGER = 1  # all but those whom a core knows
    ANYBODY = 2


class ProtocolMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the cores of two nodes say to each other. Each kind has a tag of its own, unique over all protocols.

    On the wire it is an array that begins with the tag. It may grow at its end only, and a reader ignores what it
    doesn't know there.

    Attributes:
        needs_proof: of whom a proof is wanted before it is taken.
        is_answer: whether it counts as an answer to the receiver whenever it is sent.
        is_filled: whether a datagram that begins with it is filled up even where the receiver has no proof.
    """

    needs_proof: ClassVar[Proof] = Proof.NOBODY
    is_answer: ClassVar[bool] = False
    is_filled: ClassVar[bool] = False

    def least_bytes(self) -> int:
        """Return a size that it has at least on the wire, without encoding it."""
        return 0


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send `message` to the peer `to`.

    Attributes:
        to: the name of a node.
        message: what to say.
        is_reliable: whether it goes by a connection, because it is too long for a datagram or must not be lost to
            chance; else it may be lost, doubled and overtaken.
    """

    to: str
    message: ProtocolMessage
    is_reliable: bool = False


class Notify(msgspec.Struct, frozen=True, gc=False):
    """Tell the user of the protocol that `event` has happened."""

    event: Any


Effect = Send | Notify


class Core(Protocol):
    """One protocol at one node.

    `now` is in seconds, on a clock that never goes back and that nobody else shares. Every method but `next_deadline`
    returns in time proportional to what it has to do, not to the number of members.

    Attributes:
        messages: the kinds of messages that it understands.
    """

    messages: tuple[type[ProtocolMessage], ...]

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Take what the node `source` said; it is one of `messages`. Never raises, whatever it says."""

    def on_timer(self, now: float) -> list[Effect]:
        """Do what is due. To be called when `next_deadline` has come; later is no error, but is noticed."""

    def next_deadline(self) -> float:
        """Return when `on_timer` is to be called next; ``math.inf`` for not at all. Costs nothing."""

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Return what may ride along in a datagram that goes to `to` anyway, at most `room_bytes` encoded."""

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Take that what was sent reliably to `to` could not be delivered."""

    def knows(self, name: str) -> bool:
        """Tell whether this node would talk with `name` of its own accord."""

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Ask `to` again what it refused to answer: it learns now that this node is where it says."""
