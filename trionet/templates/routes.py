"""Services of every member."""

from __future__ import annotations

import inspect
from typing import Any

from trionet.errors import CodeRefused
from trionet.import_paths import reference_to
from trionet.message import Remote
from trionet.replies import Replies
from trionet.services.base import rpc
from trionet.services.kept_services import kept_service, service_key
from trionet.services.routes import ServiceDescription

from .fan_out import check_bool
from .keeping import KeepingTemplate

__all__ = ["GroupRoutes"]


class GroupRoutes(KeepingTemplate):
    """The group-wide service ``routes``."""

    @rpc
    async def put(self, service: Any, name: str, *, keep: bool = False) -> Replies[str]:
        """Register a service as `name` on every member, with an instance on each.

        Args:
            service: an import path ``"package.module:Class"``, or a class that has one.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.
            keep: whether members that come later get the service, too: new ones, restarted ones, and those that can't
                be reached now; until `rem`, or another `put` of the name.

        Raises:
            CodeRefused: `service` is an object, which would have to be sent as code.
            MalformedRequest: to be kept, and the name or the import path is malformed; or `keep` is not a bool.
            ConfigError: to be kept, and this node belongs to no cluster.
            MessageTooLarge: to be kept, and the group keeps too much already.
        """
        check_bool("keep", keep)
        reference = service if isinstance(service, str) else reference_to(service) if inspect.isclass(service) else None
        if reference is None:
            raise CodeRefused(
                f"{service!r:.100} would have to travel as code, which nodes refuse. Put the class where every member "
                f"can import it, and name it: 'package.module:Class'. (Later: code by value, between nodes that "
                f"share a cluster key, where the receiving node says trust_code=True.)"
            )
        if keep:
            return await self.keep(*kept_service(reference, name))
        replies = await self.fan_out([reference, name], Remote(service="routes", method="put"))
        if replies.values:  # else none has replaced the kept service
            await self.end_kept(service_key(name))
        return replies

    @rpc(read=True)
    async def get(self, name: str) -> Replies[ServiceDescription]:
        """Return each member's description of the service `name`."""
        return await self.fan_out([name], Remote(service="routes", method="get"))

    @rpc
    async def rem(self, name: str) -> Replies[bool]:
        """Remove the service `name` from every member; return whether it existed there.

        If the group keeps it, it does so no more: members that can't be reached now remove it later.

        Raises:
            EmptyGroup: the group has no members, and does not keep the service.
        """
        return await self.end(service_key(name))
