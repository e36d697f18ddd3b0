"""The nodes of one host, each a process of its own, forked from one that has imported everything.

``python -m tests.hosts.watched_nodes FOLDER CONFIG...``: each node answers questions on a Unix socket in FOLDER, which
all hosts share: beside the network, so that faults there don't matter. All end with their host.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

import trionet
from tests.hosts.watched import Watch

_POLL_S: Final = 0.02


async def _serve(config: trionet.NodeConfig, path: Path) -> None:
    watch = Watch()
    async with trionet.open_node(config) as node, trio.open_nursery() as nursery:
        await watch.open(node, nursery.start_soon)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        new = path.with_name(f"new {path.name}")
        new.unlink(missing_ok=True)
        await sock.bind(str(new))
        sock.listen()
        new.rename(path)
        answer = functools.partial(_answer, node, watch)
        await trio.serve_listeners(answer, [trio.SocketListener(sock)], handler_nursery=nursery)


async def _answer(node: trionet.Node, watch: Watch, stream: trio.SocketStream) -> None:
    async with stream:
        question = msgspec.json.decode(await stream.receive_some(1000))
        answer: Any = os.getpid()
        if "say" in question:
            answer = await watch.say(node, question["say"])
        elif "report" in question:
            answer = watch.report(node)
        await stream.send_all(msgspec.json.encode(answer))


def main(folder: Path, configs: list[trionet.NodeConfig]) -> None:
    """Fork all, and wait for the end of the host."""
    logging.getLogger("trionet").setLevel(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed ones leave no zombies
    for config in configs:
        path = folder / f"{config.ip}:{config.port}"
        if os.fork() == 0:
            try:
                trio.run(_serve, config, path)
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(1)
        while config is configs[0] and not path.exists():  # the others join it at once
            time.sleep(_POLL_S)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [trionet.NodeConfig(**msgspec.json.decode(word)) for word in sys.argv[2:]])
