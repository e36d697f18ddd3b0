"""Finds the method of a call, and runs it.

All transports, and a node's calls to itself, end here. Invariants: arguments fit the method's signature, deadlines are
kept, an exception of the handler becomes a `RemoteError`, and only cancellation and Ctrl-C pass.
"""

from __future__ import annotations

import contextvars
import math
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import trio

from .arguments import Method
from .blocking import handles_calls
from .current_call import AnsweredCall, CurrentCall, Ending, Endings, HandlerCancelled, Tracing, is_awaitable
from .errors import (
    CallCancelled,
    CallTimeout,
    ConnectionLost,
    GroupNotFound,
    MalformedRequest,
    MethodNotFound,
    ServiceNotFound,
    TemporarilyUnavailable,
)
from .limits import Limits
from .message import BUILT_IN, LOCAL, MAX_ID_CHARS
from .nesting import ROOT, Lineage, depth_inside, position
from .principal import ANYONE, Principal
from .security.scopes import FORWARDING
from .threads import ThreadPools
from .user_code import pass_endings
from .user_errors import as_answer
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping, Sequence

    from .access import Access
    from .message import Call

__all__ = ["HandlerCancelled", "Method", "PreparedCall", "Router", "is_awaitable"]


class PreparedCall(AnsweredCall):
    """A call that can run: its method exists, and its arguments fit.

    Attributes:
        method: the method to run.
        call: the call itself.
        started_at: the time of its begin on Trio's clock; set, by whoever runs it, where its handler may wait.
    """

    __slots__ = ("_args", "_deadline", "_kwargs", "_router", "call", "method", "started_at")

    def __init__(
        self,
        method: Method,
        call: Call,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        router: Router,
    ) -> None:
        self.method: Method = method
        self.started_at: float
        self._router = router
        self.call = call
        self._args = args
        self._kwargs = kwargs
        self._deadline = math.inf if call.timeout_s is None else trio.current_time() + call.timeout_s

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

        The services of a group forward, and so do ``comm`` and ``gossip``. All other handlers act as their node, and so
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

    def begin(self) -> Any:
        """Call a plain function: return its value, or an awaitable for `finish`, as for one that runs in a thread.

        Raises:
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        if self.method.in_thread:
            return self._in_thread()
        return contextvars.copy_context().run(self._begin)  # its context variables are its own, as in a task

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

    @handles_calls
    async def finish(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        """Run the method, or the awaitable that `begin` returned, to its end inside `scope`; return its value.

        Raises:
            CallTimeout: the deadline is over.
            HandlerCancelled: `scope` was cancelled.
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        if self._deadline != math.inf:  # an assignment takes time even without a change
            scope.deadline = min(scope.deadline, self._deadline)
        running = self._router.running
        running[self] = scope
        token = position.set(self)
        try:
            with scope:
                method = self.method
                if awaitable is None:
                    awaitable = self._in_thread() if method.in_thread else method.call(*self._args, **self._kwargs)
                value: Any = await awaitable if is_awaitable(awaitable) else awaitable
                return value if method.lower is None else method.lower(value)
        except BaseException as exc:
            _reraise(exc)
        finally:
            position.reset(token)
            del running[self]
            ending = self._router.endings.end(self) if self._router.endings else None
        raise self._cut_short(ending)

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
                return
        finally:
            position.reset(token)
            del running[self]
            ending = self._router.endings.end(self) if self._router.endings else None
        raise self._cut_short(ending)

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

    def _cut_short(self, ending: Ending | None) -> Exception:
        if ending is not None:
            return CallCancelled(ending.reason)
        if trio.current_time() >= self._deadline:
            return CallTimeout(f"{self.name} ran out of time")
        return HandlerCancelled()


class Router:
    """The methods that can be called on one node.

    Attributes:
        served: the number of calls so far.
        running: the calls with running handlers, oldest first, and the scopes of these; not those of plain functions,
            which never wait.
        endings: the cancellations of running calls by others than their callers.
        refusing: the reason to refuse calls, except `status.stop`; None to accept them.
        threads: the worker threads of its handlers.
        access: checks who may call what; None for a router outside of a node.
        tracing: makes the spans of its calls; None where OpenTelemetry isn't installed.
    """

    def __init__(self, max_threads: int = Limits().max_threads, watchdog: Watchdog | None = None) -> None:
        """Build a router without services.

        Args:
            max_threads: the handlers in worker threads at once, at each depth.
            watchdog: watches its handlers, unless None.
        """
        self.threads: ThreadPools = ThreadPools(max_threads)
        self._watchdog = Watchdog.off() if watchdog is None else watchdog
        self._services: dict[str, dict[str, Mapping[str, Method]]] = {}
        self._has_ended = False
        self.served: int = 0
        self.running: dict[PreparedCall, trio.CancelScope] = {}
        self.endings: Endings = Endings()
        self.refusing: str | None = None
        self.access: Access | None = None
        self.tracing: Tracing[PreparedCall] | None = None
        self._own_scopes: dict[trio.CancelScope, None] = {}

    @property
    def refused(self) -> int:
        """The number of calls that their principals may not make."""
        return 0 if self.access is None else self.access.refused

    def put(self, gid: str, service: str, methods: Mapping[str, Method]) -> None:
        """Register `methods` as `service` of `gid`, in place of any others."""
        self._services.setdefault(gid, {})[service] = methods

    def watch(self) -> None:
        """Have the watchdog watch the user's code that is called now, for itself: a periodic task, for example."""
        if self._watchdog.is_resting:
            self._watchdog.wake()

    def remove(self, gid: str, service: str | None = None) -> None:
        """Remove `service`, or all of `gid`, if it exists."""
        if service is None:
            self._services.pop(gid, None)
        else:
            self._services.get(gid, {}).pop(service, None)

    def find(self, gid: str, service: str, method: str) -> Method:
        """Return a method.

        Raises:
            NotFound: there is no such method.
            TemporarilyUnavailable: the node has stopped.
        """
        if self._has_ended:
            raise TemporarilyUnavailable(str(self.refusing))
        services = self._services.get(gid)
        if services is None:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        methods = services.get(service)
        if methods is None:
            raise ServiceNotFound(f"group {gid!r} has no service {service!r:.130}")
        found = methods.get(method)
        if found is None:
            raise MethodNotFound(f"service {service!r} of group {gid!r} has no method {method!r:.130}")
        return found

    def services(self, gid: str) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods of `gid`, by service and name."""
        return self._services.get(gid, {})

    def permitted(self, call: Call) -> Method:
        """Return the method of `call`, whose arguments have not been looked at.

        Raises:
            NotFound: there is no such method.
            TemporarilyUnavailable: the node is stopping.
            NotPermitted: its principal may not call it.
        """
        method = self.find(call.gid, call.service, call.method)
        if self.refusing is not None and (call.service, call.method) != ("status", "stop"):
            raise TemporarilyUnavailable(self.refusing)
        if self.access is not None and self.access.is_active:
            self.access.check(call, is_read=method.is_read)
        return method

    def prepare(self, call: Call, *, is_rumor: bool = False) -> PreparedCall:
        """Return `call` ready to run, before any of the user's code runs.

        Raises:
            NotFound: there is no such method.
            MalformedRequest: the arguments don't fit it.
            CallTimeout: the deadline is over already.
            TemporarilyUnavailable: the node is stopping.
            NotPermitted: its principal may not call it.
        """
        method = self.permitted(call)
        args, kwargs = method.bind(call.args, call.kwargs, is_json=call.is_json)
        if call.timeout_s is not None and call.timeout_s <= 0:
            raise CallTimeout("its time was over before it could start")
        self.served += 1
        if self._watchdog.is_resting and call.service not in BUILT_IN:
            self._watchdog.wake()
        if self.tracing is not None and self.tracing.provider() is not None:
            return self.tracing.traced(method, call, args, kwargs, self, is_rumor)
        return PreparedCall(method, call, args, kwargs, self)

    async def call(self, call: Call) -> Any:
        """Run a call of the node to itself, and return its value.

        Raises the errors of `prepare` and `PreparedCall.finish`.

        Raises:
            MalformedRequest: the method is a stream.
            ConnectionLost: the node has ended in the meantime.
        """
        prepared = self.prepare(call)
        if not prepared.method.is_sync:
            prepared.started_at = trio.current_time()
        if prepared.method.is_stream:
            raise MalformedRequest(f"{call.service}/{call.method} is a stream: use comm.stream")
        if prepared.method.in_thread:
            prepared.nest()
        with self.own_scope() as scope:
            return await prepared.finish(scope)

    @contextmanager
    def own_scope(self) -> Generator[trio.CancelScope]:
        """Yield the scope of the node's call to itself, which is cancelled when the node ends.

        Raises:
            ConnectionLost: the node has ended in the meantime.
        """
        scope = trio.CancelScope()
        self._own_scopes[scope] = None
        try:
            yield scope
        except HandlerCancelled:
            raise ConnectionLost("the node has stopped") from None
        finally:
            del self._own_scopes[scope]

    def close(self) -> None:
        """Remove all services, refuse further calls, and cancel the node's calls to itself."""
        self.refusing = "the node has stopped"
        self._has_ended = True
        self._services.clear()
        for scope in self._own_scopes:
            scope.cancel()


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
