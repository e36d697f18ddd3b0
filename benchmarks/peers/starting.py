"""A program that starts processes, and is ready when each has answered once: trionet's nodes, or those of a pool."""

from __future__ import annotations

import os
import sys
import time

from benchmarks.commands import answer_in_threads, options

_SLEEP_S = 0.05


def _pid(_: int) -> int:
    """Answer from a pool's process; the sleep keeps one from answering twice."""
    time.sleep(_SLEEP_S)
    return os.getpid()


def _start_pool(count: int) -> None:
    import multiprocessing

    with multiprocessing.get_context("forkserver").Pool(count) as pool:
        pids: set[int] = set()
        while len(pids) < count:
            pids |= set(pool.map(_pid, range(count), chunksize=1))
        answer_in_threads()


def _start_nodes(count: int) -> None:
    import trio

    import trionet
    from benchmarks.commands import answer_in_trio

    async def main(node: trionet.Node) -> None:
        children: list[trionet.NodeAddress] = []

        async def spawn() -> None:
            children.append(await node.spawn(trionet.NodeConfig()))

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(spawn)
        await node.local.groups.put("children", children)
        replies = await node.group("children").comm.send(["port"], trionet.Remote(service="status", method="get"))
        replies.raise_errors()
        if sorted(replies.values.values()) != sorted(child.port for child in children):
            raise ValueError("an answer is wrong")
        await answer_in_trio()

    trionet.run(main)


if __name__ == "__main__":
    {"pool": _start_pool, "trionet": _start_nodes}[sys.argv[1]](options()["count"])
