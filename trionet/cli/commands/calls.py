"""``trionet calls`` and ``trionet cancel``: the running calls of a cluster, as a tree of cancel scopes."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

from trionet.call_tree import CallTree, cancelled_from_plain, tree_from_plain
from trionet.cli.arguments import seconds
from trionet.cli.frame import Command

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client
    from trionet.cli.output import Output

__all__ = ["COMMANDS"]

_WITHIN_S: Final = 2.0
_BRANCH: Final = "├"


def _add_within(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--within",
        metavar="S",
        type=seconds,
        default=_WITHIN_S,
        help=f"how long to wait for the report of each member, in seconds (default: {_WITHIN_S:g})",
    )


def _drawn(tree: CallTree, output: Output) -> str:
    width = shutil.get_terminal_size().columns if output.is_terminal else None
    return "\n".join(tree.lines(width=width, ascii_only=not _shows(_BRANCH)))


def _shows(text: str) -> bool:
    """Whether standard output can show a text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


async def _run_calls(client: Client, options: argparse.Namespace) -> bool:
    plain = await client.call("inspection", "calls", within_s=options.within)
    tree = tree_from_plain(plain)
    options.output.show(plain, lambda _: _drawn(tree, options.output))
    return not tree.errors


async def _run_cancel(client: Client, options: argparse.Namespace) -> bool:
    (call_id,) = options.words
    plain: dict[str, Any] = await client.call("inspection", "cancel_call", call_id, within_s=options.within)
    found = cancelled_from_plain(plain)
    options.output.show(plain, lambda _: "\n".join(found.lines(call_id)))
    return bool(found.ended) and not (found.running or found.errors)


COMMANDS: Final = {
    "calls": Command(
        name="calls",
        description="Show the running calls of a node's cluster, as a tree.\n\n"
        "Each line is a call: its id, method and node; since when it runs, and how much is left of whose\n"
        "deadline; for whom it runs, or where it came from; and what it waits for. A call is below the\n"
        "call in whose handler it was made.",
        examples=["127.0.0.1:8080", "127.0.0.1:8080 --json", "127.0.0.1:8080 --within 5"],
        run=_run_calls,
        add_arguments=_add_within,
    ),
    "cancel": Command(
        name="cancel",
        description="Cancel a running call, with all that is below it, on whatever nodes it runs.\n\n"
        "Its caller gets the error CallCancelled. With a token, it needs the scope admin.",
        examples=["127.0.0.1:8080 6afdf814cb06a821-5"],
        run=_run_cancel,
        words="ID",
        least=1,
        most=1,
        add_arguments=_add_within,
    ),
}
