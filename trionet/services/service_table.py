"""The services of one node, by name, and who has put each.

Invariant: the router has the methods of exactly these services, under the gid ``local``.
"""

from __future__ import annotations

import enum
import inspect
from typing import TYPE_CHECKING, Any

import trio

from trionet.errors import ConfigError, MalformedRequest, TemporarilyUnavailable
from trionet.import_paths import import_reference
from trionet.message import LOCAL

from .base import check_exposed, service_from
from .names import check_service_name, default_name

if TYPE_CHECKING:
    from trionet.router import Router

__all__ = ["Origin", "ServiceTable"]


class Origin(enum.Enum):
    """Who has put a service."""

    BUILT_IN = "built in"
    CONFIGURED = "configured"
    PUT = "put"
    KEPT = "kept by a group"


class ServiceTable:
    """The services of one node."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._services: dict[str, tuple[object, Origin]] = {}
        self._news = trio.lowlevel.ParkingLot()
        self._has_ended = False

    def add_built_in(self, service: object, name: str) -> None:
        """Register a built-in service."""
        self._register(service, name, Origin.BUILT_IN)

    def add(self, service: Any, name: str | None, origin: Origin) -> str:
        """Register a service, in place of any other of this name, and return that; see `Routes.put`.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or `service` exposes nothing.
        """
        if name is not None:
            check_service_name(name)
        if isinstance(service, str):
            try:
                service = service_from(service, import_reference(service))
            except ConfigError as exc:
                raise MalformedRequest(exc.text) from exc
        elif inspect.isclass(service):
            service = service_from(service.__qualname__, service)
        if name is None:
            check_exposed(service)
            name = default_name(service)
        self._register(service, name, origin)
        return name

    def _register(self, service: object, name: str, origin: Origin) -> None:
        methods = check_exposed(service)
        self._router.put(LOCAL, name, methods)
        self._services[name] = service, origin
        self._news.unpark_all()

    def find(self, name: str) -> object | None:
        """Return the service `name`; None if there is none."""
        return self._services[name][0] if name in self._services else None

    async def wait(self, name: str) -> object:
        """Return the service `name` once there is one.

        Raises:
            TemporarilyUnavailable: the node has ended.
        """
        await trio.lowlevel.checkpoint()
        while name not in self._services:
            if self._has_ended:
                raise TemporarilyUnavailable("the node is stopping")
            await self._news.park()
        return self._services[name][0]

    def origin(self, name: str) -> Origin | None:
        """Return who has put the service `name`; None if there is none."""
        return self._services[name][1] if name in self._services else None

    def remove(self, name: str) -> bool:
        """Remove the service `name`; return whether it existed.

        Raises:
            MalformedRequest: it is a built-in service, or not a name.
        """
        check_service_name(name)
        self._router.remove(LOCAL, name)
        return self._services.pop(name, None) is not None

    def end(self) -> None:
        """Remove all services at the end of the node."""
        self._services.clear()
        self._has_ended = True
        self._news.unpark_all()
