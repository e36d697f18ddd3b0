"""The trace context: its two forms, and what is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.trace_context import (
    MAX_BYTES,
    MAX_STATE_CHARS,
    TraceContext,
    parsed_state,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_traceparent_is_read_and_written() -> None:
    context = TraceContext.from_headers([VALID], ["vendor=1, other=a b "])
    assert context is not None
    assert context.trace_id.hex() == TRACE
    assert context.span_id.hex() == SPAN
    assert context.is_sampled
    assert context.state == "vendor=1,other=a b"
    assert context.traceparent == VALID
    assert context.encoded == bytes.fromhex(TRACE + SPAN + "01") + b"vendor=1,other=a b"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        VALID + "-",  # version 00 ends here
        VALID + "-more",
        VALID + "0",
        VALID[:-1],
        VALID.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-0x",
        f"cc-{TRACE}-{SPAN}-01x",  # a later version may go on, after a hyphen
        f"{VALID}, {VALID}",
        f"\uff10\uff10-{TRACE}-{SPAN}-01",
        VALID + "\n",
    ],
)
def test_a_malformed_traceparent_is_no_context(parent: str) -> None:
    assert TraceContext.from_headers([parent], ["a=1"]) is None


@pytest.mark.parametrize("parent", [f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what-comes", f" {VALID}\t"])
def test_a_later_version_is_read_as_far_as_it_is_known_and_sent_as_version_00(parent: str) -> None:
    context = TraceContext.from_headers([parent])
    assert context is not None
    assert context.traceparent == VALID


def test_none_and_two_traceparents_are_no_context() -> None:
    assert TraceContext.from_headers([]) is None
    assert TraceContext.from_headers([VALID, VALID]) is None


@pytest.mark.parametrize(("flags", "sent"), [("00", "00"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")])
def test_unknown_flags_are_sent_as_zero(flags: str, sent: str) -> None:
    context = TraceContext.from_headers([VALID[:-2] + flags])
    assert context is not None
    assert context.traceparent[-2:] == sent
    assert context.is_sampled == (sent in {"01", "03"})


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1=2",
        "a =1",
        "a=1,b",
        "a=1,a=2",
        "a=\u00e9",
        "a=\x7f",
        f"{'k' * 257}=1",
        f"a={'v' * 257}",
        ",".join(f"k{number}=1" for number in range(33)),
    ],
)
def test_a_malformed_tracestate_is_left_out_whole_and_its_traceparent_is_not(state: str) -> None:
    context = TraceContext.from_headers([VALID], [state])
    assert context is not None
    assert context.state == ""


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        (["a=1", "b=2"], "a=1,b=2"),
        (["", "a=1,,\t b=2 ,"], "a=1,b=2"),
        (["0tenant@vendor=1"], "0tenant@vendor=1"),
        (["a= 1 x"], "a= 1 x"),
        ([f"{'k' * 200}=1"], f"{'k' * 200}=1"),
    ],
)
def test_tracestate_is_one_list_over_all_headers(headers: list[str], state: str) -> None:
    assert parsed_state(headers) == state


def test_of_a_long_tracestate_long_members_go_first_and_then_the_last_ones() -> None:
    short = [f"k{number:02}={'v' * 26}" for number in range(16)]  # 30 characters each
    long = f"long={'v' * 124}"
    assert parsed_state([",".join([long, *short])]) == ",".join(short)
    many = [f"k{number:02}={'v' * 26}" for number in range(20)]
    assert parsed_state([",".join(many)]) == ",".join(many[:16])
    assert len(",".join(many[:17])) > MAX_STATE_CHARS


KEYS = st.from_regex(r"\A[a-z0-9][a-z0-9_\-*/@]{0,60}\Z")
VALUES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",="), min_size=1, max_size=200
)
STATES = st.dictionaries(KEYS, VALUES, max_size=32)


@given(STATES)
def test_a_valid_tracestate_keeps_whole_members_in_order_within_the_limit(members: dict[str, str]) -> None:
    given_members = [f"{key}={value}" for key, value in members.items()]
    state = parsed_state([",".join(given_members)])
    kept = state.split(",") if state else []
    assert len(state) <= MAX_STATE_CHARS
    rest = iter(given_members)
    assert all(member in rest for member in kept)  # in this order
    if len(",".join(given_members)) <= MAX_STATE_CHARS:
        assert kept == given_members


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 3), STATES)
def test_both_forms_keep_a_context(trace_id: bytes, span_id: bytes, flags: int, members: dict[str, str]) -> None:
    state = parsed_state([f"{key}={value}" for key, value in members.items()])
    context = TraceContext(trace_id, span_id, flags, state)
    is_valid = any(trace_id) and any(span_id)
    assert TraceContext.decoded(context.encoded) == (context if is_valid else None)
    assert TraceContext.from_headers([context.traceparent], [state]) == (context if is_valid else None)
    assert len(context.encoded) <= MAX_BYTES


@given(st.binary(max_size=600))
def test_bytes_of_a_stranger_are_a_valid_context_or_none(data: bytes) -> None:
    context = TraceContext.decoded(data)
    if context is not None:
        assert TraceContext.decoded(context.encoded) == context
        assert len(context.encoded) <= MAX_BYTES


@given(st.lists(st.text(max_size=80), max_size=3), st.lists(st.text(max_size=600), max_size=3))
def test_headers_of_a_stranger_are_a_valid_context_or_none(parents: list[str], states: list[str]) -> None:
    context = TraceContext.from_headers([*parents], states)
    assert context is None or TraceContext.decoded(context.encoded) == context
    state = parsed_state(states)
    assert state == parsed_state([state])
