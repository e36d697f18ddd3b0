"""Services of every member."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from trionet.errors import CodeRefused, ConfigError, MalformedRequest
from trionet.import_paths import import_reference, reference_to
from trionet.message import Remote
from trionet.replies import Replies
from trionet.services.base import check_exposed, rpc
from trionet.services.kept_services import kept_service, service_key
from trionet.services.names import default_name
from trionet.services.routes import PUT, PUT_TEMPLATE, ServiceDescription
from trionet.user_code import shown

from .fan_out import check_bool
from .keeping import KeepingTemplate

if TYPE_CHECKING:
    from trionet.security.code_stamps import SentCode

__all__ = ["GroupRoutes"]


class GroupRoutes(KeepingTemplate):
    """The group-wide service ``routes``."""

    @rpc
    async def put(self, service: Any, name: str | None = None, *, keep: bool = False) -> Replies[str]:
        """Register a service as `name` on every member, with an instance on each.

        Args:
            service: an import path ``"package.module:Class"``, or a class; or an object with `rpc` methods, or a
                mapping of name to callable, of which each member has a copy. What has no import path goes by value, to
                members that trust code; see `NodeConfig.trust_code`.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name. Default: that of the
                class, in lower_snake, or as ``trionet.service`` says.
            keep: whether members that come later get the service, too: new ones, restarted ones, and those that can't
                be reached now; until `rem`, or another `put` of the name.

        Raises:
            CodeRefused: it can't be sent as code; or it is to be kept, and has no import path.
            MalformedRequest: `service` exposes nothing, or has no name of its own and is given none; it is to be kept,
                and the name or the import path is malformed; or `keep` is not a bool.
            ConfigError: to be kept, and this node belongs to no cluster.
            MessageTooLarge: to be kept, and the group keeps too much already.
        """
        check_bool("keep", keep)
        name = _own_name(service) if name is None else name
        reference = service if isinstance(service, str) else reference_to(service) if inspect.isclass(service) else None
        if keep:
            return await self.keep(*kept_service(_importable(service, reference), name))
        sent = reference or self._code_of(service)
        replies = await self.fan_out([sent, name], Remote(service="routes", method="put"))
        if replies.values:  # else none has replaced the kept service
            await self.end_kept(service_key(name))
        return replies

    def _code_of(self, service: Any) -> SentCode:
        if not inspect.isclass(service):
            check_exposed(service)
        return self.context.local.code.sent(service, PUT)

    @rpc
    async def put_template(self, template: Any, name: str) -> Replies[str]:
        """Add a service template to every group of every member; members that come later don't get it.

        Args:
            template: an import path, or what is called with each group's context. What has no import path goes by
                value, to members that trust code.
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.

        Raises:
            CodeRefused: it can't be sent as code.
        """
        return await self.fan_out(*self._template_call(template, name))

    async def put_template_on_others(self, template: Any, name: str) -> Replies[str]:
        """Add a service template on every other member; see `put_template`."""
        members = self.context.members()
        comm = self.context.local.comm
        args, remote = self._template_call(template, name)
        request = comm.prepare(args, {}, remote)
        others = {sid: node for sid, node in members.items() if node != self.context.own}
        return await self.call_members(others, request)

    def _template_call(self, template: Any, name: str) -> tuple[list[Any], Remote]:
        sent = self.context.local.code.portable(template, PUT_TEMPLATE)
        return [sent, name], Remote(service="routes", method="put_template")

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


def _own_name(service: Any) -> str:
    """Return the name of the class of a service.

    Raises:
        MalformedRequest: it has none; or an import path can't be imported here, where its name is needed.
    """
    try:
        return default_name(import_reference(service) if isinstance(service, str) else service)
    except ConfigError as exc:
        raise MalformedRequest(
            f'{exc.text}; with a name, this node need not have it: put({service!r}, "name")'
        ) from exc


def _importable(service: Any, reference: str | None) -> str:
    """Return the import path of what a group is to keep.

    Raises:
        CodeRefused: it has none.
    """
    if reference is None:
        raise CodeRefused(
            f"{shown(service)} would have to travel as code, and what a group keeps goes by its import path, because "
            f"members need it later: give 'package.module:Class'"
        )
    return reference
