"""Links with a cluster key against plain ones: calls, and large values, in short slices that take turns.

The callers are two nodes of this process, one of a plain cluster and one of a sealed one. Their callees are children
in processes of their own, or nodes of this process as well. A pair of slices is so short that both meet the same
machine; each pair gives one ratio, and the interval around the median of all ratios is that of the bootstrap.
"""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import trio

import trionet
from trionet.security.key_file import new_key_file
from trionet.security.keys import ClusterKey

from .load import load_in_trio
from .results import Goal, Result, bootstrapped, median

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .settings import Settings

__all__ = ["Measured", "measure", "new_key", "run_sealed", "serve"]

_MB: Final = 1_000_000
_PAIRS: Final = {"calls/s": 100, "MB/s": 24}
"""Pairs of slices, by unit: of seven rounds."""

_SLICE_S: Final = 0.06
_KINDS: Final = ("plain", "sealed")
_CALLS: Final = {"1 call at a time": (1, 0.85), "64 calls in flight": (64, 0.9)}
_BULK_GOAL: Final = 0.6
_ON_START: Final = "benchmarks.sealed:serve"


class Measured:
    """The service ``measured``."""

    @trionet.rpc
    def echo(self, value: str) -> str:
        """Return `value`."""
        return value

    @trionet.rpc
    def sink(self, data: bytes) -> int:
        """Take `data`; return its size."""
        return len(data)


async def serve(node: trionet.Node) -> None:
    """Register the service; for `on_start`."""
    await node.local.routes.put(Measured(), "measured")


def new_key(folder: str) -> str:
    """Make a key file in `folder`; return its path."""
    path = str(Path(folder) / "cluster.key")
    new_key_file(path, ClusterKey(secrets.token_bytes(32)))
    return path


async def run_sealed(settings: Settings) -> Result:
    """Measure calls and large values over both kinds of links."""
    result = Result("Sealed links against plain ones", ["load", "plain", "sealed", "unit", "ratio", "from", "to"])
    try:
        await _measure_all(settings, result)
    except* (trionet.TrionetError, trio.TooSlowError) as group:
        result.problems.append(f"it broke off: {group.exceptions[0]!r}")
    return result


async def _measure_all(settings: Settings, result: Result) -> None:
    with TemporaryDirectory() as folder:
        key_files = {"plain": None, "sealed": new_key(folder)}
        for is_apart, title in ((True, "two processes"), (False, "one process")):
            async with AsyncExitStack() as stack:
                pairs = {
                    kind: await _open_pair(stack, settings, key_file, is_apart=is_apart)
                    for kind, key_file in key_files.items()
                }
                for name, (in_flight, limit) in _CALLS.items():
                    slices = {kind: _calls(*pair, in_flight, settings) for kind, pair in pairs.items()}
                    await measure(f"{name}, {title}", "calls/s", limit, slices, settings, result)
                slices = {kind: _bulk(*pair, settings.bulk_mb) for kind, pair in pairs.items()}
                await measure(f"{settings.bulk_mb} MB, {title}", "MB/s", _BULK_GOAL, slices, settings, result)


async def measure(
    title: str,
    unit: str,
    limit: float,
    slices: dict[str, Callable[[], Awaitable[float]]],
    settings: Settings,
    result: Result,
) -> None:
    """Run slices of both kinds in turn, after one of each that doesn't count; add the row, the samples and the goal."""
    settings.say(f"sealed: {title}")
    found: dict[str, list[float | None]] = {kind: [] for kind in _KINDS}
    for number in range(1 + max(1, _PAIRS[unit] * settings.rounds // 7)):
        for kind in _KINDS[:: 1 if number % 2 else -1]:
            rate = await slices[kind]()
            if number:
                found[kind].append(rate)
    ratios = [sealed / plain for sealed, plain in zip(found["sealed"], found["plain"], strict=True) if sealed and plain]
    middle, low, high = bootstrapped(ratios)
    result.samples[title] = found
    result.rows.append([title, median(found["plain"]), median(found["sealed"]), unit, middle, low, high])
    result.goals.append(Goal(f"{title}: sealed to plain", limit, at_least=True, measured=middle))


async def _open_pair(
    stack: AsyncExitStack, settings: Settings, key_file: str | None, *, is_apart: bool
) -> tuple[trionet.Node, trionet.NodeAddress]:
    """Open a caller; return it and the address of its callee."""
    most = 2 * settings.bulk_mb * _MB
    config = trionet.NodeConfig(key_file=key_file, max_message_bytes=most)
    serving = trionet.NodeConfig(key_file=key_file, max_message_bytes=most, on_start=_ON_START)
    caller = await stack.enter_async_context(trionet.open_node(config))
    if is_apart:
        return caller, await caller.spawn(serving)
    callee = await stack.enter_async_context(trionet.open_node(serving))
    return caller, callee.address


def _calls(
    node: trionet.Node, callee: trionet.NodeAddress, in_flight: int, settings: Settings
) -> Callable[[], Awaitable[float]]:
    send, remote = node.local.comm.send, trionet.Remote(node=callee, service="measured", method="echo")
    command = {"in_flight": in_flight, "seconds": _SLICE_S * settings.seconds}

    async def echo(value: str) -> str:
        answer: str = await send([value], remote)
        return answer

    async def run() -> float:
        found = await load_in_trio(echo, command)
        return float(found["calls"] / found["seconds"])

    return run


def _bulk(node: trionet.Node, callee: trionet.NodeAddress, total_mb: int) -> Callable[[], Awaitable[float]]:
    send, remote = node.local.comm.send, trionet.Remote(node=callee, service="measured", method="sink")
    data = bytes(total_mb * _MB)

    async def run() -> float:
        begun = time.perf_counter()
        with trio.fail_after(120):
            if await send([data], remote) != len(data):
                raise ValueError("the size is wrong")
        return total_mb / (time.perf_counter() - begun)

    return run
