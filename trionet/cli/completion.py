"""``trionet completion``: completes commands and options in shells."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trionet.streams import check_written

from .arguments import Parser
from .registry import PURPOSES, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main", "make_parser"]

_DESCRIPTION: Final = """\
Print a script that completes the commands and options of trionet in a shell. It needs the extra cli:
pip install "trionet[cli]"
"""

_EPILOG: Final = """\
examples:
  trionet completion bash > ~/.local/share/bash-completion/completions/trionet
  trionet completion zsh > ~/.zfunc/_trionet     (with ~/.zfunc in fpath)
  eval "$(trionet completion bash)"

exit status: 0 done, 1 the extra is not installed, 2 wrong usage
"""

_SHELLS: Final = ("bash", "zsh")
_FILES: Final = ("FILE", "FILE|JSON", "TRACE", "OUT")


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet completion", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("shell", metavar="bash|zsh", choices=_SHELLS, help="the shell")
    return parser


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command; ends the process."""
    options = make_parser().parse_args(argv)
    try:
        import shtab
    except ImportError:
        print('trionet completion: it needs the extra cli: pip install "trionet[cli]"', file=sys.stderr)
        sys.exit(1)
    tree = _tree()
    for action in _actions(tree):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # that is how shtab is told
    print(shtab.complete(tree, shell=options.shell, root_prefix="trionet"))
    check_written(sys.stdout)
    sys.exit(0)


def _tree() -> argparse.ArgumentParser:
    """Return one parser for all commands."""
    tree = Parser(prog="trionet")
    commands = tree.add_subparsers(metavar="COMMAND")
    for group in PURPOSES.values():
        for name, (_, purpose) in group.items():
            commands.add_parser(name, help=purpose, parents=[load(name).make_parser()], add_help=False)
    return tree


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:  # noqa: SLF001  argparse has no other list of them, and shtab uses this one, too
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  likewise
            for inner in action.choices.values():
                yield from _actions(inner)
