"""A node on one host that uses those of another one by all ways.

``python -m tests.robustness.far SETTINGS ADDRESS [HOST WORD ...]``: of its node, of the other one; for ``ssh``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeAddress, NodeConfig, Remote, SSHLauncher, open_node, rpc

if TYPE_CHECKING:
    from trionet import Node

__all__ = ["EAR", "MARK", "SECOND_PORT", "Ear"]

MARK: Final = "plain-text-that-no-stranger-reads"
EAR: Final = {"ear": "tests.robustness.far:Ear"}
SECOND_PORT: Final = 7990


class Ear:
    """Hears texts."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    @rpc
    def echo(self, text: str) -> str:
        return text

    @rpc
    def hear(self, text: str) -> None:
        self._heard.append(text)

    @rpc
    def heard(self) -> list[str]:
        return self._heard


async def _work(node: Node, far: NodeAddress) -> None:
    """Join has ended: call, gossip, and change tags."""
    for text in (MARK, MARK * 10_000):
        assert await node.local.comm.send([text], Remote(node=far, service="ear", method="echo")) == text
    receipt = await node.group("all").gossip.send([MARK], Remote(service="ear", method="hear"))
    spread = await receipt.wait_spread()
    assert spread.known == spread.members >= 2, spread
    assert await node.local.comm.send([], Remote(node=far, service="ear", method="heard")) == [MARK]
    await node.local.membership.set_tags({"mark": MARK})
    members = Remote(node=far, service="membership", method="members")

    async def is_known() -> bool:
        return MARK in [member.tags.get("mark") for member in await node.local.comm.send([], members)]

    while not await is_known():  # noqa: ASYNC110  another process
        await trio.sleep(0.01)


async def _spawn(node: Node, host: str, options: list[str]) -> None:
    """Start a node by ssh, which joins, and call it."""
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "trionet.cli.node"]
    node.register_launcher("ssh", SSHLauncher(host, command=command, options=options))
    config = NodeConfig(ip=host.rpartition("@")[2], port=SECOND_PORT, services=EAR, launcher="ssh")
    address = await node.local.status.spawn(config)
    assert await node.local.comm.send([MARK], Remote(node=address, service="ear", method="echo")) == MARK
    await wait_until(lambda: address.sid in node.all.members())


async def main() -> None:
    settings, far, *ssh = sys.argv[1:]
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(**msgspec.json.decode(settings))) as node:
            await node.local.routes.put(Ear(), "ear")
            await _work(node, NodeAddress.of(far))
            if ssh:
                await _spawn(node, ssh[0], ssh[1:])
    os.write(1, b"done\n")


if __name__ == "__main__":
    trio.run(main)
