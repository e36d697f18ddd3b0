"""A trionet node that calls a fleet: one group-wide call after the other, the first of which makes the connections."""

from __future__ import annotations

import time
from typing import Any

import trio

import trionet
from benchmarks.commands import Answer, answer_in_trio, options
from benchmarks.load import PAYLOAD


async def main(nodes: list[dict[str, Any]], is_tree: bool = False) -> None:
    """Be the caller; `is_tree`: whether the calls go along a tree."""
    remote = trionet.Remote(service="echo", method="plain")
    async with trionet.open_node() as node:
        await node.local.groups.put("fleet", [trionet.NodeAddress.of(one) for one in nodes])
        send = node.group("fleet").comm.send

        async def fan_out(command: Answer) -> Answer:
            seconds = []
            for _ in range(command["times"]):
                begun = time.perf_counter()
                replies = await send([PAYLOAD], remote, tree=is_tree)
                seconds.append(time.perf_counter() - begun)
                replies.raise_errors()
                if list(replies.values.values()) != [PAYLOAD] * len(nodes):
                    raise ValueError("an echo is wrong")
            return {"seconds": seconds}

        await answer_in_trio(fan_out)


if __name__ == "__main__":
    trio.run(main, options()["nodes"], options().get("tree", False))
