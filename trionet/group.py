"""A gid's services on one node, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .async_blocks import async_block
from .errors import MalformedRequest, ServiceNotFound
from .identity import sid_of
from .message import LOCAL
from .services.base import exposed_methods
from .templates.base import GroupContext
from .templates.calls import CalledGroup, GroupCalls
from .templates.comm import GroupComm
from .templates.gossip import GroupGossip
from .templates.groups import GroupGroups
from .templates.routes import GroupRoutes
from .templates.settings import GroupSettings
from .templates.status import GroupStatus
from .user_code import shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    import trio

    from .identity import SID, NodeAddress
    from .router import Router
    from .services import LocalServices

__all__ = ["Group", "built_in_methods"]

T = TypeVar("T")

_BUILT_IN = ("comm", "gossip", "groups", "routes", "settings", "status")


class Group(GroupCalls):
    """A group as one node sees it; returned by ``node.group(gid)``.

    Each call uses the members of that moment. The node need not be one of them. After the group's deletion on this
    node, the services of a kept handle raise `GroupNotFound`.

    Attributes:
        comm, gossip, groups, routes, settings, status: the group-wide services.
    """

    def __init__(
        self,
        gid: str,
        local: LocalServices,
        router: Router | None,
        templates: Mapping[str, Callable[[GroupContext], Any]],
    ) -> None:
        self._context = GroupContext(gid, local)
        self._router = router
        self.comm: GroupComm = GroupComm(self._context)
        self.gossip: GroupGossip = GroupGossip(self._context)
        self.groups: GroupGroups = GroupGroups(self._context)
        self.routes: GroupRoutes = GroupRoutes(self._context)
        self.settings: GroupSettings = GroupSettings(self._context)
        self.status: GroupStatus = GroupStatus(self._context)
        self._users: dict[str, Any] = {name: template(self._context) for name, template in templates.items()}
        own = {} if router is None else {name: getattr(self, name) for name in _BUILT_IN}
        methods = {name: exposed_methods(service) for name, service in (own | self._users).items()}
        if router is not None:  # only now: a failing template leaves nothing behind
            router.put_all(gid, methods)

    def __repr__(self) -> str:
        return f"<Group {self.gid!r}>"

    if not TYPE_CHECKING:  # type checkers refuse other names already

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"a group has trionet's own services and no {name!r}: call yours by group.call(Class.method); of "
                f"templates it is group.service({name!r})",
                name=name,
                obj=self,
            )

    @property
    def _called(self) -> CalledGroup:
        return self._context

    @property
    def gid(self) -> str:
        """The group's name."""
        return self._context.gid

    def members(self) -> dict[SID, NodeAddress]:
        """Return the current members, in SID order.

        Raises:
            GroupNotFound: the group has been deleted.
        """
        return self._context.members()

    @async_block("async with group.member(sid) as scope:")
    async def member(self, sid: SID | NodeAddress) -> AsyncGenerator[trio.CancelScope]:
        """Cancel the block when the member `sid` of this group fails or leaves its cluster; at once if it is no member.

        ::

            async with group.member(sid) as scope:
                ...  # work that is of no use without that node

        Raises:
            GroupNotFound: the group has been deleted.
        """
        async with self._context.local.membership.scope(sid) as scope:
            if sid_of(sid) not in self.members():
                scope.cancel()
            yield scope

    def service(self, name: str) -> Any:
        """Return this group's instance of the template registered as `name`.

        Raises:
            ServiceNotFound: there is none.
            GroupNotFound: the group has been deleted.
        """
        self.members()
        if not isinstance(name, str) or name not in self._users:
            raise ServiceNotFound(f"no template is registered as {name!r:.130} on this node")
        return self._users[name]

    def __getitem__(self, template: type[T]) -> T:
        """Return this group's instance of a template, typed: ``await group[MyTemplate].method()``.

        Args:
            template: the class, under whichever name it is registered.

        Raises:
            MalformedRequest: it is no class, or registered under several names.
            ServiceNotFound: it is not registered.
            GroupNotFound: the group has been deleted.
        """
        self.members()
        if not isinstance(template, type):
            raise MalformedRequest(f"a group's service is found by its template's class, not by {shown(template, 80)}")
        found = {name: each for name, each in self._users.items() if type(each) is template} or {
            name: each for name, each in self._users.items() if isinstance(each, template)
        }
        if not found:
            raise ServiceNotFound(
                f"the template {template.__qualname__} is not registered on this node: "
                f'node.register_template("name", {template.__qualname__})'
            )
        if len(found) > 1:
            raise MalformedRequest(
                f"the template {template.__qualname__} is registered as {' and '.join(map(repr, found))}: "
                f"group.service(name) takes one of these"
            )
        (instance,) = found.values()
        return instance

    def add_template(self, name: str, template: Callable[[GroupContext], Any]) -> None:
        """Instantiate `template` for this group, as its service `name`."""
        instance = template(self._context)
        methods = exposed_methods(instance)
        if self._router is not None:
            self._router.put(self.gid, name, methods)
        self._users[name] = instance

    def handle_change(self) -> None:
        """Handle other members."""
        self._context.handle_change()

    def end(self) -> None:
        """Handle its deletion on this node."""
        self._context.end()


def built_in_methods(local: LocalServices) -> dict[str, dict[str, frozenset[str]]]:
    """Return the names of the methods of trionet's own services, by ``"local"`` and ``"group"`` and service."""
    own = {name: frozenset(exposed_methods(service)) for name, service in local._asdict().items()}
    group = Group(LOCAL, local, None, {})
    group_wide = {name: frozenset(exposed_methods(getattr(group, name))) for name in _BUILT_IN}
    return {"local": {name: methods for name, methods in own.items() if methods}, "group": group_wide}
