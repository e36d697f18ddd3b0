"""``trionet``: all commands but ``trionet-node``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from trionet.streams import OutputLost, prepare_streams

from .arguments import Parser
from .first_process import become_child
from .registry import MODULES, PURPOSES, load

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EPILOG = """\
examples:
  trionet demo
  trionet members 127.0.0.1:8080
  trionet call 127.0.0.1:8080 status/get heap_used
  trionet COMMAND --help

Commands that take the address of a node take it from the environment variable TRIONET_ADDR, too.
"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    parser = Parser(
        prog="trionet", usage="trionet [--help] [--version] COMMAND ...", description=_description(), epilog=_EPILOG
    )
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0].startswith("-"):
        parser.parse_args(given)  # help, the version, or wrong usage
        parser.error("give a command")
    parser.check_choice("command", given[0], MODULES)
    try:
        load(given[0]).main(given[1:])
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except OutputLost as exc:
        print(f"trionet {given[0]}: {exc}", file=sys.stderr)
        sys.exit(1)


def _description() -> str:
    width = max(map(len, MODULES))
    parts = ["Many Trio nodes as one program."]
    for title, commands in PURPOSES.items():
        lines = "\n".join(f"  {name:{width}}  {purpose}" for name, (_, purpose) in commands.items())
        parts.append(f"{title}:\n{lines}")
    return "\n\n".join(parts)
