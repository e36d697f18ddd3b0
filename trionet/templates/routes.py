"""Services of every member."""

from __future__ import annotations

import inspect
from typing import Any

from trionet.errors import CodeRefused
from trionet.import_paths import reference_to
from trionet.message import Remote
from trionet.replies import Replies
from trionet.services.base import rpc
from trionet.services.routes import ServiceDescription

from .base import Template

__all__ = ["GroupRoutes"]


class GroupRoutes(Template):
    """The group-wide service ``routes``."""

    @rpc
    async def put(self, service: Any, name: str) -> Replies[str]:
        """Register a service as `name` on every member, with an instance on each.

        Args:
            service: an import path ``"package.module:Class"``, or a class that has one.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.

        Raises:
            CodeRefused: `service` is an object, which would have to be sent as code.
        """
        reference = service if isinstance(service, str) else reference_to(service) if inspect.isclass(service) else None
        if reference is None:
            raise CodeRefused(
                f"{service!r:.100} would have to travel as code, which nodes refuse. Put the class where every member "
                f"can import it, and name it: 'package.module:Class'. (Later: code by value, between nodes that "
                f"share a cluster key, where the receiving node says trust_code=True.)"
            )
        return await self.fan_out([reference, name], Remote(service="routes", method="put"))

    @rpc
    async def get(self, name: str) -> Replies[ServiceDescription]:
        """Return each member's description of the service `name`."""
        return await self.fan_out([name], Remote(service="routes", method="get"))

    @rpc
    async def rem(self, name: str) -> Replies[bool]:
        """Remove the service `name` from every member; return whether it existed there."""
        return await self.fan_out([name], Remote(service="routes", method="rem"))
