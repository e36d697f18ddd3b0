"""The nodes of a cluster file, started and checked as one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import SpawnError, TrionetError
from trionet.message import Remote

from .starting import start_all

if TYPE_CHECKING:
    from trionet.cli.up_running import Started
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.node import Node

    from .plan import Plan

__all__ = ["PlannedNodes"]

_JOIN_S: Final = 10.0
"""How long they may take to become one cluster."""

_ASK_AGAIN_S: Final = 0.1
_PRESENT: Final = ("alive", "suspect")


class PlannedNodes:
    """The nodes of a plan.

    Attributes:
        config: the settings that all of them share.
    """

    def __init__(self, plan: Plan, config: NodeConfig) -> None:
        self.config: NodeConfig = config
        self._plan = plan

    async def start(self, node: Node) -> list[Started]:
        """Start the nodes; see `Fleet.start`."""
        print(f"trionet up: {self._plan.summary()}", file=sys.stderr)
        started = await start_all(node, self._plan)
        await _check_cluster(node, started, self._plan.least)
        return started


async def _check_cluster(node: Node, started: list[Started], least: int) -> None:
    """Wait until the nodes are members of one cluster. If none can be reached from here, say so, and go on.

    Raises:
        SpawnError: after some time fewer than `least` are.
    """
    missing: list[Started] | None = None
    with trio.move_on_after(_JOIN_S):
        while missing is None or missing:
            members = await _members(node, [each.address for each in started])
            if members is None:
                break
            missing = [each for each in started if each.address not in members]
            if missing:
                await trio.sleep(_ASK_AGAIN_S)
    if missing is None:
        text = "none of the nodes can be reached from this machine, so whether they are one cluster is not known here"
        print(f"trionet up: {text}", file=sys.stderr)
        return
    for address, _, host in missing:
        text = f"{address} has started, and is no member of the cluster: can it reach the others, and they it"
        print(f"trionet up: {host}: {text}?", file=sys.stderr)
    if len(started) - len(missing) < least:
        raise SpawnError(
            f"{len(started) - len(missing)} of {len(started)} nodes are one cluster, and {least} are needed: stopped; "
            f"see trionet doctor --help for what keeps nodes apart"
        )


async def _members(node: Node, addresses: list[NodeAddress]) -> set[NodeAddress] | None:
    """Return the members of the cluster, as the first node that answers has them; None if none answers."""
    for address in addresses:
        try:
            members = await node.local.comm.send([], Remote(node=address, service="membership", method="members"))
        except TrionetError:
            continue
        return {member.node for member in members if member.status in _PRESENT}
    return None
