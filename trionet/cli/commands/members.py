"""``trionet members``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trionet.cli.frame import Command
from trionet.cli.looking import add_all, look
from trionet.cli.output import Table

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client

__all__ = ["COMMANDS"]


def _render(members: list[dict[str, Any]]) -> Table:
    columns = ["sid", "address", "status", "incarnation", "tags"]
    rows = [[member[name] for name in columns[:-1]] for member in members]
    tags = [" ".join(f"{name}={text}" for name, text in member["tags"].items()) for member in members]
    return Table(columns, [[*row, text] for row, text in zip(rows, tags, strict=True)])


async def _run(client: Client, options: argparse.Namespace) -> bool:
    return await look(client, options, "members", render=_render)


COMMANDS: Final = {
    "members": Command(
        name="members",
        description="Show the members of a node's cluster, as the node sees them.",
        examples=["127.0.0.1:8080", "127.0.0.1:8080 --all", "127.0.0.1:8080 --json"],
        run=_run,
        add_arguments=add_all,
    )
}
