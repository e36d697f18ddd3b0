"""One call to each of many node processes at once, until all have answered, against the reference.

Calls to twenty of the nodes are compared with those to as many processes of a pool of `multiprocessing`, over pipes.

The nodes of both live through all rounds. The caller is a new process in each round, so that its first fan-out has to
make the connections; the following ones use them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .installs import NODE_ENVIRONMENT, NotInstalled, install_npm
from .reference import PACKAGE, script
from .results import Result, median, percentile, ratio, ratios
from .workers import WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["command_of", "run_fanout", "summarize"]

_TIMES: Final = 30
_FLEET_START_S: Final = 300.0
_LIMIT_S: Final = 180.0
_FEW: Final = 20
_TITLES: Final = {
    "link": "trionet, link",
    "reference": PACKAGE,
    "few": f"trionet, link, {_FEW} nodes",
    "pool": f"multiprocessing, a Pool of {_FEW}",
}
_GOALS: Final = (
    ("fan-out to {nodes} on connections that are there, against the reference", "then_ms", "link", "reference", 0.2),
    ("first fan-out to {nodes}, with connecting, against the reference", "first_ms", "link", "reference", 1 / 3),
    (f"fan-out to {_FEW} nodes, against a Pool over pipes", "then_ms", "few", "pool", 0.9),
)
"""What, by which measure, whose, against whom, and the greatest ratio. Names have the sizes: only like is compared."""


def command_of(peer: str, what: str, options: dict[str, Any]) -> list[str]:
    """Return the command of a worker of ours or the reference."""
    if peer == "reference":
        return ["node", str(script(what)), msgspec.json.encode(options).decode()]
    return python_worker(f"peers.{what}", "run", options)


async def run_fanout(settings: Settings) -> Result:
    """Measure fan-outs."""
    result = Result(
        f"Fan-out to {settings.nodes} node processes, all answers, 100 bytes",
        ["peer", "first ms", "x ref", "then ms", "x ref", "p99 ms"],
    )
    env = NODE_ENVIRONMENT
    async with AsyncExitStack() as stack:
        fleets: dict[str, list[Any]] = {}
        for peer in ("link", "reference"):
            if peer not in settings.peers:
                continue
            try:
                if peer == "reference":
                    settings.versions[PACKAGE] = await install_npm(PACKAGE, may_install=settings.may_install)
                settings.say(f"fanout: starting {settings.nodes} nodes of {_TITLES[peer]}")
                command = command_of(peer, "fleet", {"count": settings.nodes})
                fleet = await stack.enter_async_context(
                    open_worker(f"the fleet of {_TITLES[peer]}", command, env=env, start_s=_FLEET_START_S)
                )
                fleets[peer] = fleet.ready["nodes"]
            except NotInstalled as exc:
                result.skipped.append(f"{_TITLES[peer]}: {exc}")
            except WorkerFailed as exc:
                result.problems.append(str(exc))
        for number in range(settings.rounds):
            settings.say(f"fanout: round {number + 1} of {settings.rounds}")
            await _measure_round(number, fleets, result)
    if settings.nodes < _FEW:
        result.skipped.append(f"{_TITLES['pool']}: there are fewer nodes")
    summarize(list(fleets), settings.nodes, result)
    return result


async def _measure_round(number: int, fleets: dict[str, list[Any]], result: Result) -> None:
    for peer in list(fleets)[:: 1 if number % 2 else -1]:
        await _measure(peer, command_of(peer, "fan", {"nodes": fleets[peer]}), result)
    if len(fleets.get("link", [])) >= _FEW:
        few = command_of("link", "fan", {"nodes": fleets["link"][:_FEW]})
        pool = python_worker("peers.pool_fan", "run", {"processes": _FEW})
        for peer, command in [("few", few), ("pool", pool)][:: 1 if number % 2 else -1]:
            await _measure(peer, command, result)


async def _measure(peer: str, command: list[str], result: Result) -> None:
    seconds: list[float] = []
    try:
        async with open_worker(f"the caller of {_TITLES[peer]}", command, env=NODE_ENVIRONMENT) as caller:
            seconds = (await caller.ask("fan_out", times=_TIMES + 1, limit_s=_LIMIT_S))["seconds"]
    except WorkerFailed as exc:
        result.problems.append(str(exc))
    first, *then = [1e3 * second for second in seconds] if seconds else [None]
    for measure, found in (
        ("first_ms", first),
        ("then_ms", median(then)),
        ("then_p99_ms", percentile(then, 0.99)),
    ):
        result.samples.setdefault(measure, {}).setdefault(peer, []).append(found)


def summarize(peers: list[str], nodes: int, result: Result) -> None:
    """Fill the table and the goals from the samples."""
    first, then, tail = (result.samples.get(measure, {}) for measure in ("first_ms", "then_ms", "then_p99_ms"))
    for peer in [*peers, *(other for other in ("few", "pool") if other in then)]:
        against = "reference" if peer in ("link", "reference") else "pool"
        row: list[Any] = [_TITLES[peer]]
        for samples in (first, then):
            row += [median(samples[peer]), ratio(samples[peer], samples.get(against, []))]
        result.rows.append([*row, median(tail[peer])])
    for what, measure, peer, other, limit in _GOALS:
        measured = result.samples.get(measure, {})
        found = ratios(measured.get(peer, []), measured.get(other, []))
        result.watch(what.format(nodes=nodes), found, at_least=False, limit=limit)
