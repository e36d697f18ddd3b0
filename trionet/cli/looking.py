"""Commands that look at a node, or with ``--all`` at every member: one method, one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.replies import Replies

from .output import Table, text_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from .client import Client

__all__ = ["add_all", "look", "show_replies"]


def add_all(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--all``."""
    parser.add_argument("--all", action="store_true", help="ask every member that the node knows, by the node")


async def look(
    client: Client,
    options: argparse.Namespace,
    method: str,
    *args: Any,
    render: Callable[[Any], Table],
    service: str = "inspection",
) -> bool:
    """Call a method of one node, or of all, and print the answer, or the node-to-value and node-to-error maps.

    Args:
        client: of the node.
        options: those of the command.
        method: the name of the method.
        *args: its arguments.
        render: makes a table of one node's answer.
        service: the name of its service.

    Returns:
        Whether no member failed.
    """
    if not options.all:
        options.output.show(await client.call(service, method, *args), render)
        return True
    return show_replies(options, await client.call_all(service, method, *args), render)


def show_replies(options: argparse.Namespace, replies: Replies[Any], render: Callable[[Any], Table]) -> bool:
    """Print the answers and errors of members, a row or more for each; return whether there are no errors."""

    def table(_: Any) -> Table:
        columns: list[str] = []
        rows: list[tuple[str, list[Any]]] = []
        for sid, value in replies.values.items():
            part = render(value)
            columns = list(part.columns)
            rows += [(sid, list(row)) for row in part.rows]
        columns = columns or ["error"]
        rows += [(sid, [_error_text(error), *[""] * (len(columns) - 1)]) for sid, error in replies.errors.items()]
        return Table(["node", *columns], [[sid, *cells] for sid, cells in sorted(rows, key=lambda row: row[0])])

    options.output.show(replies, table)
    return not replies.errors


def _error_text(error: Any) -> str:
    return f"error: {type(error).__name__}: {text_of(error.text)}"
