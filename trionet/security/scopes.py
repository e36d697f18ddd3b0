"""What a bearer token may call: the scope that each method needs.

``read`` is enough for methods marked with ``rpc(read=True)``, trionet's own and the user's. The table has the methods
that change the cluster or the program, which need ``admin``, and those that only nodes call. All others need ``call``.

Invariant: what a token may not call does not depend on the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .refusals import FORBIDDEN, RequestRefused
from .token_scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .tokens import Token

__all__ = [
    "ADMIN_METHODS",
    "FORWARDING",
    "NEEDS_KEY",
    "NODE_METHODS",
    "check_method",
    "forwarded_scope",
    "needed_scope",
    "needs_key",
]

NEEDS_KEY: Final = (
    "is for those who hold the key of the cluster, and this call came in the clear; use the key file, or finish "
    "the rollout"
)
"""Why a peer without a proof may not call a method."""

ADMIN_METHODS: Final[Mapping[str, frozenset[str] | None]] = {
    "status": frozenset({"stop", "spawn", "reload"}),
    "routes": frozenset({"put", "put_template", "rem"}),
    "groups": frozenset({"put", "add", "rem", "del"}),
    "inspection": frozenset({"cancel_call", "cancel_own_calls"}),
    "membership": frozenset({"join", "leave", "set_tags", "forget"}),
    "keys": None,
}
"""The methods that need ``admin``, by service, local and group-wide; None stands for all."""

_RELAYING: Final = frozenset({"relay", "answer", "recall"})
"""The methods of ``comm`` by which nodes relay a call along a tree: the call itself is checked wherever it runs."""

NODE_METHODS: Final[Mapping[str, frozenset[str] | None]] = {
    "membership": frozenset({"packet", "unreachable"}),
    "kept": None,
    "keys": frozenset({"exchange", "give", "take_step"}),
    "comm": _RELAYING,
}
"""The methods that only nodes may call."""

FORWARDING: Final = frozenset({"comm", "diagnosis", "gossip", "inspection"})
"""The services whose methods have nodes call other methods: these need the scope of their destination as well."""


def needed_scope(service: str, method: str, *, is_read: bool = False) -> Scope | None:
    """Return the scope that a call needs; None if no token is enough.

    Args:
        service: the name of its service.
        method: the name of its method.
        is_read: whether it is marked with ``rpc(read=True)``.
    """
    if _has(NODE_METHODS, service, method):
        return None
    if _has(ADMIN_METHODS, service, method):
        return Scope.ADMIN
    return Scope.READ if is_read else Scope.CALL


def forwarded_scope(service: str, method: str, *, is_read: bool = False) -> Scope | None:
    """Return the scope that a call needs which a node has forwarded.

    It is that of `needed_scope`; but nodes keep things for a group by ``kept``, in the name of an administrator, and
    relay calls for everyone, whose own scope is checked where they run.
    """
    if service == "kept":
        return Scope.ADMIN
    if service == "comm" and method in _RELAYING:
        return Scope.READ
    return needed_scope(service, method, is_read=is_read)


def check_method(token: Token, service: str, method: str, *, is_read: bool = False) -> None:
    """Raise `RequestRefused` unless the holder of `token` may call a method; see `needed_scope`."""
    needed = needed_scope(service, method, is_read=is_read)
    if needed is None:
        raise RequestRefused(
            f"{service}/{method} is for nodes of the cluster only: no token is enough",
            reason=f"token {token.id} is no node, and only nodes may call {service}/{method}",
            status=FORBIDDEN,
        )
    token.check(needed)


def needs_key(service: str, method: str) -> bool:
    """Return whether a peer without a proof may not call a method, on a node with a key that still hears it.

    The protocols go on over plain links until all members send sealed ones.
    """
    return _has(ADMIN_METHODS, service, method) or service == "kept" or (service == "comm" and method in _RELAYING)


def _has(table: Mapping[str, frozenset[str] | None], service: str, method: str) -> bool:
    methods = table.get(service, frozenset())
    return methods is None or method in methods
