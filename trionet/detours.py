"""What a call has other nodes call: the destinations in the arguments of a forwarding method.

Invariant: a token gains nothing by a detour. A forwarding method needs the scope of its destination as well, at any
depth, in whatever argument; a mapping of data that looks like a destination counts as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from trionet.message import Remote
from trionet.security.scopes import FORWARDING

if TYPE_CHECKING:
    from trionet.message import Call

__all__ = ["destinations"]


def destinations(call: Call) -> Iterator[tuple[str, str]]:
    """Yield the service and the method of each destination that a call may name."""
    pending: list[Any] = [call.args, call.kwargs] if call.service in FORWARDING else []
    while pending:
        one = pending.pop()
        if isinstance(one, Remote):
            yield one.service, one.method
        elif isinstance(one, Mapping):
            service, method = one.get("service"), one.get("method")
            if isinstance(service, str) and isinstance(method, str):
                yield service, method
            pending += one.values()
        elif isinstance(one, list | tuple | AbstractSet):
            pending += one
