"""Plain nodes whose cluster becomes sealed while it runs, by files and reloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet import NodeConfig
from trionet.errors import PreconditionFailed, TrionetError

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node

__all__ = ["STEPS", "config_of", "roll_out"]

STEPS = ("send=sealed", "accept=sealed")


def config_of(path: Path, *, join: list[str] | None = None) -> NodeConfig:
    """Return the configuration of a plain node whose key comes later."""
    return NodeConfig(key_file=str(path), accept="plain", send="plain", join=join)


async def roll_out(node: Node, step: str) -> None:
    """Take a step, as an operator who repeats what is refused."""
    while True:
        try:
            await node.keys.rollout(step)
        except (PreconditionFailed, TrionetError):
            await trio.sleep(1)
        else:
            return
