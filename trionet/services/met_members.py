"""The members that a plain node has met, until it has a key, and a key file that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["MetMembers", "may_return"]

_CHOSEN_PORT: Final = 32_768
"""The first port of those that Linux chooses by itself."""

_MOST: Final = 16_384


def may_return(node: NodeAddress) -> bool:
    """Whether a node that has left may come back: at a port that the system chose none does."""
    return node.port < _CHOSEN_PORT


class MetMembers:
    """Members that must not be left behind by a rollout, whether they are present when the key comes or not."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def handle_joined(self, node: NodeAddress) -> None:
        """Record a member."""
        if len(self._names) < _MOST:
            self._names[str(node)] = None

    def handle_left(self, node: NodeAddress) -> None:
        """Forget a member that has left and can't come back."""
        if not may_return(node):
            self._names.pop(str(node), None)

    def forget(self, node: NodeAddress) -> None:
        """Forget a member that is gone for good."""
        self._names.pop(str(node), None)

    def pop_all(self) -> list[str]:
        """Return the names of all, and forget them."""
        names = list(self._names)
        self._names.clear()
        return names
