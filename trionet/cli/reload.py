"""``trionet reload``: has a running node read its files again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError, KeyMismatch, NotPermitted
from trionet.identity import is_loopback

from .client import Access, open_client
from .frame import Command

if TYPE_CHECKING:
    import argparse

    from .client import Client

__all__ = ["COMMANDS"]

_DESCRIPTION: Final = """\
Have a running node read its key file and its certificate again, as the signal SIGHUP does.

A node with a key is reached with the key of its cluster, and one with a certificate with a certificate of its cluster.
A node that has neither yet is reached on its own machine only. Without this command: kill -HUP $(pgrep -f trionet-node)
"""


async def _run(client: Client, options: argparse.Namespace) -> bool:
    access: Access = options.access
    is_certified, is_near = access.settings.certificate_file is not None, is_loopback(client.node.ip)
    if not (access.keys is not None or access.token is not None or is_certified or is_near):
        raise ConfigError(
            f"give the key file of the cluster, or a certificate: --key-file FILE; or send the process of "
            f"{client.node} SIGHUP"
        )
    try:
        await client.call("status", "reload")
    except KeyMismatch as mismatch:
        # Before its first key a node can't be reached with it; on this machine it needs none.
        if access.keys is None or is_certified or not is_near:
            raise
        print(f"trionet reload: asking {client.node} without a key", file=sys.stderr)
        try:
            async with open_client(client.node, Access(access.settings)) as plain:
                await plain.call("status", "reload")
        except (KeyMismatch, NotPermitted):  # it has another key
            raise mismatch from None
    options.output.show({"reloaded": str(client.node)}, lambda _: None)
    return True


COMMANDS: Final = {
    "reload": Command(
        name="reload",
        description=_DESCRIPTION,
        examples=["127.0.0.1:8080", "10.0.0.1:8080 --key-file cluster.key"],
        run=_run,
    )
}
