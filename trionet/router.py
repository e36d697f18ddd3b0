"""Finds the method of a call, and runs it.

All transports, and a node's calls to itself, end here. Invariants: arguments fit the method's signature, deadlines are
kept, an exception of the handler becomes a `RemoteError`, and only cancellation and Ctrl-C pass.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from .arguments import Method
from .call_counts import CallCounts
from .current_call import Endings, Tracing
from .errors import (
    CallTimeout,
    ConnectionLost,
    MalformedRequest,
    TemporarilyUnavailable,
    TrionetError,
)
from .limits import Limits
from .message import BUILT_IN
from .method_table import MethodTable
from .prepared_call import HandlerCancelled, PreparedCall
from .threads import ThreadPools
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from .access import Access
    from .message import Call

__all__ = ["Method", "Router"]


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
        counts: counts of the calls so far, and their durations.
        max_message_bytes: the limit of its answers.
        methods: its methods.
        tracing: makes the spans of its calls; None where OpenTelemetry isn't installed.
    """

    def __init__(
        self,
        max_threads: int = Limits().max_threads,
        watchdog: Watchdog | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        max_message_bytes: int = Limits().max_message_bytes,
    ) -> None:
        """Build a router without services.

        Args:
            max_threads: the handlers in worker threads at once, at each depth.
            watchdog: watches its handlers, unless None.
            now_ns: the clock of the durations; see `trionet.virtual_time.stopwatch`.
            max_message_bytes: see `Limits`.
        """
        self.max_message_bytes: int = max_message_bytes
        self.counts: CallCounts = CallCounts(now_ns)
        self.threads: ThreadPools = ThreadPools(max_threads)
        self._watchdog = Watchdog.off() if watchdog is None else watchdog
        self.methods: MethodTable = MethodTable()
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
        self.methods.put(gid, service, methods)

    def announce(self, gid: str, register: Callable[[], object]) -> None:
        """Have ``register()`` call `put_all` for the group `gid` when its methods are needed."""
        if not self._has_ended:
            self.methods.announce(gid, register)

    def put_all(self, gid: str, services: Mapping[str, Mapping[str, Method]]) -> None:
        """Register the services of a new group `gid`, by name; they may have been announced."""
        if not self._has_ended:
            self.methods.put_all(gid, services)

    def watch(self) -> None:
        """Have the watchdog watch the user's code that is called now, for itself: a periodic task, for example."""
        if self._watchdog.is_resting:
            self._watchdog.wake()

    def remove(self, gid: str, service: str | None = None) -> None:
        """Remove `service`, or all of `gid`, if it exists."""
        self.methods.remove(gid, service)

    def find(self, gid: str, service: str, method: str) -> Method:
        """Return a method.

        Raises:
            NotFound: there is no such method.
            TemporarilyUnavailable: the node has stopped.
        """
        if self._has_ended:
            raise TemporarilyUnavailable(str(self.refusing))
        try:
            return self.methods.by_name[gid][service][method]
        except KeyError:
            may_suggest = self.access is None or not self.access.is_active  # others might not be permitted to know
            raise self.methods.missing(gid, service, method, may_suggest=may_suggest) from None

    def permitted(self, call: Call) -> Method:
        """Return the method of `call`, whose arguments have not been looked at.

        Raises:
            NotFound: there is no such method.
            TemporarilyUnavailable: the node is stopping.
            NotPermitted: its principal may not call it.
        """
        try:
            method = self.methods.by_name[call.gid][call.service][call.method]
        except KeyError:
            method = self.find(call.gid, call.service, call.method)  # which says why
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
        try:
            method = self.permitted(call)
            args, kwargs = method.bind(call.args, call.kwargs, call.is_json)
            if call.timeout_s is not None and call.timeout_s <= 0:
                raise CallTimeout("its time was over before it could start")
        except TrionetError as exc:
            exists = self.methods.get(call.gid, call.service, call.method) is not None
            self.counts.refused(call.service, call.method, exc, exists=exists)
            raise
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
        return await self.run_own(self.prepare(call))

    async def run_own(self, prepared: PreparedCall) -> Any:
        """Run a prepared call within another one of this node; see `call`."""
        call = prepared.call
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
        self.methods.clear()
        for scope in self._own_scopes:
            scope.cancel()
