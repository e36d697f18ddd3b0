"""The part of ``inspection`` about methods: which services a node has, and how each method is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.message import BUILT_IN, LOCAL
from trionet.security.scopes import needed_scope

from .base import rpc
from .service_table import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from trionet.arguments import Method
    from trionet.router import Router

    from .groups import Groups
    from .service_table import ServiceTable

    class _HasGroups(Protocol):
        @property
        def groups(self) -> Groups: ...

    class _HasLocal(Protocol):
        @property
        def local(self) -> _HasGroups: ...


__all__ = ["MethodInspection"]


class MethodInspection:
    """The methods of ``inspection`` about methods."""

    _node: _HasLocal
    _router: Router
    _table: ServiceTable
    _begun_at: float

    @rpc(read=True)
    def services(self) -> list[dict[str, Any]]:
        """Return the methods that other nodes can call, by gid, service and name."""
        return [
            {
                "gid": gid,
                "service": service,
                "origin": self._origin(gid, service),
                "method": name,
                "signature": method.signature,
                "is_read": method.is_read,
                "is_stream": method.is_stream,
            }
            for gid in self._gids()
            for service in sorted(self._services(gid))
            for name, method in sorted(self._services(gid)[service].items())
        ]

    @rpc(read=True)
    def methods(self, gid: str = LOCAL, known: str = "") -> dict[str, Any]:
        """Return how each method of a group, or of the node itself, is called.

        ``services`` has them by service and name, as `form_of` describes them; it is empty for a gid without services.
        ``scope`` is what a token needs: read, call or admin, or none where only nodes may call. ``version`` differs
        whenever the methods may do.

        Args:
            gid: the group.
            known: the version that the caller has: if it holds still, ``services`` is left out.
        """
        from trionet.openapi.forms import form_of  # most nodes are never asked

        version = f"{self._begun_at:.6f}-{self._router.methods.version}"
        if known == version:
            return {"version": version}
        services = {
            service: {
                name: {**form_of(method), "origin": self._origin(gid, service), "scope": _scope(service, name, method)}
                for name, method in sorted(self._services(gid)[service].items())
            }
            for service in sorted(self._services(gid))
        }
        return {"version": version, "services": services}

    def services_of(self, gid: str) -> list[str]:
        """Return the names of the services of a group, sorted."""
        return sorted(self._services(gid))

    def _gids(self) -> list[str]:
        return [LOCAL, *(gid for gid in self._node.local.groups.gids() if gid != LOCAL)]

    def _services(self, gid: str) -> Mapping[str, Mapping[str, Method]]:
        return self._router.methods.services(gid)

    def _origin(self, gid: str, name: str) -> str:
        if gid != LOCAL and name not in BUILT_IN:
            return "template"
        origin = Origin.BUILT_IN if gid != LOCAL else self._table.origin(name)
        return "" if origin is None else origin.value


def _scope(service: str, name: str, method: Method) -> str:
    """Return the name of the scope that a call of a method needs."""
    scope = needed_scope(service, name, is_read=method.is_read)
    return "none" if scope is None else scope.name.lower()
