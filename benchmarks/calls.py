"""Echo calls between two processes: how many per second, one at a time and 64 at once, in comparison.

In each round every peer runs for a short time, in turn; its two processes live through all rounds.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .installs import NODE_ENVIRONMENT, NotInstalled, install_npm, install_python, python_for
from .reference import PACKAGE, script
from .results import Result, formatted, median, ratio, ratios
from .workers import Worker, WorkerFailed, open_worker, python_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .settings import Settings

__all__ = ["PEERS", "run_calls"]

_IN_FLIGHT: Final = (1, 64)
_MEASURES: Final = ("calls_per_s", "client_cpu_us", "server_cpu_us")
_WARM_UP_S: Final = 0.3
_REFERENCE: Final = "reference"
_BARE: Final = "bare"


class Peer(msgspec.Struct, frozen=True):
    """A peer to compare.

    Attributes:
        title: its line in the table.
        module: the file in `peers` that is its server and its client; empty for the reference.
        package: what it needs from ``requirements.txt``.
        serve, call: options for either side; `serve` is None where the client starts the server itself.
    """

    title: str
    module: str
    package: str | None = None
    serve: dict[str, Any] | None = {}
    call: dict[str, Any] = {}


PEERS: Final[Mapping[str, Peer]] = {
    "link": Peer("trionet, link", "link", serve={"transport": "link"}, call={"transport": "link", "method": "plain"}),
    "link-task": Peer(
        "trionet, link, async handler",
        "link",
        serve={"transport": "link"},
        call={"transport": "link", "method": "task"},
    ),
    "link-typed": Peer(
        "trionet, link, call by method",
        "link",
        serve={"transport": "link"},
        call={"transport": "link", "method": "typed"},
    ),
    "http": Peer("trionet, HTTP", "link", serve={"transport": "http"}, call={"transport": "http", "method": "plain"}),
    _BARE: Peer("bare Trio socket, same frames", "bare"),
    "asyncio": Peer("asyncio streams", "streams"),
    "grpc": Peer("grpcio aio", "grpc_aio", package="grpcio"),
    "pyro5": Peer("Pyro5", "pyro", package="pyro5"),
    "tractor": Peer("tractor", "actors", package="tractor", serve=None),
    _REFERENCE: Peer(PACKAGE, ""),
}


class _Pair:
    """A server and a client, ready to be measured."""

    def __init__(self, server: Worker | None, client: Worker) -> None:
        self._server = server
        self._client = client

    async def load(self, in_flight: int, seconds: float) -> dict[str, float]:
        """Make calls; return the calls per second, and the processor time per call on each side in microseconds."""
        before = await self._server_cpu_s()
        did = await self._client.ask("load", in_flight=in_flight, seconds=seconds)
        server_cpu_s = did.get("server_cpu_s") or await self._server_cpu_s() - before
        calls = max(1, did["calls"])
        return {
            "calls_per_s": did["calls"] / did["seconds"],
            "client_cpu_us": did["cpu_s"] / calls * 1e6,
            "server_cpu_us": server_cpu_s / calls * 1e6,
        }

    async def _server_cpu_s(self) -> float:
        spent: float = (await self._server.ask("cpu"))["cpu_s"] if self._server is not None else 0.0
        return spent


async def _open_pair(name: str, stack: AsyncExitStack) -> _Pair:
    peer = PEERS[name]
    env = NODE_ENVIRONMENT if name == _REFERENCE else {}
    server, options = None, peer.call
    if peer.serve is not None:
        command = _command(name, "serve", peer.serve)
        server = await stack.enter_async_context(open_worker(f"the server of {peer.title}", command, env=env))
        options = {**peer.call, **server.ready}
    command = _command(name, "call", options)
    client = await stack.enter_async_context(open_worker(f"the client of {peer.title}", command, env=env))
    pair = _Pair(server, client)
    for in_flight in _IN_FLIGHT:
        await pair.load(in_flight, _WARM_UP_S)
    return pair


def _command(name: str, role: str, options: Mapping[str, Any]) -> list[str]:
    peer = PEERS[name]
    if name == _REFERENCE:
        return ["node", str(script({"serve": "node", "call": "calls"}[role])), msgspec.json.encode(options).decode()]
    python = python_for(peer.package) if peer.package else None
    return python_worker(f"peers.{peer.module}", role, options, python)


async def run_calls(settings: Settings) -> Result:
    """Measure calls."""
    result = Result(
        "Echo calls of 100 bytes between two processes, 1 and 64 at once; cpu: client + server, per call",
        ["peer", *(f"{n}: {what}" for n in _IN_FLIGHT for what in ("calls/s", "x ref", "x bare", "cpu us"))],
    )
    async with AsyncExitStack() as stack:
        pairs: dict[str, _Pair] = {}
        for name in [name for name in PEERS if name in settings.peers]:
            try:
                await _install(name, settings)
                pairs[name] = await _open_pair(name, stack)
            except NotInstalled as exc:
                result.skipped.append(f"{PEERS[name].title}: {exc}")
            except WorkerFailed as exc:
                result.problems.append(str(exc))
        await _measure(pairs, settings, result)
    _summarize(list(pairs), result)
    return result


async def _install(name: str, settings: Settings) -> None:
    package = PEERS[name].package
    if name == _REFERENCE:
        settings.versions[PACKAGE] = await install_npm(PACKAGE, may_install=settings.may_install)
    elif package is not None:
        settings.versions[package] = await install_python(package, may_install=settings.may_install)


async def _measure(pairs: dict[str, _Pair], settings: Settings, result: Result) -> None:
    names = list(pairs)
    for number in range(settings.rounds):
        settings.say(f"calls: round {number + 1} of {settings.rounds}")
        turn = number % max(1, len(names))
        for name in names[turn:] + names[:turn]:  # another one begins each time
            for in_flight in _IN_FLIGHT:
                try:
                    found = await pairs[name].load(in_flight, settings.seconds)
                except WorkerFailed as exc:
                    result.problems.append(str(exc))
                    found = {}
                for measure in _MEASURES:
                    samples = result.samples.setdefault(f"{measure}, {in_flight} in flight", {})
                    samples.setdefault(name, []).append(found.get(measure))


def _summarize(names: list[str], result: Result) -> None:
    for name in names:
        row: list[Any] = [PEERS[name].title]
        for in_flight in _IN_FLIGHT:
            rates, client, server = (result.samples[f"{measure}, {in_flight} in flight"] for measure in _MEASURES)
            row.append(median(rates[name]))
            row += [ratio(rates[name], rates[other]) if other in rates else None for other in (_REFERENCE, _BARE)]
            row += [f"{formatted(median(client[name]))} + {formatted(median(server[name]))}"]
        result.rows.append(row)
    _watch(names, result)


_GOALS: Final = (
    ("one call at a time, against the reference", "link", 1, _REFERENCE, 3.0),
    ("64 in flight, against the reference", "link", 64, _REFERENCE, 9.5),
    ("64 in flight, against the bare Trio echo", "link", 64, _BARE, 0.5),
    ("64 in flight, async handler, against the bare Trio echo", "link-task", 64, _BARE, 0.5),
    ("1 in flight, by method, against comm.send", "link-typed", 1, "link", 0.95),
    ("64 in flight, by method, against comm.send", "link-typed", 64, "link", 0.95),
    ("HTTP, one call at a time, against the reference", "http", 1, _REFERENCE, 0.2),
    ("HTTP, 64 in flight, against the reference", "http", 64, _REFERENCE, 0.08),
)
"""What, whose, how many in flight, against whom, and the least ratio."""


def _watch(names: list[str], result: Result) -> None:
    """Add the goals, and the processor time of our calls."""
    for what, peer, in_flight, other, limit in _GOALS:
        rates = result.samples.get(f"{_MEASURES[0]}, {in_flight} in flight", {})
        result.watch(what, ratios(rates.get(peer, []), rates.get(other, [])), limit=limit)
    for name in [name for name in names if name.startswith(("link", "http"))]:
        for in_flight in _IN_FLIGHT:
            _, client, server = (result.samples[f"{measure}, {in_flight} in flight"][name] for measure in _MEASURES)
            both = [a + b for a, b in zip(client, server, strict=True) if a is not None and b is not None]
            what = f"{PEERS[name].title}, {in_flight} in flight: processor time of a call"
            result.watch(what, both, at_least=False, unit="us")
