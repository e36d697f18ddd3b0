"""An `on_start` for nodes that are not to wait for half a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.crowd import expose
from trionet.protocols.link import state

if TYPE_CHECKING:
    from trionet import Node

SILENCE_S = 2.0


async def expose_impatiently(node: Node) -> None:
    """Offer the service ``tally``, and take two seconds of silence for the end of a peer, in this process."""
    assert state._SILENCE_S == 30  # noqa: SLF001  what stands in for it
    state._SILENCE_S = SILENCE_S  # type: ignore[misc]  # noqa: SLF001
    await expose(node)
