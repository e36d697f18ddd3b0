"""A client of running nodes: it makes calls, and is no node itself.

Invariants: it listens nowhere, joins nothing, and changes no file; it sends nothing plainly where it has a key. It
needs few modules, because commands must start quickly: those of links, and no service of a node.
"""

from __future__ import annotations

import math
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from trionet.errors import CallTimeout, ConnectionLost, TrionetError
from trionet.message import LOCAL, Remote
from trionet.nurseries import open_background_nursery
from trionet.raising import types_as_dicts
from trionet.replies import Replies
from trionet.transports.base import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from trionet.config import NodeConfig
    from trionet.identity import SID, NodeAddress
    from trionet.security.node_keys import NodeKeys
    from trionet.transports.base import Transport

__all__ = ["ALL", "Access", "Client", "open_client"]

ALL: Final = "all"
"""The group of all members that a node knows."""

_PREFIX_BYTES: Final = 8
_LATE: Final = 0.9
_GRACE_S: Final = 1.0


class Access(NamedTuple):
    """What a client shows to nodes.

    Attributes:
        settings: those of a client: limits, the certificate, the name of the cluster.
        keys: the keys of the cluster; None without any.
        token: a bearer token: then all calls go over HTTP; None for links.
        ca_file: with a token, the certificates of the CAs of nodes: then they go over HTTPS.
    """

    settings: NodeConfig
    keys: NodeKeys | None = None
    token: str | None = None
    ca_file: str | None = None


class Client:
    """Makes the calls of one command.

    Attributes:
        node: the address of the node that is asked.
        transport: sends its calls.
    """

    def __init__(self, node: NodeAddress, transport: Transport) -> None:
        self.node = node
        self.transport = transport
        self._prefix = secrets.token_hex(_PREFIX_BYTES)
        self._count = 0

    def request(
        self, service: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], gid: str = LOCAL
    ) -> Request:
        """Return a call for `Client.send`.

        Raises:
            EncodeError: an argument can't travel.
        """
        codec = self.transport.codec
        self._count += 1
        given = codec.encode(dict(kwargs)) if kwargs else None
        return Request(gid, service, method, codec.encode(list(args)), given, f"{self._prefix}-{self._count:x}", None)

    async def send(self, request: Request, node: NodeAddress | None = None) -> Any:
        """Return the answer of `node` to a call; default: of the node that is asked.

        Raises:
            TrionetError: its answer, or the failure of the connection.
        """
        node = node or self.node
        try:
            return await self.transport.call(node, request)
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            raise

    async def call(self, service: str, method: str, *args: Any, gid: str = LOCAL, **kwargs: Any) -> Any:
        """Return the answer of the node to a call of one of its services; see `send` for errors."""
        return await self.send(self.request(service, method, args, kwargs, gid))

    async def call_all(
        self,
        service: str,
        method: str,
        *args: Any,
        gid: str = ALL,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Replies[Any]:
        """Have the node call all members of a group; return their values and errors.

        Args:
            service: the name of a service of each member.
            method: the name of its method.
            *args: the positional arguments.
            gid: the group; default: all members that the node knows.
            kwargs: the keyword arguments.
            **options: those of `Template.fan_out`.
        """
        given = ({} if kwargs is None else {"kwargs": dict(kwargs)}) | options
        replies = await self.send(
            self.request("comm", "send", (list(args), Remote(service=service, method=method)), given, gid)
        )
        if not isinstance(replies, Replies):
            raise ConnectionLost(f"{self.node} answered a group-wide call with a {type(replies).__name__}")
        return replies

    @asynccontextmanager
    async def limited(self, timeout_s: float | None, *, is_partial: bool = False) -> AsyncGenerator[None]:
        """Limit the time of a block, and of the calls in it, which carry the limit to the nodes.

        Args:
            timeout_s: the limit in seconds; None for none.
            is_partial: whether a node answers at the end of that time: then wait a moment longer for the answer.

        Raises:
            CallTimeout: the time is over.
        """
        with trio.move_on_after(math.inf if timeout_s is None else timeout_s) as scope:
            async with open_background_nursery() as nursery:
                if is_partial:
                    nursery.start_soon(_extend_late, scope)
                yield
                return
        raise CallTimeout(f"no answer within {timeout_s:g} s (--timeout)", node=self.node)

    async def members(self, gid: str = ALL) -> dict[SID, NodeAddress]:
        """Return the members of a group of the node."""
        members: dict[SID, NodeAddress] = await self.call("groups", "get", gid)
        return members

    @asynccontextmanager
    async def stream(
        self, service: str, method: str, *args: Any, node: NodeAddress | None = None, **kwargs: Any
    ) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Iterate over the items of a stream of `node`, by default the one that is asked; see `Transport.stream`."""
        node = node or self.node
        try:
            async with self.transport.stream(node, self.request(service, method, args, kwargs)) as items:
                yield items
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            raise


@asynccontextmanager
async def open_client(node: NodeAddress, access: Access) -> AsyncGenerator[Client]:
    """Open a client of `node` for the length of a block; it connects with the first call.

    Raises:
        ConfigError: the certificate can't be used.
    """
    with types_as_dicts():  # any node's types are to be shown
        async with _opened(node, access) as client:
            yield client


@asynccontextmanager
async def _opened(node: NodeAddress, access: Access) -> AsyncGenerator[Client]:
    if access.token is not None:
        from trionet.transports.token_http import token_transport  # slow to import: on use

        http = token_transport(access.settings, access.token, access.ca_file)
        try:
            yield Client(node, http)
        finally:
            with trio.CancelScope(shield=True):
                await http.aclose()
        return
    from trionet.router import Router
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.link.tcp import TCPTransport
    from trionet.transports.own_certificate import own_certificates

    certificates = own_certificates(access.settings)
    keys = LiveKeys(access.keys, is_certified=certificates is not None)
    links = TCPTransport(None, access.settings, Router(), _ignored, keys, certificates)
    async with open_background_nursery() as nursery:
        await nursery.start(links.run)
        yield Client(node, links)


async def _extend_late(scope: trio.CancelScope) -> None:
    """Extend the deadline of a scope shortly before: the calls in it have carried the deadline to the nodes by then."""
    await trio.sleep(_LATE * (scope.deadline - trio.current_time()))
    scope.deadline += _GRACE_S


def _ignored(_: object) -> None: ...
