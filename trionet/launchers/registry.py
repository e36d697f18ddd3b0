"""The launchers of one node, under their names.

Invariant: the built-in ones, and the modules that they need, are imported with the first use: most nodes spawn none.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from trionet.errors import ConfigError, SpawnError
from trionet.nurseries import open_plain_nursery
from trionet.open_files import explain_full, is_full

from .needs import NO_NEEDS, Needs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractContextManager

    import trio

    from .base import Launcher
    from .built_in import BuiltInLaunchers

__all__ = ["Launchers", "open_launchers"]

_SSH = "ssh:"


@asynccontextmanager
async def open_launchers(needs: Needs = NO_NEEDS) -> AsyncGenerator[Launchers]:
    """Open the launchers of one node. Helper processes end with the block; all spawned nodes must end within it.

    Args:
        needs: what the nodes need, so that a helper prepares it.
    """
    async with open_plain_nursery() as nursery:
        launchers = Launchers(nursery, needs)
        try:
            yield launchers
        finally:
            launchers.close()


class Launchers:
    """The launchers by name: the built-in ones, the registered ones, and ``ssh:HOST``."""

    def __init__(self, nursery: trio.Nursery, needs: Needs) -> None:
        self._nursery = nursery
        self._needs = needs
        self._registered: dict[str, Launcher] = {}
        self._used: BuiltInLaunchers | None = None

    @property
    def _built_in(self) -> BuiltInLaunchers:
        if self._used is None:
            try:
                from .built_in import BuiltInLaunchers
            except OSError as exc:  # no descriptor is free
                reason = f"{exc.strerror}: {explain_full(exc)}" if is_full(exc) else str(exc)
                raise SpawnError(f"can't import the launchers: {reason}") from exc
            self._used = BuiltInLaunchers(self._nursery, self._needs)
        return self._used

    def put(self, name: str, launcher: Launcher) -> None:
        """Register `launcher`, in place of the one of that name."""
        self._registered[name] = launcher

    def get(self, name: str) -> Launcher:
        """Return the launcher of that name.

        Raises:
            ConfigError: there is none.
            SpawnError: no descriptor is free to import it.
        """
        if name.startswith(_SSH) and name != _SSH:
            return self._built_in.ssh(name.removeprefix(_SSH))
        if name in self._registered:
            return self._registered[name]
        built_in = self._built_in.by_name
        if name not in built_in:
            known = ", ".join(sorted(built_in | self._registered))
            raise ConfigError(f"launcher: there is no {name!r:.80}; there are {known}, and ssh:HOST")
        return built_in[name]

    def close(self) -> None:
        """End the helper processes."""
        if self._used is not None:
            self._used.close()

    def passed(self) -> AbstractContextManager[None]:
        """Have the launchers of nodes that the block starts share this node's connections to other machines."""
        return self._built_in.passed()

    async def prewarm(self) -> None:
        """Start the fork server ahead of time, on platforms that have one."""
        await self._built_in.prewarm()
