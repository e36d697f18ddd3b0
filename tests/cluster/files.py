"""Cluster files of tests, and what is made of them without starting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.cli.cluster.cluster_file import read_cluster_file
from trionet.cli.cluster.plan import make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node
    from trionet.cli.cluster.plan import Plan

__all__ = ["never_ready", "plan_of", "written"]


def written(folder: Path, text: str) -> str:
    """Write a cluster file; return its path."""
    path = folder / "cluster.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def plan_of(
    folder: Path, text: str, *, nodes: int | None = None, least: int | None = None, has_key: bool = False
) -> Plan:
    """Return the plan of a file with that text."""
    file = read_cluster_file(written(folder, text))
    return make_plan(file, file.settings, nodes=nodes, least=least, has_key=has_key)


async def never_ready(_: Node) -> None:
    """Keep a node from being ready; for `on_start`."""
    await trio.sleep_forever()
