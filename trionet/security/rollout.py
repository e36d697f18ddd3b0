"""The rollout of keys on a running plain cluster, at one member.

Its members go forward through `STEPS`, each by its own configuration. Invariant: of two members that are one step apart
or less, each accepts what the other sends. A step is taken once all present members have taken the one before, so no
two are further apart. There is no way back: a member that sends plain again could meet one that refuses it.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

__all__ = ["STEPS", "Accept", "Rollout", "Send", "rollout_named", "step_named"]


class Accept(enum.IntEnum):
    """What a member accepts."""

    PLAIN = 0
    BOTH = 1
    SEALED = 2


class Send(enum.IntEnum):
    """What a member sends."""

    PLAIN = 0
    SEALED = 1


class Rollout(msgspec.Struct, frozen=True):
    """What a member accepts and sends.

    Attributes:
        accept: what it accepts.
        send: what it sends.
    """

    accept: Accept
    send: Send

    @property
    def is_protected(self) -> bool:
        """Whether plain peers are refused; until then a status says "unprotected", and they get no keys and no code."""
        return self.accept is Accept.SEALED

    def __str__(self) -> str:
        return f"accept={self.accept.name.lower()} send={self.send.name.lower()}"

    @property
    def number(self) -> int:
        """Its place in `STEPS`, 0 to 3."""
        return STEPS.index(self)

    def accepts(self, send: Send) -> bool:
        """Return whether it accepts what a member with `send` sends."""
        return self.accept is Accept.BOTH or (self.accept is Accept.SEALED) == (send is Send.SEALED)


STEPS: Final = (
    Rollout(Accept.PLAIN, Send.PLAIN),
    Rollout(Accept.BOTH, Send.PLAIN),
    Rollout(Accept.BOTH, Send.SEALED),
    Rollout(Accept.SEALED, Send.SEALED),
)
"""The steps of a rollout, in order."""


def rollout_named(accept: str, send: str) -> Rollout | None:
    """Return the rollout with these settings of a configuration or a key file; None if it is none of `STEPS`."""
    return next((one for one in STEPS if str(one) == f"accept={accept} send={send}"), None)


def step_named(text: str) -> Rollout | None:
    """Return the step that an operator names: ``accept=both``, ``send=sealed`` or ``accept=sealed``; None without."""
    return _NAMED.get(text)


_NAMED: Final = {"accept=both": STEPS[1], "send=sealed": STEPS[2], "accept=sealed": STEPS[3]}
