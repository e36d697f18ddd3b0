"""The nodes of ``trionet up N``: all by one launcher, by default on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.errors import SpawnError, TrionetError
from trionet.message import Remote
from trionet.services.groups import ALL

from .consecutive import shifted
from .progress import Progress
from .up_running import Started

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.node import Node

__all__ = ["EqualNodes"]

_AT_ONCE: Final = 8
"""How many boot at once: by default an sshd begins to refuse at 10 unauthenticated connections."""

_JOIN_S: Final = 10.0
_JOIN_EACH_S: Final = 0.3
"""How long they may take to become one cluster, and how much longer for each: they share this machine."""

_GROUP: Final = "up"


class EqualNodes:
    """Nodes that differ in their ports alone.

    Attributes:
        config: the configuration of the first one.
    """

    def __init__(self, config: NodeConfig, count: int, *, has_to_come: bool) -> None:
        """Be `count` nodes. They get the keys of this process, and need no path of their file.

        If the key file `has_to_come`, before a rollout, each node reads it. A node that is to join none begins a
        cluster.
        """
        key_file, join = config.key_file if has_to_come else None, config.join or []
        self._configs = [
            msgspec.structs.replace(shifted(config, number), key_file=key_file, join=join) for number in range(count)
        ]
        self.config: NodeConfig = self._configs[0]

    async def start(self, node: Node) -> list[Started]:
        """Start the nodes; see `Fleet.start`."""
        addresses = await _start(node, self._configs)
        await _introduce(node, addresses, are_to_join=not self.config.join)
        return [Started(address, self.config.restart) for address in addresses]


async def _start(node: Node, configs: list[NodeConfig]) -> list[NodeAddress]:
    """Start the nodes; return their addresses in order."""
    addresses: dict[int, NodeAddress] = {}
    limit = trio.CapacityLimiter(_AT_ONCE)
    failure: TrionetError | None = None

    async def start_one(number: int, config: NodeConfig) -> None:
        nonlocal failure
        async with limit:
            try:
                addresses[number] = await node.local.status.spawn(config)
            except TrionetError as exc:
                failure = failure or exc
                nursery.cancel_scope.cancel()
            else:
                progress.show(len(addresses))

    with Progress("nodes", len(configs)) as progress:
        progress.show(0)
        async with trio.open_nursery() as nursery:
            for number, config in enumerate(configs):
                nursery.start_soon(start_one, number, config)
    if failure is not None:
        raise failure
    return [addresses[number] for number in range(len(configs))]


async def _introduce(node: Node, addresses: list[NodeAddress], *, are_to_join: bool) -> None:
    """Make all nodes a cluster, unless they have joined one, and put all into a group on each of them."""
    await node.local.groups.put(_GROUP, addresses)
    group = node.group(_GROUP)
    replies = await group.comm.send([ALL, *addresses], Remote(service="groups", method="add"))
    for error in replies.errors.values():
        raise SpawnError(f"the nodes could not be added to the group of one of them: {error}") from error
    if are_to_join and len(addresses) > 1:
        await node.local.groups.put(_GROUP, addresses[1:])
        with trio.move_on_after(_JOIN_S + _JOIN_EACH_S * len(addresses)):
            join = Remote(service="membership", method="join")
            replies = await group.comm.send([[str(addresses[0])]], join, partial=True)
        for error in replies.errors.values():
            raise SpawnError(f"the nodes could not join one of them: {error}") from error
