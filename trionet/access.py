"""Who may call what on one node: checked for each call, whatever brings it.

Invariants: a call needs the rights of its principal, and of the member that has forwarded it: so a member can claim
lesser principals only. A policy only takes rights away: a token never has more than its scope. A node may call
everything of itself, and what the protocols send is not for a policy. A group-wide method that changes its own
node, too, needs the right to the local method of that name. A refusal is counted, and logged with who and what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .detours import destinations
from .errors import NotPermitted
from .log_limits import about, limited_log
from .message import LOCAL
from .principal import ANYONE, Principal
from .security.scopes import NEEDS_KEY, forwarded_scope, needs_key
from .security.token_scope import Scope

if TYPE_CHECKING:
    from .identity import NodeAddress
    from .message import Call
    from .policy import Policy
    from .security.live_keys import LiveKeys
    from .security.node_keys import NodeKeys

__all__ = ["Access"]

_log = limited_log(__name__)

_PROTOCOLS: Final = frozenset({("membership", "packet"), ("membership", "unreachable"), ("keys", "exchange")})
"""The local methods by which the protocols of the nodes go: a policy that denied them would split the cluster."""

_NO_MEMBERS: Final = frozenset({"token", "anyone"})
"""The kinds of principals that are no members. Their names don't tell where they are, either."""


class Access:
    """Checks the calls of one node.

    Args:
        own: its address.
        keys: its keys; without any no principal but itself is believed.
        policy: its policy; None for none.

    Attributes:
        own: the principal of its own calls to itself: this object, and no equal one.
        is_active: whether there is something to check: it has a key, a certificate or a policy.
        is_protected: whether it has a key or a certificate.
        has_policy: whether it has a policy.
        refused: the number of refused calls.
    """

    def __init__(self, own: NodeAddress, keys: LiveKeys, policy: Policy | None) -> None:
        self.own: Principal = Principal.node(own)
        self.is_protected: bool = keys.is_certified
        self.has_policy: bool = policy is not None
        self.is_active: bool = self.has_policy or self.is_protected
        self.refused: int = 0
        self._policy = policy
        self._keys = keys
        keys.watch(self._handle_keys)

    @property
    def is_believing(self) -> bool:
        """Whether it believes the origins of rumors: all that it hears is from members. A plain peer may be anyone."""
        return self.is_protected and not self._keys.hears_plain

    def _handle_keys(self, keys: NodeKeys) -> None:
        del keys
        self.is_protected = self.is_active = True

    def check(self, call: Call, *, is_read: bool) -> None:
        """Raise `NotPermitted` unless a call may run; `is_read`: whether its method only reads."""
        principal = call.principal or ANYONE
        if self._policy is None and call.forwarder is None and principal.kind not in _NO_MEMBERS:
            return  # so are most
        for who in (principal,) if call.forwarder is None else (call.forwarder, principal):
            reason = "" if who is self.own else self._reason_against(who, call, is_read)
            if reason:
                self._refuse(who, call, reason)

    def _reason_against(self, who: Principal, call: Call, is_read: bool) -> str:
        gid, service, method = call.gid, call.service, call.method
        if who.kind == "token":
            needed = forwarded_scope(service, method, is_read=is_read)
            if needed is None:
                return "only nodes may call it"
            if Scope.of(who.scope) < needed:
                return f"it needs the scope {needed.name.lower()}"
        elif who.kind == "anyone" and self.is_protected and (closed := _closed(call)):
            return f"{closed} {NEEDS_KEY}"
        elif gid == LOCAL and (service, method) in _PROTOCOLS:
            return ""
        if self._policy is None:
            return ""
        reason = self._policy.reason_against(who, gid, service, method)
        if not reason and gid != LOCAL and _changes_its_node(service, method):
            reason = self._policy.reason_against(who, LOCAL, service, method)
        return reason

    def _refuse(self, who: Principal, call: Call, reason: str) -> None:
        self.refused += 1
        what = f"{call.gid}/{call.service}/{call.method}"
        by = "" if call.forwarder is None else f", forwarded by {call.forwarder},"
        name, place = call.principal or ANYONE, call.client or call.caller
        whom = f"{name} at {place}" if place and not by and name.kind in _NO_MEMBERS else str(name)
        text = "the call of %s by %s%s was refused: %s, as %s"
        _log.warning(text, what, whom, by, reason, who, extra=_fields(whom, what, call))
        # The reasons of a policy are the operator's own.
        raise NotPermitted(f"{who} may not call {what}: {reason.partition(':')[0]}")


def _fields(whom: str, what: str, call: Call) -> dict[str, object]:
    """Return the fields of a line about a refused call."""
    return about(whom, what, principal=whom, call_id=call.id, gid=call.gid, service=call.service, method=call.method)


def _closed(call: Call) -> str:
    """Return what a call would have done, itself or by a detour, that needs a key; nothing if it doesn't."""
    names = ((call.service, call.method), *destinations(call))
    return next((f"{service}/{method}" for service, method in names if needs_key(service, method)), "")


def _changes_its_node(service: str, method: str) -> bool:
    """Return whether a group-wide method of trionet's acts on its own node in other ways than by a call."""
    return forwarded_scope(service, method) is Scope.ADMIN or (service, method) == ("gossip", "del")
