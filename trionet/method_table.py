"""The methods of one node by group, service and name.

Invariant: `version` differs whenever the methods do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import GroupNotFound, MethodNotFound, ServiceNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .arguments import Method

__all__ = ["MethodTable"]


class MethodTable:
    """The methods of one node.

    Attributes:
        version: the number of changes so far.
    """

    def __init__(self) -> None:
        self.version: int = 0
        self._services: dict[str, dict[str, Mapping[str, Method]]] = {}

    def put(self, gid: str, service: str, methods: Mapping[str, Method]) -> None:
        """Register `methods` as `service` of `gid`, in place of any others."""
        self.version += 1
        self._services.setdefault(gid, {})[service] = methods

    def remove(self, gid: str, service: str | None) -> None:
        """Remove `service`, or all of `gid`, if it exists."""
        self.version += 1
        if service is None:
            self._services.pop(gid, None)
        else:
            self._services.get(gid, {}).pop(service, None)

    def clear(self) -> None:
        """Remove all methods."""
        self.version += 1
        self._services.clear()

    def find(self, gid: str, service: str, method: str) -> Method:
        """Return a method.

        Raises:
            NotFound: there is no such method.
        """
        services = self._services.get(gid)
        if services is None:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        methods = services.get(service)
        if methods is None:
            raise ServiceNotFound(f"group {gid!r} has no service {service!r:.130}")
        found = methods.get(method)
        if found is None:
            raise MethodNotFound(f"service {service!r} of group {gid!r} has no method {method!r:.130}")
        return found

    def has(self, gid: str, service: str, method: str) -> bool:
        """Return whether there is this method."""
        return method in self._services.get(gid, {}).get(service, {})

    def __iter__(self) -> Iterator[tuple[str, str, str, Method]]:
        """Iterate over the gid, service, name and method of all methods."""
        for gid, services in self._services.items():
            for service, methods in services.items():
                for name, method in methods.items():
                    yield gid, service, name, method
