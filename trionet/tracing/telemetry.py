"""OpenTelemetry's API, where it is installed: the extra ``tracing``.

Its import takes longer than the rest of a node's start. So trionet leaves it to the code that sets a provider: until
somebody has imported the API, none can be set. Only a provider that the environment names is made by the first one who
asks for it, which is a node.

Invariants: without a tracer provider nothing is recorded or imported, and the one check for it is a look-up and an
attribute read; a failure of a provider, a sampler or a processor ends no call; all spans that are started are ended
once.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from trionet.log_limits import limited_log
from trionet.trace_context import TraceContext, parsed_state
from trionet.user_code import attempt, described, pass_endings

from .outcomes import is_failure, status_code

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Tracer

__all__ = ["Role", "Telemetry", "find_telemetry", "running_trace"]

Role = Literal["client", "server", "internal"]
"""Who a span is of: the caller, the callee, or neither."""

_log = limited_log(__name__)

_PACKAGE: Final = "opentelemetry"
_API: Final = "opentelemetry.trace"
_NAMES_PROVIDER: Final = "OTEL_PYTHON_TRACER_PROVIDER"
_SCOPE: Final = "trionet"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.45.0"
"""The version of the semantic conventions that the attributes' names are of."""

_KNOWN_FLAGS: Final = 0b11
_MAX_TEXT_CHARS: Final = 300
# What the API accepts without a line in the log: its keys are those of Level 1.
_API_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=.*"
)


class Telemetry:
    """OpenTelemetry's API, and the tracer of its present provider.

    Attributes:
        is_for_nobody: whether nodes that are opened now record nothing, whatever the provider.
    """

    def __init__(self) -> None:
        """Find the provider that the environment names, if it does."""
        self.is_for_nobody: bool = False
        self._seen: object | None = None
        self._tracer: Tracer | None = None
        if os.environ.get(_NAMES_PROVIDER):
            with suppress(ImportError):
                attempt(importlib.import_module(_API).get_tracer_provider, default=None)

    def provider(self) -> object | None:
        """Return the tracer provider; None while none is set. Then no method but `current` is to be called."""
        api: Any = sys.modules.get(_API)
        if api is None:
            return None
        try:
            return api._TRACER_PROVIDER  # type: ignore[no-any-return]  # noqa: SLF001  the same without two calls
        except AttributeError:  # another version, or it is being imported
            return _public_provider(api)

    @functools.cached_property
    def _trace(self) -> Any:
        from opentelemetry import trace

        return trace

    @functools.cached_property
    def _context(self) -> Any:
        from opentelemetry import context

        return context

    @functools.cached_property
    def kinds(self) -> type[SpanKind]:
        """The kinds of spans."""
        kinds: type[SpanKind] = self._trace.SpanKind
        return kinds

    # ---- spans

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        *,
        within: Context | None = None,
        links: Sequence[bytes] = (),
    ) -> Span:
        """Start a span; end it with `end`.

        Args:
            name: its name, one of few.
            kind: its kind.
            attributes: its first attributes, by which a sampler decides.
            within: the context with its parent; None for the current one.
            links: the trace contexts that it refers to, in the form of a frame.
        """
        try:
            if (provider := self.provider()) is not self._seen or self._tracer is None:
                self._tracer = self._trace.get_tracer(_SCOPE, schema_url=_SCHEMA)
                self._seen = provider
            return self._tracer.start_span(name, within, kind, dict(attributes), self._links(links))
        except BaseException as exc:  # a sampler's or a processor's
            pass_endings(exc)
            _log.warning("a span could not be started: %s", described(exc))
            invalid: Span = self._trace.INVALID_SPAN
            return invalid

    def end(self, span: Span, exc: BaseException | None, role: Role) -> None:
        """End a span, with the outcome of its call.

        Args:
            span: from `start`.
            exc: what the call has raised; None for a success.
            role: the callee's span is no failure where the caller has made the mistake; the caller's has no traceback.
        """
        try:
            if span.is_recording():
                self._describe(span, exc, role)
            span.end()
        except BaseException as failure:
            pass_endings(failure)
            _log.warning("a span could not be ended: %s", described(failure))

    def _describe(self, span: Span, exc: BaseException | None, role: Role) -> None:
        code = status_code(exc)
        if role != "internal":
            span.set_attribute("rpc.status_code", code)
        if exc is None or not is_failure(exc, is_server=role == "server"):
            return
        span.set_attribute("error.type", code)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, described(exc)[:_MAX_TEXT_CHARS]))
        if role != "client":
            attempt(span.record_exception, exc.__cause__ or exc, default=None)

    # ---- contexts

    def within(self, span: Span) -> Context:
        """Return the current context, with `span` as the parent of further spans."""
        context: Context = self._trace.set_span_in_context(span)
        return context

    def beneath(self, trace: bytes, span: Span | None = None) -> Context:
        """Return a new context, with the parent `span`, or else `trace`, in the form of a frame, or else none."""
        context: Context = self._context.Context()
        if span is None and (parent := self._remote(trace)) is not None:
            span = self._trace.NonRecordingSpan(parent)
        if span is not None:
            context = self._trace.set_span_in_context(span, context)
        return context

    def encoded(self, span: Span) -> bytes:
        """Return the trace context of a span in the form of a frame; empty for an invalid one."""
        return _encoded(span.get_span_context())

    def current(self) -> bytes:
        """Return the trace context of the running code in the form of a frame; empty outside of all spans."""
        if _API not in sys.modules:
            return b""
        return _encoded(self._trace.get_current_span().get_span_context())

    @contextmanager
    def attached(self, context: Context) -> Generator[None]:
        """Make `context` the current one within the block."""
        token = self._context.attach(context)
        try:
            yield
        finally:
            self._context.detach(token)

    def attach(self, context: Context) -> None:
        """Make `context` the current one, where the context variables are a copy that is dropped."""
        self._context.attach(context)

    def _links(self, traces: Sequence[bytes]) -> list[Link]:
        return [self._trace.Link(found) for trace in traces if (found := self._remote(trace)) is not None]

    def _remote(self, trace: bytes) -> SpanContext | None:
        found = TraceContext.decoded(trace)
        if found is None:
            return None
        api = self._trace
        members = [member.partition("=") for member in found.state.split(",") if _API_MEMBER.fullmatch(member)]
        context: SpanContext = api.SpanContext(
            int.from_bytes(found.trace_id),
            int.from_bytes(found.span_id),
            is_remote=True,
            trace_flags=api.TraceFlags(found.flags),
            trace_state=api.TraceState([(key, value) for key, _, value in members]),
        )
        return context


@functools.cache
def find_telemetry() -> Telemetry | None:
    """Return OpenTelemetry's API, once for a process; None where it isn't installed."""
    return None if find_spec(_PACKAGE) is None else Telemetry()


def running_trace() -> bytes:
    """Return the trace context of the span that the running code is in; empty outside of all."""
    if _API not in sys.modules:
        return b""
    telemetry = find_telemetry()
    return b"" if telemetry is None or telemetry.provider() is None else telemetry.current()


def _public_provider(api: Any) -> object | None:
    """Return the tracer provider by the API's public names; None while none is set, or these names aren't there yet."""
    try:
        found: object = api.get_tracer_provider()
        return None if isinstance(found, api.ProxyTracerProvider) else found
    except AttributeError:
        return None


def _encoded(found: SpanContext) -> bytes:
    if not found.is_valid:
        return b""
    state = parsed_state([found.trace_state.to_header()]) if found.trace_state else ""
    trace_id, span_id = found.trace_id.to_bytes(16), found.span_id.to_bytes(8)
    return TraceContext(trace_id, span_id, found.trace_flags & _KNOWN_FLAGS, state).encoded
