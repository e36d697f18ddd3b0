"""Many trionet nodes, each a process of its own, forked from one that has imported everything.

The processes are forked before Trio runs. Each one ends when the pipe that it shares with the first one is closed, so
that none outlives it, however it ends.
"""

from __future__ import annotations

import gc
import os
import signal
import time

import trio

import trionet
from benchmarks.commands import answer_in_threads, options
from benchmarks.peers.link import Echo

_END_S = 4.0


async def _serve(alive: int, report: int) -> None:
    async with trionet.open_node() as node, trio.lowlevel.FdStream(alive) as until:
        await node.local.routes.put(Echo(), "echo")
        os.write(report, f"{node.address.port}\n".encode())  # shorter than PIPE_BUF: lines don't mix
        os.close(report)
        await until.receive_some(1)
        node.stop()
        await trio.sleep_forever()


def _fork(alive: tuple[int, int], report: tuple[int, int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.close(alive[1])
        os.close(report[0])
        trio.run(_serve, alive[0], report[1])
        status = 0
    finally:
        os._exit(status)


def main(count: int) -> None:
    """Fork `count` nodes, tell their addresses, and end them in the end."""
    gc.freeze()
    alive, report = os.pipe(), os.pipe()
    pids = [_fork(alive, report) for _ in range(count)]
    os.close(alive[0])
    os.close(report[1])
    try:
        with open(report[0], encoding="ascii") as lines:
            ports = [int(line) for line in lines]
        if len(ports) != count:
            raise RuntimeError(f"only {len(ports)} of {count} nodes have started")
        answer_in_threads(nodes=[{"ip": "127.0.0.1", "port": port} for port in ports])
    finally:
        os.close(alive[1])
        _await(pids)


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
