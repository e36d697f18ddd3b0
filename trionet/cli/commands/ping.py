"""``trionet ping``: round trips to nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.cli.arguments import number, seconds
from trionet.cli.frame import Command
from trionet.cli.output import Table
from trionet.cli.round_trips import RoundTrips
from trionet.errors import MalformedRequest, TrionetError
from trionet.identity import NodeAddress
from trionet.nurseries import open_plain_nursery

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client
    from trionet.cli.datagram_pings import DatagramPings
    from trionet.cli.round_trips import Summary

__all__ = ["COMMANDS"]

_DESCRIPTION = """\
Measure round trips from here to one node or more: of calls over a link, and of datagrams.

A call goes through the node's event loop, and so does a datagram: what is slow for both is the node or the network.
Where datagrams alone are lost, UDP is blocked; trionet doctor tells in which direction.
"""

_COLUMNS: Final = ("address", "by", "lost", "min ms", "median", "p99", "max", "note")
_MOST: Final = 1_000_000


class _Target:
    """What is measured of one node."""

    def __init__(self, node: NodeAddress) -> None:
        self.node = node
        self.link = RoundTrips()
        self.datagrams = RoundTrips()
        self.error: TrionetError | None = None

    def is_well(self) -> bool:
        """Whether it answers by each way that was tried, at least now and then."""
        return self.error is None and all(one.times_s or not one.sent for one in (self.link, self.datagrams))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add, count = parser.add_argument, number(int, 1, _MOST, f"a number from 1 to {_MOST:,}")
    add("--count", type=count, default=5, metavar="N", help="how many round trips (default: 5)")
    add("--interval", type=seconds, default=0.2, metavar="S", help="seconds between two (default: 0.2)")
    add("--wait", type=seconds, default=1.0, metavar="S", help="for each answer, in seconds (default: 1)")


def _targets(first: NodeAddress, options: argparse.Namespace) -> list[_Target]:
    nodes = [first]
    for word in options.words:
        try:
            nodes.append(NodeAddress.of(word))
        except MalformedRequest as exc:
            options.parser.error(f"{exc.text}; an address is ip:port")
    return [_Target(node) for node in dict.fromkeys(nodes)]


async def _measure(client: Client, options: argparse.Namespace, target: _Target) -> None:
    from trionet.cli.datagram_pings import open_datagram_pings, resolved_node  # on use: not for --help

    try:
        with trio.fail_after(options.wait + 1):
            await _call(client, target.node)  # opens the link, and is not counted
        node = await resolved_node(target.node)
        async with open_datagram_pings(node, options.access) as pings:
            for number in range(options.count):
                if number:
                    await trio.sleep(options.interval)
                await _measure_once(client, options, target, pings, node)
    except TrionetError as exc:
        target.error = exc
    except trio.TooSlowError:
        target.link.add(None)


async def _measure_once(
    client: Client, options: argparse.Namespace, target: _Target, pings: DatagramPings | None, node: NodeAddress
) -> None:
    begun_at = trio.current_time()
    with trio.move_on_after(options.wait) as scope:
        await _call(client, target.node)
    target.link.add(None if scope.cancelled_caught else trio.current_time() - begun_at)
    if pings is not None:
        target.datagrams.add(await pings.ping(node, options.wait))


async def _call(client: Client, node: NodeAddress) -> None:
    await client.send(client.request("status", "get", ("sid",), {}), node)


async def _run(client: Client, options: argparse.Namespace) -> bool:
    targets = _targets(client.node, options)
    async with open_plain_nursery() as nursery:
        for target in targets:
            nursery.start_soon(_measure, client, options, target)
    if len(targets) == 1 and targets[0].error is not None and not targets[0].link.times_s:
        raise targets[0].error
    options.output.show(
        [_document(target) for target in targets],
        lambda _: _table(targets, "link" if options.access.token is None else "http"),
    )
    return all(target.is_well() for target in targets)


def _document(target: _Target) -> dict[str, Any]:
    ways = {"link": target.link, "datagrams": target.datagrams}
    return {"address": str(target.node), "error": target.error} | {
        name: msgspec.to_builtins(trips.summary()) if trips.sent else None for name, trips in ways.items()
    }


def _table(targets: list[_Target], by_call: str) -> Table:
    """Return a row for each way to each node; the column of notes is left out if there are none."""
    rows = [row for target in targets for row in _rows(target, by_call)]
    has_notes = any(row[-1] for row in rows)
    return Table(_COLUMNS if has_notes else _COLUMNS[:-1], [row if has_notes else row[:-1] for row in rows])


def _rows(target: _Target, by_call: str) -> list[list[Any]]:
    rows = [
        _row(target, by, trips.summary())
        for by, trips in ((by_call, target.link), ("datagram", target.datagrams))
        if trips.sent
    ]
    if target.error is not None:
        rows.append([target.node, "", "", "", "", "", "", f"{type(target.error).__name__}: {target.error.text}"])
    elif not target.datagrams.sent and target.link.times_s:
        rows.append([target.node, "datagram", "", "", "", "", "", "not measured: a token is for HTTP only"])
    return rows


def _row(target: _Target, by: str, summary: Summary) -> list[Any]:
    times = [summary.min_ms, summary.median_ms, summary.p99_ms, summary.max_ms]
    note = ""
    if not summary.received:
        note = "blocked? see trionet doctor" if by == "datagram" else "no answer"
    shown = ["" if time is None else f"{time:.2f}" for time in times]
    return [target.node, by, f"{summary.sent - summary.received} of {summary.sent}", *shown, note]


COMMANDS: Final = {
    "ping": Command(
        name="ping",
        description=_DESCRIPTION,
        examples=["127.0.0.1:8080", "127.0.0.1:8080 127.0.0.1:8081 --count 20", "10.0.0.5:8080 --json"],
        run=_run,
        words="[ADDR ...]",
        most=None,
        add_arguments=_add_arguments,
        timeout_s=None,
    )
}
