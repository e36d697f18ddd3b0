"""``trionet``: all commands but ``trionet-node``."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from trionet.streams import prepare_streams

from .arguments import Parser
from .first_process import become_child

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS: Final = {
    "demo": "start a group of nodes, call it, stop it, and check the results",
    "node": "run one node; the same as trionet-node",
    "up": "run several nodes in one group, until Ctrl-C",
    "keys": "make the key of a cluster, and tokens for its HTTP face",
    "reload": "have a running node read its key file and certificate again",
    "simulate": "search for a seed with which a cluster fails",
    "maelstrom": "test Maelstrom nodes without Maelstrom",
    "plot": "draw pictures of a simulation from its trace",
}
"""The commands; the function `main` of the module of that name runs each. Only that module is imported."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    parser = Parser(prog="trionet", description="Many Trio nodes as one program.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in _COMMANDS.items():
        command = commands.add_parser(name, help=purpose, add_help=False)
        command.add_argument("arguments", nargs=argparse.REMAINDER)
    options, rest = parser.parse_known_args(argv)
    try:
        importlib.import_module(f".{options.command}", __package__).main([*rest, *options.arguments])
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
