"""Maelstrom's numbered errors, and the failures of requests and tests.

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
    """Return whether an error of this code is definite: the operation did not happen. An unknown code is not."""
    return type(code) is int and code in ERROR_NAMES and code not in _INDEFINITE


class RpcTimeout(Exception):
    """No reply arrived in time."""


class RpcError(Exception):
    """The reply is an error.

    Attributes:
        code: the number of the error.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.code: Any = body.get("code")
        super().__init__(f"{ERROR_NAMES.get(self.code, f'error {self.code}')}: {body.get('text')}")


class MalformedReply(Exception):
    """The reply has another form than the protocol prescribes."""


class BadMessage(Exception):
    """A message is undeliverable: no JSON, another envelope, or a sender or receiver that is not on the network."""


class SetupFailed(TrionetError):
    """The test could not begin: a program can't be started, or a node did not initialise."""


class StoreFailed(TrionetError):
    """The results of a test can't be stored; this is no statement about the nodes."""
