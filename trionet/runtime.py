"""Runs nodes: for the length of a block, as a task, or as a program of its own.

Invariants: a node accepts calls before its `on_start` runs, and `on_start` has ended before `open_node` returns; when
the block of `open_node` ends, however it ends, the port is closed, no handler is running, and every node that it
spawned has stopped.
"""

from __future__ import annotations

import random as random_module
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from .access import Access
from .async_blocks import async_block
from .child_nodes import ChildNodes
from .config import NodeConfig
from .errors import AddressInUse, MalformedRequest
from .events import EventBus
from .launchers.in_process import InProcessLauncher
from .launchers.needs import Needs
from .launchers.registry import open_launchers
from .mistakes import add_hints
from .node import Node
from .node_pages import NodePages
from .nurseries import open_background_nursery, open_plain_nursery
from .open_files import raise_limit
from .router import Router
from .security.live_keys import LiveKeys
from .services.status import with_settings
from .uncaught import report_in_one_line
from .under_trio import awaited, check_runnable, check_under_trio
from .virtual_time import stopwatch
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from random import Random

    from .policy import Policy
    from .security.node_keys import NodeKeys
    from .transports.base import Endpoint, Network

__all__ = ["open_node", "run", "serve_node"]

T = TypeVar("T")

_SEED_BITS: Final = 128


@async_block("async with trionet.open_node(...) as node:")
async def open_node(
    config: NodeConfig | None = None,
    *,
    fabric: Network | None = None,
    random: Random | None = None,
    keys: NodeKeys | None = None,
) -> AsyncGenerator[Node]:
    """Run a node for as long as the block lasts.

    The node accepts calls and its `on_start` has ended when the block begins. The block is cancelled when the node is
    stopped (`status.stop`), and then ends without an exception. An exception of `on_start` or of the block closes the
    node, and is raised unchanged, ``SystemExit`` and ``KeyboardInterrupt`` included.

    Args:
        config: default: loopback, a free port.
        fabric: the network, as a `MemoryFabric` for nodes of one process; default: TCP.
        random: the random numbers of its protocols and services; default: the operating system's.
        keys: the keys of its cluster; default: those in its `key_file`.

    Raises:
        AddressInUse: another program listens there; the text names the address.
        ConfigError: the configuration can't be used; the text names the setting.
        MalformedRequest: an argument has another type.
        RuntimeError: Trio does not run.
    """
    check_under_trio("trionet.open_node")
    config = with_settings(NodeConfig() if config is None else config, {})
    if not isinstance(random, random_module.Random | None):
        raise MalformedRequest(f"random is a random.Random, not {random!r:.80}")
    random = random or random_module.Random()  # noqa: S311  no secret is drawn from it
    may_come = config.accept == "plain" and config.key_file is not None
    live = LiveKeys(keys or _keys(config), may_come=may_come, is_certified=config.certificate_file is not None)
    async with _opened(config, _network(fabric), random, live) as node:
        try:
            yield node
        except BaseException as exc:
            add_hints(exc)
            raise


@asynccontextmanager
async def _opened(config: NodeConfig, fabric: Network, random: Random, keys: LiveKeys) -> AsyncGenerator[Node]:
    watchdog = Watchdog.of_this_run()
    router = Router(config.max_threads, watchdog, stopwatch(), config.max_message_bytes)
    bus = EventBus()

    def open_child(config: NodeConfig) -> AbstractAsyncContextManager[Node]:
        # Its random numbers follow from its parent's.
        child_random = random_module.Random(random.getrandbits(_SEED_BITS))  # noqa: S311  no secret is drawn from it
        given = None if keys.now is None or config.key_file is not None else keys.now.given(str(endpoint.address))
        return open_node(config, fabric=fabric, random=child_random, keys=given)

    policy = _policy(config)
    endpoint = await fabric.open_endpoint(config, router, bus.publish, keys)
    router.access = Access(endpoint.address, keys, policy)
    needs = _needs(config, keys)
    node: Node | None = None
    watchdog.add(router.running)
    try:
        async with (
            open_background_nursery() as background,
            open_launchers(needs) as launchers,
            open_plain_nursery() as nursery,
        ):
            launchers.put("in_process", InProcessLauncher(open_child))
            default = config.child_launcher or config.launcher or fabric.default_launcher
            own, certificate = endpoint.address, config.certificate_settings
            children = ChildNodes(nursery, launchers, default, bus.publish, keys, config.key_file, own, certificate)
            node = Node(config, endpoint, router, bus, children, background, random)
            if policy is not None:
                _check_built_in(policy, node)
            pages = NodePages(node, router.methods, keys, background)
            endpoint.pages = pages
            fabric.on_open(node)
            async with node.running(background):
                pages.has_booted = True
                yield node
    finally:
        watchdog.remove(router.running)
        _close(router, endpoint, bus, node)


def _needs(config: NodeConfig, keys: LiveKeys) -> Needs:
    """Return what the nodes that this one spawns need."""
    return Needs(
        has_keys=bool(keys),
        has_http=config.transport == "http",
        log_format=config.log_format,
        joins=config.join is not None,
    )


def _policy(config: NodeConfig) -> Policy | None:
    if config.policy is None:
        return None
    from .policy import checked_policy  # most nodes have none

    return checked_policy(config.policy)


def _check_built_in(policy: Policy, node: Node) -> None:
    from .group import built_in_methods

    policy.check_built_in(built_in_methods(node.local))


def _close(router: Router, endpoint: Endpoint, bus: EventBus, node: Node | None) -> None:
    router.close()
    endpoint.close()
    if endpoint.datagrams is not None:
        endpoint.datagrams.close()
    bus.close()
    if node is not None:
        node.clear()


def _network(fabric: Network | None) -> Network:
    if fabric is None:
        from .transports.network import TCPNetwork

        return TCPNetwork()
    if not hasattr(type(fabric), "open_endpoint"):
        raise MalformedRequest(f"fabric is a MemoryFabric, not {fabric!r:.80}")
    return fabric


def _keys(config: NodeConfig) -> NodeKeys | None:
    if config.key_file is None:
        return None
    from .security.node_keys import NodeKeys  # it needs the extra `secure`

    return NodeKeys.of(config)


async def serve_node(
    config: NodeConfig | None = None, *, task_status: trio.TaskStatus[Node] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a node until it is stopped or cancelled; for ``await nursery.start(serve_node, config)``.

    Raises:
        Exception: as `open_node` does.
    """
    async with open_node(config) as node:
        task_status.started(node)
        await trio.sleep_forever()


def run(main: Callable[..., Awaitable[T]], config: NodeConfig | None = None, *args: Any) -> T | None:
    """Run a node and ``main(node, *args)`` in a new Trio run.

    Exceptions of `main` are raised unchanged: ``sys.exit(7)`` is exit status 7, and Ctrl-C a ``KeyboardInterrupt``.
    The soft limit of open files is raised to the hard one.

    Args:
        main: an async function.
        config: the node's; default: loopback, a free port.
        *args: further arguments of `main`.

    Returns:
        The result of `main`; None if the node was stopped before.

    Raises:
        AddressInUse: the port is in use. A program that does not catch it prints one line, and has exit status 1.
        RuntimeError: Trio already runs in this thread.
        TypeError: `main` is not an async function.
    """
    check_runnable(main, args)
    raise_limit()
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
            report_in_one_line(exc)
        raise
