"""The services of this node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.codec import register_type
from trionet.errors import ConfigError, MalformedRequest, ServiceNotFound
from trionet.import_paths import import_reference

from .base import exposed_methods, rpc
from .service_table import Origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .code_trust import CodeTrust
    from .service_table import ServiceTable

    class Templates(Protocol):
        """The templates of a node."""

        def register_template(self, name: str, template: Callable[[Any], Any]) -> object:
            """Add a template to every group; see `Node.register_template`."""


__all__ = ["PUT", "PUT_TEMPLATE", "Routes", "ServiceDescription"]

PUT: Final = "routes/put"
PUT_TEMPLATE: Final = "routes/put_template"
"""What code is for; see `CodeTrust`."""


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

    def __init__(self, table: ServiceTable, code: CodeTrust, templates: Templates) -> None:
        self._table = table
        self._code = code
        self._templates = templates

    @rpc
    async def put(self, service: Any, name: str | None = None) -> str:
        """Register `service` as `name`, in place of any other of that name.

        Args:
            service: an object with `rpc` methods, a mapping of name to callable, a class, or the import path of one
                of these, ``"package.module:Class"``. A class is instantiated without arguments.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name. Default: that of the
                class, in lower_snake, or as ``trionet.service`` says.

        Returns:
            The name.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or a mapping has none; `service` exposes nothing.
            CodeRefused: another node sends `service` as code, which this one does not read.
        """
        if isinstance(service, str) and not isinstance(name, str | None):
            raise MalformedRequest("the service comes first, and then its name: routes.put(Counter(), 'counter')")
        return self._table.add(self._code.received(service, PUT), name, Origin.PUT)

    @rpc
    async def put_template(self, template: Any, name: str) -> str:
        """Add a service template to every group of this node; see `Node.register_template`.

        Args:
            template: what is called with each group's context, or its import path.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.

        Returns:
            The name.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or `template` can't be called.
            CodeRefused: another node sends `template` as code, which this one does not read.
        """
        template = self._code.received(template, PUT_TEMPLATE)
        try:
            found = import_reference(template) if isinstance(template, str) else template
        except ConfigError as exc:
            raise MalformedRequest(exc.text) from exc
        self._templates.register_template(name, found)
        return name

    async def get(self, name: str) -> Any:
        """Return the service `name`; to another node, its `ServiceDescription`.

        Raises:
            ServiceNotFound: there is none.
            MalformedRequest: it is not a name.
        """
        if not isinstance(name, str):
            raise MalformedRequest(f"a service's name is a text, not {name!r:.80}")
        service = self._table.find(name)
        if service is None:
            raise ServiceNotFound(f"there is no service {name!r:.130} on this node")
        return service

    async def wait(self, name: str) -> Any:
        """Return the service `name` once this node has it; for a node that joins a group which keeps it.

        Raises:
            MalformedRequest: it is not a name.
            TemporarilyUnavailable: the node has ended.
        """
        if not isinstance(name, str):
            raise MalformedRequest(f"a service's name is a text, not {name!r:.80}")
        return await self._table.wait(name)

    @rpc(name="get", read=True)
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
        return self._table.remove(name)
