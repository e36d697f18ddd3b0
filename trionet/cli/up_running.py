"""The run of ``trionet up``: from the start of its nodes to their end."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

import msgspec
import trio

from trionet.config import NodeConfig
from trionet.errors import NodeUnreachable, NotPermitted, PreconditionFailed
from trionet.events import ChildEnded, ChildGivenUp, Events
from trionet.forks import receive_signals
from trionet.message import Remote
from trionet.nurseries import open_background_nursery
from trionet.runtime import open_node
from trionet.streams import check_written

from .hangups import reload_on_signal
from .serving import Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.identity import NodeAddress
    from trionet.node import Node
    from trionet.security.node_keys import NodeKeys

    from .service_manager import ServiceManager

__all__ = ["Fleet", "Started", "run_fleet"]


class Started(NamedTuple):
    """A node that has started.

    Attributes:
        address: its address.
        restart: when it is started again; see `NodeConfig.restart`.
        host: the name of its host; None without a cluster file.
    """

    address: NodeAddress
    restart: str
    host: str | None = None


class Fleet(Protocol):
    """Nodes that start and stop together."""

    @property
    def config(self) -> NodeConfig:
        """The settings that all of them share."""
        ...

    async def start(self, node: Node) -> list[Started]:
        """Start them as children of `node`, and make them a cluster; return those that have started.

        Raises:
            SpawnError: they have not; none of them is to run on.
        """
        ...


async def run_fleet(
    fleet: Fleet, keys: NodeKeys | None, as_json: bool, results: TextIO, manager: ServiceManager
) -> int:
    """Run the nodes; return the exit status.

    Raises:
        Interrupted: a signal came before they had all booted.
        SpawnError: they did not boot.
        OutputLost: their addresses could not be printed.
    """
    status: int | None = None
    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background_nursery() as nursery:
            scope = trio.CancelScope()

            async def obey_signals() -> None:
                async for _ in signals:
                    if scope.cancel_called:
                        os._exit(130)  # at once, at the second one: the nodes stop because their parent is gone
                    scope.cancel()

            nursery.start_soon(obey_signals)
            with scope:
                async with open_node(_root(fleet.config, keys), keys=keys) as node:
                    events = node.events()
                    started = await fleet.start(node)
                    addresses = [each.address for each in started]
                    has_certificates = fleet.config.certificate_file is not None
                    then = partial(_reload_all, node, addresses) if has_certificates else None
                    await nursery.start(reload_on_signal, node, manager, then)
                    nursery.start_soon(manager.report, node, lambda _: _count(started))
                    _announce(started, results, as_json=as_json)
                    status = 0
                    status = await _wait_for_all(events, {each.address: each.restart for each in started})
                    print("trionet up: all nodes have ended", file=sys.stderr)
    if status is None:
        raise Interrupted
    return status


def _root(config: NodeConfig, keys: NodeKeys | None) -> NodeConfig:
    """Return the configuration of the node that spawns the others, and reads their files again."""
    settings: dict[str, Any] = {"cluster": config.cluster, "accept": config.accept, "send": config.send}
    settings |= {"key_file": config.key_file if keys is None else keys.path} | config.certificate_settings
    return NodeConfig.from_mapping(settings)


async def _reload_all(node: Node, addresses: list[NodeAddress]) -> None:
    """Have the nodes read their certificates; their keys they get from this one, or read when it does."""
    for address in addresses:
        with suppress(NotPermitted, NodeUnreachable, PreconditionFailed):  # it has ended, or has no file to read
            await node.local.comm.send([], Remote(node=address, service="status", method="reload"))


async def _wait_for_all(events: Events, running: dict[NodeAddress, str]) -> int:
    """Wait until all nodes have ended for good by themselves; return the exit status.

    Args:
        events: those of the node that supervises them.
        running: when each node is started again, by its address.
    """
    failed = False
    while running:
        match await anext(events):
            case ChildGivenUp(node=node):
                failed = True
                running.pop(node, None)
            case ChildEnded(node=node, status=status):
                restart = running.get(node)
                if restart == "never" or (restart == "on_failure" and status == 0):
                    failed = failed or status != 0
                    del running[node]
            case _:
                pass
    return int(failed)


def _announce(started: Sequence[Started], results: TextIO, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"nodes": list(map(_described, started))}).decode(), file=results)
        check_written(results)
        return
    for address, _, host in started:
        print(f"{address.sid}  {address}" + ("" if host is None else f"  {host}"), file=results)
    print(f"{_count(started)}; Ctrl-C stops {'it' if len(started) == 1 else 'them'}", file=results)
    check_written(results)


def _described(started: Started) -> dict[str, Any]:
    address, _, host = started
    node = {"ip": address.ip, "port": address.port, "nid": address.nid, "sid": address.sid}
    return node if host is None else node | {"host": host}


def _count(started: Sequence[Started]) -> str:
    return "1 node is up" if len(started) == 1 else f"{len(started)} nodes are up"
