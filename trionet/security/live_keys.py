"""The keys of a running node, which change.

Invariants: at each time there is one snapshot, whole, and every part of the node has heard of it when `replace`
returns. A node that has keys always has some, of one cluster. No part is kept alive for being told.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from .holds_secrets import HoldsSecrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node_keys import NodeKeys

__all__ = ["LiveKeys"]


class LiveKeys(HoldsSecrets):
    """The keys of one running node. One thread uses it.

    Attributes:
        now: the snapshot that holds now; None while the node has no keys.
    """

    __slots__ = ("_watchers", "now")

    def __init__(self, now: NodeKeys | None = None) -> None:
        """Begin with these keys; None for a node without any."""
        self.now: NodeKeys | None = now
        self._watchers: Final[list[weakref.WeakMethod[Callable[[NodeKeys], None]]]] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.now is not None

    def __repr__(self) -> str:
        return f"<LiveKeys: {self.now!r}>"

    def watch(self, changed: Callable[[NodeKeys], None]) -> None:
        """Call ``changed(keys)`` at once, if there are keys, and whenever they have been replaced.

        Args:
            changed: a method of an object that holds what it derives from the keys. The object is not kept alive.
        """
        self._watchers.append(weakref.WeakMethod(changed))
        if self.now is not None:
            changed(self.now)

    def replace(self, new: NodeKeys) -> None:
        """Use other keys from now on, for all that is sealed, opened, signed or verified later.

        Raises:
            ValueError: they are those of another cluster.
        """
        if self.now is not None and self.now.cluster != new.cluster:
            raise ValueError("the cluster of a running node does not change")
        self.now = new
        self._watchers[:] = [one for one in self._watchers if one() is not None]
        for watcher in list(self._watchers):
            changed = watcher()
            if changed is not None:
                changed(new)
