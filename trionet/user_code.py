"""What becomes of an exception that the user's code raises where a node calls it.

Invariant: it is that code's failure, whatever it derives from, and never the end of the node: whoever calls the code
reports it. That goes for `SystemExit`, `GeneratorExit` and ``asyncio.CancelledError``, too. Two pass, alone or in a
group: `trio.Cancelled`, since the node itself cancels, and `KeyboardInterrupt`, which is for the program.

Every place that calls the user's code goes by this: handlers (`router`), constructors and fields of values that travel
(`codec`), listeners (`events`), modules that are imported by name (`config`), periodic tasks and ``subset`` functions
(`services`), nodes in this process (`launchers`), invariants, scenarios and programs of trials (`simulation`), handlers
of Maelstrom's messages, and views of the web app.
"""

from __future__ import annotations

import sys

__all__ = ["described", "pass_endings"]


def pass_endings(exc: BaseException) -> None:
    """Raise what of `exc` is no failure of the user's code, `trio.Cancelled` and `KeyboardInterrupt`; else return."""
    ending = _ending_of(exc)
    if ending is not None:
        try:
            raise ending
        finally:
            del exc, ending  # a frame that is in its own traceback is a cycle


def _ending_of(exc: BaseException) -> BaseException | None:
    """Return `exc`, or the part of a group, that must pass; None if it is all failure."""
    # Trio isn't imported for it: `protocols` must do without Trio, and imports what imports this.
    trio = sys.modules.get("trio")
    endings = (KeyboardInterrupt,) if trio is None else (KeyboardInterrupt, trio.Cancelled)
    if isinstance(exc, BaseExceptionGroup):
        passing: BaseException | None = exc.split(endings)[0]
        return passing
    return exc if isinstance(exc, endings) else None


def described(exc: BaseException) -> str:
    """Return ``str(exc)``, which is the user's code, too, or say that there is none."""
    try:
        return str(exc)
    except BaseException as failure:
        pass_endings(failure)
        return "(its description could not be made)"
