"""Many trionet nodes, each a process of its own, forked from one that has imported everything.

The processes are forked before Trio runs. Each one ends when the pipe that it shares with the first one is closed, so
that none outlives it, however it ends.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

import trio

import trionet
from benchmarks.commands import answer_in_threads, options
from benchmarks.peers.link import Echo

_END_S = 4.0


Serve = Callable[[int, int, int | None], Awaitable[None]]
"""Runs one node: given what to read until its end, where to write its port, and the first node's port."""


async def _serve(alive: int, report: int, first_port: int | None) -> None:
    del first_port
    async with trionet.open_node() as node:
        await node.local.routes.put(Echo(), "echo")
        await serve_until_closed(node, alive, report)


async def serve_until_closed(node: trionet.Node, alive: int, report: int) -> None:
    """Tell a node's port, and stop it when the first process ends."""
    async with trio.lowlevel.FdStream(alive) as until:
        os.write(report, f"{node.address.port} {os.getpid()}\n".encode())  # shorter than PIPE_BUF: lines don't mix
        os.close(report)
        await until.receive_some(1)
        node.stop()
        await trio.sleep_forever()


def _fork(serve: Serve, alive: tuple[int, int], report: tuple[int, int], first_port: int | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.close(alive[1])
        os.close(report[0])
        trio.run(serve, alive[0], report[1], first_port)
        status = 0
    finally:
        os._exit(status)


def main(count: int, serve: Serve = _serve) -> None:
    """Fork `count` nodes, the first one before the others, tell their addresses, and end them in the end."""
    gc.freeze()
    alive, report = os.pipe(), os.pipe()
    pids = [_fork(serve, alive, report, None)]
    lines = open(report[0], encoding="ascii", closefd=False)  # noqa: SIM115  it lives as long as the process
    try:
        found = [_read(lines)]
        pids += [_fork(serve, alive, report, found[0]["port"]) for _ in range(count - 1)]
        os.close(alive[0])
        os.close(report[1])
        found += [_read(lines) for _ in range(count - 1)]
        answer_in_threads(nodes=found)
    finally:
        os.close(alive[1])
        _await(pids)


def _read(lines: TextIO) -> dict[str, Any]:
    words = lines.readline().split()
    if not words:
        raise RuntimeError("a node did not start")
    return {"ip": "127.0.0.1", "port": int(words[0]), "pid": int(words[1])}


def _await(pids: list[int]) -> None:
    end = time.monotonic() + _END_S
    while pids and time.monotonic() < end:
        pids = [pid for pid in pids if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        time.sleep(0.01)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(options()["count"])
