"""Pyro5: blocking calls, so that 64 in flight are 64 threads with a proxy each; the server has a thread for each, too.

It runs in an environment of its own.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from benchmarks.commands import answer_in_threads, options
from benchmarks.load import Load

api: Any = importlib.import_module("Pyro5.api")
config: Any = importlib.import_module("Pyro5").config


class Echo:
    """What the server serves."""

    def plain(self, value: str) -> str:
        """Return `value`."""
        return value


def serve() -> None:
    """Be the server."""
    config.THREADPOOL_SIZE = 200
    daemon = api.Daemon(host="127.0.0.1")
    uri = daemon.register(api.expose(Echo)(), "echo")
    loop = threading.Thread(target=daemon.requestLoop, daemon=True)
    loop.start()
    answer_in_threads(uri=str(uri))
    daemon.shutdown()


class Threads:
    """The client's threads; each has its own proxy and keeps it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._proxies: list[Any] = []

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do as the command ``load`` says: ``in_flight``, ``seconds``."""
        while len(self._proxies) < command["in_flight"]:
            self._proxies.append(api.Proxy(self._uri))
        load = Load(command["seconds"])
        counts: list[int | Exception] = []

        def call(proxy: Any) -> None:
            try:
                proxy._pyroClaimOwnership()  # noqa: SLF001  its public way to hand a proxy to another thread
                counts.append(load.call_blocking(proxy.plain))
            except Exception as exc:
                counts.append(exc)

        threads = [threading.Thread(target=call, args=[proxy]) for proxy in self._proxies[: command["in_flight"]]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for count in counts:
            if isinstance(count, Exception):
                raise count
            load.calls += count
        return load.result()


if __name__ == "__main__":
    given = options()
    if sys.argv[1] == "serve":
        serve()
    else:
        answer_in_threads(Threads(given["uri"]).load)
