"""Internal nurseries: exceptions propagate through them as if they were not there.

Invariant: a single exception propagates without a group, whatever it derives from: a program's ``sys.exit(7)`` is exit
status 7, and Ctrl-C is a `KeyboardInterrupt`. Trio itself wraps the exceptions of a nursery in a group, once for each
nursery, because several tasks may fail at once.

Of several, a `KeyboardInterrupt` or `SystemExit` has priority, and the others are logged: the program is to end.
Otherwise all propagate, in one group. `trio.Cancelled` propagates if it is the only one.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from collections.abc import Set as AbstractSet

__all__ = ["open_background_nursery", "open_plain_nursery"]

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_plain_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery, and wait for its tasks in the end, as `trio.open_nursery` does; exceptions are not wrapped.

    For functions and context managers whose tasks are an internal detail.
    """
    raised: BaseException | None = None
    of_block: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as exc:
                of_block = exc
                raise
    except BaseException as exc:
        raised = exc
    # Not in the except clause: the group would become the context of its own exception.
    try:
        if raised is not None:
            raise _plain(raised, of_block)
    finally:
        del raised, of_block  # a frame that is in its own traceback is a cycle


@asynccontextmanager
async def open_background_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled when the block ends; exceptions are not wrapped."""
    async with open_plain_nursery() as nursery:
        try:
            yield nursery
        finally:
            nursery.cancel_scope.cancel()


def _plain(raised: BaseException, of_block: BaseException | None) -> BaseException:
    """Return the exception to raise in place of a nursery's.

    Args:
        raised: a group, or groups in a group, as Trio makes them.
        of_block: the exception of the nursery's own block; a group of the caller's stays one.
    """
    parts = raised.exceptions if isinstance(raised, BaseExceptionGroup) and raised is not of_block else [raised]
    leaves = _leaves(parts, of_block)
    failures = [leaf for leaf in leaves if not isinstance(leaf, trio.Cancelled)]
    if len(failures) == 1:
        return failures[0]
    if not failures:
        return leaves[0]  # the scope that ends one `Cancelled` ends them all
    for kind in (KeyboardInterrupt, SystemExit):
        ending = next((failure for failure in failures if isinstance(failure, kind)), None)
        if ending is not None:
            for failure in failures:
                if not isinstance(failure, kind):
                    _log.error("this was raised, too, while the program was ending", exc_info=failure)
            return ending
    return BaseExceptionGroup("several tasks failed", failures)


def _leaves(raised: Iterable[BaseException], of_block: BaseException | None) -> list[BaseException]:
    """Return the exceptions in groups; but a group of the block's own stays one.

    Where a scope has removed its `trio.Cancelled`, that group is another object than the block's.
    """
    own = _leaf_ids(of_block)
    found: dict[int, BaseException] = {}
    for exc in raised:
        ids = _leaf_ids(exc)
        if of_block is not None and ids == own:
            found[id(of_block)] = of_block
        elif isinstance(exc, BaseExceptionGroup) and not ids <= own:
            found.update((id(leaf), leaf) for leaf in _leaves(exc.exceptions, of_block))
        else:
            found[id(exc)] = exc
    return list(found.values())


def _leaf_ids(exc: BaseException | None) -> AbstractSet[int]:
    """Return the ids of the exceptions in groups of groups."""
    if isinstance(exc, BaseExceptionGroup):
        return set[int]().union(*map(_leaf_ids, exc.exceptions))
    return set() if exc is None else {id(exc)}
