"""``trionet reload``: has a running node read its files again."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from trionet.errors import ConfigError, KeyMismatch, NotPermitted
from trionet.identity import NodeAddress, is_loopback
from trionet.message import Remote
from trionet.streams import prepare_streams

from .arguments import Parser
from .clients import add_client, ask, client_keys, settings_of
from .first_process import become_child
from .serving import run_reporting

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

_DESCRIPTION: Final = """\
Have a running node read its key file and its certificate again, as the signal SIGHUP does.

A node with a key is reached with the key of its cluster, and one with a certificate with a certificate of its cluster.
A node that has neither yet is reached on its own machine only.
"""

_EPILOG: Final = """\
examples:
  trionet reload 127.0.0.1:8080
  trionet reload 10.0.0.1:8080 --key-file cluster.key
  kill -HUP $(pgrep -f trionet-node)

exit status: 0 done, 1 the node can't be reached, or a file can't be used; 2 wrong usage
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="trionet reload", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("address", metavar="ADDR", help="the address of the node, ip:port")
    add_client(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    sys.exit(run_reporting("trionet reload", partial(_run, _parser().parse_args(argv))))


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    keys = client_keys(settings)
    is_proven = keys is not None or settings.certificate_file is not None
    if not (is_proven or is_loopback(NodeAddress.of(options.address).ip)):
        raise ConfigError(
            f"give the key file of the cluster, or a certificate: --key-file FILE; or send the process of "
            f"{options.address} SIGHUP"
        )
    reload = Remote(service="status", method="reload")
    try:
        ask(options.address, settings, keys, reload)
    except KeyMismatch as mismatch:
        # Before its first key a node can't be reached with it; on this machine it needs none.
        if keys is None or settings.certificate_file is not None or not is_loopback(NodeAddress.of(options.address).ip):
            raise
        plain = msgspec.structs.replace(settings, key_file=None)
        print(f"trionet reload: asking {options.address} without a key", file=sys.stderr)
        try:
            ask(options.address, plain, None, reload)
        except (KeyMismatch, NotPermitted):  # it has another key
            raise mismatch from None
    return 0
