"""What travels: where a call goes, and what it carries.

The envelope is Maelstrom's, ``{"src", "dest", "body"}`` with ``type``, ``msg_id`` and ``in_reply_to`` in the body (its
``doc/protocol.md``). A transport that has a cheaper way to say the same (HTTP's path and headers) says it that way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from .codec import register_type
from .errors import MalformedRequest
from .identity import NodeAddress, check_gid, check_name
from .user_code import shown

__all__ = ["LOCAL", "PACKET", "Call", "Remote", "check_args", "check_kwargs"]

LOCAL = "local"
"""The gid under which a node's own services are reached."""


class _KeywordsOnly(type(msgspec.Struct)):  # type: ignore[misc]  # which has no name in older ones
    """Says what is wrong with the fields of a struct, in place of msgspec."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        shown = "trionet.Remote(node=..., service=..., method=...)"
        if args:
            raise MalformedRequest(f"a remote takes its fields by name: {shown}")
        unknown = [name for name in fields if name not in cls.__struct_fields__]
        if unknown:
            raise MalformedRequest(f"a remote has no {unknown[0]!r}: {shown}, or gid=... beside them")
        return super().__call__(**fields)


@register_type
class Remote(msgspec.Struct, frozen=True, kw_only=True, metaclass=_KeywordsOnly):
    """Where a call goes.

    Attributes:
        service: the service's name.
        method: the method's name.
        node: the node to ask; left out for a group-wide call, where every member is asked.
        gid: ``"local"`` for the node's own services; a group's name to have the node make a group-wide call itself.
    """

    service: str = ""
    method: str = ""
    node: NodeAddress | None = None
    gid: str = LOCAL

    def __post_init__(self) -> None:
        """Take the node in any form that `NodeAddress.of` does."""
        if self.node is not None and not isinstance(self.node, NodeAddress):
            msgspec.structs.force_setattr(self, "node", NodeAddress.of(self.node))

    @classmethod
    def of(cls, value: Any) -> Remote:
        """Return the remote that `value` means.

        Args:
            value: a `Remote`, or a mapping of its fields: that is how it is written in JSON.

        Raises:
            MalformedRequest: it means none.
        """
        if isinstance(value, Remote):
            return value
        if not isinstance(value, Mapping):
            raise MalformedRequest(
                f"a remote names a service and a method: trionet.Remote(service=..., method=...), or a dict of that; "
                f"not {shown(value, 80)}"
            )
        if not all(isinstance(name, str) for name in value):
            raise MalformedRequest(f"a remote has fields by name, not {next(iter(value))!r:.80}")
        return cls(**value)

    def check(self, *, with_node: bool) -> None:
        """Raise `MalformedRequest` unless a call can be sent by it.

        Args:
            with_node: whether it must name a node (a call to one) or must not (a group-wide call).
        """
        if with_node and self.node is None:
            raise MalformedRequest("the remote names no node")
        if not with_node and self.node is not None:
            raise MalformedRequest("a group-wide remote names no node: its members are asked")
        check_name(self.service, "service name")
        check_name(self.method, "method name")
        check_gid(self.gid)


PACKET: Final = Remote(service="membership", method="packet")
"""What takes a packet of the protocols that comes by a call."""


class Call(msgspec.Struct, frozen=True):
    """One call as a node receives it.

    Attributes:
        gid, service, method: what is called.
        args: positional arguments.
        kwargs: keyword arguments.
        id: chosen by the caller; the same at every member of a fan-out.
        caller: the calling node, as it says; None for a person with curl.
        timeout_s: what was left of the caller's time when it was sent, in seconds; None without a deadline.
        inner_depth: the depth of the calls that its handler makes; see `trionet.nesting`.
        is_json: whether a person wrote the arguments as JSON, in which a text may stand for bytes, and a list for a
            set; what a node sends keeps its types.
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


def check_args(args: object) -> list[Any]:
    """Return `args` as a list; raise `MalformedRequest` unless it is a list or tuple."""
    if not isinstance(args, list | tuple):
        raise MalformedRequest(f"arguments are a list or tuple, not a {type(args).__name__}")
    return list(args)


def check_kwargs(kwargs: object) -> dict[str, Any]:
    """Return `kwargs` as a dict, an empty one for None; raise `MalformedRequest` unless it has values by name."""
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise MalformedRequest(f"keyword arguments are a dict of values by name, not {shown(kwargs, 80)}")
    return dict(kwargs)
