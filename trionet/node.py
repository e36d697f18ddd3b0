"""A node: one address, with its services, groups and tasks.

Invariant: a node is complete before its endpoint serves calls; `runtime` runs it.
"""

from __future__ import annotations

import weakref
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import trio

from .errors import ConfigError, GroupNotFound, MalformedRequest, TemporarilyUnavailable
from .import_paths import import_reference
from .message import LOCAL
from .node_log import NodeLog
from .node_views import NodeViews
from .on_start import run_on_start
from .reloading import Reloading
from .services import LocalServices, cluster_agent, diagnosis, inspection, periodic, settings
from .services.base import exposed_methods
from .services.child_news import ChildNews
from .services.code_trust import CodeTrust
from .services.comm import Comm
from .services.gossip import Gossip
from .services.groups import ALL, Groups
from .services.kept import Kept
from .services.kept_rules import KeptRules
from .services.kept_services import KeptServices
from .services.keys import Keys
from .services.membership import Membership
from .services.names import check_service_name
from .services.replicated import Replicated
from .services.routes import Routes
from .services.service_table import Origin, ServiceTable
from .services.status import Status, with_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from random import Random

    from .child_nodes import ChildNodes
    from .config import NodeConfig
    from .events import EventBus
    from .group import Group
    from .identity import NID, SID, NodeAddress
    from .launchers import Launcher
    from .replies import Replies
    from .router import Router
    from .services.member import Member
    from .templates.base import GroupContext
    from .transports.base import Endpoint
    from .transports.web_app import QuartTrio

__all__ = ["Node"]

_LEAVE_S: Final = 1.0


class Node(NodeViews):
    """One node; made by `open_node`.

    Attributes:
        config: its configuration.
        local: its own services; see `LocalServices`.
        random: the random numbers of its protocols and services; seeded in a simulation.
        reloading: the files that it can read again while it runs.
    """

    config: NodeConfig
    random: Random
    _groups: dict[str, Group | None]
    _templates: dict[str, Callable[[GroupContext], Any]]

    def __init__(
        self,
        config: NodeConfig,
        endpoint: Endpoint,
        router: Router,
        bus: EventBus,
        children: ChildNodes,
        background: trio.Nursery,
        random: Random,
    ) -> None:
        """Build the services on `endpoint`, which serves no calls yet; `background` is for what ends after them.

        Raises:
            ConfigError: a configured service or template can't be used.
        """
        self.config, self.random = config, random
        self._endpoint, self._children, self._router, self._bus = endpoint, children, router, bus
        self._log, self._stopping, self._has_drained = NodeLog(), trio.Event(), trio.Event()
        self._groups, self._templates = {}, {}
        own, known = endpoint.address, weakref.proxy(self)  # a cycle would outlive the node
        code = CodeTrust(own, config, endpoint.keys, endpoint.clock)
        groups, comm = Groups(own, known, code), Comm(own, endpoint.transport, router, random)
        self._services = ServiceTable(router)
        self._agent = cluster_agent.ClusterAgent(config, endpoint, comm, groups, background, random)
        self._tasks = periodic.PeriodicTasks(background, random, bus.publish, router)
        membership = Membership(own, self._agent, groups, bus.publish)
        replicated = Replicated(self._agent, membership)
        self.local: LocalServices = LocalServices(
            status=Status(known, router),
            groups=groups,
            routes=Routes(self._services, code, known),
            comm=comm,
            gossip=Gossip(self._agent, groups, comm, code, router, self._tasks, background, bus.publish),
            membership=membership,
            replicated=replicated,
            kept=Kept(own, groups, replicated, [KeptServices(self._services), KeptRules(groups)], bus.publish),
            settings=settings.Settings(own, config, replicated, bus.publish),
            code=code,
            inspection=inspection.Inspection(known, router, self._agent, self._services, endpoint, children),
            keys=Keys.of(config, endpoint, self._agent, groups.known, children.on_boot, background, random),
            diagnosis=diagnosis.Diagnosis(known, endpoint, self._agent, groups, comm, membership.reports, random),
        )
        self.reloading: Reloading = Reloading({**self.local.keys.reloads, **endpoint.reloads})
        self._register_services(comm)

    def _listen(self, comm: Comm) -> None:
        news = ChildNews(self._agent, self._children.on_boot)
        for listener in (self._log.handle, news.handle, comm.handle_event, self.local.keys.handle_event):
            self._bus.listen(listener)
        self._bus.listen(self.local.inspection.handle_event)

    def __repr__(self) -> str:
        return f"<Node {self.sid} on {self.address}>"

    @property
    def address(self) -> NodeAddress:
        """Its address for other nodes, with the real port."""
        return self._endpoint.address

    @property
    def nid(self) -> NID:
        """Its identifier."""
        return self.address.nid

    @property
    def sid(self) -> SID:
        """Its short identifier."""
        return self.address.sid

    def current_time(self) -> float:
        """Return the time on this node's clock, in seconds: Trio's, or, in a simulation, one with an offset."""
        return self._endpoint.clock.now()

    @property
    def is_stopping(self) -> bool:
        """Whether it is stopping, or has stopped."""
        return self._stopping.is_set()

    @property
    def is_alone(self) -> bool:
        """Whether none of its spawned nodes is running, starting or stopping."""
        return self._children.is_empty

    @property
    def app(self) -> QuartTrio | None:
        """The Quart-Trio app of its HTTP face; None without one."""
        return self._endpoint.app

    @property
    def keys(self) -> Keys:
        """The keys of its cluster, and their rotation."""
        return self.local.keys

    @property
    def all(self) -> Group:
        """The group of all known nodes."""
        return self.group(ALL)

    def group(self, gid: str) -> Group:
        """Return the group `gid`.

        Raises:
            GroupNotFound: this node has none.
            TemporarilyUnavailable: it is the first use of a group, and no descriptor is free to import what that needs.
        """
        if not isinstance(gid, str) or gid not in self._groups:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        return self._groups[gid] or self._make_group(gid)

    @overload
    def register_template(
        self, name: str, template: Callable[[GroupContext], Any], *, everywhere: Literal[True]
    ) -> Awaitable[Replies[str]]: ...
    @overload
    def register_template(
        self, name: str, template: Callable[[GroupContext], Any], *, everywhere: Literal[False] = False
    ) -> None: ...
    def register_template(
        self, name: str, template: Callable[[GroupContext], Any], *, everywhere: bool = False
    ) -> Awaitable[Replies[str]] | None:
        """Add `template` to every group, present and future, as ``group.service(name)``.

        Args:
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.
            template: called with each group's context; usually a subclass of `Template`. The methods of the result
                that are marked with ``trionet.rpc`` are exposed to other nodes under the group's name.
            everywhere: whether the other known nodes do so, too. Await the result, which has their replies; see
                `GroupRoutes.put_template`.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or `template` can't be called.
        """
        check_service_name(name)
        if not callable(template):
            raise MalformedRequest(f"a template is called with each group's context, and {template!r:.80} can't be")
        for gid in self._groups:
            self.group(gid).add_template(name, template)
        self._templates[name] = template  # last: a failing template must not affect later groups
        return self.all.routes.put_template_on_others(template, name) if everywhere else None

    def members(self) -> list[Member]:
        """Return the present members of its cluster, itself included, in SID order; no failed and left ones."""
        return self.local.membership.present()

    async def join(self, seeds: Iterable[Any]) -> None:
        """Join the cluster of any of `seeds`; see `Membership.join`."""
        await self.local.membership.join(seeds)  # type: ignore[arg-type]  # any iterable is accepted

    async def leave(self) -> None:
        """Leave the cluster, and continue alone; see `Membership.leave`."""
        await self.local.membership.leave()

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace its tags in the cluster; see `Membership.set_tags`."""
        await self.local.membership.set_tags(tags)

    def member(self, sid: SID | NodeAddress) -> AbstractAsyncContextManager[trio.CancelScope]:
        """Return a context manager whose block is cancelled when the node `sid` fails or leaves, or is not present.

        The block is cancelled when this node ends, too. `sid` may be an address. It yields the block's cancel scope.
        """
        return self.local.membership.scope(sid)

    async def reload(self) -> None:
        """Read the files of its configuration again: its keys and certificate, without a restart.

        Raises:
            ConfigError: one can't be used; the text says why, and all stays as it was.
        """
        await self.reloading.reload()

    def stop(self) -> None:
        """Begin, once, to stop: refuse connections, answer the calls in progress, and then cancel the node's scope."""
        self._log.stopping(self.address, len(self._router.running))
        self._router.refusing = self._router.refusing or "the node is stopping"
        self._endpoint.close()
        self._stopping.set()
        self._children.cancel_starting()

    async def wait_stopping(self) -> None:
        """Wait until it begins to stop, by `stop`, a call of ``status.stop``, or the end of its block."""
        await self._stopping.wait()

    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Start a node as a child of this one; see `Status.spawn`."""
        return await self._children.spawn_for(self.config, with_settings(config, {}), self.local.membership.is_active)

    def register_launcher(self, name: str, launcher: Launcher) -> None:
        """Use `launcher` for spawned nodes whose configuration has ``launcher=name``.

        Args:
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``.
            launcher: see `trionet.Launcher`.

        Raises:
            MalformedRequest: the name is malformed, or it is no launcher.
        """
        self._children.register_launcher(name, launcher)

    def launcher(self, name: str) -> Launcher:
        """Return the launcher that spawned nodes with ``launcher=name`` have, as for a launcher that wraps it.

        Raises:
            ConfigError: there is none.
            MalformedRequest: the name is no text.
        """
        return self._children.launcher(name)

    async def prewarm(self) -> None:
        """Start the fork server before the first spawn, which then lasts milliseconds.

        Raises:
            SpawnError: it can't be started.
            TemporarilyUnavailable: the node is stopping.
        """
        await self._children.prewarm()

    def group_added(self, gid: str) -> None:
        """Handle a new group; unless templates of the user's may fail, it is made with its first use, by few nodes."""
        if self._templates:
            self._make_group(gid)
            return
        self._groups[gid] = None
        if gid != LOCAL:
            self._router.announce(gid, partial(self._make_group, gid))

    def _make_group(self, gid: str) -> Group:
        try:
            from .group import Group
        except OSError as exc:  # no descriptor is free
            raise TemporarilyUnavailable(f"the group {gid!r:.130} can't be made now: {exc.strerror}") from exc
        group = Group(gid, self.local, None if gid == LOCAL else self._router, self._templates)
        self._groups[gid] = group
        return group

    def group_changed(self, gid: str) -> None:
        """Handle other members of a group, or another `subset`."""
        if gid != LOCAL:
            self._agent.update_group(gid)
        if (group := self._groups[gid]) is not None:
            group.handle_change()
        self.local.kept.handle_group_changed(gid)

    def group_removed(self, gid: str) -> None:
        """Handle the end of a group."""
        if (group := self._groups.pop(gid)) is not None:
            group.end()
        self._router.remove(gid)
        self._tasks.cancel_group(gid)
        self._agent.drop_group(gid)
        self.local.kept.handle_group_removed(gid)
        self.local.settings.wake_all()

    def cluster_members(self) -> list[Member]:
        """Return the present members of its cluster; raise `ConfigError` if it belongs to none."""
        self.local.membership.check_active()
        return self.members()

    def _register_services(self, comm: Comm) -> None:
        """Register the built-in services, those of the groups, and the configured ones; listen to events before."""
        self._listen(comm)
        for name, service in self.local._asdict().items():
            if exposed_methods(service):
                self._services.add_built_in(service, name)
        for gid in self.local.groups.gids():
            self.group_added(gid)
        try:
            for name, reference in self.config.templates.items():
                self.register_template(name, import_reference(reference))
            for name, reference in self.config.services.items():
                self._services.add(reference, name, Origin.CONFIGURED)
        except MalformedRequest as exc:
            raise exc if isinstance(exc, ConfigError) else ConfigError(exc.text) from exc

    @asynccontextmanager
    async def running(self, background: trio.Nursery) -> AsyncGenerator[None]:
        """Serve calls, join the cluster, and run `on_start`; at the end of the block, stop, within the grace.

        `status.stop` cancels `background`, and so the block.
        """
        nursery = self._children.nursery
        try:
            await background.start(self._endpoint.serve)
            nursery.start_soon(self._cancel_when_stopped, background.cancel_scope)
            try:
                if self.config.join is not None:
                    membership, within_s = self.local.membership, self.config.connect_timeout_s
                    await membership.join_at_start(self.config.join, within_s, nursery)
                await run_on_start(self.config.on_start, self)
                self._log.began(self.address)
                yield
            finally:
                self.stop()
                with suppress(trio.Cancelled):  # the block's exception goes on, a cancellation included
                    await self._has_drained.wait()
        finally:
            self._tasks.close()
            self._agent.close()
            self.local.keys.close()
            self.local.membership.farewell()
            self.local.settings.wake_all()

    def clear(self) -> None:
        """Break the reference cycles of a node that has ended, so that it needs no garbage collection."""
        self._agent.clear()
        self.local.replicated.clear()
        self._services.end()

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stopping.wait()
        with trio.move_on_after(self.config.stop_grace_s):
            with trio.move_on_after(_LEAVE_S):
                await self.local.membership.depart()  # not leave(): calls in progress may need the groups
            await self._endpoint.drain()
        self._has_drained.set()
        scope.cancel()
        with trio.CancelScope(shield=True):
            await self._log.report_running(self.address, self._router.running)
