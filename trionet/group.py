"""A gid's services on one node, typed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ServiceNotFound
from .identity import sid_of
from .message import LOCAL, Remote, check_kwargs
from .services.base import exposed_methods, warm_up_methods
from .templates.base import GroupContext
from .templates.comm import GroupComm
from .templates.gossip import GroupGossip
from .templates.groups import GroupGroups
from .templates.mapping import MapOptions, open_map
from .templates.routes import GroupRoutes
from .templates.settings import GroupSettings
from .templates.status import GroupStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    import trio

    from .identity import SID, NodeAddress
    from .router import Router
    from .services import LocalServices
    from .templates.mapping import Results

__all__ = ["Group", "built_in_methods", "warm_up"]

Item = TypeVar("Item")

_BUILT_IN = ("comm", "gossip", "groups", "routes", "settings", "status")


class Group:
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
        services = {name: getattr(self, name) for name in _BUILT_IN} | self._users
        methods = {name: exposed_methods(service) for name, service in services.items()}
        if router is not None:  # only now: a failing template leaves nothing behind
            for name in services:
                router.put(gid, name, methods[name])

    def __repr__(self) -> str:
        return f"<Group {self.gid!r}>"

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

    @asynccontextmanager
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

    def map(
        self,
        method: Remote,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        kwargs: Mapping[str, Any] | None = None,
        per_member: int = 1,
        retries: int = 3,
        ordered: bool = False,
        idempotent: bool = False,
    ) -> AbstractAsyncContextManager[Results[Item, Any]]:
        """Call a method with each item, on whichever member is free; iterate over the results as they come.

        ::

            async with group.map(remote, paths, per_member=2) as results:
                async for done in results:
                    print(done.item, done.result())

        It follows the group: new members get items, and a group without members waits for some. Leaving the block
        cancels all calls. An item of a call that did not run, because its member refused it or could not be reached,
        is sent to another member. An item that may have run is sent again only if the method is idempotent; else it
        comes out with the error. What the iterable raises is raised to the reader, after the results before.

        Args:
            method: the method to call; without a node.
            items: each is the positional argument of one call. It is iterated over as members are free, and may be
                infinite; it blocks the node while it blocks. A generator is closed when the block ends.
            kwargs: keyword arguments of each call.
            per_member: how many items are in flight at a member, at most. In flight and not yet read are at most that
                many times the members.
            retries: the further attempts of an item.
            ordered: whether the results come in the order of the items; a slow one holds up the others.
            idempotent: whether an item that may have run may run again.

        Raises:
            MalformedRequest: an argument is wrong.
            GroupNotFound: the group has been deleted; also by the iteration, when that happens later.
        """
        comm, given = self._context.local.comm, check_kwargs(kwargs)
        remote = Remote.of(method, with_node=False)
        options = MapOptions(per_member, retries, ordered, idempotent)
        return open_map(self._context, items, options, lambda item: comm.prepare([item], given, remote))

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
        if self._router is not None:
            self._router.remove(self.gid)


def built_in_methods(local: LocalServices) -> dict[str, dict[str, frozenset[str]]]:
    """Return the names of the methods of trionet's own services, by ``"local"`` and ``"group"`` and service."""
    own = {name: frozenset(exposed_methods(service)) for name, service in local._asdict().items()}
    group = Group(LOCAL, local, None, {})
    group_wide = {name: frozenset(exposed_methods(getattr(group, name))) for name in _BUILT_IN}
    return {"local": {name: methods for name, methods in own.items() if methods}, "group": group_wide}


def warm_up() -> None:
    """Do now, once for this process, the one-time work of the first group."""
    warm_up_methods(GroupComm, GroupGossip, GroupGroups, GroupRoutes, GroupSettings, GroupStatus)
