"""``trionet top``: the members of a cluster, live."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.cli.arguments import number
from trionet.cli.frame import Command
from trionet.cli.top.columns import clipped
from trionet.cli.top.looks import MEMBER_ORDERS, Look, View, view_of
from trionet.cli.top.screen import help_lines, screen_lines, text_lines
from trionet.cli.top.state import State
from trionet.errors import ConnectionLost, TrionetError
from trionet.figures import NodeFigures
from trionet.nurseries import open_background_nursery

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client
    from trionet.cli.top.terminal import Terminal

__all__ = ["COMMANDS"]

_DESCRIPTION = """\
Watch the members of a cluster: their states, calls per second, latencies, rumors, links and scheduling lag.

On a terminal it fills the screen, and h shows its keys. Elsewhere it prints one table, of the changes between two
looks. With --json it prints a line of JSON for each look, until --count or Ctrl-C.
"""

_ANSWER_S: Final = 5.0
_INTERVAL_S: Final = 2.0
_PLAIN_INTERVAL_S: Final = 1.0
_FIRST_S: Final = 0.5
"""The first rates come soon."""
_LEAST_S: Final = 0.1
_SIGNALED: Final = 128
"""The exit status of a process that a signal has ended, less its number."""


_count = number(int, 1, sys.maxsize, "a positive number")
_interval = number(float, _LEAST_S, sys.float_info.max, f"a number of seconds, at least {_LEAST_S:g}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--interval", type=_interval, metavar="S", help="seconds between two looks (default: 2; elsewhere 1)")
    add(
        "--count",
        type=_count,
        metavar="N",
        help="end after N looks (default: none; 1 for a table elsewhere)",
    )
    add("--sort", choices=sorted(MEMBER_ORDERS), default="address", help="the order of members (default: address)")


class _Told(msgspec.Struct, frozen=True):
    """What a node tells of a member; see `Diagnosis.overview`."""

    sid: str = ""
    state: str = "alive"
    figures: Any = None
    error: str = ""


async def _look(client: Client) -> Look:
    """Return what the cluster is now."""
    with trio.fail_after(_ANSWER_S + 2):  # a member's cancelled call may take a second
        answer = await client.call("diagnosis", "overview", _ANSWER_S)
    try:
        told = msgspec.convert(answer, dict[str, _Told], strict=False)
    except msgspec.ValidationError as exc:
        raise ConnectionLost(f"the node answered with no overview: {exc}", node=str(client.node)) from exc
    figures: dict[str, NodeFigures] = {}
    errors = {address: one.error for address, one in told.items() if one.error}
    for address, one in told.items():
        if one.figures is not None:
            try:
                figures[address] = msgspec.convert(one.figures, NodeFigures, strict=False)
            except msgspec.ValidationError as exc:
                errors[address] = f"its figures can't be read: {exc}"
    states = {address: one.state for address, one in told.items()}
    sids = {address: one.sid for address, one in told.items()}
    return Look(time.time(), str(client.node), states, sids, figures, errors)


async def _looks(client: Client, options: argparse.Namespace) -> bool:
    """Print a table, or a line of JSON, for each look; one line before is for the rates."""
    interval_s = options.interval or _PLAIN_INTERVAL_S
    left = options.count or (None if options.json else 1)
    before = await _look(client)
    while left is None or left > 0:
        await trio.sleep(interval_s)
        after = await _look(client)
        view = view_of(before, after, options.sort)
        options.output.show(view, lambda _, view=view: "\n".join(text_lines(view, _width())))
        before = after
        left = None if left is None else left - 1
        if not options.json and left != 0:
            options.output.line("")
    return True


def _width() -> int | None:
    """Return the width of the terminal; None elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


async def _screen(client: Client, options: argparse.Namespace) -> bool:
    """Fill the terminal until a key ends it."""
    from trionet.cli.top.terminal import open_terminal  # not on Windows

    watch = _Watch(client, State(options.interval or _INTERVAL_S, options.sort), options.count)
    async with open_terminal() as terminal:
        await watch.run(terminal)
    if terminal.ended_by is not None:
        raise SystemExit(_SIGNALED + terminal.ended_by)
    if watch.failure is not None:
        raise watch.failure
    return True


class _Watch:
    """Looks at a cluster again and again, while keys are handled.

    Attributes:
        failure: why it has ended; None if a key or a signal ended it, or the number of looks.
    """

    def __init__(self, client: Client, state: State, count: int | None) -> None:
        self.failure: TrionetError | None = None
        self._client = client
        self._state = state
        self._left = count
        self._before: Look | None = None
        self._after: Look | None = None
        self._is_due = trio.Event()

    async def run(self, terminal: Terminal) -> None:
        """Draw until the end."""
        async with open_background_nursery() as nursery:
            nursery.start_soon(self._look_again, terminal, nursery.cancel_scope)
            self._draw(terminal)
            async for event in terminal.events:
                if event == "end":
                    return
                if event != "resize":
                    self._handle_key(event)
                if self._state.is_over:
                    return
                self._draw(terminal)

    def _handle_key(self, key: str) -> None:
        was_paused, interval_s = self._state.is_paused, self._state.interval_s
        self._state.press(key, self._view())
        if (was_paused and not self._state.is_paused) or self._state.interval_s != interval_s:
            self._is_due.set()

    async def _look_again(self, terminal: Terminal, scope: trio.CancelScope) -> None:
        while self._left is None or self._left >= 0:
            if not self._state.is_paused:
                await self._look()
                self._draw(terminal)
                if self.failure is not None and self._after is None:
                    break
            self._is_due = trio.Event()
            with trio.move_on_after(self._state.interval_s if self._before is not None else _FIRST_S):
                await self._is_due.wait()
        scope.cancel()

    async def _look(self) -> None:
        try:
            look = await _look(self._client)
        except (TrionetError, trio.TooSlowError) as exc:
            text = exc.text if isinstance(exc, TrionetError) else f"no answer within {_ANSWER_S:g} s"
            self._state.note = f"{self._client.node}: {text}"
            self.failure = exc if isinstance(exc, TrionetError) else ConnectionLost(text, node=str(self._client.node))
            return
        self.failure, self._state.note = None, ""
        self._before, self._after = self._after, look
        self._left = None if self._left is None else self._left - 1

    def _view(self) -> View | None:
        if self._after is None:
            return None
        view = view_of(self._before, self._after, self._state.order, self._state.picked)
        if self._state.is_reversed:
            view = msgspec.structs.replace(view, members=view.members[::-1])
        return view

    def _draw(self, terminal: Terminal) -> None:
        width, height = terminal.size
        view = self._view()
        if self._state.is_help:
            terminal.draw(help_lines(width, height))
        elif view is None:
            terminal.draw([clipped(self._state.note or f"asking {self._client.node} ...", width)])
        else:
            terminal.draw(screen_lines(view, self._state, width, height, coloured=not os.environ.get("NO_COLOR")))


async def _run(client: Client, options: argparse.Namespace) -> bool:
    has_keys = sys.stdin is not None and sys.stdin.isatty()
    if options.output.is_terminal and has_keys and os.environ.get("TERM") != "dumb" and os.name == "posix":
        return await _screen(client, options)
    return await _looks(client, options)


COMMANDS: Final = {
    "top": Command(
        name="top",
        description=_DESCRIPTION,
        examples=["127.0.0.1:8080", "127.0.0.1:8080 --sort lag --interval 5", "127.0.0.1:8080 --json --count 3"],
        run=_run,
        add_arguments=_add_arguments,
        timeout_s=None,
    )
}
