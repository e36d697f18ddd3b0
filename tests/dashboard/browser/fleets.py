"""Real clusters behind the pages: twenty forked processes, or one process that can be stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import msgspec

from tests.clusters import Counter
from tests.crowd import Member, open_crowd
from tests.doctored import Faults
from tests.samples import Probe
from tests.waiting import DEADLINE_S
from trionet import NodeConfig, rpc

if TYPE_CHECKING:
    from collections.abc import Generator

    from trionet import Node, NodeAddress

__all__ = ["SIZE", "Fleet", "expose", "open_fleet"]

SIZE = 20


class Shop:
    """The service ``shop``, which people call by forms."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @rpc(read=True)
    def greet(self, name: str, *, times: int = 1) -> str:
        """Return a greeting by this node."""
        return f"{' '.join(['hello'] * times)}, {name}, from {self._node.sid}"

    @rpc
    def refuse(self, port: int) -> int:
        """Fail on the node of that port, and return the port of every other."""
        if self._node.address.port == port:
            raise ValueError("closed today")
        return self._node.address.port


async def expose(node: Node) -> None:
    """An `on_start`: offer the services of the tests."""
    for name, service in {
        "counter": Counter(),
        "faults": Faults(node),
        "probe": Probe(),
        "shop": Shop(node),
    }.items():
        await node.local.routes.put(service, name)


class Fleet(NamedTuple):
    """A cluster of processes.

    Attributes:
        server: the node that serves the page.
        others: the other members that run.
    """

    server: Member
    others: list[Member]

    @property
    def sids(self) -> list[str]:
        """Those of all members that run."""
        return sorted(member.address.sid for member in (self.server, *self.others))

    @property
    def url(self) -> str:
        """The page's."""
        return f"http://{self.server.address}/"

    def ask(self, path: str, *args: object, by: Member | None = None) -> Any:
        """Call a method, as ``curl -X PUT`` does, and return its value."""
        url = f"http://{(by or self.server).address}/{path}"
        return httpx.put(url, json=list(args), timeout=DEADLINE_S).raise_for_status().json()["value"]

    @contextmanager
    def calling(self, path: str, *args: object) -> Generator[None]:
        """Have a call running for as long as the block lasts; then its caller is gone, and it is cancelled."""
        body = msgspec.json.encode(args)
        head = f"PUT /{path} HTTP/1.1\r\nHost: {self.server.address}\r\nContent-Type: application/json\r\n"
        with socket.create_connection((self.server.address.ip, self.server.address.port)) as sock:
            sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            yield

    def kill_one(self) -> NodeAddress:
        """Kill the process of a member; return its address."""
        victim = self.others.pop()
        os.kill(victim.pid, signal.SIGKILL)
        return victim.address


@contextmanager
def open_fleet(count: int = SIZE, **settings: Any) -> Generator[Fleet]:
    """Run a cluster of that many processes for as long as the block lasts."""
    settings = {"on_start": "tests.dashboard.browser.fleets:expose", "log_level": "error"} | settings
    with open_crowd(1, NodeConfig(join=[], **settings)) as [server]:
        if count == 1:
            yield Fleet(server, [])
            return
        settings |= {"join": [str(server.address)], "port": settings.get("port", 0) and server.address.port + 1}
        with open_crowd(count - 1, NodeConfig(**settings)) as others:
            yield Fleet(server, others)
