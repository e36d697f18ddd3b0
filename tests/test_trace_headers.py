"""Trace contexts: bytes and headers of each other, and what strangers may write in both."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.trace_headers import (
    MAX_STATE_BYTES,
    NO_TRACE,
    TRACE_BYTES,
    trace_from_headers,
    trace_to_headers,
    valid_trace,
)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BARE = bytes.fromhex("0af7651916cd43dd8448eb211c80319cb7ad6b716920333101")

_traces = st.builds(bytes.__add__, st.binary(min_size=TRACE_BYTES, max_size=TRACE_BYTES), st.binary(max_size=600))


def test_the_headers_of_the_specification_are_25_bytes_and_the_state() -> None:
    assert trace_from_headers(PARENT) == BARE
    assert trace_from_headers(PARENT, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7") == (
        BARE + b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    )
    assert trace_to_headers(BARE + b"congo=1") == {"traceparent": PARENT, "tracestate": "congo=1"}
    assert trace_to_headers(BARE) == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "junk",
        PARENT.upper(),
        PARENT + "-more",
        PARENT + "\n",
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        PARENT[:-1],
        f"{PARENT},{PARENT}",
    ],
)
def test_an_invalid_header_is_no_trace_context(parent: str | None) -> None:
    assert trace_from_headers(parent, "congo=1") == NO_TRACE


def test_a_later_version_may_have_more_fields() -> None:
    assert trace_from_headers("01" + PARENT[2:] + "-more") == BARE


@pytest.mark.parametrize("state", ["", " ", "a" * (MAX_STATE_BYTES + 1), "a=1\r\nHost: evil", "ä=1", "\x00"])
def test_an_invalid_state_is_left_out(state: str) -> None:
    assert trace_from_headers(PARENT, state) == BARE


@given(trace=st.one_of(st.binary(max_size=60), _traces))
def test_whatever_the_bytes_the_headers_are_one_line_each_and_give_the_same_ids(trace: bytes) -> None:
    headers = trace_to_headers(trace)
    assert all(re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value) for value in headers.values())
    if not valid_trace(trace):
        assert headers == {}
    elif trace[:16].strip(b"\0") and trace[16:24].strip(b"\0"):
        back = trace_from_headers(headers["traceparent"], headers.get("tracestate"))
        assert back == (trace if "tracestate" in headers else trace[:TRACE_BYTES])


@given(parent=st.text(max_size=80), state=st.text(max_size=600))
def test_no_header_raises(parent: str, state: str) -> None:
    for one in (parent, PARENT):
        trace = trace_from_headers(one, state)
        assert trace == valid_trace(trace)


@pytest.mark.parametrize("size", [0, 1, 24, 25 + 513, 10_000])
def test_bytes_of_another_size_are_no_trace_context(size: int) -> None:
    assert valid_trace(bytes(size)) == NO_TRACE
