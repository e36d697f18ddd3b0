"""The interface between a protocol core and its driver.

A core returns effects: send a message, or notify the user. It performs none of them, and gets the time and its random
numbers as arguments, so the same inputs give the same effects on sockets and in a simulation.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Core", "Effect", "Notify", "Proof", "ProtocolMessage", "Send", "sorted_by_target"]


class Proof(enum.IntEnum):
    """The need of a kind of message for a proven sender; see `proofs`."""

    NEVER = 0
    UNLESS_KNOWN = 1  # unless a core knows the sender
    ALWAYS = 2


class ProtocolMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message between the cores of two nodes. Each kind has a tag, unique over all protocols.

    On the wire it is an array that begins with the tag. New fields are added at the end only, and readers ignore fields
    that they don't know.

    Attributes:
        needs_proof: when its sender must be proven.
        is_answer: whether it counts as an answer to the receiver whenever it is sent.
        is_filled: whether a datagram that begins with it is filled up even for an unproven receiver.
    """

    needs_proof: ClassVar[Proof] = Proof.NEVER
    is_answer: ClassVar[bool] = False
    is_filled: ClassVar[bool] = False

    def least_bytes(self) -> int:
        """Return a lower bound of its encoded size, without encoding it."""
        return 0


class Send(msgspec.Struct, frozen=True, gc=False):
    """Sends `message` to the node `to`.

    Attributes:
        to: the name of a node.
        message: the message.
        is_reliable: whether it goes by a connection, because it is too long for a datagram or must arrive; else it may
            be lost, duplicated or reordered.
        encoded: the message as bytes, if the core has them and it goes by a connection; else empty.
    """

    to: str
    message: ProtocolMessage
    is_reliable: bool = False
    encoded: bytes = b""


class Notify(msgspec.Struct, frozen=True, gc=False):
    """Notifies the user of the protocol of `event`."""

    event: Any


Effect = Send | Notify


def sorted_by_target(
    effects: Iterable[Effect], events: list[Any]
) -> tuple[dict[str, list[ProtocolMessage]], dict[str, list[Send]]]:
    """Return the messages that may be lost, and the reliable sends, by target; add the events to `events`."""
    by_target: dict[str, list[ProtocolMessage]] = {}
    reliably: dict[str, list[Send]] = {}
    for effect in effects:
        if type(effect) is not Send:
            assert type(effect) is Notify
            events.append(effect.event)
        elif effect.is_reliable:
            reliably.setdefault(effect.to, []).append(effect)
        elif (messages := by_target.get(effect.to)) is None:
            by_target[effect.to] = [effect.message]
        else:
            messages.append(effect.message)
    return by_target, reliably


class Core(Protocol):
    """One protocol at one node.

    `now` is in seconds, on a monotonic clock of this node's own. Every method but `next_deadline` takes time in
    proportion to its work, not to the number of members.

    Attributes:
        messages: the kinds of messages that it handles.
    """

    messages: tuple[type[ProtocolMessage], ...]

    def receive(self, source: str, message: Any, now: float) -> list[Effect]:
        """Handle a message, one of `messages`, from the node `source`. Never raises, whatever it contains."""

    def on_timer(self, now: float) -> list[Effect]:
        """Run the timers that are due, at `next_deadline` or later; a long delay counts as a stall of this node."""

    def next_deadline(self) -> float:
        """Return when to call `on_timer` next; ``math.inf`` for never. Costs next to nothing."""

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Return messages to add to a datagram for `to`, at most `room_bytes` encoded."""

    def unreachable(self, to: str, now: float) -> list[Effect]:
        """Handle the loss of a reliable message to `to`."""

    def knows(self, name: str) -> bool:
        """Return whether this node would contact `name` on its own initiative."""

    def repeat(self, to: str, now: float) -> list[Effect]:
        """Repeat the questions that `to` refused to answer; with them goes this node's proof."""
