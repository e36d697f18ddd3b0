"""Cancel scopes that end with a member of the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.async_blocks import async_block
from trionet.identity import sid_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.identity import SID, NodeAddress

__all__ = ["MemberScopes"]


class MemberScopes:
    """The open scopes of a node, by the SIDs of their members."""

    def __init__(self, is_known: Callable[[SID], bool]) -> None:
        """Cancel at once the scopes of members for which ``is_known(sid)`` is False."""
        self._is_known = is_known
        self._scopes: dict[SID, list[trio.CancelScope]] = {}
        self._has_ended = False

    @async_block("async with node.member(sid) as scope:")
    async def scope(self, node: SID | NodeAddress) -> AsyncGenerator[trio.CancelScope]:
        """Cancel the block by `cancel` and `end`; at once if the member is not known."""
        sid, scope = sid_of(node), trio.CancelScope()
        scopes = self._scopes.setdefault(sid, [])
        scopes.append(scope)
        if self._has_ended or not self._is_known(sid):
            scope.cancel()
        try:
            with scope:
                yield scope
        finally:
            scopes.remove(scope)
            if not scopes:
                self._scopes.pop(sid, None)

    def cancel(self, sid: SID) -> None:
        """Handle that a member has failed or left."""
        for scope in self._scopes.get(sid, ()):
            scope.cancel()

    def end(self) -> None:
        """Handle the end of the node: failures are not detected any more."""
        self._has_ended = True
        for sid in self._scopes:
            self.cancel(sid)
