"""A node's machine on a memory fabric: it may be held, slow or down.

Invariants: a host that is down never sends or receives again. A held host does nothing until it is released. The due
actions of a host run in order, in any mix of holds and lags.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress

    from .pump import Pump
    from .randomness import RandomByTarget
    from .rules import Message

__all__ = ["Host"]


class Host(ABC):
    """The machine of one node.

    Attributes:
        address: its address.
        pump: schedules its actions.
        random_to: the random numbers for its messages, by target.
        is_down: whether it is down, for good.
        lags: functions that return delays of its input, in seconds; the delays add up.
        is_prompt: whether it handles input at once: it is neither held nor slow nor down.
        is_mute: whether it sends nothing: it is held or down.
    """

    def __init__(self, address: NodeAddress, pump: Pump, random_to: RandomByTarget) -> None:
        self.address = address
        self.pump = pump
        self.random_to = random_to
        self.is_down: bool = False
        self.lags: list[Callable[[], float]] = []
        self.is_prompt: bool = True
        self.is_mute: bool = False
        self._holds = 0
        self._queue: deque[tuple[float, Callable[..., None], tuple[Any, ...]]] = deque()  # due, with their times
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []  # due while it is held
        self._free_at = 0.0

    @abstractmethod
    def handle(self, message: Message) -> None:
        """Handle a message."""

    @abstractmethod
    def bring_down(self, reason: str, *, is_silent: bool = False) -> None:
        """Stop it: its links break, and it receives nothing more."""

    def hold(self) -> None:
        """Stop it, as SIGSTOP does, until it is released as often as it was held."""
        if self.is_down:
            return
        self._holds += 1
        self.is_mute = True
        self.is_prompt = False

    def release(self) -> None:
        """Undo one `hold`; it continues after the last one."""
        self._holds = max(0, self._holds - 1)
        if self._holds:
            return
        self.is_mute = self.is_down
        held, self._held = self._held, []
        for action, args in held:
            self._enqueue(action, args)
        self._work()

    def fall(self) -> None:
        """Mark it as down."""
        self.is_down = self.is_mute = True
        self.is_prompt = False
        self.pump.drop(self)

    def free(self) -> None:
        """Undo all holds and drop the pending actions: a stopped process can be killed, and its connections break."""
        self._holds = 0
        self._queue.clear()
        self._held.clear()
        self.is_mute = False

    def keep(self, action: Callable[..., None], *args: Any) -> None:
        """Postpone a send of a mute host until its release; drop it if the host is down."""
        if self._holds:
            self._held.append((action, args))

    def add_lag(self, lag: Callable[[], float]) -> None:
        """Delay each input by ``lag()`` seconds, one after the other, in addition to other lags."""
        self.lags.append(lag)
        self._judge_promptness()

    def remove_lag(self, lag: Callable[[], float]) -> None:
        """Remove a lag."""
        self.lags.remove(lag)
        self._judge_promptness()

    def _judge_promptness(self) -> None:
        self.is_prompt = not (self._holds or self.lags or self._queue or self.is_down)

    def admit(self, action: Callable[..., None], *args: Any) -> None:
        """Run a due action: now, or after its lags and earlier actions, or after the release."""
        if self.is_down:
            return
        if self._holds:
            self._held.append((action, args))
        elif self.lags or self._queue:
            self._enqueue(action, args)
            self._work()
        else:
            action(*args)

    def _enqueue(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        now = self.pump.time()
        self._free_at = max(self._free_at, now + sum(lag() for lag in self.lags))
        self._queue.append((self._free_at, action, args))
        if self._free_at > now:
            self.pump.at(self._free_at, self._work)

    def _work(self) -> None:
        """Run the queued actions whose time has come."""
        now = self.pump.time()
        while self._queue and not self._holds and self._queue[0][0] <= now:
            _, action, args = self._queue.popleft()
            action(*args)
        self._judge_promptness()

    def call_at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Schedule ``action(*args)`` for `when` on Trio's clock; a held host runs it later, one that is down never."""
        self.pump.at(when, self._due, action, args)

    def _due(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.is_prompt:
            action(*args)
        else:
            self.admit(action, *args)
