"""``trionet``: everything else."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from trionet.streams import prepare_streams

from .arguments import Parser
from .first_process import become_child

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    parser = Parser(prog="trionet", description="Many Trio nodes as one program.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo", help="start a group of nodes, call it, stop it, and check what was seen")
    node = commands.add_parser("node", help="run one node; the same as trionet-node", add_help=False)
    node.add_argument("arguments", nargs=argparse.REMAINDER)
    up = commands.add_parser("up", help="run several nodes that know each other, until Ctrl-C", add_help=False)
    up.add_argument("arguments", nargs=argparse.REMAINDER)
    simulate = commands.add_parser("simulate", help="look for a seed with which a cluster fails", add_help=False)
    simulate.add_argument("arguments", nargs=argparse.REMAINDER)
    maelstrom = commands.add_parser("maelstrom", help="test Maelstrom nodes without Maelstrom", add_help=False)
    maelstrom.add_argument("arguments", nargs=argparse.REMAINDER)
    plot = commands.add_parser("plot", help="draw pictures of a simulation from its trace", add_help=False)
    plot.add_argument("arguments", nargs=argparse.REMAINDER)
    options, rest = parser.parse_known_args(argv)
    try:
        if options.command == "node":
            from .node import main as node_main

            node_main([*rest, *options.arguments])
        if options.command == "up":
            from .up import main as up_main

            up_main([*rest, *options.arguments])
        if options.command == "simulate":
            from .simulate import main as simulate_main

            simulate_main([*rest, *options.arguments])
        if options.command == "maelstrom":
            from .maelstrom import main as maelstrom_main

            maelstrom_main([*rest, *options.arguments])
        if options.command == "plot":
            from .plot import main as plot_main

            plot_main([*rest, *options.arguments])
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        from .demo import demo

        sys.exit(demo())
    except KeyboardInterrupt:
        sys.exit(130)
