"""The nodes of a test: started and initialised in parallel, killed, restarted, ended.

Source: Maelstrom, ``src/maelstrom/db.clj``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.user_code import leaves

from .errors import BadMessage, MalformedReply, RpcError, RpcTimeout, SetupFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .client import Client, Clients
    from .network import Network
    from .node_base import Crash, RunningNode
    from .options import Options
    from .workloads import Workload

__all__ = ["NodeCluster"]

_SHOWN_LINES: Final = 10


class NodeCluster:
    """All nodes.

    Args:
        options: their names, and how long they have to initialise.
        make: makes the next run of a node.
        network: connects them.
        clients: opens the clients that initialise nodes.
        workload: sets up nodes that have been initialised.
    """

    def __init__(
        self,
        options: Options,
        make: Callable[[str], RunningNode],
        network: Network,
        clients: Clients,
        workload: Workload,
    ) -> None:
        self._options = options
        self._make = make
        self._network = network
        self._clients = clients
        self._workload = workload
        self._nodes: dict[str, RunningNode] = {}
        self._killed: set[str] = set()
        self._paused: set[str] = set()

    @property
    def crashes(self) -> list[Crash]:
        """The nodes that have ended by themselves."""
        return [node.crash for node in self._nodes.values() if node.crash is not None]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start and initialise all nodes; then run until cancelled.

        Raises:
            SetupFailed: one can't be started, or does not initialise.
        """
        async with trio.open_nursery() as self._nursery:
            for name in self._options.nodes:
                self._network.add(name, lambda message, name=name: self._nodes[name].deliver(message))  # type: ignore[misc]
                self._nodes[name] = self._make(name)
            try:
                await self._on_all(self._options.nodes, self._start)
                await self._on_all(self._options.nodes, self._set_up)
                task_status.started()
                await trio.sleep_forever()
            finally:
                for node in self._nodes.values():
                    node.kill()

    async def _on_all(self, names: Sequence[str], action: Callable[[str], Any]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(action, name)
        except* SetupFailed as group:
            failures = [exc for exc in leaves(group) if isinstance(exc, SetupFailed)]
            raise failures[0] from None

    async def _start(self, name: str) -> None:
        node = self._nodes[name]
        await node.start(self._nursery)
        init = {"type": "init", "node_id": name, "node_ids": list(self._options.nodes)}
        with self._client(name, "does not initialise") as client:
            with node.until_crash:
                await client.call(name, init, None, self._options.init_timeout_s)
            if node.crash is not None:
                raise SetupFailed(f"{name} does not initialise{self._diagnosis(name)}")

    async def _set_up(self, name: str) -> None:
        with self._client(name, "can't be set up") as client:
            await self._workload.set_up(client, name)

    @contextmanager
    def _client(self, name: str, failure: str) -> Generator[Client]:
        """Open a client for one request to a node; turn its errors into `SetupFailed`."""
        client = self._clients.open()
        try:
            yield client
        except (RpcTimeout, RpcError, MalformedReply, BadMessage) as exc:
            raise SetupFailed(f"{name} {failure}: {exc}{self._diagnosis(name)}") from exc
        finally:
            client.close()

    def _diagnosis(self, name: str) -> str:
        node = self._nodes[name]
        ended = "" if node.crash is None else f"\nIt has ended by itself: {node.crash.reason}"
        lines = [f"\n  {line}" for line in list(node.stderr)[-_SHOWN_LINES:]]
        return ended + ("\nIt last wrote to standard error:" + "".join(lines) if lines else "")

    def kill(self, name: str) -> None:
        """Kill a node."""
        if self._nodes[name].crash is None:
            self._killed.add(name)
            self._nodes[name].kill()

    async def start_killed(self) -> None:
        """Restart and initialise all killed nodes."""
        killed, self._killed = sorted(self._killed), set()
        for name in killed:
            self._nodes[name] = self._make(name)
        await self._on_all(killed, self._start)
        await self._on_all(killed, self._set_up)

    def pause(self, name: str) -> None:
        """Pause a node."""
        self._paused.add(name)
        self._nodes[name].pause()

    def resume_all(self) -> None:
        """Resume all paused nodes."""
        for name in sorted(self._paused):
            self._nodes[name].resume()
        self._paused.clear()
