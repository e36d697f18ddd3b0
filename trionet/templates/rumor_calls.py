"""Rumors that name their method by the class: ``group.gossip.call(Counter.add, 1)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from trionet.errors import EncodeError
from trionet.services.typed import check_kind, reference_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.replies import Receipt

__all__ = ["RumorCalls"]

P = ParamSpec("P")


class RumorCalls:
    """The rumors of a group for services of one name."""

    def __init__(self, send: Callable[..., Awaitable[Receipt]], service: str | None) -> None:
        """Send rumors by `send`, for the service of that name; by default, that of the method's class."""
        self._send = send
        self._service = service

    async def call(
        self, method: Callable[Concatenate[Any, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Receipt:
        """Make every live member of the group call a method of its own, once; see `GroupGossip.call`."""
        reference = reference_of(method)
        check_kind(reference, is_stream=False)
        reference.check(args, kwargs)
        remote = reference.remote_at(self._service)
        try:
            return await self._send(list(args), remote, kwargs=kwargs)
        except EncodeError:
            lowered, named = reference.method.lowered(args, kwargs)
            return await self._send(lowered, remote, kwargs=named)
