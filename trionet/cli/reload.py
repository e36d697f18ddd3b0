"""``trionet reload``: has a running node read its files again."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.identity import NodeAddress, is_loopback
from trionet.message import Remote
from trionet.runtime import open_node
from trionet.streams import prepare_streams

from .arguments import Parser, settings_from
from .first_process import become_child
from .key_commands import call_keys
from .serving import run_reporting

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

_DESCRIPTION: Final = """\
Have a running node read its key file again, as the signal SIGHUP does.

A node with a key is reached with the key of its cluster; one that has none yet only on its own machine, without.
"""

_EPILOG: Final = """\
examples:
  trionet reload 127.0.0.1:8080
  trionet reload 10.0.0.1:8080 --key-file cluster.key
  kill -HUP $(pgrep -f trionet-node)

exit status: 0 done, 1 the node can't be reached, or its file can't be used; 2 wrong usage
"""

_CALL_S: Final = 60.0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="trionet reload", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("address", metavar="ADDR", help="the address of the node, ip:port")
    parser.add_argument("--key-file", metavar="FILE", help="the key file of the cluster")
    parser.add_argument("--cluster", metavar="NAME", help="the name of the cluster; default: that of its nodes")
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    sys.exit(run_reporting("trionet reload", partial(_run, _parser().parse_args(argv))))


def _run(options: argparse.Namespace) -> int:
    settings = NodeConfig.from_mapping(settings_from(None))
    node = NodeAddress.of(options.address)
    if options.key_file is not None or settings.key_file is not None:
        call_keys(options, "reload")
    elif is_loopback(node.ip):
        trio.run(_reload_plain, node)
    else:
        raise ConfigError(f"give the key file of the cluster: --key-file FILE; or send the process of {node} SIGHUP")
    return 0


async def _reload_plain(node: NodeAddress) -> None:
    async with open_node(NodeConfig(datagrams=False)) as client:
        with trio.fail_after(_CALL_S):
            await client.local.comm.send([], Remote(node=node, service="keys", method="reload"))
