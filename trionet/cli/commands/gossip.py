"""``trionet gossip``: a rumor, and how far it has come."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.cli.client import ALL
from trionet.cli.frame import Command
from trionet.cli.output import error_text
from trionet.cli.targets import target_of
from trionet.errors import TrionetError
from trionet.message import LOCAL

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client
    from trionet.cli.targets import Target

__all__ = ["COMMANDS"]

_DESCRIPTION: Final = """\
Have a node send a rumor: every member of a group calls a method of its own, once. Show how far the rumor has come,
until all have it, or the time is over: then the exit status is 1, as it is where the node has no such method.

Members that can't be reached get it later. What the calls return is not collected. Arguments are as for trionet call;
without GID it goes to all members.
"""
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_TIMEOUT_S: Final = 10.0


class _Shown:
    """Shows the spread of a rumor: on a terminal in one line, elsewhere in a line for each change."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._output = options.output
        self._begun = time.perf_counter()
        self._last: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        """The time since the rumor was sent."""
        return round(time.perf_counter() - self._begun, 3)

    def show(self, spread: dict[str, Any]) -> None:
        """Show a spread, if it is another one."""
        if spread == self._last or self._output.is_json:
            return
        is_live = bool(self._last) and self._output.is_terminal
        self._last = spread
        about = "" if spread["estimate"] == spread["known"] else f", probably {spread['estimate']:.0f}"
        line = f"{spread['known']} of {spread['members']} members have it{about}, after {self.seconds:.3f} s"
        (self._output.renew if is_live else self._output.line)(line)


async def _lacks_method(client: Client, target: Target) -> bool:
    """Whether the node is known to have no such method: then a word is probably mistyped."""
    try:
        methods: list[dict[str, Any]] = await client.call("inspection", "services")
    except TrionetError:  # a policy denies that
        return False
    wanted = LOCAL, target.service, target.method
    return not any((one["gid"], one["service"], one["method"]) == wanted for one in methods)


async def _run(client: Client, options: argparse.Namespace) -> bool:
    target = target_of(options.words, ALL)
    kwargs = {"kwargs": target.kwargs} if target.kwargs else {}
    shown, spread = _Shown(options), dict[str, Any]()
    until = trio.current_time() + options.timeout
    async with client.limited(options.timeout):
        receipt = await client.call("gossip", "send", target.args, target.remote, gid=target.gid, **kwargs)
    options.output.line(f"rumor {receipt.id}")
    for sid, error in receipt.errors.items():
        options.output.line(f"first hop to {sid}: {error_text(error)}")
    pause_s = _FIRST_PAUSE_S
    while not spread or spread["known"] < spread["members"]:
        with trio.move_on_at(until) as scope:
            spread = await client.call("inspection", "spread", target.gid, receipt.id)
            shown.show(spread)
            if spread["known"] < spread["members"]:
                await trio.sleep(pause_s)
        if scope.cancelled_caught:
            break
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    if options.output.is_json:
        options.output.show({"id": receipt.id, "errors": receipt.errors, **spread, "seconds": shown.seconds})
    is_everywhere = bool(spread) and spread["known"] >= spread["members"]
    if await _lacks_method(client, target):
        name = f"{target.service}/{target.method}"
        print(f"trionet gossip: {client.node} has no method {name}: a rumor's call fails there", file=sys.stderr)
        return False
    if not is_everywhere:
        print(f"trionet gossip: not all members have it after {options.timeout:g} s (--timeout)", file=sys.stderr)
    return is_everywhere


COMMANDS: Final = {
    "gossip": Command(
        name="gossip",
        description=_DESCRIPTION,
        examples=["127.0.0.1:8080 counter/add 5", "127.0.0.1:8080 workers/cache/drop key=a --timeout 3 --json"],
        run=_run,
        words="[GID/]SERVICE/METHOD [ARGS ...]",
        least=1,
        most=None,
        timeout_s=_TIMEOUT_S,
        limits_itself=True,
    )
}
