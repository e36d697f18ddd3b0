"""The keys that a spawner passes to the nodes that it starts.

They travel in the boot message, through the private pipe, socket or ssh connection of the child: never in a
configuration, a command line or an environment. A launcher that wraps one of trionet's passes them, too, because they
come with the task, not with the arguments.

Invariant: no representation shows key material.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from trionet.codec import register_type

if TYPE_CHECKING:
    from collections.abc import Generator

    from trionet.security.live_keys import LiveKeys
    from trionet.security.node_keys import NodeKeys

__all__ = ["PassedKeys", "pass_keys", "passed_keys"]


@register_type
class PassedKeys(msgspec.Struct, frozen=True):
    """The keys of a spawner, as its child receives them.

    Attributes:
        text: the text of a key file. It holds key material.
        cluster: the name of the cluster.
        giver: the name of the spawner.
    """

    text: str
    cluster: str
    giver: str = ""

    def __repr__(self) -> str:
        return f"<PassedKeys of {self.cluster!r}>"

    def open(self) -> NodeKeys:
        """Return the keys.

        Raises:
            ConfigError: they can't be used, as where the package ``cryptography`` is missing.
        """
        from trionet.security.key_entries import KeyFile
        from trionet.security.node_keys import NodeKeys

        return NodeKeys(KeyFile.parse(self.text), self.cluster, giver=self.giver)


_passed: ContextVar[tuple[LiveKeys | None, str]] = ContextVar("trionet_passed_keys", default=(None, ""))
"""The keys for the nodes that the task of a launcher starts."""


@contextmanager
def pass_keys(keys: LiveKeys | None, giver: str = "") -> Generator[None]:
    """Pass keys, as they are at each start, to the nodes that the block starts, restarts included.

    Args:
        keys: the spawner's; None passes none.
        giver: its name.
    """
    token = _passed.set((keys, giver))
    try:
        yield
    finally:
        _passed.reset(token)


def passed_keys() -> PassedKeys | None:
    """Return the keys for a node that is started here; None without any."""
    live, giver = _passed.get()
    keys = None if live is None else live.now
    return None if keys is None else PassedKeys(keys.file.text(), keys.cluster, giver)
