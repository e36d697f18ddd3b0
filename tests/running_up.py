"""``trionet up`` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from tests.node_processes import ROOT, clean_environment
from tests.waiting import wait_until
from trionet import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Start", "Up", "open_ups"]


class Up:
    """A running ``trionet up``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    async def read_line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return await trio.to_thread.run_sync(self.process.stdout.readline)

    async def addresses(self) -> list[NodeAddress]:
        """Return what its one line of JSON says."""
        return [address for address, _ in await self.hosts()]

    async def hosts(self) -> list[tuple[NodeAddress, str | None]]:
        """Return likewise each address and its host."""
        nodes = json.loads(await self.read_line())["nodes"]
        found = [NodeAddress(node["ip"], node["port"]) for node in nodes]
        assert [(node["nid"], node["sid"]) for node in nodes] == [(each.nid, each.sid) for each in found]
        return [(address, node.get("host")) for address, node in zip(found, nodes, strict=True)]

    async def wait(self) -> int:
        """Return its exit status."""
        await wait_until(lambda: self.process.poll() is not None)
        return self.process.returncode

    def said(self) -> str:
        """Return what it wrote to standard error; it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


Start = Callable[..., Up]


@contextmanager
def open_ups() -> Generator[Start]:
    """Give a function that starts ``trionet up``; those that still run are killed in the end."""
    running = []

    def start(*arguments: str, stderr: int = subprocess.PIPE, **environment: str) -> Up:
        process = subprocess.Popen(
            [sys.executable, "-m", "trionet", "up", *arguments],
            cwd=ROOT,
            env=clean_environment()
            | {name: os.environ[name] for name in os.environ if name.startswith("TRIONET_TEST")}
            | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        running.append(process)
        return Up(process)

    yield start
    for process in running:
        process.kill()
        process.communicate()
