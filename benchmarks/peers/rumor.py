"""A trionet node that gossips to a fleet, and asks when each member heard it."""

from __future__ import annotations

import time
from typing import Any

import trio

import trionet
from benchmarks.commands import Answer, answer_in_trio, options


async def main(nodes: list[dict[str, Any]]) -> None:
    """Be the sender, who is no member."""
    async with trionet.open_node() as node:
        members = [trionet.NodeAddress(one["ip"], one["port"]) for one in nodes]
        await node.local.groups.put("fleet", members)
        fleet = node.group("fleet")
        (await fleet.groups.put("fleet", members)).raise_errors()

        async def ask(method: str) -> dict[str, Any]:
            replies = await fleet.comm.send([], trionet.Remote(service="tally", method=method))
            return {str(members_by_sid[sid]): value for sid, value in replies.values.items()}

        members_by_sid = {one.sid: one for one in members}

        async def answer(command: Answer) -> Answer:
            if command["do"] == "gossip":
                begun = time.monotonic()
                receipt = await fleet.gossip.send([], trionet.Remote(service="tally", method="note"))
                receipt.raise_errors()
                return {"begun": begun}
            if command["do"] == "failed":
                return {"failed": await ask("failed")}
            if command["do"] == "count":
                replies = await fleet.comm.send([], trionet.Remote(service="membership", method="members"))
                return {"counts": [sum(one.node in members for one in found) for found in replies.values.values()]}
            return {"heard": list((await ask("heard")).values())}

        await answer_in_trio(answer)


if __name__ == "__main__":
    trio.run(main, options()["nodes"])
