"""What a provider of tracers records in a test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span
    from opentelemetry.sdk.trace.sampling import Sampler

__all__ = ["Recorder", "recording"]


class Recorder(SpanProcessor):
    """Keeps the spans that have begun and ended."""

    def __init__(self) -> None:
        self.begun: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note a span that begins."""
        self.begun.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Note a span that ends."""
        self.ended.append(span)

    async def all_ended(self) -> list[ReadableSpan]:
        """Wait until each span that has begun has ended, and return them, in the order of their begin."""
        await wait_until(lambda: len(self.begun) == len(self.ended))
        return self.begun

    def named(self, name: str, kind: trace.SpanKind | None = None) -> list[ReadableSpan]:
        """Return the spans of a name, and of a kind."""
        return [span for span in self.begun if span.name == name and kind in {None, span.kind}]

    def one(self, name: str, kind: trace.SpanKind | None = None) -> ReadableSpan:
        """Return the one span of a name, and of a kind."""
        (span,) = self.named(name, kind)
        return span


@contextmanager
def recording(monkeypatch: pytest.MonkeyPatch, sampler: Sampler | None = None) -> Generator[Recorder]:
    """Set a provider within the block, which the API permits once for a process."""
    recorder = Recorder()
    provider: Any = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    with monkeypatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield recorder
