"""The replacement of links whose key is retired."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import NodeUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trionet.identity import NodeAddress

    from .link import Link

__all__ = ["REPLACED_S", "replace"]

REPLACED_S: Final = 45.0
_PEER_REPLACES_S: Final = 15.0
_RETIRED: Final = "its key is retired"


async def replace(
    find: Callable[[], Iterable[tuple[Link, NodeAddress | None]]], renew: Callable[[NodeAddress], Awaitable[None]]
) -> None:
    """Replace links, and close them within `REPLACED_S`.

    The side that made a link makes another one, to which new calls go, and retires the first, which closes once its
    calls are answered. No call is lost that ends by then.

    Args:
        find: returns the links that are left, each with the address of its peer.
        renew: has new calls to a node go over another link.
    """
    for link, node in find():
        if node is None or not link.core.is_initiator or link.core.is_retired:
            continue
        with trio.move_on_after(_PEER_REPLACES_S), suppress(NodeUnreachable):
            await renew(node)
        link.retire(_RETIRED)
    await trio.sleep(_PEER_REPLACES_S)
    for link, _ in find():
        link.retire(_RETIRED)
    await trio.sleep(REPLACED_S - _PEER_REPLACES_S)
    for link, _ in find():
        link.abort(_RETIRED)
