"""``trionet up N``: several nodes in one cluster, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import trio

from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.launchers.output import name_output
from trionet.streams import claim_stdout, prepare_streams

from .arguments import Parser, import_from_working_directory, keys_of
from .ending import end_soon
from .first_process import become_child
from .output import Output, ReaderGone
from .service_manager import ServiceManager
from .serving import prepare_process, run_reporting
from .up_here import EqualNodes
from .up_running import run_fleet
from .up_settings import add_settings, config_of, settings_of_all

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from trionet.security.node_keys import NodeKeys

    from .up_running import Fleet

__all__ = ["main", "make_parser"]

_DESCRIPTION = """\
Run N nodes, by default each a process of its own on this machine, until Ctrl-C or SIGTERM; then stop them all.

They are a cluster: each is a member, sees the others fail, and has all of them in its group "all". With --join they
join the cluster of another node. When they accept calls, their addresses are printed. Each line that a node prints
begins with its SID and address.

With --hosts FILE they run on the machines of a cluster file, which are logged in to by ssh: it names the hosts, how
many nodes each may have, and the settings of all. --plan shows what would start where. Hosts that fail are reported.
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
  trionet up --hosts cluster.toml --plan
  trionet up --hosts cluster.toml --min 6

exit status: 0 stopped, 1 too few nodes have booted, or all have ended and one of them failed, 2 wrong usage or
configuration, 130 interrupted while starting
"""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet up", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("count", metavar="N", type=int, nargs="?", help="how many nodes; with --hosts in place of those of the file")
    add("--hosts", metavar="FILE", help="a cluster file: hosts, and how many nodes each may have")
    add("--plan", action="store_true", help="with --hosts: print which nodes would start where, and start none")
    add("--min", metavar="N", type=int, help="with --hosts: go on when N nodes have started (default: all)")
    add_settings(parser)
    add("--json", action="store_true", help="print the addresses, or the plan, as one line of JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.hosts is None:
        if options.count is None:
            parser.error("give N, the number of nodes, or --hosts FILE")
        if options.plan or options.min is not None:
            parser.error(f"{'--plan' if options.plan else '--min'} is for --hosts FILE")
    sys.exit(end_soon(run_reporting("trionet up", partial(_run if options.hosts is None else _run_hosts, options))))


def _run(options: argparse.Namespace) -> int:
    import_from_working_directory()
    config = config_of(options)
    keys = keys_of(config)
    config.check_bind(has_key=keys is not None)
    return _run_fleet(EqualNodes(config, options.count, has_to_come=keys is None), keys, as_json=options.json)


def _run_hosts(options: argparse.Namespace) -> int:
    from .cluster.cluster_file import read_cluster_file
    from .cluster.fleet import PlannedNodes
    from .cluster.plan import make_plan

    import_from_working_directory()
    file = read_cluster_file(options.hosts)
    settings = settings_of_all(options, file.settings)
    config = NodeConfig.from_mapping(settings, source="command line")
    keys = keys_of(config)
    if keys is None and config.key_file is not None:
        raise ConfigError(f"{config.key_file}: there is no such file: make it with 'trionet keys new FILE'")
    if options.count is not None and options.count < 1:
        raise ConfigError(f"N is a positive number, not {options.count}")
    plan = make_plan(file, settings, nodes=options.count, least=options.min, has_key=keys is not None)
    if options.plan:
        output = Output(is_json=options.json)
        with suppress(ReaderGone):
            output.line(plan.summary())
            output.show(plan.document(), lambda _: plan.table())
        return 0
    return _run_fleet(PlannedNodes(plan, config), keys, as_json=options.json)


def _run_fleet(fleet: Fleet, keys: NodeKeys | None, *, as_json: bool) -> int:
    prepare_process(fleet.config)
    name_output(fleet.config)
    manager = ServiceManager.of_environment(os.environ)
    return trio.run(run_fleet, fleet, keys, as_json, claim_stdout(), manager)
