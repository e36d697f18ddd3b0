"""Small calls on a link during large transfers on the same link, against the same calls on an idle one.

What a plain socket carries of the same values stands beside it, in the same rounds.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from .results import Result, median, percentile, ratio, ratios
from .workers import Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_bulk"]

_MB: Final = 1_000_000
_LIMIT_S: Final = 120.0
_DIRECTIONS: Final = ("to the server", "to the client")
_IDLE: Final = "nothing else"
_PLAIN: Final = "a plain socket"
_P99_MS: Final = 10.0
_RATE: Final = 0.5


def _flows(total_mb: int) -> dict[str, dict[str, Any]]:
    """Return the large transfer: its title, and its command."""
    flows: dict[str, dict[str, Any]] = {_IDLE: {"do": "idle"}}
    for direction in _DIRECTIONS:
        for count in (1, total_mb):
            size = total_mb * _MB // count
            title = f"{count} x {size // _MB} MB {direction}"
            flows[title] = {"do": "move", "direction": direction, "size": size, "count": count}
    return flows


async def run_bulk(settings: Settings) -> Result:
    """Measure small calls during large values."""
    flows = _flows(settings.bulk_mb)
    pooled: dict[str, list[float]] = {}
    result = Result(
        f"Small calls, one at a time, while {settings.bulk_mb} MB flow over the same link",
        ["meanwhile", "p50 ms", "x idle", "p99 ms", "x idle", "longest ms", "small calls", "MB/s"],
    )
    try:
        async with AsyncExitStack() as stack:
            command = python_worker("peers.bulky", "serve", {})
            server = await stack.enter_async_context(open_worker("the server of large values", command))
            command = python_worker("peers.bulky", "call", server.ready)
            client = await stack.enter_async_context(open_worker("the client of large values", command))
            plain = await _plain(stack)
            await client.ask("idle", seconds=settings.seconds / 2)
            for number in range(settings.rounds):
                settings.say(f"bulk: round {number + 1} of {settings.rounds}")
                for title, flow in flows.items():
                    pooled.setdefault(title, []).extend(await _measure(client, title, flow, settings, result))
                await _measure_plain(plain, settings, result)
    except WorkerFailed as exc:
        result.problems.append(str(exc))
    _summarize(pooled, result)
    _watch(settings.bulk_mb, result)
    return result


async def _plain(stack: AsyncExitStack) -> Worker:
    """Open the client of a plain socket."""
    command = python_worker("peers.plain", "serve", {})
    server = await stack.enter_async_context(open_worker("the server of a plain socket", command))
    command = python_worker("peers.plain", "call", server.ready)
    return await stack.enter_async_context(open_worker("the client of a plain socket", command))


async def _measure_plain(client: Worker, settings: Settings, result: Result) -> None:
    found = await client.ask("move", size=settings.bulk_mb * _MB, seconds=settings.seconds, limit_s=_LIMIT_S)
    rate = found["times"] * settings.bulk_mb / found["seconds"]
    result.samples.setdefault("mb_per_s", {}).setdefault(_PLAIN, []).append(rate)


async def _measure(client: Worker, title: str, flow: dict[str, Any], settings: Settings, result: Result) -> list[float]:
    """Make small calls meanwhile; return the milliseconds of each."""
    found = await client.ask(**flow, seconds=settings.seconds, limit_s=_LIMIT_S)
    took = [second * 1e3 for second in found["took_s"]]
    moved_mb = found["times"] * flow["size"] * flow["count"] / _MB if "size" in flow else None
    for measure, number in (
        ("p50_ms", percentile(took, 0.5)),
        ("p99_ms", percentile(took, 0.99)),
        ("longest_ms", max(took, default=None)),
        ("small_calls", float(len(took))),
        ("mb_per_s", None if moved_mb is None else moved_mb / found["seconds"]),
    ):
        result.samples.setdefault(measure, {}).setdefault(title, []).append(number)
    return took


def _summarize(pooled: dict[str, list[float]], result: Result) -> None:
    """Fill the table: percentiles of the small calls of all rounds together, and medians of ratios and rates."""
    for title, took in pooled.items():
        row: list[Any] = [title]
        for measure, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            samples = result.samples[measure]
            row += [percentile(took, share), ratio(samples[title], samples[_IDLE])]
        result.rows.append([*row, max(took, default=None), len(took), median(result.samples["mb_per_s"][title])])
    if rates := result.samples.get("mb_per_s", {}).get(_PLAIN):
        result.rows.append([_PLAIN, None, None, None, None, None, None, median(rates)])


def _watch(total_mb: int, result: Result) -> None:
    """Add the goals: those of one long value in each direction."""
    tails, rates = result.samples.get("p99_ms", {}), result.samples.get("mb_per_s", {})
    for direction in _DIRECTIONS:
        title = f"1 x {total_mb} MB {direction}"
        what = f"p99 of small calls beside {title}"
        result.watch(what, tails.get(title, []), at_least=False, unit="ms", limit=_P99_MS)
        what = f"{title}, against a plain socket"
        result.watch(what, ratios(rates.get(title, []), rates.get(_PLAIN, [])), limit=_RATE)
