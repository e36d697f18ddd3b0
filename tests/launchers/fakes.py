"""A launcher that starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trionet import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet import NodeConfig

__all__ = ["FakeLauncher"]

_FIRST_PORT = 9000


class FakeLauncher:
    """Fulfils `trionet.Launcher`: each of its nodes lives for a while and ends with a status.

    Args:
        lives: of the nodes in turn: after how many seconds it ends, and with which status; or the error that it does
            not boot with. When there are no more, nodes live until cancelled.

    Attributes:
        started: when each was started, on Trio's clock.
        configs: of each.
        cancelled: how many were cancelled.
    """

    def __init__(self, lives: Iterable[tuple[float, Any] | BaseException] = ()) -> None:
        self._lives = iter(lives)
        self.started: list[float] = []
        self.configs: list[NodeConfig] = []
        self.cancelled = 0

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        self.started.append(trio.current_time())
        self.configs.append(config)
        life = next(self._lives, (float("inf"), 0))
        await trio.lowlevel.checkpoint()
        if isinstance(life, BaseException):
            raise life
        task_status.started(NodeAddress(config.ip, config.port or _FIRST_PORT + len(self.started)))
        seconds, status = life
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return status

    def pauses(self, life: Callable[[int], float] = lambda _: 0.0) -> list[float]:
        """Return how long it took from each end to the next start, to a microsecond, if ends came after `life(n)`."""
        pairs = zip(self.started, self.started[1:], strict=False)
        return [round(later - earlier - life(number), 6) for number, (earlier, later) in enumerate(pairs)]
