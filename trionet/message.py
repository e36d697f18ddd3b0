"""Calls and their destinations.

The envelope is Maelstrom's, ``{"src", "dest", "body"}`` with ``type``, ``msg_id`` and ``in_reply_to`` in the body (its
``doc/protocol.md``). A transport may encode it in its own terms, as HTTP does by path and headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .codec import register_type
from .errors import MalformedRequest
from .identity import NodeAddress, check_gid, check_name
from .principal import Principal
from .user_code import shown

if TYPE_CHECKING:
    from typing import Protocol

    class Named(Protocol):
        """Names a method: a call, a request or a remote."""

        @property
        def gid(self) -> str:
            """Its name."""

        @property
        def service(self) -> str:
            """Its name."""

        @property
        def method(self) -> str:
            """Its name."""


__all__ = [
    "BUILT_IN",
    "LOCAL",
    "MAX_ID_CHARS",
    "PACKET",
    "RELAYING",
    "Call",
    "Remote",
    "check_args",
    "check_kwargs",
    "is_relaying",
    "valid_parent",
]

BUILT_IN: Final = frozenset(
    {"status", "groups", "routes", "comm", "gossip", "inspection", "membership", "settings", "kept", "keys"}
    | {"diagnosis"}
)
"""The names of trionet's own services, which no other can have."""

LOCAL = "local"
"""The gid of a node's own services."""

MAX_ID_CHARS: Final = 128
"""The longest id of a call that its own calls name as their parent."""


class _KeywordsOnly(type(msgspec.Struct)):  # type: ignore[misc]  # which has no name in older ones
    """Raises `MalformedRequest` for wrong fields of a struct, in place of msgspec's `TypeError`."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        shown = "trionet.Remote(node=..., service=..., method=...)"
        if args:
            raise MalformedRequest(f"the fields of a remote are given by name: {shown}")
        unknown = [name for name in fields if name not in cls.__struct_fields__]
        if unknown:
            raise MalformedRequest(f"a remote has no {unknown[0]!r}: {shown}, or gid=... beside them")
        return super().__call__(**fields)


@register_type
class Remote(msgspec.Struct, frozen=True, kw_only=True, metaclass=_KeywordsOnly):
    """The destination of a call.

    Attributes:
        service: the service's name.
        method: the method's name.
        node: the node to call; None for a group-wide call, which goes to every member.
        gid: ``"local"`` for the node's own services; or a group, for a group-wide call by that node.
    """

    service: str = ""
    method: str = ""
    node: NodeAddress | None = None
    gid: str = LOCAL

    def __post_init__(self) -> None:
        """Convert the node from any form that `NodeAddress.of` accepts."""
        if self.node is not None and not isinstance(self.node, NodeAddress):
            msgspec.structs.force_setattr(self, "node", NodeAddress.of(self.node))

    @classmethod
    def of(cls, value: Any, *, with_node: bool) -> Remote:
        """Return the remote for `value`, which is valid for a call.

        Args:
            value: a `Remote`, or a mapping of its fields, as in JSON.
            with_node: whether it must have a node, for a call to one, or must not, for a group-wide call.

        Raises:
            MalformedRequest: it is neither, or is not valid.
        """
        if not isinstance(value, Remote | Mapping):
            raise MalformedRequest(
                f"a remote names a service and a method: trionet.Remote(service=..., method=...), or a dict of that; "
                f"not {shown(value, 80)}"
            )
        if isinstance(value, Mapping) and not all(isinstance(name, str) for name in value):
            raise MalformedRequest(f"a remote has fields by name, not {next(iter(value))!r:.80}")
        remote = value if isinstance(value, Remote) else cls(**value)
        if with_node and remote.node is None:
            raise MalformedRequest("the remote names no node")
        if not with_node and remote.node is not None:
            raise MalformedRequest("a group-wide remote names no node: its members are asked")
        check_name(remote.service, "service name")
        check_name(remote.method, "method name")
        check_gid(remote.gid)
        return remote


PACKET: Final = Remote(service="membership", method="packet")
"""Receives packets of the protocols that are sent by a call."""

RELAYING: Final = {method: Remote(gid="all", service="comm", method=method) for method in ("relay", "answer", "recall")}
"""The methods by which members relay a call along a tree, by their names; see `trionet.templates.relaying`."""


class Call(msgspec.Struct, frozen=True):
    """One call, as a node receives it.

    Attributes:
        gid, service, method: the names of the method.
        args: positional arguments.
        kwargs: keyword arguments.
        id: chosen by the caller; the same at every member of a fan-out.
        caller: the calling node, unverified; None for a client that is no node, as curl.
        timeout_s: the caller's remaining time at sending, in seconds; None without a deadline.
        inner_depth: the depth of the calls made by its handler; see `trionet.nesting`.
        is_json: whether the arguments are JSON of a client that is no node: a text may stand for bytes, and a list for
            a set.
        principal: in whose name it is made; None for anyone.
        forwarder: the member that has forwarded it; None if the principal itself made it.
        key_id: the id of the cluster key of the sealed link by which it came; empty if it came by another way.
        client: the IP address that a request over HTTP came from; empty if it came by another way.
        parent: the id of the call in whose handler it was made, which runs at the caller; empty outside of any.
        trace: its trace context; see `trionet.trace_headers`. Empty for none.
    """

    gid: str
    service: str
    method: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    id: str = ""
    caller: NodeAddress | None = None
    timeout_s: float | None = None
    inner_depth: int = 0
    is_json: bool = False
    principal: Principal | None = None
    forwarder: Principal | None = None
    key_id: bytes = b""
    client: str = ""
    parent: str = ""
    trace: bytes = b""


def is_relaying(call: Named) -> bool:
    """Return whether a call relays another one along a tree."""
    return call.gid == "all" and call.service == "comm" and call.method in RELAYING


def valid_parent(parent: str) -> str:
    """Return the parent that a peer names; empty for one that is too long."""
    return parent if len(parent) <= MAX_ID_CHARS else ""


def check_args(args: object) -> list[Any]:
    """Return `args` as a list; raise `MalformedRequest` unless it is a list or tuple."""
    if not isinstance(args, list | tuple):
        raise MalformedRequest(f"arguments are a list or tuple, not a {type(args).__name__}")
    return list(args)


def check_kwargs(kwargs: object) -> dict[str, Any]:
    """Return `kwargs` as a dict, an empty one for None; raise `MalformedRequest` unless its keys are names."""
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise MalformedRequest(f"keyword arguments are a dict of values by name, not {shown(kwargs, 80)}")
    return dict(kwargs)
