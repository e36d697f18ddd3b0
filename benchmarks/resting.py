"""The memory of a ``trionet-node`` in a cluster of three: at rest, after HTTP without Quart, and once that is loaded.

Proportional (PSS): a page that several processes share counts once, so it is less while other nodes run.
"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import trio

from .results import Result, median
from .workers import Worker, WorkerFailed, open_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_resting"]

_NODES: Final = 3
_SETTLE: Final = 5.0
"""How long the nodes rest, in units of the time of each peer in a round."""
_LIMIT_S: Final = 60.0
_KIB: Final = 1024
_GOALS: Final = {
    "in a cluster": 22.0,
    "after a call by HTTP": 30.0,
    "after probes and metrics, too": 34.0,
    "once Quart is loaded": 42.0,
}


async def run_resting(settings: Settings) -> Result:
    """Measure it, with new nodes in each round."""
    result = Result(f"Memory of a trionet-node, one of {_NODES}", ["state", "PSS MiB", "goal"])
    found: dict[str, list[float | None]] = {state: [] for state in _GOALS}
    for number in range(settings.rounds):
        settings.say(f"resting: round {number + 1} of {settings.rounds}")
        try:
            for state, mib in (await _measure(_SETTLE * settings.seconds)).items():
                found[state].append(mib)
        except (WorkerFailed, httpx.HTTPError, trio.TooSlowError) as exc:
            result.problems.append(f"{type(exc).__name__}: {exc}")
    for state, limit in _GOALS.items():
        result.rows.append([state, median(found[state]), limit])
        result.watch(f"PSS of a trionet-node {state}", found[state], at_least=False, unit="MiB", limit=limit)
    result.samples["pss_mib"] = found
    return result


async def _measure(settle_s: float) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        nodes: list[Worker] = []
        for _ in range(_NODES):
            seeds = [_url(nodes[0]).removeprefix("http://")] if nodes else []
            settings = json.dumps({"join": seeds})
            command = [sys.executable, "-m", "trionet.cli.node", "--json", "--config", settings]
            nodes.append(await stack.enter_async_context(open_worker("a trionet-node", command, is_killed=True)))
        measured, base = nodes[-1], _url(nodes[-1])
        await trio.sleep(settle_s)
        found = {"in a cluster": _pss_mib(measured.pid)}
        async with httpx.AsyncClient(trust_env=False, timeout=_LIMIT_S) as client:
            (await client.put(f"{base}/local/status/get", json=["nid"])).raise_for_status()
            await trio.sleep(settle_s / 5)
            found["after a call by HTTP"] = _pss_mib(measured.pid)
            for page in ("live", "ready", "metrics"):
                (await client.get(f"{base}/{page}")).raise_for_status()
            await trio.sleep(settle_s / 5)
            found["after probes and metrics, too"] = _pss_mib(measured.pid)
            await client.get(f"{base}/no/such")  # which the app answers
            await trio.sleep(settle_s / 5)
            found["once Quart is loaded"] = _pss_mib(measured.pid)
        return found


def _url(node: Worker) -> str:
    ready: dict[str, Any] = node.ready
    return f"http://{ready['ip']}:{ready['port']}"


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / _KIB
    raise WorkerFailed(f"no PSS is told of process {pid}")
