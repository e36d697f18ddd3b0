"""``trionet up N``: several nodes in one cluster, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

import msgspec
import trio

from trionet.config import NodeConfig
from trionet.errors import NodeUnreachable, NotPermitted, PreconditionFailed, SpawnError, TrionetError
from trionet.events import ChildEnded, ChildGivenUp, Events
from trionet.forks import receive_signals
from trionet.launchers.output import name_output
from trionet.message import Remote
from trionet.nurseries import open_background_nursery
from trionet.runtime import open_node
from trionet.services.groups import ALL
from trionet.streams import check_written, claim_stdout, prepare_streams

from .arguments import Parser, import_from_working_directory, keys_of
from .ending import end_soon
from .first_process import become_child
from .hangups import reload_on_signal
from .progress import Progress
from .service_manager import ServiceManager
from .serving import Interrupted, prepare_process, run_reporting
from .up_settings import add_settings, config_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from trionet.identity import NodeAddress
    from trionet.node import Node
    from trionet.security.node_keys import NodeKeys

__all__ = ["main", "make_parser"]

_DESCRIPTION = """\
Run N nodes, by default each a process of its own on this machine, until Ctrl-C or SIGTERM; then stop them all.

They are a cluster: each is a member, sees the others fail, and has all of them in its group "all". With --join they
join the cluster of another node. When they accept calls, their addresses are printed. Each line that a node prints
begins with its SID and address.
"""

_EPILOG = """\
The settings that trionet-node takes from the environment are those of all nodes.

examples:
  trionet up 5
  trionet up 3 --key-file cluster.key
  trionet up 3 --port-from 8080 --json
  trionet up 3 --service shop.counter:Counter
  trionet up 3 --join 10.0.0.5:8080 --key-file cluster.key
  trionet up 3 --config '{"services": {"counter": "shop.counter:Counter"}, "restart": "on_failure"}'

exit status: 0 stopped, 1 a node did not boot, or all have ended and one of them failed, 2 wrong usage or configuration,
130 interrupted while starting
"""

_AT_ONCE: Final = 8
"""How many boot at once: by default an sshd begins to refuse at 10 unauthenticated connections."""

_JOIN_S: Final = 10.0
"""How long they may take to become one cluster."""

_GROUP: Final = "up"


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet up", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("count", metavar="N", type=int, help="how many nodes")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print the addresses as one line of JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    sys.exit(end_soon(run_reporting("trionet up", partial(_run, make_parser().parse_args(argv)))))


def _run(options: argparse.Namespace) -> int:
    import_from_working_directory()
    config = config_of(options)
    keys = keys_of(config)
    config.check_bind(has_key=keys is not None)
    prepare_process(config)
    name_output(config)
    configs = _configs(config, options.count, has_to_come=keys is None)
    manager = ServiceManager.of_environment(os.environ)
    return trio.run(_up, configs, keys, options.json, claim_stdout(), manager)


def _configs(config: NodeConfig, count: int, *, has_to_come: bool) -> list[NodeConfig]:
    """Return the configuration of each node. They get the keys of this process, and need no path of their file.

    Before a rollout there is none yet; then each node reads it. A node that is to join none begins a cluster.
    """
    key_file, join = config.key_file if has_to_come else None, config.join or []
    return [
        msgspec.structs.replace(config, port=config.port and config.port + number, key_file=key_file, join=join)
        for number in range(count)
    ]


async def _up(
    configs: list[NodeConfig], keys: NodeKeys | None, as_json: bool, results: TextIO, manager: ServiceManager
) -> int:
    """Run the nodes; return the exit status.

    Raises:
        Interrupted: a signal came before they had all booted.
        SpawnError: one of them did not boot.
        OutputLost: their addresses could not be printed.
    """
    status: int | None = None
    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background_nursery() as nursery:
            scope = trio.CancelScope()

            async def obey_signals() -> None:
                async for _ in signals:
                    if scope.cancel_called:
                        os._exit(130)  # at once, at the second one: the nodes stop because their parent is gone
                    scope.cancel()

            nursery.start_soon(obey_signals)
            with scope:
                async with open_node(_root(configs[0], keys), keys=keys) as node:
                    events = node.events()
                    addresses = await _start(node, configs)
                    await _introduce(node, addresses, are_to_join=not configs[0].join)
                    has_certificates = configs[0].certificate_file is not None
                    then = partial(_reload_all, node, addresses) if has_certificates else None
                    await nursery.start(reload_on_signal, node, manager, then)
                    nursery.start_soon(manager.report, node, lambda _: _count(addresses))
                    _announce(addresses, results, as_json=as_json)
                    status = 0
                    status = await _wait_for_all(events, set(addresses), configs[0])
                    print("trionet up: all nodes have ended", file=sys.stderr)
    if status is None:
        raise Interrupted
    return status


def _root(config: NodeConfig, keys: NodeKeys | None) -> NodeConfig:
    """Return the configuration of the node that spawns the others, and reads their files again."""
    settings = {"cluster": config.cluster, "accept": config.accept, "send": config.send}
    settings |= {"key_file": config.key_file if keys is None else keys.path} | config.certificate_settings
    return NodeConfig.from_mapping(settings)


async def _reload_all(node: Node, addresses: list[NodeAddress]) -> None:
    """Have the nodes read their certificates; their keys they get from this one, or read when it does."""
    for address in addresses:
        with suppress(NotPermitted, NodeUnreachable, PreconditionFailed):  # it has ended, or has no file to read
            await node.local.comm.send([], Remote(node=address, service="status", method="reload"))


async def _start(node: Node, configs: list[NodeConfig]) -> list[NodeAddress]:
    """Start the nodes; return their addresses in order."""
    addresses: dict[int, NodeAddress] = {}
    limit = trio.CapacityLimiter(_AT_ONCE)
    failure: TrionetError | None = None

    async def start_one(number: int, config: NodeConfig) -> None:
        nonlocal failure
        async with limit:
            try:
                addresses[number] = await node.local.status.spawn(config)
            except TrionetError as exc:
                failure = failure or exc
                nursery.cancel_scope.cancel()
            else:
                progress.show(len(addresses))

    with Progress("nodes", len(configs)) as progress:
        progress.show(0)
        async with trio.open_nursery() as nursery:
            for number, config in enumerate(configs):
                nursery.start_soon(start_one, number, config)
    if failure is not None:
        raise failure
    return [addresses[number] for number in range(len(configs))]


async def _introduce(node: Node, addresses: list[NodeAddress], *, are_to_join: bool) -> None:
    """Make all nodes a cluster, unless they have joined one, and put all into a group on each of them."""
    await node.local.groups.put(_GROUP, addresses)
    group = node.group(_GROUP)
    replies = await group.comm.send([ALL, *addresses], Remote(service="groups", method="add"))
    for error in replies.errors.values():
        raise SpawnError(f"the nodes could not be added to the group of one of them: {error}") from error
    if are_to_join and len(addresses) > 1:
        await node.local.groups.put(_GROUP, addresses[1:])
        with trio.move_on_after(_JOIN_S):
            join = Remote(service="membership", method="join")
            replies = await group.comm.send([[str(addresses[0])]], join, partial=True)
        for error in replies.errors.values():
            raise SpawnError(f"the nodes could not join one of them: {error}") from error


async def _wait_for_all(events: Events, running: set[NodeAddress], config: NodeConfig) -> int:
    """Wait until all nodes have ended for good by themselves; return the exit status."""
    failed = False
    while running:
        match await anext(events):
            case ChildGivenUp(node=node):
                failed = True
                running.discard(node)
            case ChildEnded(node=node, status=status):
                if config.restart == "never" or (config.restart == "on_failure" and status == 0):
                    failed = failed or status != 0
                    running.discard(node)
            case _:
                pass
    return int(failed)


def _announce(addresses: list[NodeAddress], results: TextIO, *, as_json: bool) -> None:
    if as_json:
        nodes = [{"ip": each.ip, "port": each.port, "nid": each.nid, "sid": each.sid} for each in addresses]
        print(msgspec.json.encode({"nodes": nodes}).decode(), file=results)
        check_written(results)
        return
    for address in addresses:
        print(f"{address.sid}  {address}", file=results)
    print(f"{_count(addresses)}; Ctrl-C stops {'it' if len(addresses) == 1 else 'them'}", file=results)
    check_written(results)


def _count(addresses: list[NodeAddress]) -> str:
    return "1 node is up" if len(addresses) == 1 else f"{len(addresses)} nodes are up"
