"""Which services this node offers."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from trionet.codec import register_type
from trionet.errors import ConfigError, MalformedRequest, ServiceNotFound
from trionet.identity import check_name
from trionet.import_paths import import_reference
from trionet.message import LOCAL

from .base import BUILT_IN, exposed_methods, rpc, service_from

if TYPE_CHECKING:
    from trionet.router import Router

__all__ = ["Routes", "ServiceDescription"]


@register_type
class ServiceDescription(msgspec.Struct, frozen=True):
    """What another node learns of a service.

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

    def begin(self, name: str, service: object) -> None:
        """Install a built-in service."""
        self._router.put(LOCAL, name, exposed_methods(service))
        self._services[name] = service

    def end(self) -> None:
        """Forget all services: the node has ended."""
        self._services.clear()

    @rpc
    async def put(self, service: Any, name: str) -> str:
        """Offer `service` under `name`, in place of the one that was there.

        Args:
            service: an object with `rpc` methods, a mapping of name to callable, a class, or the import path of one
                of these, ``"package.module:Class"``. A class is instantiated without arguments.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.

        Returns:
            The name.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or `service` exposes nothing.
        """
        if check_name(name, "service name") in BUILT_IN:
            raise MalformedRequest(f"{name!r} is a built-in service")
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

    async def get(self, name: str) -> Any:
        """Return the service of that name. From another node: its `ServiceDescription`.

        Raises:
            ServiceNotFound: there is none.
            MalformedRequest: that is no name.
        """
        if not isinstance(name, str):
            raise MalformedRequest(f"a service's name is a text, not {name!r:.80}")
        if name not in self._services:
            raise ServiceNotFound(f"there is no service {name!r:.130} on this node")
        return self._services[name]

    @rpc(name="get")
    async def describe(self, name: str) -> ServiceDescription:
        """Return what can be said to another node about the service of that name.

        Raises:
            ServiceNotFound: there is none.
        """
        return ServiceDescription(name, sorted(exposed_methods(await self.get(name))))

    @rpc
    async def rem(self, name: str) -> bool:
        """Withdraw the service of that name; returns whether there was one.

        Raises:
            MalformedRequest: it is a built-in service.
        """
        if check_name(name, "service name") in BUILT_IN:
            raise MalformedRequest(f"{name!r} is a built-in service")
        self._router.remove(LOCAL, name)
        return self._services.pop(name, None) is not None
