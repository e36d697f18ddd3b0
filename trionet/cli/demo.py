"""``trionet demo``: a guided tour: nodes, a call, a group-wide call, a rumor, a death noticed, the repair.

Each step is done by real processes, and its results are checked: the tour ends with an error if one differs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import trio

from trionet.config import NodeConfig
from trionet.errors import TrionetError
from trionet.events import ChildEnded, Event, MemberFailed, MemberJoined
from trionet.runtime import open_node
from trionet.services.base import rpc
from trionet.streams import check_written

from .arguments import Parser
from .serving import prepare_process, run_reporting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.events import Events
    from trionet.identity import SID, NodeAddress
    from trionet.node import Node
    from trionet.replies import Replies

__all__ = ["Greeter", "demo", "main", "make_parser"]

E = TypeVar("E", bound=Event)

_DESCRIPTION: Final = """\
A guided tour in a minute: nodes, a call, a group-wide call, a rumor, a death noticed, and the repair.

Each step is done by real processes of this machine, and its results are checked. On a terminal there is a pause after
each step.
"""
_EPILOG: Final = """\
examples:
  trionet demo
  trionet demo --no-pause

exit status: 0 all results are as expected, 1 one is not, 130 interrupted
"""

_NODES: Final = 5
_GROUP: Final = "workers"
_TAGS: Final = {"role": "worker"}
_DEADLINE_S: Final = 60.0
_PAUSE_S: Final = 3.0
_POLL_S: Final = 0.02


class Greeter:
    """The service of the demo, registered on every worker."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    @rpc
    def hello(self, name: str) -> str:
        """Greet `name`."""
        return f"hello {name}, from process {os.getpid()}"

    @rpc
    def pid(self) -> int:
        """Return the process's id."""
        return os.getpid()

    @rpc
    def hear(self, news: str) -> None:
        """Handle news."""
        self._heard.append(news)

    @rpc
    def heard(self) -> list[str]:
        """Return all news so far."""
        return self._heard


class _Unexpected(Exception):
    """A result of the demo differs from the expected one."""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet demo", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--no-pause", action="store_true", help="don't wait between steps, on a terminal either")
    return parser


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command; ends the process."""
    options = make_parser().parse_args(argv)
    prepare_process(NodeConfig(log_level="error"))  # the death is told by the tour
    pause_s = _PAUSE_S if sys.stdout.isatty() and not options.no_pause else 0.0
    sys.exit(run_reporting("trionet demo", lambda: demo(pause_s)))


def demo(pause_s: float = 0.0) -> int:
    """Run the demo; return the exit status: 0 if all results are as expected.

    Args:
        pause_s: how long to wait after each step.

    Raises:
        OutputLost: its output could not be written.
    """
    tour = _Tour(pause_s)
    try:
        trio.run(tour.run)
    except (_Unexpected, trio.TooSlowError, TrionetError, ExceptionGroup) as exc:
        why = _why(exc) or f"it was not done after {_DEADLINE_S + 10 * pause_s:.0f} s"
        print(f"\nThe demo failed when it {tour.doing}: {why}", file=sys.stderr)
        return 1
    print("\nAll results are as expected. Next: trionet up 3, and a cluster in ten minutes, docs/first-cluster.md")
    check_written(sys.stdout)
    return 0


def _why(error: Exception) -> str:
    """Return the text of an error, or of the first of several."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if isinstance(error, TrionetError) else str(error)


class _Tour:
    """The steps.

    Attributes:
        doing: what it is doing, for the text of a failure.
    """

    def __init__(self, pause_s: float) -> None:
        self.doing: str = "started"
        self._pause_s = pause_s
        self._number = 0
        self._workers: list[NodeAddress] = []

    async def run(self) -> None:
        """Take all steps."""
        with trio.fail_after(_DEADLINE_S + 10 * self._pause_s):
            async with open_node(NodeConfig(join=[], profile="local", tags={"role": "guide"})) as node:
                events = node.events()
                await self._start(node)
                await self._call_one(node)
                pids = await self._call_all(node)
                all_pids = list(pids.values())
                await self._spread(node)
                await self._lose_one(node, events, pids)
                all_pids.append(await self._repair(node, events, pids))
                await self._stop(node)
            _check_all_gone(all_pids)

    async def _step(self, doing: str, text: str) -> None:
        if self._number and self._pause_s:
            await trio.sleep(self._pause_s)
        self._number += 1
        self.doing = doing
        print(f"\n{self._number}. {text}")

    async def _start(self, node: Node) -> None:
        await self._step("started nodes", f"Nodes. This process runs one on {node.address}. It starts {_NODES} more:")
        config = NodeConfig(tags=_TAGS, profile="local", restart="always", log_level="error")
        for number in range(1, _NODES + 1):
            address = await node.spawn(config)
            self._workers.append(address)
            print(f"   {number}/{_NODES}  {address.sid}  {address}, a process of its own")
        await _wait(lambda: len(node.members()) == _NODES + 1, "all to be members of one cluster")
        print(f"   They have joined one cluster: node.members() has {len(node.members())} members.")

    async def _call_one(self, node: Node) -> None:
        (await node.all.groups.put(_GROUP, where=_TAGS)).raise_errors()
        group = node.group(_GROUP)
        (await group.routes.put(f"{__name__}:Greeter", "greeter", keep=True)).raise_errors()
        text = f'A call. Those with the tag role=worker are the group "{_GROUP}", with a service, "greeter":'
        await self._step("called a node", text)
        target = self._workers[0]
        answer = await node.call(target, Greeter.hello, "trio")
        print(f'   await node.call("{target}", Greeter.hello, "trio")  ->  {answer!r}')
        _expect(answer.startswith("hello trio"), "a greeting", answer)

    async def _call_all(self, node: Node) -> dict[SID, int]:
        await self._step(
            "called the group", "A group-wide call: all are asked at once, and values and errors come back:"
        )
        group = node.group(_GROUP)
        replies = await group.call(Greeter.hello, "trio")
        print('   await group.call(Greeter.hello, "trio"):')
        _show(replies)
        _expect(len(replies.values) == _NODES and not replies.errors, "an answer of every worker", replies)
        total = await group.status.get("heap_used")
        print(f'   status.get("heap_used") adds up: {total.value / 1e6:.0f} MB in {len(total.values)} processes')
        _expect(total.value == sum(total.values.values()) > 0, "the sum of the values", total)
        pids = await group.call(Greeter.pid)
        _expect(len(set(pids.values.values())) == _NODES, "as many processes as workers", pids)
        return dict(pids.values)

    async def _spread(self, node: Node) -> None:
        text = "A rumor: this node tells it to a few, those tell others, and it reaches all, however many they are:"
        await self._step("spread a rumor", text)
        group, begun_at = node.group(_GROUP), time.perf_counter()
        receipt = await group.gossip.call(Greeter.hear, "the tour is on")
        while True:
            heard = await group.call(Greeter.heard)
            if all(news == ["the tour is on"] for news in heard.values.values()) and len(heard.values) == _NODES:
                break
            await trio.sleep(_POLL_S)
        took_ms = 1000 * (time.perf_counter() - begun_at)
        print('   await group.gossip.call(Greeter.hear, "the tour is on"):')
        print(f"   rumor {receipt.id}: all {_NODES} have heard it, once each, within {took_ms:.0f} ms")

    async def _lose_one(self, node: Node, events: Events, pids: dict[SID, int]) -> None:
        lost = self._workers[-1]
        text = f"A death. {lost.sid}, process {pids[lost.sid]}, is killed with SIGKILL, and can't say goodbye:"
        await self._step("killed a node", text)
        begun_at = time.perf_counter()
        os.kill(pids[lost.sid], signal.SIGKILL)
        await _next(events, MemberFailed, lost)
        took_ms = 1000 * (time.perf_counter() - begun_at)
        print(f"   The event MemberFailed came within {took_ms:.0f} ms, and the group has {_NODES - 1} members:")
        replies = await node.group(_GROUP).call(Greeter.hello, "trio")
        _show(replies)
        _expect(set(replies.values) >= set(pids) - {lost.sid}, "an answer of every other worker", replies)

    async def _repair(self, node: Node, events: Events, pids: dict[SID, int]) -> int:
        lost = self._workers[-1]
        text = 'The repair: the node was spawned with restart="always", and the group follows the cluster by its rule:'
        await self._step("waited for the repair", text)
        await _next(events, MemberJoined, lost)
        print(f"   {lost.sid} runs again, in a new process, and has joined.")
        while True:
            replies = await node.group(_GROUP).call(Greeter.pid)
            if len(replies.values) == _NODES and replies.values[lost.sid] != pids[lost.sid]:
                break
            await trio.sleep(_POLL_S)
        print("   It has its place in the group, and the service, without anyone's help:")
        _show(await node.group(_GROUP).call(Greeter.hello, "trio"))
        return replies.values[lost.sid]

    async def _stop(self, node: Node) -> None:
        text = "The end: what this node has spawned stops with it; nothing outlives its scope."
        await self._step("stopped the nodes", text)
        _expect(len(node.group(_GROUP).members()) == _NODES, f"{_NODES} workers", node.group(_GROUP).members())


async def _next(events: Events, kind: type[Event], node: NodeAddress) -> None:
    """Wait for an event of this kind about a node."""
    while True:
        event = await anext(events)
        if type(event) is kind and event.node == node:
            return
        if type(event) is ChildEnded and event.node != node:
            raise _Unexpected(f"the node {event.node} has ended by itself, with status {event.status}")


async def _wait(holds: Callable[[], bool], what: str) -> None:
    with trio.move_on_after(_DEADLINE_S / 2):
        while not holds():  # noqa: ASYNC110  no event stands for it
            await trio.sleep(_POLL_S)
    _expect(holds(), what, "others")


def _check_all_gone(pids: list[int]) -> None:
    """Check that no process is left; `open_node` has waited for its children."""
    left = [pid for pid in pids if _is_running(pid)]
    _expect(not left, "no process left", left)
    print(f"   {len(pids)} processes were started, {len(left)} are left.")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _show(replies: Replies[Any]) -> None:
    lines: list[tuple[SID, str]] = [(sid, f"value  {sid}  {value}") for sid, value in replies.values.items()]
    lines += [(sid, f"error  {sid}  {type(error).__name__}: {error.text}") for sid, error in replies.errors.items()]
    for _, line in sorted(lines):
        print(f"   {line}")


def _expect(holds: bool, what: str, seen: object) -> None:
    if not holds:
        raise _Unexpected(f"expected {what}, but saw {seen!r}")
