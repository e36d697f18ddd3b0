"""``trionet demo``: start a group of nodes, call it, stop it, and check the results."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from trionet.config import NodeConfig
from trionet.errors import NodeUnreachable
from trionet.events import ChildEnded
from trionet.message import Remote
from trionet.runtime import open_node
from trionet.services.base import rpc
from trionet.streams import check_written

from .arguments import Parser
from .serving import run_reporting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.identity import SID
    from trionet.node import Node
    from trionet.replies import Replies

__all__ = ["Greeter", "demo", "main", "make_parser"]

_DESCRIPTION = "Start a group of nodes, call it, stop it, and check the results."
_NODES = 5
_GROUP = "browncs"
_DEADLINE_S = 60
_GREET = Remote(service="greeter", method="hello")


class Greeter:
    """The service of the demo, registered on every node."""

    @rpc
    def hello(self, name: str) -> str:
        """Greet `name`."""
        return f"hello {name}, from process {os.getpid()}"

    @rpc
    def pid(self) -> int:
        """Return the process's id."""
        return os.getpid()


class _Unexpected(Exception):
    """A result of the demo differs from the expected one."""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    return Parser(prog="trionet demo", description=_DESCRIPTION)


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command; ends the process."""
    make_parser().parse_args(argv)
    sys.exit(run_reporting("trionet demo", demo))


def demo() -> int:
    """Run the demo; return the exit status: 0 if all results are as expected.

    Raises:
        OutputLost: its output could not be written.
    """
    try:
        trio.run(_demo)
    except (_Unexpected, trio.TooSlowError) as exc:  # the latter without a text
        print(f"\nThe demo failed: {str(exc) or f'it was not done after {_DEADLINE_S} s'}", file=sys.stderr)
        return 1
    print("\nAll results are as expected.")
    check_written(sys.stdout)
    return 0


async def _demo() -> None:
    with trio.fail_after(_DEADLINE_S):
        async with open_node(NodeConfig()) as node:
            print(f"This process runs a node on {node.address}. It starts {_NODES} more, each a process of its own:\n")
            pids = await _grow(node)
            await _call(node)
            await _lose_one(node)
            await _stop(node)
        _check_all_gone(pids)


async def _grow(node: Node) -> list[int]:
    await node.local.groups.put(_GROUP, [])
    group = node.group(_GROUP)
    for number in range(1, _NODES + 1):
        address = await group.status.spawn(NodeConfig())
        print(f"  {number}/{_NODES}  {address.sid}  {address}")
    _expect(len(group.members()) == _NODES, f"{_NODES} members", group.members())
    held = await group.groups.get(_GROUP)
    _expect(all(value == group.members() for value in held.values.values()), "the same group on every member", held)
    return list((await _put_greeter(node)).values.values())


async def _put_greeter(node: Node) -> Replies[int]:
    group = node.group(_GROUP)
    (await group.routes.put(f"{__name__}:Greeter", "greeter")).raise_errors()
    pids = await group.comm.send([], Remote(service="greeter", method="pid"))
    _expect(len(set(pids.values.values())) == _NODES, "as many processes as nodes", pids)
    return pids


async def _call(node: Node) -> None:
    group = node.group(_GROUP)
    replies = await group.comm.send(["trio"], _GREET)
    _show('One call to all of them, group.comm.send(["trio"], greeter.hello):', replies)
    _expect(len(replies.values) == _NODES and not replies.errors, "an answer of every node", replies)
    total = await group.status.get("heap_used")
    _show('And group.status.get("heap_used"), in bytes:', total)
    print(f"  sum     {total.value}")
    _expect(total.value == sum(total.values.values()) > 0, "the sum of the values", total)


async def _lose_one(node: Node) -> None:
    group = node.group(_GROUP)
    lost = next(iter(group.members().values()))
    events = node.events()
    await node.local.comm.send([], Remote(node=lost, service="status", method="stop"))
    ended = await anext(events)
    while not (isinstance(ended, ChildEnded) and ended.node == lost):
        ended = await anext(events)
    _expect(ended.status == 0, "a clean end", ended)
    replies = await group.comm.send(["trio"], _GREET)
    _show(f"Node {lost.sid} was stopped, and has ended; the same call again:", replies)
    _expect(set(replies.errors) == {lost.sid}, f"one error, of {lost.sid}", replies)
    _expect(isinstance(replies.errors[lost.sid], NodeUnreachable), "a NodeUnreachable", replies)
    _expect(len(replies.values) == _NODES - 1, "an answer of every other node", replies)
    await group.groups.rem(_GROUP, lost.sid)


async def _stop(node: Node) -> None:
    print("\nThe rest is stopped with one call, group.status.stop(); it ends with this node, too.")
    replies = await node.group(_GROUP).status.stop()
    _expect(len(replies.values) == _NODES - 1 and not replies.errors, "all to stop", replies)
    await trio.sleep_forever()  # until this node's own scope is cancelled


def _check_all_gone(pids: list[int]) -> None:
    """Check that no process is left; `open_node` has waited for its children."""
    left = [pid for pid in pids if _is_running(pid)]
    _expect(not left, "no process left", left)
    print(f"  {len(pids)} processes were started, {len(left)} are left.")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _show(title: str, replies: Replies[Any]) -> None:
    print(f"\n{title}")
    lines: list[tuple[SID, str]] = [(sid, f"value   {sid}  {value}") for sid, value in replies.values.items()]
    lines += [(sid, f"error   {sid}  {type(error).__name__}: {error.text}") for sid, error in replies.errors.items()]
    for _, line in sorted(lines):
        print(f"  {line}")


def _expect(holds: bool, what: str, seen: object) -> None:
    if not holds:
        raise _Unexpected(f"expected {what}, but saw {seen!r}")
