"""Many nodes, each in a process of its own, for little: one process forks them before it starts Trio.

``python -m tests.crowd COUNT CONFIG`` prints one line of JSON for each node, and ends with its standard input.
"""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec
import trio

from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S
from trionet import Node, NodeAddress, NodeConfig, Remote, current_call, open_node, rpc
from trionet.protocols.link.round_trip import RoundTrip
from trionet.warming import warm_up

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["CONFIG", "PATIENT", "Counts", "Member", "Tally", "expose", "expose_patiently", "open_crowd"]

_END_S = 30
_PRELOADED = ("trionet.transports.network", "trionet.transports.http", "trionet.transports.web")


class Counts(TypedDict):
    """What has become of the calls of one key, in one process.

    Keys:
        started, running, cancelled: how many calls have begun, are there now, were cancelled.
        left_s: what each had left of its caller's time when it began.
        late_s: how long after its deadline each was cancelled.
    """

    started: int
    running: int
    cancelled: int
    left_s: list[float]
    late_s: list[float]


class Tally:
    """Handlers that count themselves."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._counts: dict[str, Counts] = {}

    @rpc
    def counts(self, key: str) -> Counts:
        return self._counts_of(key)

    def _counts_of(self, key: str) -> Counts:
        return self._counts.setdefault(key, Counts(started=0, running=0, cancelled=0, left_s=[], late_s=[]))

    @contextmanager
    def _counted(self, key: str) -> Generator[None]:
        counts, deadline = self._counts_of(key), current_call().deadline
        counts["started"] += 1
        counts["running"] += 1
        counts["left_s"].append(deadline - trio.current_time())
        try:
            yield
        except trio.Cancelled:
            counts["cancelled"] += 1
            counts["late_s"].append(trio.current_time() - deadline)
            raise
        finally:
            counts["running"] -= 1

    @rpc
    async def hold(self, key: str) -> None:
        """Stay until cancelled, and take some passes to end."""
        with self._counted(key):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    for _ in range(5):
                        await trio.lowlevel.checkpoint()

    @rpc
    async def pass_on(self, key: str, path: list[Any], use_s: float = 0) -> None:
        """Use some time, and have the next node of `path` do the same; the last one stays until cancelled."""
        with self._counted(key):
            await trio.sleep(use_s)
            if path:
                await self._call(path[0], "pass_on", key, path[1:], use_s)
            await trio.sleep_forever()

    @rpc
    async def hold_for(self, key: str, node: str) -> str:
        """Stay until cancelled at that node; at others, answer."""
        if str(self._node.address) == node:
            await self.hold(key)
        return "answered"

    @rpc
    def make(self, size: int) -> bytes:
        return bytes(size)

    @rpc
    async def flow(self, size: int) -> AsyncGenerator[bytes]:
        while True:
            yield bytes(size)

    @rpc
    async def wait_for_items(self, key: str) -> AsyncGenerator[str]:
        """Yield nothing, and stay until cancelled."""
        with self._counted(key):
            await trio.sleep_forever()
        yield key

    @rpc
    async def waste(self, key: str, node: Any, seconds: float) -> None:
        """Keep the whole process from running for that time, and then call `node`."""
        with self._counted(key):
            time.sleep(seconds)  # noqa: ASYNC251  its purpose
            await self._call(node, "hold", key)

    async def _call(self, node: Any, method: str, *args: Any) -> Any:
        return await self._node.local.comm.send(list(args), Remote(node=node, service="tally", method=method))


async def expose(node: Node) -> None:
    """An `on_start`: offer the service ``tally``."""
    await node.local.routes.put(Tally(node), "tally")


async def expose_patiently(node: Node) -> None:
    """The same, in a process whose own calls wait for confirmations as long as a machine that stalls may need."""
    RoundTrip.GRACE_MIN_S = RoundTrip.GRACE_MAX_S = DEADLINE_S / 3
    await expose(node)


CONFIG = NodeConfig(on_start="tests.crowd:expose")
PATIENT = NodeConfig(on_start="tests.crowd:expose_patiently")


class Member(NamedTuple):
    """One of the processes."""

    address: NodeAddress
    pid: int


@contextmanager
def open_crowd(count: int, config: NodeConfig = CONFIG) -> Generator[list[Member]]:
    """Run that many node processes for as long as the block lasts; at that port of `config` and the next ones."""
    command = [sys.executable, "-m", "tests.crowd", str(count), msgspec.json.encode(config).decode()]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            lines = [msgspec.json.decode(process.stdout.readline()) for _ in range(count)]
            yield [Member(NodeAddress(line["ip"], line["port"]), line["pid"]) for line in lines]
        finally:
            process.stdin.close()
            try:
                process.wait(_END_S)
            finally:
                process.kill()


async def _serve(config: NodeConfig) -> None:
    async with open_node(config) as node:
        ready = {"ip": node.address.ip, "port": node.address.port, "pid": os.getpid()}
        os.write(1, msgspec.json.encode(ready) + b"\n")
        await trio.lowlevel.wait_readable(0)  # until the end of standard input


def _main(count: int, config: NodeConfig) -> None:
    own = [path.partition(":")[0] for path in (config.on_start, *config.services.values()) if isinstance(path, str)]
    for module in (*_PRELOADED, *own):  # once, not in each process
        importlib.import_module(module)
    warm_up()
    gc.collect()
    gc.freeze()
    for number in range(count):
        if os.fork() == 0:
            port = config.port and config.port + number
            trio.run(_serve, msgspec.structs.replace(config, port=port))
            os._exit(0)
    for _ in range(count):
        os.wait()


if __name__ == "__main__":
    _main(int(sys.argv[1]), NodeConfig.from_mapping(msgspec.json.decode(sys.argv[2])))
