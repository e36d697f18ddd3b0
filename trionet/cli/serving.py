"""Running one node in this process, from its configuration to its exit status: what all commands that do it share."""

from __future__ import annotations

import logging
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trionet.forks import receive_signals
from trionet.launchers.base import KILL_AFTER_S
from trionet.node import Node, open_node
from trionet.nurseries import open_background_nursery

from .ending import end_after, end_despite_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.config import NodeConfig

__all__ = ["Interrupted", "prepare_process", "serve"]

_INTERRUPTED: Final = 130


class Interrupted(Exception):
    """A signal came before the node had booted."""


def prepare_process(config: NodeConfig) -> None:
    """Set up logging, and permit as many open files as the system lets."""
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(config: NodeConfig, announce: Callable[[Node], None]) -> None:
    """Run a node until it is stopped; a first signal stops it, a second one doesn't wait.

    Args:
        config: the node's.
        announce: called with the node once it has booted.

    Raises:
        Interrupted: a signal came before that.
    """
    node: Node | None = None
    is_told = is_hurried = False

    def status() -> int:
        return _INTERRUPTED if is_hurried else int(not is_told)

    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background_nursery() as nursery:

            async def obey_signals() -> None:
                nonlocal is_hurried
                async for _ in signals:
                    if node is None:
                        break
                    node.stop()
                    await anext(aiter(signals))
                    is_hurried = True
                    end_after(KILL_AFTER_S, _INTERRUPTED)  # a handler in a thread can't be cancelled
                    break
                nursery.cancel_scope.cancel()

            nursery.start_soon(obey_signals)
            async with open_node(config) as node:
                announce(node)
                try:
                    await trio.sleep_forever()
                finally:
                    is_told = node.is_stopping  # and then its calls have had their grace
                    left_s = 0 if is_told else config.stop_grace_s
                    trio.lowlevel.spawn_system_task(end_despite_threads, left_s, partial(_is_alone, node), status)
    if node is None:
        raise Interrupted


def _is_alone(node: Node) -> bool:
    return node.is_alone
