"""A token gains nothing by a detour: the destinations in the arguments of forwarding methods are found."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trionet.detours import destinations
from trionet.message import Call, Remote

STOP = ("status", "stop")
LEAVES = st.none() | st.integers() | st.text(max_size=4)


def wrapped(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values with one more layer around."""
    return st.one_of(
        st.tuples(LEAVES, inner),
        st.builds(lambda before, value: [*before, value], st.lists(LEAVES, max_size=2), inner),
        st.builds(
            lambda others, value: {**others, "args": value},
            st.dictionaries(st.text(max_size=3), LEAVES, max_size=2),
            inner,
        ),
    )


HIDDEN = st.recursive(
    st.sampled_from(
        [
            Remote(service="status", method="stop"),
            {"service": "status", "method": "stop"},
            {"service": "status", "method": "stop", "gid": "all", "node": None},
        ]
    ),
    wrapped,
    max_leaves=6,
)


@given(hidden=HIDDEN, service=st.sampled_from(["comm", "gossip"]), by_name=st.booleans())
def test_a_destination_is_found_at_any_depth(hidden: Any, service: str, by_name: bool) -> None:
    given = {"kwargs": {"remote": hidden}} if by_name else {"args": [1, hidden]}
    call = Call(gid="all", service=service, method="send", **given)
    assert STOP in set(destinations(call))


@given(hidden=HIDDEN)
def test_the_arguments_of_other_services_are_data(hidden: Any) -> None:
    assert list(destinations(Call(gid="local", service="counter", method="put", args=[hidden]))) == []


def test_what_can_be_no_destination_is_none() -> None:
    args = [{"service": "status"}, {"method": "stop"}, {"service": 1, "method": []}, {1: 2}, "status/stop", {"a"}]
    assert list(destinations(Call(gid="local", service="comm", method="send", args=args))) == []
