"""An `on_start` without an import path: a spawner passes it to its child by value.

It travels in the boot message, as keys do; see `passed_keys`. The configuration of the child names `run_passed` as its
`on_start`, so a launcher that does not pass the code makes a node that says so, and not one without its `on_start`.

Invariant: only the message of the process's own spawner is read, which decides anyway what its child runs.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import CodeRefused, ConfigError, EncodeError
from trionet.on_start import run_on_start
from trionet.pickling import pickled, unpickled

if TYPE_CHECKING:
    from collections.abc import Generator

    from trionet.config import NodeConfig

__all__ = ["pass_code", "passed_code", "portable", "receive_code", "run_passed"]

_RUN: Final = f"{__name__}:run_passed"

_passed: ContextVar[bytes] = ContextVar("trionet_passed_code", default=b"")
"""The code for the nodes that the task of a launcher starts."""

_received: Final[list[bytes]] = []
"""The code that this process's spawner has passed."""


def portable(config: NodeConfig) -> tuple[NodeConfig, bytes]:
    """Return the configuration to send to a child in another process, and the code to pass to it, if any.

    Raises:
        EncodeError: `on_start` has no import path, and can't be pickled; or `policy` has none.
    """
    on_start = config.on_start
    if on_start == _RUN and _received:  # a copy of this process's own configuration
        return config, _received[0]
    try:
        return config.portable(), b""
    except EncodeError as exc:
        if exc.path != "$.on_start":
            raise
        try:
            code = pickled(on_start)
        except CodeRefused as exc:
            raise EncodeError(f"at $.on_start: {exc.text}", path="$.on_start") from exc
    return msgspec.structs.replace(config, on_start=_RUN).portable(), code


@contextmanager
def pass_code(code: bytes) -> Generator[None]:
    """Pass code to the nodes that the block starts, restarts included; none if it is empty."""
    token = _passed.set(code)
    try:
        yield
    finally:
        _passed.reset(token)


def passed_code() -> bytes:
    """Return the code for a node that is started here; empty if there is none."""
    return _passed.get()


def receive_code(code: bytes) -> None:
    """Keep the code that this process's spawner has passed."""
    _received[:] = [code] if code else []


async def run_passed(node: Any) -> None:
    """Run the `on_start` that this process's spawner has passed.

    Raises:
        ConfigError: it has passed none.
        CodeRefused: it can't be read here.
    """
    if not _received:
        raise ConfigError(
            "on_start has no import path, and this node's launcher has not passed its code: give "
            "'package.module:function', or use a launcher of trionet's"
        )
    await run_on_start(unpickled(_received[0], "on_start"), node)
