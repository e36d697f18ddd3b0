"""Collects the figures of one node from its parts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from .figures import CallFigures, ClusterFigures, DatagramFigures, GossipFigures, LinkFigures, NodeFigures
from .histograms import durations
from .node_statistics import NodeStatistics
from .protocols.packets import kind_of
from .protocols.statements import State

if TYPE_CHECKING:
    from .call_counts import CallCounts
    from .child_nodes import ChildNodes
    from .node_log import NodeLog
    from .router import Router
    from .services import LocalServices
    from .services.cluster_agent import ClusterAgent
    from .transports.base import Endpoint

__all__ = ["NodeRecords"]

_STATES: Final = {State.ALIVE: "alive", State.SUSPECT: "suspect", State.DEAD: "failed", State.LEFT: "left"}


class NodeRecords:
    """Reads the figures of one node, which its parts count."""

    def __init__(
        self,
        router: Router,
        endpoint: Endpoint,
        agent: ClusterAgent,
        local: LocalServices,
        log: NodeLog,
        children: ChildNodes,
    ) -> None:
        """Read the figures of the node with these parts."""
        self._router = router
        self._endpoint = endpoint
        self._agent = agent
        self._local = local
        self._log = log
        self._children = children

    def statistics(self) -> NodeStatistics:
        """Return a summary."""
        router, endpoint, agent = self._router, self._endpoint, self._agent
        return NodeStatistics(
            calls_served=router.served,
            calls_running=len(router.running),
            calls_orphaned=self._log.calls_orphaned,
            connections_refused=endpoint.connections_refused,
            datagrams_refused=agent.datagrams_refused,
            datagrams_replayed=agent.datagrams_replayed,
            requests_refused=endpoint.requests_refused,
            code_refused=self._local.code.refused,
            calls_refused=router.refused,
        )

    def figures(self) -> NodeFigures:
        """Return all figures."""
        links = self._endpoint.links
        return NodeFigures(
            at_s=self._endpoint.clock.now(),
            calls_served=_calls(self._router.counts),
            calls_made=_calls(self._local.comm.counts),
            calls_running=len(self._router.running),
            calls_orphaned=self._log.calls_orphaned,
            links=LinkFigures() if links is None else links.figures(),
            datagrams=self._datagrams(),
            gossip=self._gossip(),
            cluster=self._cluster(),
            refused=self._refused(),
            children=self._children.supervised,
            children_spawned=self._children.booted,
        )

    def _datagrams(self) -> DatagramFigures:
        if not self._agent.has_begun:
            return DatagramFigures()
        driver = self._agent.driver
        traffic = driver.mux.traffic
        return DatagramFigures(
            sent=driver.sent,
            received=driver.received,
            bytes_sent=driver.sent_bytes,
            bytes_received=driver.received_bytes,
            by_call=driver.by_call,
            lost=driver.lost,
            messages_sent={kind_of(kind): count for kind, count in traffic.sent.items()},
            messages_received={kind_of(kind): count for kind, count in traffic.received.items()},
        )

    def _gossip(self) -> GossipFigures:
        if not self._agent.has_begun:
            return GossipFigures()
        counts = self._agent.gossip.counts
        return GossipFigures(
            sent=counts.sent,
            delivered=counts.delivered,
            duplicates=counts.duplicates,
            pulled=counts.pulled,
            failed=self._local.gossip.failed,
        )

    def _cluster(self) -> ClusterFigures:
        if not self._agent.has_begun:
            return ClusterFigures()
        swim, counts = self._agent.swim, self._agent.swim_counts()
        states = Counter(_STATES[member.state] for member in swim.members())
        return ClusterFigures(
            members={state: states[state] for state in _STATES.values()},
            suspicions=counts.suspicions,
            refutations=counts.refutations,
            probes_failed=counts.failed_probes,
            probe_round_trips=durations(counts.round_trips),
            health=swim.health,
            lag=durations(self._agent.driver.lag),
        )

    def _refused(self) -> dict[str, dict[str, int]]:
        datagrams = self._agent.datagram_refusals
        return {
            "call": dict(self._router.counts.refusals),
            "connection": {"any": self._endpoint.connections_refused},
            "datagram": {}
            if datagrams is None
            else {name: getattr(datagrams, name) for name in datagrams.__struct_fields__},
            "request": {"any": self._endpoint.requests_refused},
            "code": {"any": self._local.code.refused},
        }


def _calls(counts: CallCounts) -> list[CallFigures]:
    return [
        CallFigures(service, method, outcome, durations(histogram)) for service, method, outcome, histogram in counts
    ]
