"""The methods of one node by group, service and name.

Invariant: `version` differs whenever the methods do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .errors import GroupNotFound, MethodNotFound, NotFound, ServiceNotFound
from .message import BUILT_IN, LOCAL
from .mistakes import similar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .arguments import Method

__all__ = ["MethodTable"]

_PUT: Final = ": register it on that node, by routes.put"
_MARK: Final = ": methods that others may call are marked with @trionet.rpc"


class MethodTable:
    """The methods of one node.

    Attributes:
        version: the number of changes so far.
        by_name: the methods by gid, service and name; changed by this class only.
    """

    def __init__(self) -> None:
        self.version: int = 0
        self.by_name: dict[str, dict[str, Mapping[str, Method]]] = {}

    def put(self, gid: str, service: str, methods: Mapping[str, Method]) -> None:
        """Register `methods` as `service` of `gid`, in place of any others."""
        self.version += 1
        self.by_name.setdefault(gid, {})[service] = methods

    def remove(self, gid: str, service: str | None) -> None:
        """Remove `service`, or all of `gid`, if it exists."""
        self.version += 1
        if service is None:
            self.by_name.pop(gid, None)
        else:
            self.by_name.get(gid, {}).pop(service, None)

    def clear(self) -> None:
        """Remove all methods."""
        self.version += 1
        self.by_name.clear()

    def services(self, gid: str) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods of `gid`, by service and name."""
        return self.by_name.get(gid, {})

    def get(self, gid: str, service: str, method: str) -> Method | None:
        """Return a method; None if there is no such one."""
        try:
            return self.by_name[gid][service][method]
        except KeyError:
            return None

    def missing(self, gid: str, service: str, method: str, *, may_suggest: bool) -> NotFound:
        """Return the error for a method that does not exist; `may_suggest` similar names."""
        suggest = similar if may_suggest else _no_similar
        services = self.by_name.get(gid)
        if services is None:
            return GroupNotFound(f"there is no group {gid!r:.130} on this node")
        methods = services.get(service)
        if methods is None:
            hint = suggest(service, services) or (_PUT if gid == LOCAL else "")
            return ServiceNotFound(f"group {gid!r} has no service {service!r:.130}{hint}")
        hint = suggest(method, methods) or ("" if service in BUILT_IN else _MARK)
        return MethodNotFound(f"service {service!r} of group {gid!r} has no method {method!r:.130}{hint}")

    def __iter__(self) -> Iterator[tuple[str, str, str, Method]]:
        """Iterate over the gid, service, name and method of all methods."""
        for gid, services in self.by_name.items():
            for service, methods in services.items():
                for name, method in methods.items():
                    yield gid, service, name, method


def _no_similar(_: str, __: Iterable[str]) -> str:
    return ""
