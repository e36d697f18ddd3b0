"""A node of a command, from its configuration to the exit status."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import ConfigError, TrionetError
from trionet.forks import receive_signals
from trionet.launchers.base import KILL_AFTER_S
from trionet.log_format import TEXT_FORMAT, JSONLogFormatter
from trionet.nurseries import open_background_nursery
from trionet.open_files import explain_full, is_full, raise_limit
from trionet.runtime import open_node
from trionet.services.log_ring import LogRing
from trionet.streams import OutputLost
from trionet.transports.network import TCPNetwork

from .ending import end_after, end_despite_threads
from .hangups import reload_on_signal
from .service_manager import ServiceManager

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.node import Node
    from trionet.security.node_keys import NodeKeys

__all__ = ["Interrupted", "prepare_process", "run_reporting", "serve"]

_INTERRUPTED: Final = 130
_NO_MANAGER: Final = ServiceManager()


class Interrupted(Exception):
    """A signal came before the node had booted."""


def run_reporting(name: str, work: Callable[[], int]) -> int:
    """Return the exit status of ``work()``, or of the error that it raises, which is reported on standard error.

    Args:
        name: the name of the command.
        work: runs its nodes.
    """
    try:
        return work()
    except (TrionetError, OutputLost) as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, ConfigError) else 1
    except (Interrupted, KeyboardInterrupt):
        return _INTERRUPTED
    except Exception as exc:
        if isinstance(exc, OSError) and is_full(exc):
            print(f"{name}: {exc.strerror}: {explain_full(exc)}", file=sys.stderr)
        else:
            logging.getLogger("trionet").exception("%s failed", name)
        return 1


def prepare_process(config: NodeConfig) -> None:
    """Set up logging, and raise the limit of open files to the system's maximum."""
    _set_up_log(config)
    raise_limit()


_log_handlers: Final[dict[str, logging.Handler]] = {}
"""The handler of `_set_up_log`, by the format of its lines."""


def _set_up_log(config: NodeConfig) -> None:
    """Set up logging, unless that has been done already, by a fork server: it touches all loggers."""
    level, root = logging.getLevelName(config.log_level.upper()), logging.getLogger()
    handler = _log_handlers.get(config.log_format)
    if handler in root.handlers and root.level == level and getattr(handler, "stream", None) is sys.stderr:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JSONLogFormatter() if config.log_format == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    _log_handlers.clear()
    _log_handlers[config.log_format] = handler
    logging.getLogger("httpx").setLevel(logging.WARNING)
    LogRing.of_process()  # for trionet logs


def _name_in_log(address: NodeAddress) -> None:
    """Have the lines of this process in JSON name its node."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JSONLogFormatter):
            handler.formatter.node = address


def _describe(node: Node) -> str:
    """Return the state of a node, for the service manager."""
    count = len(node.members())
    members = "1 member" if count == 1 else f"{count} members"
    return f"{node.sid} on {node.address}; {members} in cluster {node.config.cluster}"


async def serve(
    config: NodeConfig,
    keys: NodeKeys | None,
    announce: Callable[[Node], None],
    manager: ServiceManager = _NO_MANAGER,
    sockets: Sequence[socket.socket] = (),
) -> None:
    """Run a node until it is stopped. A first signal stops it, a second one cancels it.

    Args:
        config: the node's.
        keys: the keys of its cluster; None: those in its `key_file`, if any.
        announce: called with the node once it has booted.
        manager: receives the state of the node.
        sockets: those that were opened for it, instead of sockets of its own.

    Raises:
        Interrupted: a signal came before that.
    """
    run = _Run()
    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background_nursery() as nursery:
            nursery.start_soon(run.handle, signals, nursery.cancel_scope)
            async with open_node(config, fabric=TCPNetwork(sockets), keys=keys) as node:
                run.node = node
                _name_in_log(node.address)
                await nursery.start(reload_on_signal, node, manager)  # before anybody is told that it is ready
                nursery.start_soon(manager.report, node, _describe)
                announce(node)
                try:
                    await trio.sleep_forever()
                finally:
                    run.is_stopped = node.is_stopping  # and then its calls have had their grace
                    left_s = 0 if run.is_stopped else config.stop_grace_s
                    trio.lowlevel.spawn_system_task(end_despite_threads, left_s, run.is_alone, run.status)
    if run.node is None:
        raise Interrupted


class _Run:
    """The state of a node's process.

    Attributes:
        node: the node, when it has booted.
        is_stopped: whether the node was stopped, by a signal or a call.
        is_interrupted: whether a second signal has come.
    """

    def __init__(self) -> None:
        self.node: Node | None = None
        self.is_stopped = self.is_interrupted = False

    def is_alone(self) -> bool:
        """Whether all nodes that the node has spawned have ended."""
        return self.node is None or self.node.is_alone

    def status(self) -> int:
        """Return the exit status of a process that is ended early."""
        return _INTERRUPTED if self.is_interrupted else int(not self.is_stopped)

    async def handle(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Stop the node at the first signal; cancel `scope` before it has booted, and at the second."""
        async for _ in signals:
            if self.node is None:
                break
            self.node.stop()
            await anext(signals)
            self.is_interrupted = True
            end_after(KILL_AFTER_S, _INTERRUPTED)  # a handler in a thread can't be cancelled
            break
        scope.cancel()
