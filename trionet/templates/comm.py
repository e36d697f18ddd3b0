"""Calls to every member of a group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from trionet.message import Remote
from trionet.replies import Replies
from trionet.services.base import rpc
from trionet.services.orphans import Orphans

from .fan_out import ALL_MEMBERS, Wait
from .relayed_calls import RelayedCalls

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import trio

    from trionet.identity import SID

__all__ = ["GroupComm"]


class GroupComm(RelayedCalls):
    """The group-wide service ``comm``."""

    @rpc
    async def send(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        wait: Wait = ALL_MEMBERS,
        partial: bool = False,
        orphans: Orphans = "report",
        tree: bool = False,
    ) -> Replies[Any]:
        """Call a method on every member at once; return the node-to-value and node-to-error maps.

        Arguments and errors are those of `Template.fan_out`.
        """
        return await self.fan_out(args, remote, kwargs=kwargs, wait=wait, partial=partial, orphans=orphans, tree=tree)

    def stream(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        items: bool = False,
        orphans: Orphans = "report",
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[tuple[SID, Any]]]:
        """Call a method on every member at once; iterate over the results as they arrive.

        ::

            async with group.comm.stream(["nid"], remote) as answers:
                async for sid, outcome in answers:
                    ...

        An outcome is the value, or a `TrionetError`. With ``items=True`` the method is an async generator, and an
        outcome is one of its items. Leaving the block cancels the running calls; `orphans` is as for `send`, and raised
        at the end of the block.
        """
        return self.open_stream(args, remote, kwargs=kwargs, items=items, orphans=orphans)

    @rpc(name="stream")
    async def items(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[list[Any]]:
        """Yield ``[sid, item or TrionetError]`` of an async generator, for those who call over HTTP; see `stream`."""
        async with self.open_stream(args, remote, kwargs=kwargs, items=True) as received:
            async for sid, item in received:
                yield [sid, item]
