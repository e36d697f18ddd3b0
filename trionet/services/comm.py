"""Calls from this node to one other, or to itself."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Any

from trionet.errors import RemoteError, TrionetError, error_from_wire, error_to_wire
from trionet.message import Remote, check_args
from trionet.transports.base import Request

from .base import rpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trionet.identity import NodeAddress
    from trionet.router import Router
    from trionet.transports.base import Transport

__all__ = ["Comm"]


class Comm:
    """The local service ``comm``."""

    def __init__(self, router: Router, transport: Transport) -> None:
        self._router = router
        self._transport = transport
        self._own: NodeAddress | None = None
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def begin(self, address: NodeAddress) -> None:
        """Take the node's own address, once it is known."""
        self._own = address

    @property
    def own(self) -> NodeAddress:
        """The node's own address."""
        assert self._own is not None
        return self._own

    @rpc
    async def send(self, args: list[Any], remote: Remote) -> Any:
        """Call a method of another node, or of this one, and return its value.

        Deadlines and cancellation are Trio's: put ``trio.fail_after`` around it.

        Args:
            args: the positional arguments, a list or tuple.
            remote: where the call goes; with ``gid`` the name of a group, that node makes a group-wide call.

        Raises:
            MalformedRequest: the arguments are no list, or the remote lacks node, service or method; nothing was sent.
            EncodeError: an argument can't travel; nothing was sent.
            DefiniteError: the call did not run.
            RemoteError: the handler raised.
            IndefiniteError: the call may have run.
        """
        args = check_args(args)
        remote.check(with_node=True)
        assert remote.node is not None
        return await self.call(remote.node, self.prepare(args, {}, remote))

    def prepare(self, args: list[Any], kwargs: Mapping[str, Any], remote: Remote) -> Request:
        """Return the call, its arguments encoded once for however many nodes it goes to.

        Raises:
            EncodeError: an argument can't travel.
        """
        codec = self._transport.codec
        return Request(
            gid=remote.gid,
            service=remote.service,
            method=remote.method,
            args=codec.encode(args),
            kwargs=codec.encode(dict(kwargs)) if kwargs else None,
            id=f"{self._prefix}-{next(self._numbers):x}",
            caller=self.own,
        )

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send a prepared call to `node`; return its value or raise its error, which then names the node."""
        try:
            return await (self._call_self(request) if node == self._own else self._transport.call(node, request))
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            raise

    async def _call_self(self, request: Request) -> Any:
        """Straight to the router, through the same bytes."""
        codec = self._transport.codec
        try:
            value = await self._router.call(request.received(codec, None))
        except TrionetError as exc:
            raise error_from_wire(codec.decode(codec.encode(error_to_wire(exc)))) from exc
        try:
            return codec.decode(codec.encode(value))
        except TrionetError as exc:
            raise RemoteError.from_exception(exc) from exc
