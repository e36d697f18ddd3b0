"""The bounds and options of SWIM, and its counters."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trionet.histograms import new_histogram

__all__ = ["SwimCounts", "SwimOptions"]


def _nobody(_: str) -> bool:
    return False


class SwimOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds and options of one node.

    Attributes:
        members: the most present members; more are refused and counted. Reasonable: some times the expected number.
        gone: the most failed and left members; of more, those gone longest are forgotten.
        forget_failed_s: how long a failed member is remembered, and contacted now and then. A longer partition heals
            only by a join. Reasonable: longer than any outage that should heal by itself.
        forget_left_s: how long a left member is remembered. Reasonable: longer than any member can stall, as it would
            bring back stale news.
        relays: the most simultaneous probes on behalf of others.
        is_falling_back: whether a member that doesn't answer datagrams is pinged by a connection, too, before it is
            suspected.
        has_objects: whether messages are passed on as objects, not as bytes alone; if not, views are not listed, too.
        is_barred: whether a node of this name can't be a member; see `border`.
    """

    members: int = 65_536
    gone: int = 65_536
    forget_failed_s: float = 72 * 3600.0
    forget_left_s: float = 3600.0
    relays: int = 256
    is_falling_back: bool = True
    has_objects: bool = True
    is_barred: Callable[[str], bool] = _nobody


class SwimCounts(msgspec.Struct):
    """Counts of rejected input and of incidents.

    Attributes:
        invalid: statements that no correct node makes.
        unknown_sender: messages that only a member may send, from another node.
        refused: statements about new members for which there is no room, or that can't be members.
        unexpected: answers to no open question, or from the wrong node.
        refutations: how often this node had to refute a statement about itself.
        stalls: how often `on_timer` was called much too late.
        failed_probes: probes without any answer.
        suspicions: how often its own probes made it suspect a member.
        round_trips: the times from a probe to its ack; see `trionet.histograms`.
        syncs: view comparisons that this node began.
    """

    invalid: int = 0
    unknown_sender: int = 0
    refused: int = 0
    unexpected: int = 0
    refutations: int = 0
    stalls: int = 0
    failed_probes: int = 0
    syncs: int = 0
    suspicions: int = 0
    round_trips: list[int] = msgspec.field(default_factory=new_histogram)

    def add(self, others: SwimCounts) -> None:
        """Add the counts of another, as those of an earlier life."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(others, name)
            both = [a + b for a, b in zip(mine, theirs, strict=True)] if isinstance(mine, list) else mine + theirs
            setattr(self, name, both)
