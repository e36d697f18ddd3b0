"""A node: one address, served by tasks of one nursery, with the services that live there.

Invariants: a node accepts calls before its `on_start` runs, and `on_start` has ended before `open_node` returns; when
the block of `open_node` ends, however it ends, the port is closed, no handler is running, and every node that it
spawned has stopped.
"""

from __future__ import annotations

import inspect
import random as random_module
import weakref
from collections import deque
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio

from .config import NodeConfig
from .errors import (
    AddressInUse,
    ConfigError,
    GroupNotFound,
    MalformedRequest,
    TemporarilyUnavailable,
)
from .events import ChildEnded, ChildGivenUp, Event, EventBus, Events, OrphanedCall
from .group import Group
from .identity import NID, SID, NodeAddress, check_name
from .import_paths import import_reference
from .launchers.base import explain_status
from .launchers.in_process import InProcessLauncher
from .launchers.registry import Launchers, open_launchers
from .launchers.restart import keep_running
from .log_limits import about, limited_log
from .message import LOCAL
from .nurseries import open_background_nursery, open_plain_nursery
from .router import Router
from .services import LocalServices
from .services.base import BUILT_IN, exposed_methods
from .services.cluster import Cluster
from .services.cluster import warm_up as warm_up_protocols
from .services.comm import Comm
from .services.gossip import Gossip
from .services.groups import ALL, Groups
from .services.membership import Member, Membership
from .services.routes import Routes
from .services.status import Status, with_settings
from .transports.lazy_http import LazyHTTPTransport
from .uncaught import tell_in_one_line
from .under_trio import awaited, check_runnable, check_under_trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from random import Random

    from .launchers import Launcher
    from .router import CurrentCall
    from .templates.base import GroupContext
    from .transports.base import Clock, Endpoint, Transport
    from .transports.memory import MemoryFabric
    from .transports.web import QuartTrio

__all__ = ["Node", "NodeStatistics", "open_node", "run", "serve_node", "warm_up"]

T = TypeVar("T")

_log = limited_log(__name__)

_LEAVE_S: Final = 1.0
_SEED_BITS: Final = 128
_ORPHANS_KEPT: Final = 64


class NodeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures about a node.

    Attributes:
        calls_served: calls of others, and of itself, that it has taken on.
        calls_running: those of them whose handlers are running.
        calls_orphaned: calls that it made, that were cancelled, and whose handler did not confirm in time that it has
            finished.
    """

    calls_served: int
    calls_running: int
    calls_orphaned: int


class Node:
    """One node; made by `open_node`.

    Attributes:
        config: what it was started with.
        local: its own services: ``status``, ``groups``, ``routes``, ``comm``, ``gossip``, ``membership``.
        random: the random numbers of its protocols and services; seeded in a simulation.
    """

    def __init__(
        self,
        config: NodeConfig,
        router: Router,
        endpoint: Endpoint,
        bus: EventBus,
        fabric: MemoryFabric | None,
        random: Random,
    ) -> None:
        self.config = config
        self.random = random
        self._endpoint = endpoint
        self._router = router
        self._bus = bus
        self._calls_orphaned = 0
        self._latest_orphans: deque[OrphanedCall] = deque(maxlen=_ORPHANS_KEPT)
        bus.listen(self._note)
        self._groups: dict[str, Group] = {}
        self._templates: dict[str, Callable[[GroupContext], Any]] = {}
        self._stopping = trio.Event()
        self._has_drained = trio.Event()
        self._spawning: dict[trio.CancelScope, None] = {}
        self._fabric = fabric
        self._children: trio.Nursery | None = None
        self._launchers: Launchers | None = None
        self.local: LocalServices = _local_services(
            weakref.proxy(self), router, endpoint.transport, random, bus.publish
        )
        self._clock: Clock | None = getattr(endpoint, "clock", None)
        self._cluster = Cluster(self.address, config, self.local, endpoint.datagrams, random, clock=self._clock)

    def __repr__(self) -> str:
        return f"<Node {self.sid} on {self.address}>"

    @property
    def address(self) -> NodeAddress:
        """Where other nodes reach it, with the real port."""
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
        """Return the time on this node's clock, in seconds: Trio's, or, in a simulation, one that may be wrong."""
        return trio.current_time() if self._clock is None else self._clock.now()

    @property
    def is_stopping(self) -> bool:
        """Whether it has begun to stop, or has stopped."""
        return self._stopping.is_set()

    @property
    def is_alone(self) -> bool:
        """Whether no node that it has spawned is running, or being started or stopped."""
        return self._children is None or not self._children.child_tasks

    @property
    def app(self) -> QuartTrio | None:
        """The Quart-Trio app that serves its HTTP face; None for a node without one."""
        return getattr(self._endpoint, "app", None)

    @property
    def all(self) -> Group:
        """The group of all nodes it knows."""
        return self.group(ALL)

    def group(self, gid: str) -> Group:
        """Return the group `gid`.

        Raises:
            GroupNotFound: there is none on this node.
        """
        if not isinstance(gid, str) or gid not in self._groups:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        return self._groups[gid]

    def register_template(self, name: str, template: Callable[[GroupContext], Any]) -> None:
        """Have `template` in every group, present and future, as ``group.service(name)``.

        Args:
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; no built-in service's name.
            template: called with each group's context; usually a subclass of `Template`. What it returns is exposed to
                other nodes under the group's name, as far as its methods are marked with ``trionet.rpc``.

        Raises:
            MalformedRequest: the name is malformed or a built-in's, or `template` can't be called.
        """
        if check_name(name, "service name") in BUILT_IN:
            raise MalformedRequest(f"{name!r} is a built-in service")
        if not callable(template):
            raise MalformedRequest(f"a template is called with each group's context, and {template!r:.80} can't be")
        for group in self._groups.values():
            group.add_template(name, template)
        self._templates[name] = template  # last: one that can't be made must not be in the way of later groups

    def statistics(self) -> NodeStatistics:
        """Return figures about the node at this moment."""
        return NodeStatistics(
            calls_served=self._router.served,
            calls_running=len(self._router.running),
            calls_orphaned=self._calls_orphaned,
        )

    def running_calls(self) -> list[CurrentCall]:
        """Return the calls whose handlers are running on this node at this moment, the oldest first."""
        return [prepared.current() for prepared in self._router.running]

    def orphaned_calls(self) -> list[OrphanedCall]:
        """Return the latest of the calls that it made and that became orphans, 64 at most."""
        return list(self._latest_orphans)

    def events(self) -> Events:
        """Return an async iterator over what happens from now on, instances of `Event`; it ends with the node."""
        return self._bus.watch()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have ``listener(event)`` called with each event, at once; it must not wait. What it raises is logged.

        Raises:
            MalformedRequest: it is no plain function.
        """
        self._bus.listen(listener)

    def members(self) -> list[Member]:
        """Return the members of its cluster that it sees, itself included, in the order of SIDs.

        Those that have failed or left aren't among them.
        """
        return self.local.membership.present()

    async def join(self, seeds: Iterable[Any]) -> None:
        """Join the cluster of any of `seeds`; see `Membership.join`."""
        await self.local.membership.join(seeds)  # type: ignore[arg-type]  # it takes any iterable

    async def leave(self) -> None:
        """Leave the cluster, and go on alone; see `Membership.leave`."""
        await self.local.membership.leave()

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tell the cluster other things about itself; see `Membership.set_tags`."""
        await self.local.membership.set_tags(tags)

    def member(self, sid: SID | NodeAddress) -> AbstractAsyncContextManager[trio.CancelScope]:
        """Return a block that is cancelled when the node `sid` fails or leaves, or isn't there at all.

        Or when this node ends: it would not notice any more. The other node may be given by its address, too.

        ::

            async with node.member(sid) as scope:
                ...  # work that is of no use without it
        """
        return self.local.membership.scope(sid)

    def stop(self) -> None:
        """Begin to stop: refuse connections from now on, answer the calls in progress, and cancel the node's scope.

        Harmless when it has begun already.
        """
        self._router.refusing = self._router.refusing or "the node is stopping"
        self._endpoint.close()
        self._stopping.set()
        for scope in self._spawning:
            scope.cancel()

    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Start a node as a child of this one; see `Status.spawn`."""
        config = with_settings(config, {})
        if self._children is None or self._launchers is None or self._stopping.is_set():
            raise TemporarilyUnavailable("the node is stopping")
        default = self.config.child_launcher or self.config.launcher
        name = config.launcher or default or ("in_process" if self._fabric else "forkserver")
        launcher = self._launchers.get(name)
        config = config if name == "in_process" else config.portable()
        if config.join is None and self.local.membership.is_active:
            config = msgspec.structs.replace(
                config,
                join=[str(self.address)],
                profile=self.config.profile,
                datagrams=config.datagrams and self.config.datagrams,
            )
        with trio.CancelScope() as scope:
            self._spawning[scope] = None
            try:
                address: NodeAddress = await self._children.start(keep_running, launcher, config, self._bus.publish)
            finally:
                del self._spawning[scope]
            return address
        raise TemporarilyUnavailable("the node is stopping")

    def register_launcher(self, name: str, launcher: Launcher) -> None:
        """Have ``launcher=name`` in a configuration mean `launcher` when this node spawns.

        Args:
            name: 1 to 128 of letters, digits, ``_``, ``-``, ``.``.
            launcher: see `trionet.Launcher` for what it has to do.

        Raises:
            MalformedRequest: the name is malformed, or that is no launcher.
        """
        if not callable(getattr(launcher, "start", None)):
            raise MalformedRequest(f"a launcher has an async method 'start', and {launcher!r:.80} has not")
        assert self._launchers is not None
        self._launchers.put(check_name(name, "launcher name"), launcher)

    async def prewarm(self) -> None:
        """Have the fork server started ahead of the first spawn, so that this takes milliseconds.

        Raises:
            SpawnError: it can't be started.
            TemporarilyUnavailable: the node is stopping.
        """
        if self._launchers is None or self._stopping.is_set():
            raise TemporarilyUnavailable("the node is stopping")
        await self._launchers.prewarm()

    def group_added(self, gid: str) -> None:
        """The `groups` service has a new group."""
        router = None if gid == LOCAL else self._router
        self._groups[gid] = Group(gid, self.local, router, self._templates)

    def group_changed(self, gid: str) -> None:
        """The `groups` service has other members, or another `subset`, for a group."""
        if gid != LOCAL:
            self.local.gossip.set_group(gid)

    def group_removed(self, gid: str) -> None:
        """The `groups` service has lost a group."""
        self._groups.pop(gid).end()
        self.local.gossip.drop_group(gid)

    def _note(self, event: Event) -> None:
        match event:
            case ChildEnded(status=status) if status:
                _log.warning(
                    "the spawned node %s ended: %s", event.node, explain_status(status), extra=about(event.node)
                )
            case ChildGivenUp():
                _log.error(
                    "the spawned node %s was restarted %d times, and is given up",
                    event.node,
                    event.restarts,
                    extra=about(event.node),
                )
            case OrphanedCall():
                self._calls_orphaned += 1
                self._latest_orphans.append(event)
                _log.warning(
                    "the call %s/%s/%s to %s was cancelled, and may still be running there",
                    event.gid,
                    event.service,
                    event.method,
                    event.node,
                    extra=about(event.node),
                )

    async def _begin(self) -> None:
        self.local.groups.begin(self.address)
        self.local.comm.begin(self.address)
        for name in LocalServices._fields:
            self.local.routes.begin(name, getattr(self.local, name))
        try:
            for name, reference in self.config.templates.items():
                self.register_template(name, import_reference(reference))
            for name, reference in self.config.services.items():
                await self.local.routes.put(reference, name)
        except MalformedRequest as exc:
            raise exc if isinstance(exc, ConfigError) else ConfigError(exc.text) from exc

    async def _run_on_start(self) -> None:
        on_start = self.config.on_start
        if on_start is not None:
            function = import_reference(on_start) if isinstance(on_start, str) else on_start
            if not callable(function):
                raise ConfigError(
                    f"on_start: {on_start!r:.100} leads to a {type(function).__name__}, not to a function"
                )
            result = function(self)
            if inspect.isawaitable(result):
                await result

    def _let_go(self) -> None:
        """Forget what knows this node, once it has ended: none of it shall wait for the cyclic collector."""
        self._router.clear()
        self._bus.clear()
        self.local.routes.end()
        self._children = self._launchers = None

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stopping.wait()
        with trio.move_on_after(self.config.stop_grace_s):
            if self.local.membership.is_active:
                with trio.move_on_after(_LEAVE_S):
                    await self.local.membership.depart()  # not leave(): calls in progress may need the groups
            await self._endpoint.drain()
        self._has_drained.set()
        scope.cancel()

    @asynccontextmanager
    async def _stopping_in_the_end(self) -> AsyncGenerator[None]:
        """Stop when the block ends, and wait until what is in progress has been answered, or the grace is over."""
        try:
            yield
        except BaseException:
            self.stop()
            with suppress(trio.Cancelled):  # what the block has raised goes on, be it that it was cancelled
                await self._has_drained.wait()
            raise
        self.stop()
        await self._has_drained.wait()


@asynccontextmanager
async def open_node(
    config: NodeConfig | None = None, *, fabric: MemoryFabric | None = None, random: Random | None = None
) -> AsyncGenerator[Node]:
    """Run a node for as long as the block lasts.

    The node accepts calls and its `on_start` has ended when the block begins. The block is cancelled when the node is
    stopped (`status.stop`), and then ends without an exception. An exception of `on_start` or of the block closes the
    node, and is the caller's, as it is, ``SystemExit`` and ``KeyboardInterrupt`` included.

    Args:
        config: default: loopback, a free port.
        fabric: connects nodes of one process in memory; default: the node is on the network.
        random: the random numbers of its protocols and services; default: the operating system's.

    Raises:
        AddressInUse: another program listens there; the text names the address.
        ConfigError: the configuration can't be met; the text names the setting.
        MalformedRequest: an argument is of another type.
        RuntimeError: this isn't run by Trio.
    """
    check_under_trio("trionet.open_node")
    config = with_settings(NodeConfig() if config is None else config, {})
    if fabric is not None and not hasattr(type(fabric), "endpoint"):
        raise MalformedRequest(f"fabric is a MemoryFabric, not {fabric!r:.80}")
    if not isinstance(random, random_module.Random | None):
        raise MalformedRequest(f"random is a random.Random, not {random!r:.80}")
    router, bus = Router(), EventBus()
    endpoint = await _open_endpoint(config, fabric, router, bus)
    node: Node | None = None
    try:
        node = Node(config, router, endpoint, bus, fabric, random or random_module.Random())
        if fabric is not None:
            fabric.on_open(node)
        async with open_background_nursery() as nursery:
            await node._begin()  # noqa: SLF001  its own module
            await nursery.start(endpoint.serve)
            await nursery.start(node._cluster.run)  # noqa: SLF001
            async with open_launchers() as launchers, open_plain_nursery() as children:
                launchers.put("in_process", InProcessLauncher(partial(_open_child, node, fabric)))
                node._children, node._launchers = children, launchers  # noqa: SLF001
                children.start_soon(node._cancel_when_stopped, nursery.cancel_scope)  # noqa: SLF001
                async with node._stopping_in_the_end():  # noqa: SLF001
                    await node._cluster.join_at_start(children)  # noqa: SLF001
                    await node._run_on_start()  # noqa: SLF001
                    yield node
    finally:
        router.end()
        endpoint.close()
        if endpoint.datagrams is not None:
            endpoint.datagrams.close()
        bus.close()
        if node is not None:
            node._let_go()  # noqa: SLF001


def _open_child(node: Node, fabric: MemoryFabric | None, config: NodeConfig) -> AbstractAsyncContextManager[Node]:
    """Open a node whose random numbers follow from those of the one that starts it."""
    return open_node(config, fabric=fabric, random=random_module.Random(node.random.getrandbits(_SEED_BITS)))


async def _open_endpoint(config: NodeConfig, fabric: MemoryFabric | None, router: Router, bus: EventBus) -> Endpoint:
    if fabric is not None:
        return fabric.endpoint(config, router, bus.publish)
    from .transports.network import open_network_endpoint

    return await open_network_endpoint(config, router, bus.publish)


async def serve_node(
    config: NodeConfig | None = None, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a node until it is stopped or cancelled; for ``await nursery.start(serve_node, config)``.

    Raises:
        Exception: what `open_node` raises.
    """
    async with open_node(config) as node:
        task_status.started(node)
        await trio.sleep_forever()


def warm_up() -> None:
    """Do now, once for this process, what making the first node would do: its methods' signatures are worked out."""
    router = Router()
    transport = LazyHTTPTransport(NodeConfig())
    local = _local_services(_Nowhere(), router, transport, random_module.Random(0), lambda _: None)
    for service in local:
        exposed_methods(service)
    warm_up_protocols()
    Group(ALL, local, router, {})


def _local_services(
    node: Node | _Nowhere, router: Router, transport: Transport, random: Random, publish: Callable[[Event], None]
) -> LocalServices:
    groups, comm = Groups(node), Comm(router, transport, random)
    return LocalServices(
        status=Status(node, router),
        groups=groups,
        routes=Routes(router),
        comm=comm,
        gossip=Gossip(router, groups, comm, random, publish),
        membership=Membership(groups, publish),
    )


class _Nowhere:
    """No node: what `warm_up` builds is never called."""

    address = NodeAddress("127.0.0.1", 0)

    def stop(self) -> None: ...

    async def spawn(self, config: NodeConfig) -> NodeAddress:
        raise AssertionError

    def group_added(self, gid: str) -> None: ...

    def group_changed(self, gid: str) -> None: ...

    def group_removed(self, gid: str) -> None: ...


def run(main: Callable[..., Awaitable[T]], config: NodeConfig | None = None, *args: Any) -> T | None:
    """Run a node and ``main(node, *args)`` in a Trio run of their own.

    What `main` raises comes out as it is: ``sys.exit(7)`` is exit status 7, and Ctrl-C a ``KeyboardInterrupt``.

    Args:
        main: an async function.
        config: the node's; default: loopback, a free port.
        *args: what `main` is called with, besides the node.

    Returns:
        What `main` returned; None when the node was stopped before.

    Raises:
        AddressInUse: the port is in use. A program that does not catch it says so in one line, and has status 1.
        RuntimeError: Trio runs in this thread already.
        TypeError: `main` is no async function.
    """
    check_runnable(main)
    is_open = False

    async def run_main() -> T | None:
        nonlocal is_open
        async with open_node(config) as node:
            is_open = True
            return await awaited(main(node, *args), main)
        return None

    try:
        return trio.run(run_main)
    except AddressInUse as exc:
        if not is_open:
            tell_in_one_line(exc)
        raise
