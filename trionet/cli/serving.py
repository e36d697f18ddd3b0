"""Running one node in this process, from its configuration to its exit status: what all commands that do it share."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Final

import trio

from trionet.forks import receive_signals
from trionet.launchers.base import KILL_AFTER_S
from trionet.nurseries import open_background_nursery
from trionet.runtime import open_node

from .ending import end_after, end_despite_threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trionet.config import NodeConfig
    from trionet.node import Node

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
    run = _Run()
    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background_nursery() as nursery:
            nursery.start_soon(run.obey, signals, nursery.cancel_scope)
            async with open_node(config) as node:
                run.node = node
                announce(node)
                try:
                    await trio.sleep_forever()
                finally:
                    run.is_told = node.is_stopping  # and then its calls have had their grace
                    left_s = 0 if run.is_told else config.stop_grace_s
                    trio.lowlevel.spawn_system_task(end_despite_threads, left_s, run.is_alone, run.status)
    if run.node is None:
        raise Interrupted


class _Run:
    """What a node's process knows of how it is to end.

    Attributes:
        node: the node, when it has booted.
        is_told: whether it was told to stop.
        is_hurried: whether it was told twice.
    """

    def __init__(self) -> None:
        self.node: Node | None = None
        self.is_told = self.is_hurried = False

    def is_alone(self) -> bool:
        """Whether nothing is left that the node has spawned."""
        return self.node is None or self.node.is_alone

    def status(self) -> int:
        """Return the exit status, where the process is ended before it ends by itself."""
        return _INTERRUPTED if self.is_hurried else int(not self.is_told)

    async def obey(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Stop the node, or cancel `scope`, as signals say."""
        async for _ in signals:
            if self.node is None:
                break
            self.node.stop()
            await anext(signals)
            self.is_hurried = True
            end_after(KILL_AFTER_S, _INTERRUPTED)  # a handler in a thread can't be cancelled
            break
        scope.cancel()
