"""A call with a span, at the node that answers it."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from trionet.errors import TrionetError
from trionet.prepared_call import HandlerCancelled, PreparedCall, is_awaitable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence

    import trio
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from trionet.arguments import Method
    from trionet.message import Call
    from trionet.router import Router

    from .telemetry import Telemetry

__all__ = ["TracedCall"]


class TracedCall(PreparedCall):
    """A prepared call whose handler runs in the context of its caller's trace, and in a span of its own.

    The span begins with the handler, so that a call that never starts has none.
    """

    __slots__ = ("_context", "_is_begun", "_span", "_start", "_telemetry")

    def __init__(
        self,
        method: Method,
        call: Call,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        router: Router,
        telemetry: Telemetry,
        start: Callable[[], tuple[Span | None, Context]],
    ) -> None:
        """Prepare a call; ``start()`` starts its span, if it is to have one, and returns the context of its handler."""
        super().__init__(method, call, args, kwargs, router)
        self._telemetry = telemetry
        self._start = start
        self._is_begun = False
        self._span: Span | None = None
        self._context: Context

    def begin(self) -> Any:
        """Call a plain function; see `PreparedCall.begin`."""
        if self.method.in_thread:
            return super().begin()  # `finish` awaits the thread
        self._started()
        try:
            value = super().begin()
        except BaseException as exc:
            self._ended(exc)
            raise
        if not is_awaitable(value):
            self._ended(None)
        return value

    def _begin(self) -> Any:
        self._telemetry.attach(self._context)  # in context variables of its own: those of a copy, or of a thread
        return super()._begin()

    async def finish(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        """Run the method to its end inside `scope`; see `PreparedCall.finish`."""
        try:
            return await super().finish(scope, awaitable)
        except BaseException as exc:
            self._ended(exc)
            raise

    async def run(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        """Run the method to its end; see `PreparedCall.run`. Where it is cancelled, others end the span."""
        self._started()
        try:
            with self._telemetry.attached(self._context):
                value = await super().run(scope, awaitable)
        except TrionetError as exc:
            self._ended(exc)
            raise
        self._ended(None)
        return value

    def cut_short(self) -> Exception:
        """End the span with the error that it returns; see `PreparedCall.cut_short`."""
        error = super().cut_short()
        self._ended(error)
        return error

    @asynccontextmanager
    async def stream(self, scope: trio.CancelScope) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Run the method, an async generator; see `PreparedCall.stream`."""
        with self._spanning():
            async with super().stream(scope) as items:
                yield items

    def abandon(self) -> None:
        """Handle that it has ended in no other way; see `PreparedCall.abandon`."""
        self._ended(HandlerCancelled())

    @contextmanager
    def _spanning(self) -> Generator[None]:
        self._started()
        try:
            with self._telemetry.attached(self._context):
                yield
        except BaseException as exc:
            self._ended(exc)
            raise
        self._ended(None)

    def _started(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._span, self._context = self._start()

    def _ended(self, exc: BaseException | None) -> None:
        if self._span is not None:
            span, self._span = self._span, None
            self._telemetry.end(span, exc, "server")
