"""The keys of a running node, which change.

Invariants: at each time there is one snapshot, whole, and every part of the node has heard of it when `replace`
returns. A node that has keys always has some, of one cluster. No part is kept alive for being told.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from .holds_secrets import HoldsSecrets
from .rollout import Send

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node_keys import NodeKeys

__all__ = ["LiveKeys"]


class LiveKeys(HoldsSecrets):
    """The keys of one running node. One thread uses it.

    Attributes:
        now: the snapshot that holds now; None while the node has no keys.
        is_rolling: whether the node began without a key or unprotected, and may change to sealed traffic.
        is_certified: whether a certificate protects the node, with or without keys.
    """

    __slots__ = ("_watchers", "is_certified", "is_rolling", "now")

    def __init__(self, now: NodeKeys | None = None, *, may_come: bool = False, is_certified: bool = False) -> None:
        """Begin with these keys; None for a node without any.

        Args:
            now: the keys.
            may_come: whether it may get some while it runs.
            is_certified: whether a certificate protects the node.
        """
        self.now: NodeKeys | None = now
        self.is_rolling: bool = may_come if now is None else not now.rollout.is_protected
        self.is_certified: bool = is_certified
        self._watchers: Final[list[weakref.WeakMethod[Callable[[NodeKeys], None]]]] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.now is not None

    def __repr__(self) -> str:
        return f"<LiveKeys: {self.now!r}>"

    @property
    def seals(self) -> bool:
        """Whether the node seals what it sends; always if it has a certificate."""
        return self.now is not None and (self.is_certified or self.now.rollout.send is Send.SEALED)

    @property
    def accepts_plain(self) -> bool:
        """Whether the node accepts what is not sealed."""
        return not self.is_certified and (self.now is None or not self.now.rollout.is_protected)

    @property
    def is_protected(self) -> bool:
        """Whether the node refuses all peers that have not proven that they hold a key."""
        return not self.accepts_plain

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
            ValueError: they are those of another cluster, or accept more than before.
        """
        if self.now is not None and new.rollout.number < self.now.rollout.number:
            raise ValueError("a rollout goes forward")
        if self.now is not None and self.now.cluster != new.cluster:
            raise ValueError("the cluster of a running node does not change")
        self.now = new
        self._watchers[:] = [one for one in self._watchers if one() is not None]
        for watcher in list(self._watchers):
            changed = watcher()
            if changed is not None:
                changed(new)
