"""The methods of one node by group, service and name.

Invariant: `version` differs whenever the methods do. Those of an announced group count from its announcement, and
are registered with the first look at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .errors import GroupNotFound, MethodNotFound, NotFound, ServiceNotFound
from .message import BUILT_IN, LOCAL
from .mistakes import similar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .arguments import Method

__all__ = ["MethodTable"]

_PUT: Final = ": register it on that node, by routes.put"
_MARK: Final = ": methods that others may call are marked with @trionet.rpc"


class _ByGroup(dict[str, dict[str, "Mapping[str, Method]"]]):
    """The methods by gid, service and name.

    Attributes:
        announced: what registers the methods of other groups.
    """

    def __init__(self) -> None:
        super().__init__()
        self.announced: dict[str, Callable[[], object]] = {}

    def __missing__(self, gid: str) -> dict[str, Mapping[str, Method]]:
        self.announced[gid]()
        if gid not in self:
            raise KeyError(gid)
        return self[gid]

    def load(self) -> None:
        """Register the methods of all announced groups."""
        for register in [*self.announced.values()]:
            register()


class MethodTable:
    """The methods of one node.

    Attributes:
        version: the number of changes so far.
        by_name: the methods by gid, service and name; changed by this class only.
    """

    def __init__(self) -> None:
        self.version: int = 0
        self.by_name: _ByGroup = _ByGroup()

    def put(self, gid: str, service: str, methods: Mapping[str, Method]) -> None:
        """Register `methods` as `service` of `gid`, in place of any others."""
        self.version += 1
        self._of(gid)[service] = methods

    def announce(self, gid: str, register: Callable[[], object]) -> None:
        """Have ``register()`` call `put_all` for the group `gid` when its methods are needed."""
        self.version += 1
        self.by_name.announced[gid] = register

    def put_all(self, gid: str, services: Mapping[str, Mapping[str, Method]]) -> None:
        """Register the services of a new group `gid`, by name; they may have been announced."""
        if self.by_name.announced.pop(gid, None) is None:
            self.version += 1
        self.by_name[gid] = dict(services)

    def remove(self, gid: str, service: str | None) -> None:
        """Remove `service`, or all of `gid`, if it exists."""
        self.version += 1
        if service is None:
            self.by_name.announced.pop(gid, None)
            self.by_name.pop(gid, None)
        else:
            self._of(gid).pop(service, None)

    def clear(self) -> None:
        """Remove all methods."""
        self.version += 1
        self.by_name.announced.clear()
        self.by_name.clear()

    def services(self, gid: str) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods of `gid`, by service and name."""
        try:
            return self.by_name[gid]
        except KeyError:
            return {}

    def _of(self, gid: str) -> dict[str, Mapping[str, Method]]:
        """Return the methods of `gid`, to be changed."""
        if gid not in self.by_name and gid not in self.by_name.announced:
            self.by_name[gid] = {}
        return self.by_name[gid]

    def get(self, gid: str, service: str, method: str) -> Method | None:
        """Return a method; None if there is no such one."""
        try:
            return self.by_name[gid][service][method]
        except KeyError:
            return None

    def missing(self, gid: str, service: str, method: str, *, may_suggest: bool) -> NotFound:
        """Return the error for a method that does not exist; `may_suggest` similar names."""
        suggest = similar if may_suggest else _no_similar
        services = self.services(gid)
        if gid not in self.by_name:
            return GroupNotFound(f"there is no group {gid!r:.130} on this node")
        methods = services.get(service)
        if methods is None:
            hint = suggest(service, services) or (_PUT if gid == LOCAL else "")
            return ServiceNotFound(f"group {gid!r} has no service {service!r:.130}{hint}")
        hint = suggest(method, methods) or ("" if service in BUILT_IN else _MARK)
        return MethodNotFound(f"service {service!r} of group {gid!r} has no method {method!r:.130}{hint}")

    def __iter__(self) -> Iterator[tuple[str, str, str, Method]]:
        """Iterate over the gid, service, name and method of all methods."""
        self.by_name.load()
        for gid, services in self.by_name.items():
            for service, methods in services.items():
                for name, method in methods.items():
                    yield gid, service, name, method


def _no_similar(_: str, __: Iterable[str]) -> str:
    return ""
