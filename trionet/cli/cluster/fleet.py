"""The nodes of a cluster file, started and checked as one."""

from __future__ import annotations

import sys
from contextlib import suppress
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
"""How long to wait for one member more."""

_ANSWER_S: Final = 3.0
"""How long a node may take to answer; a firewall may drop what is sent to it."""

_MOST_ASKED: Final = 3
"""How many are asked at once, each on another host."""

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
    asked = list({each.host: each.address for each in started}.values())[:_MOST_ASKED]
    missing, until = started, trio.current_time() + _JOIN_S
    while missing and trio.current_time() < until:
        members = await _members(node, asked)
        if not members:
            text = "none of the nodes can be reached from this machine, so it is not known here if they are one cluster"
            print(f"trionet up: {text}", file=sys.stderr)
            return
        before, missing = len(missing), [each for each in started if each.address not in members]
        if len(missing) < before:
            until = trio.current_time() + _JOIN_S
        if missing:
            await trio.sleep(_ASK_AGAIN_S)
    for address, _, host in missing:
        text = f"{address} has started, and is no member of the cluster: can it reach the others, and they it?"
        print(f"trionet up: {host}: {text}", file=sys.stderr)
    if len(started) - len(missing) < least:
        raise SpawnError(
            f"{len(started) - len(missing)} of {len(started)} nodes are one cluster, and {least} are needed: stopped; "
            f"trionet doctor tells what keeps nodes apart"
        )


async def _members(node: Node, asked: list[NodeAddress]) -> set[NodeAddress]:
    """Return the members of the largest cluster of the nodes that answer; none if none does in time."""
    found: list[set[NodeAddress]] = []

    async def ask(address: NodeAddress) -> None:
        with suppress(TrionetError):
            members = await node.local.comm.send([], Remote(node=address, service="membership", method="members"))
            found.append({member.node for member in members if member.status in _PRESENT})

    with trio.move_on_after(_ANSWER_S):
        async with trio.open_nursery() as nursery:
            for address in asked:
                nursery.start_soon(ask, address)
    return max(found, key=len, default=set())
