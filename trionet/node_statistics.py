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
        connections_refused: connections, accepted and made, that ended because one side broke the protocol of links,
            or has another key, version or address; and accepted ones that proved nothing in time, or were too many.
        datagrams_refused: datagrams that did not open; only with a key.
        datagrams_replayed: datagrams that were of no use any more: repeated, late, or of a sender that did not prove
            that it is alive. Networks and restarts cause a few; only with a key.
        requests_refused: the requests over HTTP of foreign web pages; with a key, also those without a valid token or
            signature, or with too small a scope.
        code_refused: code by value that it has not read.
        calls_refused: the calls whose principals may not make them; 0 on a node without a key and a policy.
    """

    calls_served: int
    calls_running: int
    calls_orphaned: int
    connections_refused: int
    datagrams_refused: int
    datagrams_replayed: int
    requests_refused: int
    code_refused: int
    calls_refused: int
