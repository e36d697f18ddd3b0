"""One program that spawns very many nodes of one cluster, each a process of its own, and does something with all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trio

import trionet
from benchmarks.commands import Answer, answer_in_trio, options
from trionet.open_files import raise_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_POLL_S = 0.5
_QUIET_S = 2.0
_TALLY = "tally"


class Tally:
    """What one node notes, in seconds on the machine's monotonic clock, which all processes share."""

    def __init__(self, node: trionet.Node) -> None:
        self._node = node
        self._heard: list[float] = []
        self._accused: list[str] = []

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
    def echo(self, text: str) -> str:
        """Answer a call."""
        return text

    @trionet.rpc
    def known(self) -> int:
        """Return how many members this node knows."""
        return len(self._node.all.members())

    @trionet.rpc
    def accused(self) -> list[str]:
        """Return whom this node has suspected or held failed, since the last time."""
        accused, self._accused = self._accused, []
        return accused

    async def watch(self, events: AsyncIterator[Any]) -> None:
        """Note suspicions and failures."""
        async for event in events:
            if isinstance(event, trionet.MemberSuspected | trionet.MemberFailed):
                self._accused.append(f"{type(event).__name__} {event.node}")


async def begin(node: trionet.Node) -> None:
    """Set up a node."""
    tally = Tally(node)
    trio.lowlevel.spawn_system_task(tally.watch, node.events())
    await node.local.routes.put(tally, _TALLY)


class Crowd:
    """The first node, and those that it spawns."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be the first node until stopped, and end with the others."""
        async with trionet.open_node(trionet.NodeConfig(join=[])) as self._node:
            await begin(self._node)
            task_status.started()
            await trio.sleep_forever()
        self._ended.set()

    async def end(self) -> None:
        """Stop all."""
        self._node.stop()
        await self._ended.wait()

    async def answer(self, command: Answer) -> Answer:
        """Obey the runner."""
        begun = time.monotonic()
        more = await getattr(self, command["do"])(**{name: value for name, value in command.items() if name != "do"})
        return {"seconds": time.monotonic() - begun} | (more or {})

    async def spawn(self) -> Answer:
        """Spawn all."""
        node, began = self._node, time.monotonic()
        config = trionet.NodeConfig(on_start=f"{__spec__.name}:begin", log_level="error")
        ready: list[float] = []

        async def spawn_one() -> None:
            await node.spawn(config)
            ready.append(time.monotonic() - began)

        await node.prewarm()
        async with trio.open_nursery() as nursery:
            for _ in range(self._count):
                nursery.start_soon(spawn_one)
        return {"ready": [min(ready), max(ready)]}

    async def whole(self) -> Answer:
        """Wait until all nodes know each other."""
        while True:
            began = time.monotonic()
            counts = await self._ask("known")
            if sorted(counts.values()) == [self._count + 1] * self._count:
                return {}
            await trio.sleep(max(_POLL_S, 2 * (time.monotonic() - began)))

    async def rumor(self) -> Answer:
        """Send a rumor, and wait until it spreads no more."""
        began = time.monotonic()
        await self._node.all.gossip.send([], trionet.Remote(service=_TALLY, method="note"))
        heard: list[float] = []
        while True:
            await trio.sleep(_QUIET_S)
            found = [when for times in (await self._ask("heard")).values() for when in times]
            if not found:
                break
            heard += found
        return {"last": max(heard) - began, "reached": len(heard)}

    async def call(self, tree: bool = False) -> Answer:
        """Call all once."""
        members: Any = self._node.all.options(tree=True) if tree else self._node.all
        began, cpu = time.monotonic(), time.process_time()
        replies = await members.call(Tally.echo, "x" * 100)
        took = time.monotonic() - began
        return {
            "took": took,
            "cpu": time.process_time() - cpu,
            "values": len(replies.values) - (self._node.sid in replies.values),
            "errors": [str(error) for error in replies.errors.values()][:3],
        }

    async def accused(self) -> Answer:
        """Return who was suspected or held failed by whom, since the last time."""
        found = await self._ask("accused")
        return {"accused": [one for names in found.values() for one in names]}

    async def _ask(self, method: str) -> dict[str, Any]:
        replies = await self._node.all.comm.send([], trionet.Remote(service=_TALLY, method=method))
        own = self._node.sid
        return {sid: value for sid, value in replies.values.items() if sid != own}


async def main(count: int) -> None:
    """Be the worker."""
    raise_limit()
    crowd = Crowd(count)
    async with trio.open_nursery() as nursery:
        await nursery.start(crowd.run)
        await answer_in_trio(crowd.answer)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, options()["count"])
