"""What a node shows of itself: its figures, its running calls, its events."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .node_figures import NodeRecords
from .services.node_calls import NodeCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call_tree import CallTree
    from .child_nodes import ChildNodes
    from .current_call import CurrentCall
    from .events import Event, EventBus, Events, OrphanedCall
    from .figures import NodeFigures
    from .node_log import NodeLog
    from .node_statistics import NodeStatistics
    from .router import Router
    from .running_calls import RunningCalls
    from .services.cluster_agent import ClusterAgent
    from .transports.base import Endpoint

__all__ = ["NodeViews"]


class NodeViews(NodeCalls):
    """The views of a node; the base of `Node`."""

    _router: Router
    _endpoint: Endpoint
    _agent: ClusterAgent
    _log: NodeLog
    _children: ChildNodes
    _bus: EventBus

    @cached_property
    def calls(self) -> RunningCalls:
        """Its running calls, and those of its cluster, as a tree of cancel scopes."""
        from .running_calls import RunningCalls  # few nodes are asked

        local = self.local
        return RunningCalls(self._router, self._endpoint, local.comm, local.groups, self._log.latest_orphans)

    def statistics(self) -> NodeStatistics:
        """Return the node's current figures."""
        return self._records().statistics()

    def figures(self) -> NodeFigures:
        """Return all its figures: calls by method, links, gossip, membership."""
        return self._records().figures()

    def _records(self) -> NodeRecords:
        return NodeRecords(self._router, self._endpoint, self._agent, self.local, self._log, self._children)

    def running_calls(self) -> list[CurrentCall]:
        """Return the calls whose handlers are running on this node, oldest first."""
        return [prepared.current() for prepared in self._router.running]

    def dump(self) -> CallTree:
        """Return its own running calls as a tree, for ``print(node.dump())``; `RunningCalls.tree` is the cluster's."""
        return self.calls.dump()

    def orphaned_calls(self) -> list[OrphanedCall]:
        """Return the latest orphans among its own calls, at most 64."""
        return list(self._log.latest_orphans)

    def events(self) -> Events:
        """Return an async iterator over the events from now on; it ends with the node."""
        return self._bus.watch()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener(event)`` with each event, at once; it must not wait. Its exceptions are logged.

        Raises:
            MalformedRequest: it is not a plain function.
        """
        self._bus.listen(listener)
