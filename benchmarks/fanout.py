"""One call to each of many node processes at once, until all have answered, against the reference.

The nodes of both live through all rounds. The caller is a new process in each round, so that its first fan-out has to
make the connections; the following ones use them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .installs import NODE_ENVIRONMENT, NotInstalled, install_npm
from .reference import PACKAGE, script
from .results import Goal, Result, median, percentile, ratio
from .workers import WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["command_of", "run_fanout"]

_TIMES: Final = 30
_FLEET_START_S: Final = 300.0
_LIMIT_S: Final = 180.0
_TITLES: Final = {"link": "trionet, link", "reference": PACKAGE}


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
            for peer in list(fleets)[:: 1 if number % 2 else -1]:
                await _measure(peer, fleets[peer], result)
    _summarize(list(fleets), result)
    return result


async def _measure(peer: str, nodes: list[Any], result: Result) -> None:
    seconds: list[float] = []
    try:
        command = command_of(peer, "fan", {"nodes": nodes})
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


def _summarize(peers: list[str], result: Result) -> None:
    first, then, tail = (result.samples.get(measure, {}) for measure in ("first_ms", "then_ms", "then_p99_ms"))
    for peer in peers:
        row: list[Any] = [_TITLES[peer]]
        for samples in (first, then):
            row += [
                median(samples[peer]),
                ratio(samples[peer], samples["reference"]) if "reference" in samples else None,
            ]
        result.rows.append([*row, median(tail[peer])])
    for what, samples in (("fan-out on connections that are there", then), ("first fan-out, with connecting", first)):
        measured = ratio(samples["link"], samples["reference"]) if {"link", "reference"} <= samples.keys() else None
        result.goals.append(Goal(f"{what}, against the reference", 1 / 3, at_least=False, measured=measured))
