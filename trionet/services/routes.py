"""The services of this node."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from trionet.codec import register_type
from trionet.errors import ConfigError, MalformedRequest, ServiceNotFound
from trionet.import_paths import import_reference
from trionet.message import LOCAL

from .base import check_service_name, exposed_methods, rpc, service_from

if TYPE_CHECKING:
    from trionet.router import Router

__all__ = ["Routes", "ServiceDescription"]


@register_type
class ServiceDescription(msgspec.Struct, frozen=True):
    """The description of a service, for other nodes.

    Attributes:
        name: its name.
        methods: the names of its exposed methods, sorted.
    """

    name: str
    methods: list[str]


class Routes:
    """The local service ``routes``."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._services: dict[str, object] = {}

    def add_built_in(self, service: object, name: str) -> None:
        """Register a built-in service."""
        self._router.put(LOCAL, name, exposed_methods(service))
        self._services[name] = service

    def add(self, service: Any, name: str) -> str:
        """Register a service; see `put`."""
        check_service_name(name)
        if isinstance(service, str):
            try:
                service = service_from(service, import_reference(service))
            except ConfigError as exc:
                raise MalformedRequest(exc.text) from exc
        elif inspect.isclass(service):
            service = service_from(service.__qualname__, service)
        methods = exposed_methods(service)
        if not methods:
            raise MalformedRequest(
                f"{service!r:.100} exposes nothing: mark methods with @trionet.rpc, or pass a mapping"
            )
        self._router.put(LOCAL, name, methods)
        self._services[name] = service
        return name

    def end(self) -> None:
        """Remove all services at the end of the node."""
        self._services.clear()

    @rpc
    async def put(self, service: Any, name: str) -> str:
        """Register `service` as `name`, in place of any other.

        Args:
            service: an object with `rpc` methods, a mapping of name to callable, a class, or the import path of one
                of these, ``"package.module:Class"``. A class is instantiated without arguments.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.

        Returns:
            The name.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or `service` exposes nothing.
        """
        return self.add(service, name)

    async def get(self, name: str) -> Any:
        """Return the service `name`; to another node, its `ServiceDescription`.

        Raises:
            ServiceNotFound: there is none.
            MalformedRequest: it is not a name.
        """
        if not isinstance(name, str):
            raise MalformedRequest(f"a service's name is a text, not {name!r:.80}")
        if name not in self._services:
            raise ServiceNotFound(f"there is no service {name!r:.130} on this node")
        return self._services[name]

    @rpc(name="get")
    async def describe(self, name: str) -> ServiceDescription:
        """Return the description of the service `name`, for other nodes.

        Raises:
            ServiceNotFound: there is none.
        """
        return ServiceDescription(name, sorted(exposed_methods(await self.get(name))))

    @rpc
    async def rem(self, name: str) -> bool:
        """Remove the service `name`; return whether it existed.

        Raises:
            MalformedRequest: it is a built-in service.
        """
        check_service_name(name)
        self._router.remove(LOCAL, name)
        return self._services.pop(name, None) is not None
