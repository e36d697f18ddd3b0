"""The figures of one node, as plain data: what `trionet top` and ``GET /metrics`` show.

Counts begin at 0 with the node, and never decrease.
"""

from __future__ import annotations

import msgspec

from .histograms import NO_DURATIONS, Durations

__all__ = [
    "CallFigures",
    "ClusterFigures",
    "DatagramFigures",
    "GossipFigures",
    "LinkFigures",
    "NodeFigures",
]


class CallFigures(msgspec.Struct, frozen=True):
    """The calls of one method with one outcome.

    Attributes:
        service, method: its names; ``_OTHER`` for all that are not registered, or too many.
        outcome: ``ok``; ``error``: the handler raised; ``refused``: it was refused before any handler ran; ``timeout``;
            ``cancelled``; and of calls that this node has made ``unreachable``, or ``lost`` with the connection.
        durations: how long they took.
    """

    service: str
    method: str
    outcome: str
    durations: Durations


class LinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The links of one node.

    Attributes:
        open: how many are open.
        opened: how many there have been.
        bytes_sent, bytes_received: the bytes of frames, before encryption.
        frames_sent, frames_received: the frames; a long one counts once for each part.
        queued_frames, queued_bytes: the frames, and parts of long ones, that wait to be sent, and their bytes.
        calls_waiting: the calls that wait, because the peer accepts no more of them at present.
        lag: how late their timers ran, because the event loop was busy or the process stopped.
    """

    open: int = 0
    opened: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    queued_frames: int = 0
    queued_bytes: int = 0
    calls_waiting: int = 0
    lag: Durations = NO_DURATIONS


class DatagramFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The packets of the protocols of one node.

    Attributes:
        sent, received: the datagrams.
        bytes_sent, bytes_received: their bytes, before encryption.
        by_call: the packets that were sent by calls.
        lost: the packets that were not sent, because too many were being sent by calls.
        messages_sent, messages_received: the messages in packets, by kind.
    """

    sent: int = 0
    received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    by_call: int = 0
    lost: int = 0
    messages_sent: dict[str, int] = msgspec.field(default_factory=dict)
    messages_received: dict[str, int] = msgspec.field(default_factory=dict)


class GossipFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The rumors at one node.

    Attributes:
        sent: started here.
        delivered: delivered here.
        duplicates: copies of rumors that were here already.
        pulled: fetched from another member, because no copy came by itself.
        failed: delivered, and not carried out.
    """

    sent: int = 0
    delivered: int = 0
    duplicates: int = 0
    pulled: int = 0
    failed: int = 0


class ClusterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The membership of one node.

    Attributes:
        members: the members that it knows, itself included, by state: ``alive``, ``suspect``, ``failed``, ``left``.
        suspicions: how often it has suspected a member by its own probes.
        refutations: how often it has refuted a statement about itself.
        probes_failed: the probes without an answer.
        probe_round_trips: the times from a probe to its acknowledgement.
        health: its local health: 0 is healthy, 8 the worst.
        lag: how late its timers ran, because the event loop was busy or the process stopped.
    """

    members: dict[str, int] = msgspec.field(default_factory=dict)
    suspicions: int = 0
    refutations: int = 0
    probes_failed: int = 0
    probe_round_trips: Durations = NO_DURATIONS
    health: int = 0
    lag: Durations = NO_DURATIONS


class NodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one node.

    Attributes:
        at_s: the time of the node's clock at which they were read: rates are differences over differences of it.
        calls_served: the calls of its methods, of other nodes and of itself, that have ended.
        calls_made: the calls to other nodes and itself that have ended.
        calls_running: the served calls with running handlers.
        calls_orphaned: its own cancelled calls whose handlers did not confirm their end in time.
        links, datagrams, gossip, cluster: those of its parts.
        refused: what it has refused, by kind and reason: ``call``, ``connection``, ``datagram``, ``request``, ``code``.
        children: the spawned nodes that are running, starting or stopping.
        children_spawned: the spawned nodes that have booted, restarts included.
    """

    at_s: float
    calls_served: list[CallFigures]
    calls_made: list[CallFigures]
    calls_running: int
    calls_orphaned: int
    links: LinkFigures
    datagrams: DatagramFigures
    gossip: GossipFigures
    cluster: ClusterFigures
    refused: dict[str, dict[str, int]]
    children: int
    children_spawned: int
