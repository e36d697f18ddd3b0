"""A program that starts nodes on other hosts by ssh, reports in lines of JSON, and stays: for tests to kill.

``python -m tests.hosts.fleet '{"ip": "10.77.0.5", "hosts": {"10.77.0.1": []}, "count": 25}'``; see `Plan`.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import trio

from tests.node_processes import ROOT
from trionet import ChildEnded, Node, NodeAddress, NodeConfig, Remote, SSHLauncher, open_node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["NODE", "Plan", "Row"]

NODE = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "trionet.cli.node"]


class Plan(msgspec.Struct):
    """What to start.

    Attributes:
        ip: the address of this host.
        hosts: the options of ssh, by the addresses of the other hosts.
        count: how many nodes on each.
        rounds: how often, for figures; the nodes of the last round stay.
    """

    ip: str
    hosts: dict[str, list[str]]
    count: int
    rounds: int = 1


class Row(msgspec.Struct):
    """One line.

    Attributes:
        what: ``local``, ``ssh`` or ``lost``.
        first_s: when the first node was ready.
        last_s: when the last one was.
        lost: how many nodes have ended on each host.
    """

    what: str
    first_s: float = 0.0
    last_s: float = 0.0
    lost: dict[str, int] = {}


def _say(row: Row) -> None:
    os.write(1, msgspec.json.encode(row) + b"\n")


async def _spawn_all(node: Node, what: str, configs: list[NodeConfig]) -> list[NodeAddress]:
    begun, ready, addresses = trio.current_time(), [], []

    async def spawn(config: NodeConfig) -> None:
        addresses.append(await node.local.status.spawn(config))
        ready.append(trio.current_time() - begun)

    async with trio.open_nursery() as nursery:
        for config in configs:
            nursery.start_soon(spawn, config)
    _say(Row(what, ready[0], ready[-1]))
    return addresses


async def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    here = NodeConfig(ip=plan.ip, insecure=True)
    local = [NodeConfig()] * (plan.count * len(plan.hosts))
    there = [
        NodeConfig(ip=ip, insecure=True, launcher=f"at-{ip}", stop_grace_s=0.5)
        for _ in range(plan.count)
        for ip in plan.hosts
    ]

    async def stay(node: Node) -> None:
        events = node.events()
        ended: Counter[str] = Counter()
        while True:
            event = await anext(events)
            if isinstance(event, ChildEnded):
                ended[event.node.ip] += 1
                _say(Row("lost", lost=dict(ended)))

    for number in range(plan.rounds):
        await _round(here, "local", local, {}, is_timed=True)
        is_last = number == plan.rounds - 1
        await _round(here, "ssh", there, plan.hosts, stay if is_last else None, is_timed=plan.rounds > 1)


async def _round(
    here: NodeConfig,
    what: str,
    configs: list[NodeConfig],
    hosts: dict[str, list[str]],
    then: Callable[[Node], Awaitable[None]] | None = None,
    *,
    is_timed: bool,
) -> None:
    """Start all nodes from cold, and once more now that the helpers are there."""
    async with open_node(here) as node:
        for ip, options in hosts.items():
            node.register_launcher(f"at-{ip}", SSHLauncher(ip, command=NODE, options=options))
        addresses = await _spawn_all(node, f"{what} cold", configs)
        if is_timed:
            stop = Remote(service="status", method="stop")
            for address in addresses:
                await node.local.comm.send([], msgspec.structs.replace(stop, node=address))
            await _spawn_all(node, f"{what} warm", configs)
        if then is not None:
            await then(node)


if __name__ == "__main__":
    trio.run(main)
