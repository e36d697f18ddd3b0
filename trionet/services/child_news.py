"""News of this node's own children: it tells the cluster of the end of one, before any probe fails.

Invariant: only an observed end is told (see `ObservedStatus`), and only of the process that this node has spawned: a
statement about it carries that process's boot id. Another process at its address, its successor or a stranger's, has
another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.events import ChildEnded, MemberJoined
from trionet.launchers.base import ObservedStatus
from trionet.protocols.statements import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.events import Event
    from trionet.identity import NodeAddress

    from .cluster_agent import ClusterAgent

__all__ = ["ChildNews"]


class ChildNews:
    """Observes the children of one node, and their membership."""

    def __init__(self, agent: ClusterAgent, on_boot: Callable[[Callable[[NodeAddress], None]], None]) -> None:
        """Observe the children whose boots ``on_boot(listener)`` tells of, and the events that `handle` gets."""
        self._agent = agent
        self._boot_ids: dict[NodeAddress, int | None] = {}  # None until it is a member
        on_boot(self.handle_boot)

    def handle_boot(self, child: NodeAddress) -> None:
        """Handle a child that has booted, perhaps once more; as a rule, it is a member by then."""
        self._boot_ids[child] = self._boot_id(child)

    def handle(self, event: Event) -> None:
        """Handle an event of this node."""
        if type(event) is MemberJoined:
            if self._boot_ids.get(event.node, 0) is None:
                self._boot_ids[event.node] = self._boot_id(event.node)
        elif type(event) is ChildEnded:
            boot_id = self._boot_ids.pop(event.node, None)
            if boot_id is not None and isinstance(event.status, ObservedStatus) and self._agent.is_running:
                driver = self._agent.driver
                driver.act(self._agent.swim.observe_end(str(event.node), boot_id, driver.now()))

    def _boot_id(self, node: NodeAddress) -> int | None:
        info = self._agent.swim.member(str(node)) if self._agent.has_begun else None
        return info.boot_id if info is not None and info.state <= State.SUSPECT else None
