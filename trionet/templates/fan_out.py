"""One call to every member of a group, each in a task of one nursery.

Invariants: a member's failure is data, never an exception; no call outlives `collect`; the cancellation of the caller
passes, except that of its deadline for a partial result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import trio

from trionet.errors import CallTimeout, MalformedRequest, TrionetError
from trionet.nurseries import open_plain_nursery
from trionet.replies import Replies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trionet.identity import SID, NodeAddress

__all__ = ["ALL_MEMBERS", "Wait", "check_bool", "collect", "count_to_wait_for"]

Wait = Literal["all", "first"] | int
"""The values that a fan-out waits for."""

ALL_MEMBERS: Final = "all"


def count_to_wait_for(wait: Wait, members: int) -> int | None:
    """Return the number of values to wait for; None for the results of all members.

    Raises:
        MalformedRequest: `wait` is not ``"all"``, ``"first"`` or a number from 1 to `members`.
    """
    if wait == ALL_MEMBERS:
        return None
    count = 1 if wait == "first" else wait
    if type(count) is not int or not 1 <= count <= members:
        raise MalformedRequest(f"wait is 'all', 'first' or a number from 1 to {members}, the members; not {wait!r}")
    return count


def check_bool(name: str, value: object) -> None:
    """Raise `MalformedRequest` unless the argument `name` is True or False."""
    if not isinstance(value, bool):
        raise MalformedRequest(f"{name} is True or False, not {value!r:.80}")


async def collect(
    members: Mapping[SID, NodeAddress],
    call: Callable[[NodeAddress], Awaitable[Any]],
    *,
    enough: int | None = None,
    partial: bool = False,
) -> Replies[Any]:
    """Await ``call(node)`` for all `members` at once.

    Args:
        members: the nodes to call.
        call: calls one of them.
        enough: return after this number of values, and cancel the other calls; their nodes are in neither map.
        partial: at the caller's deadline, return the results so far, with `CallTimeout` for the other members.
    """
    values: dict[SID, Any] = {}
    errors: dict[SID, TrionetError] = {}

    async def call_one(sid: SID, node: NodeAddress, nursery: trio.Nursery) -> None:
        value, error = await _outcome(call, node)
        if error is not None:
            errors[sid] = error
        elif len(values) != enough:
            values[sid] = value
            if len(values) == enough:
                nursery.cancel_scope.cancel()

    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        async with open_plain_nursery() as nursery:
            for sid, node in members.items():
                nursery.start_soon(call_one, sid, node, nursery)
    except trio.Cancelled as exc:
        if not partial or exc.source != "deadline":
            raise
        if len(values) != enough:
            late = {
                sid: CallTimeout("no answer before the caller's deadline") for sid in members.keys() - values.keys()
            }
            errors = late | errors
    return Replies(values, errors)


async def _outcome(
    call: Callable[[NodeAddress], Awaitable[Any]], node: NodeAddress
) -> tuple[Any, None] | tuple[None, TrionetError]:
    """Return a member's value or error.

    The traceback of the error ends here: a frame with all errors in it would make a reference cycle.
    """
    try:
        return await call(node), None
    except TrionetError as exc:
        return None, exc
