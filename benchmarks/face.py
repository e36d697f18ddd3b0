"""The HTTP face: calls of a built-in method by ``wrk``, over 64 kept connections, in comparison.

In each round every server is loaded for a short time, in turn; its process lives through all rounds. Each answers the
same: a short value in JSON. Without ``wrk`` on the path, nothing is measured.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import AsyncExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import trio

from .results import Result, median, ratios
from .workers import Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["run_face"]

_CONNECTIONS: Final = 64
_PATH: Final = "/local/status/get"
_TITLES: Final = {
    "node": "trionet, HTTP face",
    "bare": "bare ASGI app, Hypercorn's Trio worker",
    "quart": "plain Quart-Trio, Hypercorn's Trio worker",
}
_SCRIPT: Final = """
wrk.method = "PUT"
wrk.body = '["sid"]'
wrk.headers["Content-Type"] = "application/json"
"""
_RATE: Final = re.compile(r"Requests/sec:\s+([0-9.]+)")
_FAILED: Final = re.compile(r"(Non-2xx or 3xx responses: .*|Socket errors: .*)")


async def run_face(settings: Settings) -> Result:
    """Measure the HTTP face."""
    result = Result(
        f"PUT {_PATH} by wrk, {_CONNECTIONS} kept connections", ["server", "requests/s", "x bare", "cpu us per request"]
    )
    wrk = shutil.which("wrk")
    if wrk is None:
        result.skipped.append("all: wrk is not on the path (apt install wrk)")
        return result
    with TemporaryDirectory() as folder:
        script = trio.Path(folder, "call.lua")
        await script.write_text(_SCRIPT, encoding="utf-8")
        try:
            async with AsyncExitStack() as stack:
                servers = {}
                for kind, title in _TITLES.items():
                    command = python_worker("peers.faces", "serve", {"kind": kind})
                    servers[kind] = await stack.enter_async_context(open_worker(title, command))
                await _measure([wrk, f"-c{_CONNECTIONS}", "-t1", f"-s{script}"], servers, settings, result)
        except* WorkerFailed as group:
            result.problems += [str(exc) for exc in group.exceptions]
    _summarize(result)
    return result


async def _measure(wrk: list[str], servers: dict[str, Worker], settings: Settings, result: Result) -> None:
    kinds = list(servers)
    for kind in kinds:
        await _load(wrk, servers[kind], 1)
    for number in range(settings.rounds):
        settings.say(f"face: round {number + 1} of {settings.rounds}")
        turn = number % len(kinds)
        for kind in kinds[turn:] + kinds[:turn]:  # another one begins each time
            rate, cpu_us, failed = await _load(wrk, servers[kind], max(1, round(settings.seconds)))
            result.samples.setdefault("requests_per_s", {}).setdefault(kind, []).append(rate)
            result.samples.setdefault("server_cpu_us", {}).setdefault(kind, []).append(cpu_us)
            if failed:
                result.problems.append(f"{_TITLES[kind]}: {failed}")


async def _load(wrk: list[str], server: Worker, seconds: int) -> tuple[float, float, str]:
    """Return the requests per second, the server's processor time for each in microseconds, and what failed."""
    before_s = (await server.ask("cpu"))["cpu_s"]
    command = [*wrk, f"-d{seconds}s", f"http://127.0.0.1:{server.ready['port']}{_PATH}"]
    ran = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    cpu_s = (await server.ask("cpu"))["cpu_s"] - before_s
    said = ran.stdout.decode()
    rate = float(found[1]) if (found := _RATE.search(said)) else 0.0
    failed = found[1] if (found := _FAILED.search(said)) else ""
    if ran.returncode:
        failed = f"wrk ended with status {ran.returncode}: {said.strip()[-200:]}"
    return rate, cpu_s / max(1.0, rate * seconds) * 1e6, failed


def _summarize(result: Result) -> None:
    rates, cpu = (result.samples.get(name, {}) for name in ("requests_per_s", "server_cpu_us"))
    for kind, found in rates.items():
        result.rows.append(
            [_TITLES[kind], median(found), median(ratios(found, rates.get("bare", []))), median(cpu[kind])]
        )
    if rates:
        result.watch(
            "the HTTP face, against a bare ASGI app on Hypercorn",
            ratios(rates.get("node", []), rates.get("bare", [])),
            limit=0.75,
        )
