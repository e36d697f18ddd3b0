"""Restarts of nodes that have ended: the policy, its back-off, and its limit.

Invariants: a restarted node keeps its address; pauses double from `_PAUSE_MIN_S` to `_PAUSE_MAX_S`; after more than
`_MAX_RESTARTS` within `_PERIOD_S` the node is given up.

Source: Erlang/OTP's supervisors (``supervisor``: restart types permanent, transient, temporary; intensity and period).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.errors import RemoteError, SpawnError, TrionetError
from trionet.events import ChildEnded, ChildGivenUp, ChildRestarted
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log
from trionet.user_code import pass_endings

from .base import explain_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.config import NodeConfig
    from trionet.events import Event

    from .base import Launcher

__all__ = ["keep_running", "pause_s"]

_log = limited_log(__name__)

_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_MAX_RESTARTS: Final = 5
_PERIOD_S: Final = 30.0


def pause_s(restarts: int) -> float:
    """Return the pause before the next start.

    Args:
        restarts: the number of restarts within the period, >= 0.

    Returns:
        Seconds: 0.1, doubled for each restart, at most 5.
    """
    return min(_PAUSE_MAX_S, _PAUSE_MIN_S * 2.0**restarts)


def _ignore(_: NodeAddress) -> None: ...


def _forget_old(restarts: deque[float]) -> None:
    """Drop the times that are out of the period."""
    now = trio.current_time()
    while restarts and restarts[0] < now - _PERIOD_S:
        restarts.popleft()


async def keep_running(
    launcher: Launcher,
    config: NodeConfig,
    publish: Callable[[Event], None],
    on_boot: Callable[[NodeAddress], None] = _ignore,
    *,
    task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Start a node, and restart it when it ends, by the policy ``config.restart``; return when it is not restarted.

    Args:
        launcher: starts it.
        config: its configuration.
        publish: called with an event for each end, for each restart, and at the limit.
        on_boot: called with the address each time that it has booted.
        task_status: started with the address when it has booted for the first time.

    Raises:
        TrionetError: it did not boot the first time; a `SpawnError`, or what the launcher raised.
    """
    address: NodeAddress | None = None
    restarts: deque[float] = deque()

    def booted(where: NodeAddress) -> None:
        nonlocal address, config
        on_boot(where)
        if address is None:
            address = where
            config = msgspec.structs.replace(config, port=where.port)
            task_status.started(where)
        else:
            publish(ChildRestarted(node=where, restarts=len(restarts)))

    while True:
        try:
            status = await _run_once(launcher, config, _Started(booted))
        except TrionetError as exc:
            if address is None:
                raise
            _log.warning("the spawned node %s could not be started again: %s", address, exc, extra=about(address))
            status = 1
        if address is None:
            raise SpawnError(f"the node ended before it had booted: {explain_status(status)}")
        publish(ChildEnded(node=address, status=status))
        if config.restart == "never" or (config.restart == "on_failure" and status == 0):
            return
        _forget_old(restarts)
        if len(restarts) == _MAX_RESTARTS:
            publish(ChildGivenUp(node=address, restarts=len(restarts)))
            return
        await trio.sleep(pause_s(len(restarts)))
        restarts.append(trio.current_time())


async def _run_once(launcher: Launcher, config: NodeConfig, task_status: _Started) -> int:
    """Start a node, and wait for its end; return its exit status.

    All exceptions of a launcher become library errors, except those that end this program.
    """
    try:
        status = await launcher.start(config, task_status=task_status)
    except BaseException as exc:
        try:
            pass_endings(exc)
        except BaseException as ending:
            if ending is not exc:
                _log.error("a launcher failed while it was cancelled", exc_info=exc)
            raise
        error = _spawn_error(exc)
        if error is exc:
            raise
        raise error from exc
    if not isinstance(status, int):
        raise SpawnError(f"the launcher returned no exit status, but {status!r:.80}")
    return status


def _spawn_error(exc: BaseException) -> TrionetError:
    """Return the error for a launcher's exception; groups of one, as nurseries raise them, are unwrapped."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    if isinstance(exc, TrionetError):
        return exc
    return SpawnError(f"the launcher failed: {RemoteError.from_exception(exc)}")


class _Started(trio.TaskStatus[NodeAddress]):
    """A task status that calls a function."""

    def __init__(self, booted: Callable[[NodeAddress], None]) -> None:
        self._booted = booted
        self._is_started = False

    def started(self, value: NodeAddress | None = None) -> None:
        if not isinstance(value, NodeAddress):
            raise TypeError(f"task_status.started() needs the node's address, not {value!r:.80}")
        if self._is_started:
            raise RuntimeError("task_status.started() was called twice")
        self._is_started = True
        self._booted(value)
