"""A hundred nodes spawned at once, until each has answered a call, against the reference; their memory; their end.

Both run in turn, each time from nothing. Ours spawns twice: from cold, which includes the start of the fork server,
and, when those nodes have been stopped, once more with it warm. Beside the seconds stands the processor time of all
processes: on a busy machine, where a hundred processes get a greater share than one, it tells more.

Memory is taken twice: when all have answered, and when they have rested for a while, because V8 gives some of what it
took for starting back half a minute later.
"""

from __future__ import annotations

import hashlib
import random
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from .installs import NODE_ENVIRONMENT, NotInstalled, install_npm
from .marked import Marked
from .reference import PACKAGE, script
from .results import Goal, Result, Samples, median, ratio, ratios
from .workers import ROOT, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_spawn"]

_LIMIT_S: Final = 300.0
_REST: Final = 40.0
"""How long nodes rest, in units of the time of each peer in a round: 40 s, by default."""
_MIB: Final = 1024 * 1024
_TITLES: Final = {"cold": "trionet, from cold", "warm": "trionet, fork server warm", "reference": PACKAGE}


async def run_spawn(settings: Settings) -> Result:
    """Measure spawning."""
    result = Result(
        f"{settings.nodes} nodes spawned at once on one machine, until each has answered a call",
        ["peer", "seconds", "x ref", "cpu s", "x ref", "PSS MiB per node", "x ref", "at rest", "x ref"],
    )
    peers = [peer for peer in ("link", "reference") if peer in settings.peers]
    if "reference" in peers:
        try:
            settings.versions[PACKAGE] = await install_npm(PACKAGE, may_install=settings.may_install)
        except NotInstalled as exc:
            peers.remove("reference")
            result.skipped.append(f"{PACKAGE}: {exc}")
    rest_s = _REST * settings.seconds
    for number in range(settings.rounds):
        settings.say(f"spawn: round {number + 1} of {settings.rounds}")
        for peer in peers[:: 1 if number % 2 else -1]:
            found: dict[str, float | None]
            try:
                found = await (_measure_ours if peer == "link" else _measure_reference)(settings.nodes, rest_s)
            except WorkerFailed as exc:
                result.problems.append(str(exc))
                found = {}
            _note(result, peer, found)
        if "link" in peers:
            _note(result, "import", {"import_s": await _import_s()})
    _summarize(result, settings.nodes, rest_s)
    return result


async def _measure_ours(count: int, rest_s: float) -> dict[str, float | None]:
    marked, found = Marked(), dict[str, float | None]()
    command = python_worker("peers.spawn", "run", {"count": count})
    try:
        async with open_worker("the spawner of trionet", command, env=marked.environment) as worker:
            for state in ("cold", "warm"):
                before = marked.cpu_s()
                found[f"{state}_s"] = (await worker.ask("spawn", limit_s=_LIMIT_S))["seconds"]
                found[f"{state}_cpu"] = marked.cpu_s() - before
                found[f"{state}_pss"] = marked.pss(but=worker.pid) / count
                if state == "cold":
                    await worker.ask("stop", limit_s=_LIMIT_S)
            await trio.sleep(rest_s)
            found["warm_rest"] = marked.pss(but=worker.pid) / count
            found["stop_s"] = (await worker.ask("end", limit_s=_LIMIT_S))["seconds"]
            found["left"] = len(marked.pids(but=worker.pid))
    finally:
        await marked.kill()
    return found


async def _measure_reference(count: int, rest_s: float) -> dict[str, float | None]:
    marked = Marked()
    words = msgspec.json.encode({"count": count, "port": _free_ports(count + 1)}).decode()
    command = ["node", str(script("spawn")), words]
    try:
        async with open_worker(
            f"the spawner of {PACKAGE}", command, env=NODE_ENVIRONMENT | marked.environment
        ) as worker:
            before = marked.cpu_s()
            found: dict[str, float | None] = {
                "reference_s": (await worker.ask("spawn", limit_s=_LIMIT_S))["seconds"],
                "reference_cpu": marked.cpu_s() - before,
                "reference_pss": marked.pss(but=worker.pid) / count,
            }
            await trio.sleep(rest_s)
            return found | {"reference_rest": marked.pss(but=worker.pid) / count}
    finally:
        await marked.kill()


def _free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on, below those that the system gives away.

    The reference keys its groups by five hexadecimal digits; of nodes that agree in them, as happens in one of two
    hundred runs, it would call only one.
    """
    while True:
        first = random.randrange(10_000, 30_000)
        if len({_reference_sid(port) for port in range(first, first + count)}) < count:
            continue
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def _reference_sid(port: int) -> str:
    node = msgspec.json.encode({"ip": "127.0.0.1", "port": port})
    return hashlib.sha256(node).hexdigest()[:5]


async def _import_s() -> float | None:
    """Return how long `import trionet` takes in a new process, as ``-X importtime`` says: the best of five."""
    command, found = [sys.executable, "-X", "importtime", "-c", "import trionet"], []
    for _ in range(5):
        done = await trio.run_process(command, cwd=ROOT, capture_stderr=True)
        for line in done.stderr.decode().splitlines():
            _, cumulative, name = line.removeprefix("import time:").split("|")
            if name.strip() == "trionet":
                found.append(int(cumulative) / 1e6)
    return min(found, default=None)


def _note(result: Result, peer: str, found: dict[str, float | None]) -> None:
    measures = {
        "link": ("cold_s", "cold_cpu", "cold_pss", "warm_s", "warm_cpu", "warm_pss", "warm_rest", "stop_s", "left"),
        "reference": ("reference_s", "reference_cpu", "reference_pss", "reference_rest"),
        "import": ("import_s",),
    }
    for measure in measures[peer]:
        name, _, unit = measure.rpartition("_")
        result.samples.setdefault(unit, {}).setdefault(name, []).append(found.get(measure))


def _summarize(result: Result, count: int, rest_s: float) -> None:
    seconds, cpu, pss, rest = (result.samples.get(unit, {}) for unit in ("s", "cpu", "pss", "rest"))

    def against_reference(samples: dict[str, list[float | None]], peer: str) -> float | None:
        return ratio(samples[peer], samples["reference"]) if {peer, "reference"} <= samples.keys() else None

    for peer, title in _TITLES.items():
        if peer in seconds:
            row: list[Any] = [title]
            for samples, scale in ((seconds, 1), (cpu, 1), (pss, _MIB), (rest, _MIB)):
                found = median(samples.get(peer, []))
                row += [None if found is None else found / scale, against_reference(samples, peer)]
            result.rows.append(row)
    _watch(result, count, rest_s)


def _watch(result: Result, count: int, rest_s: float) -> None:
    """Add the goals."""
    seconds, cpu, pss, rest = (result.samples.get(unit, {}) for unit in ("s", "cpu", "pss", "rest"))

    def against(samples: Samples, peer: str) -> list[float]:
        return ratios(samples.get(peer, []), samples.get("reference", []))

    left = [number for number in result.samples.get("left", {}).get("", []) if number is not None]
    each_ms = [None if spent is None else 1e3 * spent / count for spent in cpu.get("warm", [])]
    to_reference = "against the reference"
    for what, limit, found, unit in (
        (f"{count} nodes, fork server warm, {to_reference}", 0.1, against(seconds, "warm"), "x"),
        (f"{count} nodes from cold, {to_reference}", 0.12, against(seconds, "cold"), "x"),
        ("processor time of a spawned node, fork server warm", 9.0, each_ms, "ms"),
        (f"PSS per node, helper included, {to_reference}", 0.5, against(pss, "warm"), "x"),
        (f"the same after {rest_s:g} s at rest", 0.55, against(rest, "warm"), "x"),
        ("time to stop all", 2.0, seconds.get("stop", []), "s"),
        ("import time of trionet", 0.35, seconds.get("import", []), "s"),
    ):
        result.watch(what, found, at_least=False, unit=unit, limit=limit)
    goal = Goal("processes left then", 0, at_least=False, measured=max(left, default=None), unit="processes")
    result.goals.append(goal)
