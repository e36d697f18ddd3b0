"""The calls of `Membership.join` in progress.

Invariant: a call ends once a seed has sent its view, all seeds have refused this node, or the node leaves or stops.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import trio

from trionet.errors import ConfigError, KeyMismatch, MalformedRequest, TemporarilyUnavailable, TrionetError
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log
from trionet.transports.sockaddrs import ip_of, lookup_host
from trionet.under_trio import check_under_trio

__all__ = ["FIRST_PAUSE_S", "LONGEST_PAUSE_S", "Attempt", "resolved", "seed_addresses", "seek_others"]

_log = limited_log(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0


class Attempt:
    """A call of `join` in progress.

    Attributes:
        names: the seeds in the protocols.
        done: set at its end.
        refusals: the errors of the seeds that have refused this node, by name.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.done: trio.Event = trio.Event()
        self.refusals: dict[str, TrionetError] = {}
        self._end = ""

    def handle_refusal(self, name: str, reason: TrionetError) -> None:
        """Handle the refusal of a seed; end if no other seed is left."""
        if name in self.names:
            self.refusals[name] = reason
            if self.is_refused:
                self.done.set()

    @property
    def is_refused(self) -> bool:
        """Whether all seeds have refused this node."""
        return bool(self.names) and self.refusals.keys() >= set(self.names)

    def end(self, reason: str) -> None:
        """End it, unless it has ended."""
        if not self.done.is_set():
            self._end = reason
            self.done.set()

    def check(self) -> None:
        """Raise the error with which it has ended, if any.

        Raises:
            ConfigError: all seeds have refused this node.
            KeyMismatch: the same, and none has this node's cluster key and cluster name.
            TemporarilyUnavailable: the node leaves or stops.
        """
        if self._end:
            raise TemporarilyUnavailable(self._end)
        if self.is_refused:
            refusals = [self.refusals[name] for name in self.names]
            kind = KeyMismatch if all(isinstance(one, KeyMismatch) for one in refusals) else ConfigError
            raise kind("; ".join(dict.fromkeys(one.text for one in refusals)))


def seed_addresses(values: Any) -> list[NodeAddress]:
    """Return the addresses of seeds, given in any form.

    Raises:
        MalformedRequest: one is no address with a port, or they are no list.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise MalformedRequest(f"seeds are a list of addresses, as in join(['127.0.0.1:8080']), not {values!r:.80}")
    addresses = list(map(NodeAddress.of, values))
    for address in addresses:
        if not address.port:
            raise MalformedRequest(f"the seed {address} has no port")
    return addresses


async def resolved(addresses: Iterable[NodeAddress]) -> tuple[list[str], bool]:
    """Return the protocol's names for `addresses`, all of a host name's; and whether the resolution is complete.

    A host name without an address now may have one later.
    """
    check_under_trio("node.join")
    found: dict[str, None] = {}
    is_complete = True
    for address in addresses:
        try:
            infos = await trio.socket.getaddrinfo(lookup_host(address.ip), address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            _log.warning("the seed %s has no address: %s", address, exc, extra=about(address))
            is_complete = False
            continue
        for *_, sockaddr in infos:
            found[str(NodeAddress(ip_of(sockaddr), int(sockaddr[1])))] = None
    return list(found), is_complete


async def seek_others(
    join: Callable[[list[Any]], Awaitable[None]], seeds: list[Any], is_alone: Callable[[], bool]
) -> None:
    """Join once the names among `seeds` stand for other nodes, too; return when this node is alone no more.

    Nodes that start at once behind one name may each find only themselves there, and begin a cluster each.

    It goes on while all seeds refuse this node.
    """
    names = [seed for seed in seeds if not _is_numeric(NodeAddress.of(seed).ip)]
    while names and is_alone():
        await trio.sleep(LONGEST_PAUSE_S)
        with suppress(ConfigError, KeyMismatch, TemporarilyUnavailable, MalformedRequest):
            await join(names)
            return


def _is_numeric(ip: str) -> bool:
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        return False
    return True
