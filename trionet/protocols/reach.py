"""The senders that this node hears, and can't connect to: they advertise a wrong address, or one behind a firewall.

Invariant: a sender is reported after `FAILURES` failed connections, each begun after another packet from it, once it is
heard again; not while its address is proven, and once in `AGAIN_S`. So a node that has crashed, restarted, or was cut
off is not reported: while it is away nothing is heard from it, and before, as a rule, its address was proven.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from .recent import remember

__all__ = ["AGAIN_S", "FAILURES", "Reach"]

FAILURES: Final = 2
"""A single failure may be a restart."""

AGAIN_S: Final = 60.0
_MOST_SENDERS: Final = 4096
_MOST_HEARD: Final = 8


class _Sender:
    __slots__ = ("failures", "heard_at", "reported_at")

    def __init__(self) -> None:
        self.heard_at: deque[float] = deque(maxlen=_MOST_HEARD)  # without a failed connection yet
        self.failures = 0
        self.reported_at = -math.inf


class Reach:
    """The unproven senders of one node."""

    __slots__ = ("_senders",)

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def heard(self, name: str, now: float) -> bool:
        """Handle a packet in the name of `name`, which came by a connection; return whether to report it."""
        sender = self._senders.get(name) or _Sender()
        remember(self._senders, name, sender, _MOST_SENDERS)
        sender.heard_at.append(now)
        is_due = sender.failures >= FAILURES and now >= sender.reported_at + AGAIN_S
        if is_due:
            sender.reported_at = now
        return is_due

    def failed(self, name: str, begun_at: float) -> None:
        """Handle a connection to `name`, begun at `begun_at`, that could not be made."""
        sender = self._senders.get(name)
        before = [] if sender is None else [at for at in sender.heard_at if at <= begun_at]
        if sender is not None and before:
            sender.heard_at.remove(before[-1])
            sender.failures += 1

    def forget(self, name: str) -> None:
        """Handle the proof of an address: it can be reached."""
        self._senders.pop(name, None)
