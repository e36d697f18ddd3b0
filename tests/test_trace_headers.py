"""Trace contexts: bytes and headers of each other, and what strangers may write in both."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.trace_context import TraceContext
from trionet.trace_headers import MAX_STATE_BYTES, NO_TRACE, trace_from_headers, trace_to_headers, valid_trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"
BARE = bytes.fromhex(TRACE + SPAN + "01")


def test_the_headers_of_a_request_are_25_bytes_and_the_state() -> None:
    assert trace_from_headers(VALID) == BARE
    assert trace_from_headers(VALID, "congo=t61,rojo=00f") == BARE + b"congo=t61,rojo=00f"
    assert trace_to_headers(BARE + b"congo=1") == {"traceparent": VALID, "tracestate": "congo=1"}
    assert trace_to_headers(BARE) == {"traceparent": VALID}


@pytest.mark.parametrize("parent", [None, "", "junk", f"{VALID},{VALID}"])
def test_an_invalid_header_is_no_trace_context(parent: str | None) -> None:
    assert trace_from_headers(parent, "congo=1") == NO_TRACE


@pytest.mark.parametrize("state", ["", " ", f"a={'1' * MAX_STATE_BYTES}", "a=1\r\nHost: evil", "\u00e4=1", "\x00"])
def test_an_invalid_state_is_left_out(state: str) -> None:
    assert trace_from_headers(VALID, state) == BARE


@given(st.one_of(st.binary(max_size=60), st.builds(bytes.__add__, st.just(BARE), st.binary(max_size=600))))
def test_whatever_the_bytes_the_headers_are_one_line_each_and_give_the_same_context(trace: bytes) -> None:
    headers = trace_to_headers(trace)
    assert all(re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value) for value in headers.values())
    context = TraceContext.decoded(valid_trace(trace))
    if context is None:
        assert headers == {}
    else:
        assert trace_from_headers(headers["traceparent"], headers.get("tracestate")) == context.encoded


@pytest.mark.parametrize("size", [0, 1, 24, 25 + 513, 10_000])
def test_bytes_of_another_size_are_no_trace_context(size: int) -> None:
    assert valid_trace(b"x" * size) == NO_TRACE
