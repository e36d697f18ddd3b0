"""A service whose handler doesn't heed that it is cancelled."""

from __future__ import annotations

import trio

from trionet import Node, NodeConfig, Remote, rpc

__all__ = ["CONFIG", "Stubborn", "give_up_on", "work_on"]


class Stubborn:
    """Works to its end, whoever has lost interest."""

    @rpc
    async def work(self, seconds: float) -> float:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
        return seconds


async def expose_stubborn(node: Node) -> None:
    await node.local.routes.put(Stubborn(), "stubborn")


CONFIG = NodeConfig(on_start=expose_stubborn)


async def work_on(callee: Node, caller: Node, seconds: float) -> None:
    """Have one node call another's service."""
    await caller.local.comm.send([seconds], Remote(node=callee.address, service="stubborn", method="work"))


async def give_up_on(callee: Node, caller: Node, seconds: float) -> None:
    """Have one node call another's service, and lose interest soon."""
    with trio.move_on_after(0.1):
        await work_on(callee, caller, seconds)
