"""The figures that a node shows about itself."""

from __future__ import annotations

import msgspec

__all__ = ["NodeStatistics"]


class NodeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures about a node.

    Attributes:
        calls_served: the calls that it has accepted, of other nodes and of itself.
        calls_running: the served calls with running handlers.
        calls_orphaned: its own cancelled calls whose handlers did not confirm their end in time.
        requests_refused: the requests over HTTP without a valid token or signature, or with too small a scope; 0 on a
            node without a key.
    """

    calls_served: int
    calls_running: int
    calls_orphaned: int
    requests_refused: int = 0
