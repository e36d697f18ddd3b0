"""``trionet keys``: the keys of a cluster, their rotation, and tokens for its HTTP face."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.streams import check_written, prepare_streams

from .arguments import Parser, settings_from
from .first_process import become_child
from .key_commands import COMMANDS
from .serving import run_reporting

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main", "make_parser"]

_DESCRIPTION: Final = """\
Make the keys of a cluster, rotate them while it runs, and make tokens for its HTTP face.

Whoever holds the key is a member of the cluster: keep its file to yourself, and copy it to other machines by ssh.
"""

_EPILOG: Final = """\
examples:
  trionet keys new cluster.key
  trionet keys status 10.0.0.1:8080 --key-file cluster.key
  trionet keys install 10.0.0.1:8080 --key-file cluster.key --new new.key
  trionet keys use 10.0.0.1:8080 1a2b3c4d --key-file cluster.key
  trionet keys token --key-file cluster.key --scope read
  trionet keys token --key-file cluster.key --scope admin --expires 600 --cluster shop

exit status: 0 done, 1 a step is not possible yet, a member can't be reached, or the output could not be written,
2 wrong usage, or a key or its file is wrong, 3 a step may have happened
"""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet keys", description=_DESCRIPTION, epilog=_EPILOG)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    new = commands.add_parser("new", help="make a key in a new file of mode 0600, and print the key id")
    new.add_argument("file", metavar="FILE", help="the path of the file; it must not exist")
    token = commands.add_parser("token", help="print a bearer token")
    token.add_argument("--key-file", metavar="FILE", help="the key's file; default: the key of the environment")
    token.add_argument("--scope", required=True, metavar="read|call|admin", help="what its holder may do")
    token.add_argument("--expires", metavar="S", help="for how many seconds it is valid; default: a day")
    token.add_argument("--cluster", metavar="NAME", help="the name of the cluster; default: that of its nodes")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary, parents=[command.make_parser()], add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    if argv is None:
        argv = sys.argv[1:]
    if argv and argv[0] in COMMANDS:
        COMMANDS[argv[0]].main(argv[1:])
    options = make_parser().parse_args(argv)
    sys.exit(run_reporting(f"trionet keys {options.command}", partial(_LOCAL[options.command], options)))


def _new(options: argparse.Namespace) -> int:
    from trionet.security.key_file import new_key_file
    from trionet.security.keys import KEY_BYTES, ClusterKey

    key = ClusterKey(os.urandom(KEY_BYTES))
    new_key_file(options.file, key)
    return _print(key.name)


def _token(options: argparse.Namespace) -> int:
    from trionet.security.key_file import read_keys
    from trionet.security.keys import derive
    from trionet.security.token_scope import Scope
    from trionet.security.tokens import DEFAULT_LIFETIME_S, issue_token

    scope = Scope.of(options.scope)
    lifetime_s = DEFAULT_LIFETIME_S if options.expires is None else _seconds(options.expires)
    settings = NodeConfig.from_mapping(settings_from(None))
    cluster = settings.cluster if options.cluster is None else options.cluster
    keys = read_keys(settings.key_file if options.key_file is None else options.key_file)
    if keys is None:
        raise ConfigError("give the file of the cluster's key: --key-file FILE")
    return _print(issue_token(derive(keys.sealing_key, cluster), scope, time.time(), lifetime_s))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--expires is a number of seconds, not {text!r:.80}") from None


def _print(line: str) -> int:
    print(line)
    check_written(sys.stdout)
    return 0


_LOCAL: Final = {"new": _new, "token": _token}
