"""Maelstrom's numbered errors, and what ends an operation other than a good reply.

Source: Maelstrom, ``doc/protocol.md``, "Errors".
"""

from __future__ import annotations

from typing import Any, Final

from trionet.errors import TrionetError

__all__ = [
    "ERROR_NAMES",
    "BadMessage",
    "MalformedReply",
    "RpcError",
    "RpcTimeout",
    "SetupFailed",
    "StoreFailed",
    "is_definite",
    "leaves",
]

ERROR_NAMES: Final[dict[Any, str]] = {
    0: "timeout",
    1: "node-not-found",
    10: "not-supported",
    11: "temporarily-unavailable",
    12: "malformed-request",
    13: "crash",
    14: "abort",
    20: "key-does-not-exist",
    21: "key-already-exists",
    22: "precondition-failed",
    30: "txn-conflict",
}

_INDEFINITE: Final = frozenset((0, 13))


def is_definite(code: Any) -> bool:
    """Whether an error of this code says that the operation did not happen; an unknown code does not."""
    return type(code) is int and code in ERROR_NAMES and code not in _INDEFINITE


class RpcTimeout(Exception):
    """No reply came in time."""


class RpcError(Exception):
    """The reply is an error.

    Attributes:
        code: its number.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.code: Any = body.get("code")
        super().__init__(f"{ERROR_NAMES.get(self.code, f'error {self.code}')}: {body.get('text')}")


class MalformedReply(Exception):
    """The reply has not the form that the protocol prescribes."""


class BadMessage(Exception):
    """What a node sent can't be delivered: no JSON, another envelope, or to or from nobody on the network."""


class SetupFailed(TrionetError):
    """The test could not begin: a program can't be started, or a node did not initialise."""


class StoreFailed(TrionetError):
    """What a test leaves behind can't be kept: nothing is said about the nodes."""


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions in a group, however deep they are."""
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found
