"""Commands that look at a node, or with ``--all`` at every member: one method, one table, or a stream of lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import TrionetError
from trionet.nurseries import open_background_nursery

from .output import Table, ends_with_reader, error_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from trionet.identity import SID, NodeAddress
    from trionet.replies import Replies

    from .client import Client

__all__ = ["add_all", "follow", "look", "show_replies"]

_BUFFER: Final = 100


def _same(value: Any) -> Any:
    return value


def add_all(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--all``."""
    parser.add_argument("--all", action="store_true", help="ask every member that the node knows, by the node")


async def look(
    client: Client,
    options: argparse.Namespace,
    method: str,
    *args: Any,
    render: Callable[[Any], Table],
    pick: Callable[[Any], Any] = _same,
    service: str = "inspection",
) -> bool:
    """Call a method of one node, or of all, and print the answer, or the node-to-value and node-to-error maps.

    Args:
        client: of the node.
        options: those of the command.
        method: the name of the method.
        *args: its arguments.
        render: makes a table of one node's answer.
        pick: returns the part of an answer to show.
        service: the name of its service.

    Returns:
        Whether no member failed.
    """
    if not options.all:
        options.output.show(pick(await client.call(service, method, *args)), render)
        return True
    replies = await client.call_all(service, method, *args)
    replies.values.update({sid: pick(value) for sid, value in replies.values.items()})
    return show_replies(options, replies, render)


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
        rows += [(sid, [error_text(error), *[""] * (len(columns) - 1)]) for sid, error in replies.errors.items()]
        return Table(["node", *columns], [[sid, *cells] for sid, cells in sorted(rows, key=lambda row: row[0])])

    options.output.show(replies, table)
    return not replies.errors


async def follow(
    client: Client,
    options: argparse.Namespace,
    nodes: dict[SID, NodeAddress],
    service: str,
    method: str,
    *args: Any,
    render: Callable[[SID, Any], str],
    is_endless: bool = True,
    **kwargs: Any,
) -> bool:
    """Print the items of a stream of each node as they come: a line each, or a JSON document a line.

    A document is ``{"sid", "item"}``, or ``{"sid", "error"}`` where a stream has failed. It ends with the streams, with
    the reader of standard output, or at Ctrl-C. ``--timeout`` limits an endless one, which then has succeeded.

    Returns:
        Whether no stream failed.
    """
    send, receive = trio.open_memory_channel[tuple["SID", str, Any]](_BUFFER)
    is_good = True

    async def run_one(sid: SID, node: NodeAddress, channel: trio.MemorySendChannel[tuple[SID, str, Any]]) -> None:
        async with channel:
            try:
                async with client.stream(service, method, *args, node=node, **kwargs) as items:
                    async for item in items:
                        await channel.send((sid, "item", item))
            except TrionetError as exc:
                await channel.send((sid, "error", exc))

    limit_s = options.timeout if is_endless and options.timeout is not None else math.inf
    with trio.move_on_after(limit_s):
        async with open_background_nursery() as nursery:
            nursery.start_soon(ends_with_reader, nursery.cancel_scope)
            async with send:
                for sid, node in nodes.items():
                    nursery.start_soon(run_one, sid, node, send.clone())
            async for sid, kind, value in receive:
                is_good = is_good and kind == "item"
                if options.output.is_json:
                    options.output.show({"sid": sid, kind: value})
                else:
                    options.output.line(render(sid, value) if kind == "item" else f"{sid}  {error_text(value)}")
    return is_good
