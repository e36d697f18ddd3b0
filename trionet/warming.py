"""The first nodes of a process that are to be followed by many: they run, call each other, and end.

A fork server does it before it forks, for all its nodes, and again while it has none. Then lazy imports are made,
caches are filled, and the interpreter has adapted its code, so that a forked node has less to do, and changes fewer
pages of the memory that all share.

Invariant: nothing is left of them: no descriptor, thread or task, and no span at a tracer provider. Where they can't
run, nothing is lost but time later.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from .config import NodeConfig
from .launchers.supervised import Boot, Report, boot_for, decode_line, encode_line
from .message import Remote
from .processors import usable_processors
from .runtime import open_node
from .services import cluster_agent
from .tracing.telemetry import find_telemetry

if TYPE_CHECKING:
    from .security.node_keys import NodeKeys

__all__ = ["warm_up"]

_log = logging.getLogger(__name__)

_NODES: Final = 2
"""How many start, besides the one that calls them: each further one saves forked nodes ever less."""
_LIMIT_S: Final = 5.0


def warm_up(
    config: NodeConfig | None = None,
    keys: NodeKeys | None = None,
    nodes: int = _NODES,
    *,
    joins: bool = False,
    limit_s: float = _LIMIT_S,
) -> bool:
    """Run `nodes` with this configuration, on free ports, and these keys; return whether they could run in `limit_s`.

    Trio must not run yet. With `joins` they are a cluster.
    """
    telemetry = find_telemetry()
    usable_processors()
    cluster_agent.warm_up()
    if telemetry is not None:
        telemetry.is_for_nobody = telemetry.provider() is not None
    try:
        rehearse = partial(
            _rehearse, NodeConfig() if config is None else config, keys, nodes, joins=joins, limit_s=limit_s
        )
        return trio.run(rehearse)
    except Exception as exc:  # as in a sandbox without sockets: the node that is wanted will say why
        _log.debug("nothing is warmed up: %r", exc)
        return False
    finally:
        if telemetry is not None:
            telemetry.is_for_nobody = False


async def _rehearse(config: NodeConfig, keys: NodeKeys | None, nodes: int, *, joins: bool, limit_s: float) -> bool:
    has_run = False
    with trio.move_on_after(limit_s) as limit:
        async with open_node(msgspec.structs.replace(config, join=[]) if joins else config, keys=keys) as caller:
            others = msgspec.structs.replace(config, join=[str(caller.address)]) if joins else config
            for _ in range(nodes):
                decode_line(encode_line(boot_for(others)), Boot)
                with trio.CancelScope() as scope:
                    async with open_node(others, keys=keys) as node:
                        encode_line(Report(address=node.address))
                        status = Remote(node=node.address, service="status", method="get")
                        await caller.local.comm.send(["nid"], status)
                        _end(scope, joins)
            has_run = True
            _end(limit, joins)
    return has_run


def _end(scope: trio.CancelScope, joins: bool) -> None:
    if joins:  # else it would leave its cluster, and wait until others know
        scope.cancel()
