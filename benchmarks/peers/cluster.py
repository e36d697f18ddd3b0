"""Many trionet nodes that form one cluster; each notes when rumors come, and when it learns of failures."""

from __future__ import annotations

import time

import trio

import trionet
from benchmarks.commands import options
from benchmarks.peers.fleet import main, serve_until_closed


class Tally:
    """What each node noted, in seconds on the machine's monotonic clock, which all processes share."""

    def __init__(self) -> None:
        self._heard: list[float] = []
        self._failed: dict[str, float] = {}

    @trionet.rpc
    def note(self) -> None:
        """Take a rumor."""
        self._heard.append(time.monotonic())

    @trionet.rpc
    def heard(self) -> list[float]:
        """Return when rumors came, since the last time."""
        heard, self._heard = self._heard, []
        return heard

    @trionet.rpc
    def failed(self) -> dict[str, float]:
        """Return when this node learned of which member's failure."""
        return self._failed

    async def watch(self, events: trionet.Events) -> None:
        """Note failures."""
        async for event in events:
            if isinstance(event, trionet.MemberFailed):
                self._failed[str(event.node)] = time.monotonic()


async def _serve(alive: int, report: int, first_port: int | None) -> None:
    seeds = [f"127.0.0.1:{first_port}"] if first_port else []
    tally = Tally()
    async with (
        trionet.open_node(trionet.NodeConfig(join=seeds, log_level="error")) as node,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(tally.watch, node.events())
        await node.local.routes.put(tally, "tally")
        await serve_until_closed(node, alive, report)


if __name__ == "__main__":
    main(options()["count"], _serve)
