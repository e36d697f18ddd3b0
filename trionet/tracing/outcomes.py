"""The outcome of a call, as its span states it: the attribute ``rpc.status_code``, and whether it is a failure.

| outcome | ``rpc.status_code`` | the caller's span | the callee's span |
| --- | --- | --- | --- |
| a value | ``OK`` | | |
| a definite error | its class | failure | |
| an indefinite error | its class | failure | failure |
| cancelled | ``Cancelled`` | | |
| the deadline is over | ``CallTimeout`` | failure | failure |

A cancelled call is no failure, because its caller wanted that; a definite error is none of the callee, which has
answered as it should.

Source: OpenTelemetry's semantic conventions for RPC spans, and "Recording errors".
"""

from __future__ import annotations

from typing import Final

import trio

from trionet.errors import CallTimeout, DefiniteError
from trionet.prepared_call import HandlerCancelled
from trionet.user_code import is_a

__all__ = ["CANCELLED", "OK", "is_failure", "status_code"]

OK: Final = "OK"
CANCELLED: Final = "Cancelled"


def status_code(exc: BaseException | None) -> str:
    """Return the status code of a call that has raised `exc`; None for a success."""
    if exc is None:
        return OK
    if _is_cancelled(exc):
        return CANCELLED
    return CallTimeout.__name__ if is_a(exc, trio.Cancelled) else type(exc).__name__


def is_failure(exc: BaseException, *, is_server: bool) -> bool:
    """Return whether the span of a call that has raised `exc` is one of a failure."""
    return not (_is_cancelled(exc) or (is_server and is_a(exc, DefiniteError)))


def _is_cancelled(exc: BaseException) -> bool:
    return is_a(exc, HandlerCancelled) or (is_a(exc, trio.Cancelled) and exc.source != "deadline")
