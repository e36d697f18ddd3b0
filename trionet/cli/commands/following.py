"""``trionet events`` and ``trionet logs``: the latest, or with ``--follow`` each as it comes."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, Final

from trionet.cli.frame import Command
from trionet.cli.looking import add_all, follow, look
from trionet.cli.output import Table, line_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.cli.client import Client

__all__ = ["COMMANDS"]

_ADDRESS: Final = "127.0.0.1:8080"
_LAST: Final = 20
_FIXED: Final = ("time", "event", "node", "sid")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C, or for --timeout seconds")
    parser.add_argument(
        "-n", "--last", metavar="N", type=_count, default=_LAST, help=f"how many of the latest (default: {_LAST})"
    )
    add_all(parser)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 10_000):  # noqa: PLR2004  the most that a node accepts
        raise argparse.ArgumentTypeError(f"a number from 0 to 10000, not {text!r:.40}")
    return int(text)


def _event_row(event: dict[str, Any]) -> list[str]:
    rest = " ".join(f"{name}={text_of(value)}" for name, value in event.items() if name not in _FIXED)
    return [_clock(event["time"]), event["event"], event["node"], rest]


def _log_row(record: dict[str, Any]) -> list[str]:
    return [_clock(record["time"]), record["level"], record["logger"], record["text"]]


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 1000):03}"


def _running(what: str, columns: list[str], row: Callable[[dict[str, Any]], list[str]]) -> Any:
    def render(items: list[dict[str, Any]]) -> Table:
        return Table(columns, [row(item) for item in items])

    async def run(client: Client, options: argparse.Namespace) -> bool:
        if not options.follow:
            return await look(client, options, what, options.last, render=render)
        nodes = await client.members() if options.all else {client.node.sid: client.node}

        def line(sid: str, item: dict[str, Any]) -> str:
            return "  ".join(map(line_of, [sid, *row(item)] if options.all else row(item)))

        return await follow(client, options, nodes, "inspection", f"watch_{what}", options.last, render=line)

    return run


COMMANDS: Final = {
    "events": Command(
        name="events",
        description="Show the latest events of a node, such as members that joined or failed, or each as it comes.",
        examples=[_ADDRESS, f"{_ADDRESS} -f", f"{_ADDRESS} -f --all --json"],
        run=_running("events", ["time", "event", "node", "details"], _event_row),
        add_arguments=_add_arguments,
    ),
    "logs": Command(
        name="logs",
        description="Show the latest log records of a node's process, of 1,000 at most, or each as it comes.",
        examples=[_ADDRESS, f"{_ADDRESS} -f", f"{_ADDRESS} --last 100 --all"],
        run=_running("logs", ["time", "level", "logger", "text"], _log_row),
        add_arguments=_add_arguments,
    ),
}
