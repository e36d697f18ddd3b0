"""One call that can run: its handler, inside of its scope and its deadline.

Invariant: an exception of the handler becomes the error of its caller, and only cancellation and Ctrl-C pass.
"""

from __future__ import annotations

import contextvars
import math
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
import trio

from .blocking import handles_calls
from .counted_call import CountedCall
from .current_call import CurrentCall, Ending, Endings
from .errors import CallCancelled, CallTimeout
from .histograms import SKIP, UNTIMED, begin_timed
from .message import LOCAL, MAX_ID_CHARS
from .nesting import ROOT, Lineage, depth_inside, position
from .principal import ANYONE, Principal
from .security.scopes import FORWARDING
from .trio_internals import time_now
from .user_code import failure_in, pass_endings
from .user_errors import as_answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
    from typing import Protocol

    from .arguments import Method
    from .call_counts import CallCounts
    from .message import Call
    from .threads import ThreadPools

    class Runner(Protocol):
        """Runs calls, as `trionet.router.Router` does.

        Attributes:
            running: the calls with running handlers, and the scopes of these.
            endings: the cancellations of running calls by others than their callers.
            threads: the worker threads of handlers.
            counts: counts of the calls.
        """

        running: dict[PreparedCall, trio.CancelScope]
        endings: Endings
        threads: ThreadPools
        counts: CallCounts


__all__ = ["HandlerCancelled", "PreparedCall", "is_awaitable"]

_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
"""Types of most values, which can't be awaited: to ask a type for what it does not have takes as long as a call."""


class HandlerCancelled(Exception):
    """The scope of a handler was cancelled, by its caller or by the end of the node."""


class PreparedCall(CountedCall):
    """A call that can run: its method exists, and its arguments fit.

    Attributes:
        started_at: the time of its begin on Trio's clock; set, by whoever runs it, where its handler may wait.
    """

    __slots__ = ("_args", "_deadline", "_ending", "_kwargs", "_router", "started_at")

    def __init__(
        self,
        method: Method,
        call: Call,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        router: Runner,
    ) -> None:
        self.method: Method = method
        self.call: Call = call
        ok = method.ok
        if ok is not None and ok[SKIP]:  # it is not timed
            ok[SKIP] -= 1
            self._begun_ns = 0
        else:
            self._begun_ns = begin_timed(ok, router.counts.now_ns())
        self.started_at: float
        self._ending: Ending | None  # once the method has ended
        self._router = router
        self._args = args
        self._kwargs = kwargs
        self._deadline = math.inf if call.timeout_s is None else time_now() + call.timeout_s

    @property
    def counts(self) -> CallCounts:
        """Counts it."""
        return self._router.counts

    @property
    def inner_depth(self) -> int:
        """The depth of the calls made by its handler; see `trionet.nesting`."""
        return self.call.inner_depth

    def lineage(self, router: object) -> Lineage:
        """Return the lineage of the calls of its handler; of what outlives that, or calls by another node, `ROOT`."""
        if router is not self._router or self not in self._router.running:
            return ROOT
        call = self.call
        return (call.id, call.trace) if len(call.id) <= MAX_ID_CHARS else ("", call.trace)

    def forwards_for(self, router: object) -> Principal | None:
        """Return in whose name its handler makes calls by way of the node of `router`; None for that node itself.

        The services of a group forward, and so do those of `FORWARDING`. All other handlers act as their node, and so
        does code that has got hold of another node of this process.
        """
        call = self.call
        forwards = router is self._router and (call.gid != LOCAL or call.service in FORWARDING)
        return call.principal or ANYONE if forwards else None

    @property
    def name(self) -> str:
        """Its destination: gid, service and method."""
        return f"{self.call.gid}/{self.call.service}/{self.call.method}"

    def nest(self) -> None:
        """Count it as nested in its caller, whose thread holds a place that this call's thread may need."""
        self.call = msgspec.structs.replace(self.call, inner_depth=depth_inside(self.call.inner_depth))

    def current(self) -> CurrentCall:
        """Return its description for the handler."""
        return CurrentCall(self.call, self._deadline)

    def abandon(self) -> None:
        """Handle that what `begin` has returned is never awaited, or that `run` was cancelled from outside."""

    def begin(self) -> Any:
        """Call a plain function: return its value, or an awaitable for `finish`, as for one that runs in a thread.

        Raises:
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        if self.method.in_thread:
            return self._in_thread()
        try:
            value = contextvars.copy_context().run(self._begin)  # its context variables are its own, as in a task
        except BaseException as exc:
            self.note_failure(exc)
            raise
        if type(value) in _PLAIN or not is_awaitable(value):  # else `finish` counts it
            if self._begun_ns:
                self.note_success()
            else:  # the same, for the most frequent case
                self.method.ok[UNTIMED] += 1  # type: ignore[index]  # it is set where calls are not timed
        return value

    @handles_calls
    def _begin(self) -> Any:
        position.set(self)
        method = self.method
        try:
            value = method.call(*self._args, **self._kwargs)
            return value if method.lower is None or is_awaitable(value) else method.lower(value)
        except BaseException as exc:
            _reraise(exc)

    async def _in_thread(self) -> Any:
        self._deadline = min(self._deadline, trio.current_effective_deadline())  # for `CurrentCall.deadline`
        (value,) = await self._router.threads.run(
            lambda: (self._begin(),),  # Trio refuses a coroutine; here it is awaited, as that of any plain function
            self.inner_depth,
            abandon_on_cancel=self.method.abandon_on_cancel,
        )
        return await value if is_awaitable(value) else value

    async def finish(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        """Run the method to its end inside `scope`; see `run`.

        Raises the errors of `run`.

        Raises:
            CallTimeout: the deadline is over.
            CallCancelled: another than its caller has cancelled it.
            HandlerCancelled: `scope` was cancelled.
        """
        try:
            with scope:
                return await self.run(scope, awaitable)
        except RuntimeError as exc:  # Trio's: the handler has left scopes open
            _reraise(exc)
        raise self.cut_short()

    @handles_calls
    async def run(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        """Run the method, or the awaitable that `begin` returned, to its end; return its value.

        Where `scope`, which the caller has entered, catches its cancellation, the error is that of `cut_short`. `scope`
        has the call's deadline until the method has ended.

        Raises:
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        if self._deadline != math.inf:  # an assignment takes time even without a change
            scope.deadline = min(scope.deadline, self._deadline)
        running = self._router.running
        running[self] = scope
        token = position.set(self)
        try:
            method = self.method
            if awaitable is None:
                awaitable = self._in_thread() if method.in_thread else method.call(*self._args, **self._kwargs)
            value: Any = await awaitable if is_awaitable(awaitable) else awaitable
            if method.lower is not None:
                value = method.lower(value)
            self.note_success()
            return value
        except BaseException as exc:
            self.note_failure(exc)
            _reraise(failure_in(exc) if scope.cancel_called else exc)
        finally:
            if self._deadline != math.inf:
                scope.deadline = math.inf
            position.reset(token)
            del running[self]
            self._ending = self._router.endings.end(self) if self._router.endings else None

    @asynccontextmanager
    async def stream(self, scope: trio.CancelScope) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Run the method, an async generator, inside `scope`; yield the generator, and close it at the end.

        Raises the errors of `finish`.
        """
        scope.deadline = min(scope.deadline, self._deadline)
        running = self._router.running
        running[self] = scope
        self.started_at = trio.current_time()
        token = position.set(self)
        try:
            with scope:
                items = self.method.call(*self._args, **self._kwargs)
                try:
                    async with aclosing(self._one_by_one(items)) as translated:
                        yield translated
                finally:
                    await self._close(items)
                self.note_success()
                return
        except GeneratorExit:  # the consumer has left between two items; the handler's would be another error here
            self.note_end("cancelled")
            raise
        except BaseException as exc:
            self.note_failure(exc)
            raise
        finally:
            position.reset(token)
            del running[self]
            self._ending = self._router.endings.end(self) if self._router.endings else None
        raise self.cut_short()

    @handles_calls
    async def _one_by_one(self, items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """Yield the items of a handler; translate its exceptions, and not those of the consumer."""
        lower = self.method.lower
        while True:
            try:
                item = await anext(items)
                item = item if lower is None else lower(item)
            except StopAsyncIteration:
                return
            except BaseException as exc:
                _reraise(exc)
            yield item

    @handles_calls
    async def _close(self, items: AsyncGenerator[Any]) -> None:
        try:
            await items.aclose()
        except BaseException as exc:
            _reraise(exc)

    def cut_short(self) -> Exception:
        """Return the error of a call whose scope has caught its cancellation."""
        if self._ending is not None:
            self.note_end("cancelled")
            return CallCancelled(self._ending.reason)
        if trio.current_time() >= self._deadline:
            self.note_end("timeout")
            return CallTimeout(f"{self.name} ran out of time")
        self.note_end("cancelled")
        return HandlerCancelled()


def is_awaitable(value: Any) -> bool:
    """Return whether `value` can be awaited, by its type: attributes of a user's object may raise."""
    kind = type(value)
    return kind not in _PLAIN and hasattr(kind, "__await__")


def _reraise(exc: BaseException) -> NoReturn:
    """Raise the error for the caller that a handler's `exc` stands for."""
    try:
        pass_endings(exc)
        answer = as_answer(exc)
        if answer is exc:
            raise exc
        raise answer from exc
    finally:
        answer = None  # type: ignore[assignment]
        del exc  # its traceback has this frame
