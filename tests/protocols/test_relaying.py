"""How members are divided, and named in a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet import MalformedRequest, NodeAddress
from trionet.protocols.relaying import RelayedCall, arity_of, packed_members, runs_of, unpacked_members

PORTS = st.integers(0, 65_535)
HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda ip: ip.exploded),
    st.sampled_from(
        ["localhost", "127.1", "0127.0.0.1", "::FFFF:1.2.3.4", "fe80::1%eth0", "straße.example", "a" * 253]
    ),
)


@given(st.lists(st.builds(NodeAddress, HOSTS, PORTS)))
def test_addresses_survive_a_message_as_they_were_written(members: list[NodeAddress]) -> None:
    assert unpacked_members(packed_members(members)) == members


def test_an_address_takes_seven_bytes() -> None:
    assert len(packed_members([NodeAddress("10.0.0.1", 8000 + index) for index in range(100)])) == 700


@given(st.binary(max_size=60))
def test_any_bytes_are_addresses_or_refused(data: bytes) -> None:
    try:
        members = unpacked_members(data)
    except MalformedRequest:
        return
    assert unpacked_members(packed_members(members)) == members


@pytest.mark.parametrize("value", [None, [], "127.0.0.1:1", b"\x00", b"\x02", b"\x02\xff", b"\x03aaaaaaaa"])
def test_what_is_no_list_of_addresses_is_refused(value: object) -> None:
    with pytest.raises(MalformedRequest):
        unpacked_members(value)


@given(st.integers(0, 3000), st.integers(1, 100))
def test_runs_have_all_members_once_and_equal_lengths(members: int, arity: int) -> None:
    runs = runs_of(members, arity)
    assert [place for begin, end in runs for place in range(begin, end)] == list(range(members))
    assert len(runs) == min(members, arity)
    lengths = {end - begin for begin, end in runs}
    assert not lengths or max(lengths) - min(lengths) <= 1
    assert 0 not in lengths


@given(st.integers(1, 2000), st.integers(1, 50))
def test_a_tree_reaches_each_member_once(members: int, arity: int) -> None:
    reached: list[int] = []
    pending = [(0, members)]
    levels = 0
    while pending:
        levels += 1
        below = []
        for first, count in pending:
            for begin, end in runs_of(count, arity):
                reached.append(first + begin)
                if end - begin > 1:
                    below.append((first + begin + 1, end - begin - 1))
        pending = below
    assert sorted(reached) == list(range(members))


@given(st.integers(0, 1_000_000))
def test_two_levels_are_enough_with_the_arity_of_a_caller(members: int) -> None:
    arity = arity_of(members)
    assert arity >= 8
    assert all(end - begin - 1 <= arity for begin, end in runs_of(members, arity))


@pytest.mark.parametrize("plain", [None, [], ["a"] * 11, [1] * 11, {"gid": "local"}])
def test_what_is_no_relayed_call_is_refused(plain: object) -> None:
    with pytest.raises(MalformedRequest):
        RelayedCall.of(plain)


def test_a_relayed_call_survives_a_message() -> None:
    call = RelayedCall("local", "shop", "sell", b"\x90", None, [b"x"], "id", "127.0.0.1:1", "parent", b"", is_json=True)
    assert RelayedCall.of(call.plain()) == call
    assert RelayedCall.of([*call.plain(), "a field of a later version"]) == call
