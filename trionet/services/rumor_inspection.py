"""The part of ``inspection`` about rumors: how far one has spread, and how it came to this node.

Invariant: it counts nothing for itself. What it tells is in the rumor that the node holds, or its origin tracks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import MalformedRequest

from .base import rpc

if TYPE_CHECKING:
    from typing import Protocol

    from trionet.replies import Spread

    from .arrivals import Arrival

    class InspectedGossip(Protocol):
        """The rumors of a node; see `Gossip`."""

        def spread(self, gid: str, rumor_id: str) -> Spread:
            """Return how far a rumor of the node is known to have come."""

        def arrival(self, gid: str, rumor_id: str) -> Arrival | None:
            """Return how a rumor came to the node."""

        def arrivals(self, most: int) -> list[Arrival]:
            """Return how its latest rumors came to the node."""

    class _HasGossip(Protocol):
        @property
        def gossip(self) -> InspectedGossip: ...

    class _HasLocal(Protocol):
        @property
        def local(self) -> _HasGossip: ...


__all__ = ["RumorInspection"]

_MOST_LISTED: Final = 256


class RumorInspection:
    """The methods of ``inspection`` about rumors."""

    _node: _HasLocal

    def _shown_events(self) -> list[dict[str, Any]]:
        """Return the events that are kept, as plain data."""
        raise NotImplementedError

    @rpc(read=True)
    def spread(self, gid: str, rumor: str) -> dict[str, Any]:
        """Return how far a rumor that this node has sent is known to have come, and ask those who have not confirmed.

        Args:
            gid: its group.
            rumor: its id.

        Raises:
            KeyDoesNotExist: nothing is known of it.
            MalformedRequest: it is no id.
        """
        return msgspec.structs.asdict(self._node.local.gossip.spread(gid, rumor))

    @rpc(read=True)
    def arrival(self, gid: str, rumor: str) -> dict[str, Any]:
        """Return how a rumor came to this node, as `Arrival` has it; empty if this node holds no such rumor.

        A node holds a rumor for a minute, in the default profile. ``failed`` is there if the rumor's call has failed
        here, as the latest events tell: its error.

        Args:
            gid: its group.
            rumor: its id.

        Raises:
            MalformedRequest: it is no id.
        """
        found = self._node.local.gossip.arrival(gid, rumor)
        if found is None:
            return {}
        failures = (
            one["error"] for one in self._shown_events() if one["event"] == "RumorFailed" and one["id"] == found.id
        )
        error = next(failures, None)
        return msgspec.structs.asdict(found) | ({} if error is None else {"failed": error})

    @rpc(read=True)
    def rumors(self, last: int = 50) -> list[dict[str, Any]]:
        """Return the latest rumors that this node holds, the latest first, as `arrival` does; at most 256."""
        if not 0 <= last <= _MOST_LISTED:
            raise MalformedRequest(f"last is a number from 0 to {_MOST_LISTED}, not {last!r:.40}")
        return [msgspec.structs.asdict(one) for one in self._node.local.gossip.arrivals(last)]
