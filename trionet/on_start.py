"""The `on_start` of a node: the user's function that sets it up."""

from __future__ import annotations

import inspect
from typing import Any

from .errors import ConfigError
from .import_paths import import_reference
from .user_code import shown

__all__ = ["run_on_start"]


async def run_on_start(on_start: Any, node: Any) -> None:
    """Call an `on_start` with its node, and await what it returns if that is awaitable.

    Args:
        on_start: a function, sync or async; its import path; or None.
        node: the node, which accepts calls.

    Raises:
        ConfigError: it is no function, or can't be imported.
        BaseException: what it raises.
    """
    if on_start is None:
        return
    function = import_reference(on_start) if isinstance(on_start, str) else on_start
    if not callable(function):
        raise ConfigError(f"on_start: {shown(on_start)} leads to a {type(function).__name__}, not to a function")
    result = function(node)
    if inspect.isawaitable(result):
        await result
