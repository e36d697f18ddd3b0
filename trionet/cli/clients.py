"""Commands that are clients of a running node: by a link with the cluster's key, and a certificate if it has them.

Invariant: a client joins nothing, sends nothing plainly where it has a key, and changes no file.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.config import CERTIFICATE_FILES, NodeConfig
from trionet.errors import ConfigError
from trionet.identity import NodeAddress
from trionet.runtime import open_node

from .arguments import add_certificate, settings_from

if TYPE_CHECKING:
    import argparse

    from trionet.message import Remote
    from trionet.security.node_keys import NodeKeys

__all__ = ["add_client", "ask", "client_keys", "settings_of"]

_CALL_S: Final = 120.0
_OPTIONS: Final = ("key_file", "cluster", *CERTIFICATE_FILES)


def add_client(parser: argparse.ArgumentParser) -> None:
    """Add the options of a client."""
    parser.add_argument("--key-file", metavar="FILE", help="the key file of the cluster")
    parser.add_argument("--cluster", metavar="NAME", help="the name of the cluster; default: that of its nodes")
    add_certificate(parser)


def settings_of(options: argparse.Namespace) -> NodeConfig:
    """Return the settings of a client, of the environment and the options."""
    given = NodeConfig.from_mapping(settings_from(None))
    settings = {name: getattr(given, name) for name in _OPTIONS}
    settings |= {name: text for name in _OPTIONS if (text := getattr(options, name)) is not None}
    return NodeConfig.from_mapping(settings, source="command line")


def client_keys(settings: NodeConfig) -> NodeKeys | None:
    """Return the keys of a client; None if there are none.

    Raises:
        ConfigError: they can't be used.
    """
    from trionet.security.key_entries import KeyFile
    from trionet.security.key_file import read_keys
    from trionet.security.node_keys import NodeKeys

    file = read_keys(settings.key_file)
    if file is None:
        return None
    file = KeyFile(file.entries, file.members)  # a client sends nothing plainly
    return NodeKeys(file, settings.cluster, giver="")  # whoever runs the command has them again next time


def ask(address: str, settings: NodeConfig, keys: NodeKeys | None, remote: Remote, *args: Any) -> Any:
    """Return the answer of the node at `address` to a call."""
    return trio.run(_asked, NodeAddress.of(address), settings, keys, remote, list(args))


async def _asked(
    node: NodeAddress, settings: NodeConfig, keys: NodeKeys | None, remote: Remote, args: list[Any]
) -> Any:
    own = {"ip": _own_ip(node), "cluster": settings.cluster, "datagrams": False}
    config = NodeConfig.from_mapping(own | settings.certificate_settings)
    async with open_node(config, keys=keys) as client:
        client.keys.withdraw()
        with trio.fail_after(_CALL_S):
            return await client.local.comm.send(args, msgspec.structs.replace(remote, node=node))


def _own_ip(node: NodeAddress) -> str:
    """Return this machine's address for connections to a node."""
    family = socket.AF_INET6 if ":" in node.ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((node.ip, node.port))  # nothing is sent
        except OSError as exc:
            raise ConfigError(f"{node} can't be reached from here: {exc.strerror or exc}") from exc
        ip: str = sock.getsockname()[0]
        return ip
