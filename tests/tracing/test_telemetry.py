"""OpenTelemetry's API: found where it is installed, and what spans state of outcomes."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from opentelemetry import trace

from tests.node_processes import ROOT, clean_environment
from tests.tracing.recorded import recording
from trionet import (
    CallTimeout,
    ConnectionLost,
    MethodNotFound,
    NotPermitted,
    PreconditionFailed,
    RemoteError,
    open_node,
)
from trionet.prepared_call import HandlerCancelled
from trionet.tracing.outcomes import is_failure, status_code
from trionet.tracing.telemetry import Telemetry, find_telemetry, running_trace

if TYPE_CHECKING:
    from collections.abc import Generator

_NODE = """
import sys, trio, trionet
async def main(node):
    await node.all.gossip.at(60, lambda: None)
    await node.all.status.get("sid")
trionet.run(main)
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
_NAMED = """
import sys, trionet
async def main(node):
    assert node.local.comm.active_spans is not None
trionet.run(main)
"""


@pytest.fixture
def without_api(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """The API isn't installed."""
    find_telemetry.cache_clear()
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    yield
    find_telemetry.cache_clear()


def test_a_node_does_not_import_opentelemetry() -> None:
    subprocess.run([sys.executable, "-c", _NODE], cwd=ROOT, env=clean_environment(), check=True, timeout=60)


def test_a_provider_that_the_environment_names_is_there_once_a_node_is() -> None:
    environment = clean_environment() | {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}
    subprocess.run([sys.executable, "-c", _NAMED], cwd=ROOT, env=environment, check=True, timeout=60)


@pytest.mark.usefixtures("without_api")
async def test_a_node_where_it_is_not_installed_has_no_spans_to_check_for() -> None:
    async with open_node() as node:
        assert node.local.comm.spans is None
        assert node._router.tracing is None  # noqa: SLF001
        assert await node.all.status.get("sid")


async def test_a_provider_that_comes_later_is_found_and_one_that_goes_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node() as node:
        await node.all.status.get("sid")
        with recording(monkeypatch) as first:
            await node.all.status.get("sid")
        await node.all.status.get("sid")
        with recording(monkeypatch) as second:
            await node.all.status.get("sid")
    for recorder in (first, second):
        assert [span.name for span in recorder.begun] == ["fan_out status/get", "status/get", "status/get"]
        assert len(recorder.ended) == 3
    assert running_trace() == b""


def test_a_later_version_of_the_api_may_hide_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = trace.ProxyTracerProvider()
    stub: Any = SimpleNamespace(get_tracer_provider=lambda: found, ProxyTracerProvider=trace.ProxyTracerProvider)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", stub)
    telemetry = Telemetry()
    assert telemetry.provider() is None
    found = trace.NoOpTracerProvider()
    assert telemetry.provider() is found


def test_an_api_that_another_thread_is_importing_has_no_provider_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", SimpleNamespace())
    assert Telemetry().provider() is None


async def test_a_provider_that_records_nothing_passes_the_context_on(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = find_telemetry()
    assert telemetry is not None
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    context = bytes(range(1, 25)) + b"\1a=1"
    span = telemetry.start("x", telemetry.kinds.SERVER, {}, within=telemetry.beneath(context))
    assert telemetry.encoded(span) == context
    outside = telemetry.start("x", telemetry.kinds.CLIENT, {})
    assert telemetry.encoded(outside) == b""
    async with open_node() as node:
        assert (await node.all.status.get("sid")).errors == {}


async def _cancelled(*, by_deadline: bool) -> BaseException:
    """Return the exception with which Trio cancels a task."""
    with trio.CancelScope() as scope:
        if by_deadline:
            scope.deadline = trio.current_time() - 1
        else:
            scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            found = exc
            raise
    return found


async def test_the_outcome_of_a_call_by_its_exception() -> None:
    definite = [MethodNotFound("x"), NotPermitted("x"), PreconditionFailed("x")]
    indefinite = [RemoteError("x"), ConnectionLost("x"), CallTimeout("x")]
    assert status_code(None) == "OK"
    for exc in (*definite, *indefinite):
        assert status_code(exc) == type(exc).__name__
        assert is_failure(exc, is_server=False)
        assert is_failure(exc, is_server=True) == (exc in indefinite)
    for cancelled in (HandlerCancelled(), await _cancelled(by_deadline=False)):
        assert status_code(cancelled) == "Cancelled"
        assert not is_failure(cancelled, is_server=False)
    late = await _cancelled(by_deadline=True)
    assert status_code(late) == "CallTimeout"
    assert is_failure(late, is_server=False)
    assert is_failure(KeyError("x"), is_server=True)
