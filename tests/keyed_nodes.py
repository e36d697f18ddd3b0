"""Nodes with keys: what they hold, told by a service of theirs and by a stranger's connection."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tests.security.keys import key_of
from tests.waiting import DEADLINE_S
from trionet import NodeAddress, NodeConfig, Remote, rpc
from trionet.protocols.link.frames import PREFACE
from trionet.protocols.link.refusals import Refusal
from trionet.security.key_file import new_key_file

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node

__all__ = ["KEEPER", "Keeper", "keep", "new_file", "refusal_by", "told"]


class Keeper:
    """Tells what the configuration and the environment of a node hold."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @rpc
    def settings(self) -> dict[str, Any]:
        """Return the settings about keys, and the pid."""
        config = self._node.config
        return {"key_file": config.key_file, "cluster": config.cluster, "pid": os.getpid()}

    @rpc
    def shown(self) -> str:
        """Return what a log could show of the configuration."""
        return f"{self._node.config!r} {msgspec.json.encode(self._node.config.portable())!r} {self._node!r}"

    @rpc
    def variables(self) -> list[str]:
        """Return the names of the variables about keys."""
        return [name for name in os.environ if name.startswith("TRIONET_KEY")]

    @rpc
    async def spawn(self, config: NodeConfig) -> NodeAddress:
        return await self._node.local.status.spawn(config)


async def keep(node: Node) -> None:
    """Register the service; for `on_start`."""
    await node.local.routes.put(Keeper(node), "keeper")


KEEPER: Final = NodeConfig(on_start="tests.keyed_nodes:keep")


async def told(node: Node, by: NodeAddress, method: str, *args: object) -> Any:
    """Return the answer of the service of another node."""
    return await node.local.comm.send([*args], Remote(node=by, service="keeper", method=method))


def new_file(folder: Path, seed: int = 1) -> str:
    """Make the file of a key; return its path."""
    path = str(folder / f"{seed}.key")
    new_key_file(path, key_of(seed))
    return path


def refusal_by(address: NodeAddress) -> Refusal | None:
    """Return why a node refuses a stranger's plain link; None if it does not."""
    with socket.create_connection((address.ip, address.port), DEADLINE_S) as sock:
        sock.sendall(PREFACE + bytes(4))
        answer = b""
        while len(answer) <= len(PREFACE) and (data := sock.recv(4096)):
            answer += data
    return Refusal(answer[-1]) if len(answer) == len(PREFACE) + 1 and answer[-1] else None
