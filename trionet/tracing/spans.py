"""The spans of one node: of the calls that it makes and answers, its fan-outs, rumors and periodic tasks.

Invariants: a call's trace context is that of its span, so that the callee's span is a child of it; a rumor's deliveries
are traces of their own, linked to the span that sent it, because there may be thousands of them, for minutes; so are
the runs of a periodic task, which may go on for months. A fan-out has a child for each of its first `MOST_CHILDREN`
members; the callees' spans of the others are its children.

Source: OpenTelemetry's semantic conventions for RPC spans, 1.45.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.errors import TrionetError
from trionet.message import BUILT_IN, LOCAL, PACKET
from trionet.prepared_call import HandlerCancelled, PreparedCall
from trionet.user_code import is_a

from .served import TracedCall
from .telemetry import find_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from trionet.arguments import Method
    from trionet.identity import NodeAddress
    from trionet.message import Call, Remote
    from trionet.router import Router
    from trionet.transports.base import Request

    from .telemetry import Role, Telemetry

__all__ = ["MOST_CHILDREN", "FanOutSpan", "Spans"]

MOST_CHILDREN: Final = 100
"""The most members of a fan-out that have a span of their own in it."""

_SYSTEM: Final = "trionet"


class Spans:
    """Makes the spans of one node.

    Attributes:
        provider: returns the tracer provider; None while none is set. Then no other method is to be called.
    """

    def __init__(self, telemetry: Telemetry, own: NodeAddress) -> None:
        self.provider: Callable[[], object | None] = telemetry.provider
        self._telemetry = telemetry
        self._own = own

    @classmethod
    def of(cls, own: NodeAddress) -> Spans | None:
        """Return the spans of the node `own`; None where OpenTelemetry isn't installed, or nobody is to see them."""
        telemetry = find_telemetry()
        return None if telemetry is None or telemetry.is_for_nobody else cls(telemetry, own)

    # ---- at the caller

    @contextmanager
    def call(self, node: NodeAddress, request: Request) -> Generator[Request]:
        """Run the block, which makes a call, in a span; yield the request that has its trace context."""
        telemetry = self._telemetry
        span = self._start_call(node, request)
        with self._ending(span, "client"), telemetry.attached(telemetry.within(span)):
            yield _with_trace(request, telemetry.encoded(span))

    @contextmanager
    def stream(self, node: NodeAddress, request: Request) -> Generator[Request]:
        """Run the block, which reads a stream, in a span; the block's own spans are no children of it.

        A block that ends early has cancelled its call.
        """
        telemetry = self._telemetry
        span = self._start_call(node, request)
        try:
            yield _with_trace(request, telemetry.encoded(span))
        except BaseException as exc:
            is_of_call = is_a(exc, TrionetError) or is_a(exc, trio.Cancelled)
            telemetry.end(span, exc if is_of_call else HandlerCancelled(), "client")
            raise
        telemetry.end(span, None, "client")

    @contextmanager
    def fan_out(self, gid: str, request: Request, members: int) -> Generator[FanOutSpan]:
        """Run the block, which calls all members of a group, in a span: start the calls within its `current`."""
        telemetry = self._telemetry
        attributes = {"rpc.method": _method(request), "trionet.gid": gid, "trionet.members": members}
        if members > MOST_CHILDREN:
            attributes["trionet.members_without_span"] = members - MOST_CHILDREN
        span = telemetry.start(f"fan_out {_method(request)}", telemetry.kinds.INTERNAL, attributes)
        with self._ending(span, "internal"):
            yield FanOutSpan(self, telemetry, span)

    def _start_call(self, node: NodeAddress, request: Request) -> Span:
        attributes = {
            "rpc.system.name": _SYSTEM,
            "rpc.method": _method(request),
            "server.address": node.ip,
            "server.port": node.port,
            "trionet.call_id": request.id,
        }
        if request.gid != LOCAL:
            attributes["trionet.gid"] = request.gid
        return self._telemetry.start(_method(request), self._telemetry.kinds.CLIENT, attributes)

    def current(self) -> bytes:
        """Return the trace context of the running code, in the form of a frame."""
        return self._telemetry.current()

    # ---- at the callee

    def serve(self, router: Router) -> None:
        """Have the calls that `router` prepares run in spans."""
        router.tracing = self

    def traced(
        self,
        method: Method,
        call: Call,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        router: Router,
        is_rumor: bool,
    ) -> PreparedCall:
        """Return a call that runs in its caller's trace; a plain one for a packet of the protocols.

        Calls of trionet's own services have a span only within a trace, so that probes of an operator begin none.
        """
        if call.service == PACKET.service and call.method == PACKET.method and call.gid == LOCAL:
            return PreparedCall(method, call, args, kwargs, router)
        start = functools.partial(self._start_rumor if is_rumor else self._start_served, call)
        return TracedCall(method, call, args, kwargs, router, self._telemetry, start)

    def _start_served(self, call: Call) -> tuple[Span | None, Context]:
        telemetry = self._telemetry
        parent = telemetry.beneath(call.trace)
        if not call.trace and call.service in BUILT_IN:
            return None, parent
        attributes = self._served(call)
        span = telemetry.start(_method(call), telemetry.kinds.SERVER, attributes, within=parent)
        return span, telemetry.beneath(b"", span)

    def _start_rumor(self, call: Call) -> tuple[Span | None, Context]:
        telemetry = self._telemetry
        span = telemetry.start(
            f"gossip {_method(call)}",
            telemetry.kinds.CONSUMER,
            self._served(call),
            within=telemetry.beneath(b""),
            links=[call.trace],
        )
        return span, telemetry.beneath(b"", span)

    def _served(self, call: Call) -> dict[str, Any]:
        attributes = {
            "rpc.system.name": _SYSTEM,
            "rpc.method": _method(call),
            "server.address": self._own.ip,
            "server.port": self._own.port,
            "trionet.call_id": call.id,
        }
        if call.gid != LOCAL:
            attributes["trionet.gid"] = call.gid
        if call.caller is not None:
            attributes |= {"client.address": call.caller.ip, "client.port": call.caller.port}
        elif call.client:
            attributes["client.address"] = call.client
        return attributes

    # ---- rumors and periodic tasks

    @contextmanager
    def rumor(self, gid: str, remote: Remote) -> Generator[Callable[[str, int], None]]:
        """Run the block, which starts a rumor, in a span; yield a function that states its id and first hop."""
        telemetry, name = self._telemetry, _method(remote)
        attributes = {"rpc.system.name": _SYSTEM, "rpc.method": name, "trionet.gid": gid}
        span = telemetry.start(f"gossip {name}", telemetry.kinds.PRODUCER, attributes)

        def describe(rumor_id: str, first_hop: int) -> None:
            span.set_attributes({"trionet.call_id": rumor_id, "trionet.members": first_hop})

        with self._ending(span, "client"), telemetry.attached(telemetry.within(span)):
            yield describe

    @contextmanager
    def run_of_task(self, task_id: str, gid: str, what: str, begun_in: bytes) -> Generator[None]:
        """Run the block, one run of a periodic task, in a trace of its own, linked to that in which it was started."""
        telemetry = self._telemetry
        attributes = {"trionet.gid": gid, "trionet.task_id": task_id}
        nowhere = telemetry.beneath(b"")
        span = telemetry.start(
            f"periodic {what}", telemetry.kinds.INTERNAL, attributes, within=nowhere, links=[begun_in]
        )
        with self._ending(span, "internal"), telemetry.attached(telemetry.beneath(b"", span)):
            yield

    @contextmanager
    def _ending(self, span: Span, role: Role) -> Generator[None]:
        try:
            yield
        except BaseException as exc:
            self._telemetry.end(span, exc, role)
            raise
        self._telemetry.end(span, None, role)


class FanOutSpan:
    """The span of one fan-out, within which its members are called."""

    def __init__(self, spans: Spans, telemetry: Telemetry, span: Span) -> None:
        self._spans = spans
        self._telemetry = telemetry
        self._span = span
        self._trace = telemetry.encoded(span)
        self._left = MOST_CHILDREN

    def current(self) -> AbstractContextManager[None]:
        """Make it the parent of what is started in the block."""
        return self._telemetry.attached(self._telemetry.within(self._span))

    @contextmanager
    def member(self, node: NodeAddress, request: Request) -> Generator[Request]:
        """Run the block, which calls one member; see `Spans.call`."""
        self._left -= 1
        if self._left < 0:
            yield _with_trace(request, self._trace)
            return
        with self._spans.call(node, request) as traced:
            yield traced

    def traced(self, request: Request) -> Request:
        """Return a request whose spans at the callees are its children."""
        return _with_trace(request, self._trace)

    def describe(self, values: int, errors: int) -> None:
        """State how many members have returned a value, and how many have failed."""
        self._span.set_attributes({"trionet.values": values, "trionet.errors": errors})


def _method(call: Call | Remote | Request) -> str:
    """Return the full name of a method, as in ``counter/add``."""
    return f"{call.service}/{call.method}"


def _with_trace(request: Request, trace: bytes) -> Request:
    return msgspec.structs.replace(request, trace=trace) if trace != request.trace else request
