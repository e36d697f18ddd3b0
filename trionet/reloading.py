"""The files of a running node that are read again without a restart.

Invariant: each is read whole before anything changes, so that a broken file leaves all as it was.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Reloading"]

_log = logging.getLogger(__name__)


class Reloading:
    """Reads the files of one node again.

    Args:
        reloads: async functions that read files, by what these hold; see `add`.
    """

    def __init__(self, reloads: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._reload = dict(reloads)

    def add(self, what: str, reload: Callable[[], Awaitable[None]]) -> None:
        """Await ``reload()`` at each reload; it raises `ConfigError` where the files can't be used."""
        self._reload[what] = reload

    def __bool__(self) -> bool:
        """Whether there is anything to reload."""
        return bool(self._reload)

    async def reload(self) -> None:
        """Read all files again, each in spite of the faults of others.

        Raises:
            ConfigError: some can't be used; the text says which, and why. They are used as they were.
        """
        faults = []
        for what, reload in self._reload.items():
            try:
                await reload()
            except ConfigError as exc:
                faults.append(f"{what}: {exc.text}")
        if faults:
            raise ConfigError("; ".join(faults))
        _log.info("reloaded: %s", ", ".join(self._reload) or "nothing")
