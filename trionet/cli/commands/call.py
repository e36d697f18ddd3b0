"""``trionet call``: one call of one node, or of all members of a group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.cli.arguments import similar_to
from trionet.cli.client import ALL
from trionet.cli.frame import Command
from trionet.cli.looking import follow, show_replies
from trionet.cli.output import Table, ends_with_reader, error_text, text_of
from trionet.cli.targets import Target, target_of
from trionet.errors import ConfigError, MethodNotFound, ServiceNotFound, TrionetError
from trionet.message import LOCAL
from trionet.nurseries import open_background_nursery
from trionet.replies import Aggregate, Replies

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client

__all__ = ["COMMANDS"]

_DESCRIPTION: Final = """\
Call a method of a node, or of all members of a group, and print the value, or values and errors by node.

Without GID the node's own service is called. With GID, its group-wide service of that name, such as status or one of
your templates; if it has none, the service of that name of each member. An argument is JSON if it can be, and else the
word itself; name=value is passed by name. Quote what looks like JSON and is a text: '"5"'.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--first", action="store_true", help="of a group: wait for the first value only, and cancel the other calls")
    add("--quorum", metavar="N", type=int, help="of a group: wait for this number of values only")
    add("--partial", action="store_true", help="of a group: at the time limit, print the results so far")
    add("--stream", action="store_true", help="the method is an async generator: print each item as it comes")
    add("--repeat", metavar="S", type=float, help="call again, S seconds after each answer, until Ctrl-C")


def _checked(options: argparse.Namespace) -> Target:
    """Return the target; raise `ConfigError` for options that don't go together."""
    target = target_of(options.words)
    of_group = [name for name in ("first", "partial") if getattr(options, name)]
    of_group += ["quorum"] if options.quorum is not None else []
    if of_group and (target.gid == LOCAL or options.stream):
        raise ConfigError(f"--{of_group[0]} is for a call of a group: GID/SERVICE/METHOD, without --stream")
    if options.first and options.quorum is not None:
        raise ConfigError("give --first or --quorum, not both")
    if options.partial and options.timeout is None:
        raise ConfigError("--partial needs a time limit: --timeout S")
    if options.stream and options.repeat is not None:
        raise ConfigError("give --stream or --repeat, not both")
    if options.repeat is not None and not 0 <= options.repeat < float("inf"):
        raise ConfigError(f"--repeat is a number of seconds, not {options.repeat}")
    return target


async def _run(client: Client, options: argparse.Namespace) -> bool:
    target = _checked(options)
    if options.stream:
        return await _stream(client, options, target)
    if options.repeat is None:
        return _show(options, await _within(client, options, target))
    async with open_background_nursery() as nursery:
        nursery.start_soon(ends_with_reader, nursery.cancel_scope)
        while True:
            await _call_again(client, options, target)
            await trio.sleep(options.repeat)
    return True


async def _call_again(client: Client, options: argparse.Namespace, target: Target) -> None:
    """Call, and show the answer or the error; a node that is away may come back."""
    begun = time.perf_counter()
    try:
        answer = await _within(client, options, target)
    except TrionetError as exc:
        line = f"--- {time.strftime('%H:%M:%S')}  {error_text(exc)}"
        options.output.show({"error": exc}, lambda _: line)
        return
    options.output.line(f"--- {time.strftime('%H:%M:%S')}  {1000 * (time.perf_counter() - begun):.1f} ms")
    _show(options, answer)


async def _within(client: Client, options: argparse.Namespace, target: Target) -> Any:
    """Return the answer to one call; its time limit is for itself alone."""
    async with client.limited(options.timeout, is_partial=options.partial):
        try:
            return await _called(client, options, target)
        except (MethodNotFound, ServiceNotFound) as exc:
            text = exc.text.partition(": did you mean ")[0]  # the hint has the whole name to write
            raise type(exc)(f"{text}{await _hint(client, target)}", node=exc.node) from None


async def _hint(client: Client, target: Target) -> str:
    """Return what to write in place of an unknown method, as the end of a sentence; nothing if that is not known."""
    try:
        methods: list[dict[str, Any]] = await client.call("inspection", "services")
    except TrionetError:
        return ""
    gids = ("", LOCAL) if target.gid == LOCAL else ("", target.gid, LOCAL)
    names = {f"{one['service']}/{one['method']}": None for one in methods if one["gid"] in gids}
    hint = similar_to(f"{target.service}/{target.method}", names)
    return hint or f"; see: trionet services {client.node} --built-in"


async def _called(client: Client, options: argparse.Namespace, target: Target) -> Any:
    wait = "first" if options.first else options.quorum
    how = {name: value for name, value in (("wait", wait), ("partial", options.partial or None)) if value is not None}
    if not how:
        try:
            return await client.call(target.service, target.method, *target.args, gid=target.gid, **target.kwargs)
        except ServiceNotFound:
            if target.gid == LOCAL:
                raise
    return await client.call_all(
        target.service, target.method, *target.args, gid=target.gid, kwargs=target.kwargs or None, **how
    )


async def _stream(client: Client, options: argparse.Namespace, target: Target) -> bool:
    is_group = target.gid != LOCAL
    nodes = await client.members(target.gid) if is_group else {client.node.sid: client.node}

    def line(sid: str, item: Any) -> str:
        return f"{sid}  {text_of(item)}" if is_group else text_of(item)

    service, method = target.service, target.method
    async with client.limited(options.timeout):
        return await follow(
            client, options, nodes, service, method, *target.args, render=line, is_endless=False, **target.kwargs
        )


def _show(options: argparse.Namespace, answer: Any) -> bool:
    if not isinstance(answer, Replies):
        options.output.show(answer, _table_of)
        return True
    is_good = show_replies(options, answer, lambda value: Table(["value"], [[value]]))
    if isinstance(answer, Aggregate) and not isinstance(answer.value, list):
        options.output.line(f"sum  {text_of(answer.value)}")
    return is_good


def _table_of(value: Any) -> Table | str:
    """Return a table of a list of records with the same fields, as `trionet.Member`; else a text."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        columns = list(value[0])
        if columns and all(list(item) == columns and all(isinstance(name, str) for name in item) for item in value):
            return Table(columns, [list(item.values()) for item in value])
    return text_of(value)


COMMANDS: Final = {
    "call": Command(
        name="call",
        description=_DESCRIPTION,
        examples=[
            "127.0.0.1:8080 status/get heap_used",
            "127.0.0.1:8080 counter/add 5",
            "127.0.0.1:8080 all/status/get heap_used",
            "127.0.0.1:8080 workers/counter/add amount=5 --quorum 3 --timeout 2",
            "127.0.0.1:8080 counter/watch --stream",
            f"127.0.0.1:8080 {ALL}/counter/total --repeat 1 --json",
        ],
        run=_run,
        words="[GID/]SERVICE/METHOD [ARGS ...]",
        least=1,
        most=None,
        add_arguments=_add_arguments,
        timeout_s=None,
        limits_itself=True,
    )
}
