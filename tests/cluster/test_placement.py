"""How many nodes each host gets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet import ConfigError
from trionet.cli.cluster.placement import PLACEMENTS, place

NAMES = [f"host{number}" for number in range(8)]
SLOTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 6), min_size=1)


@given(SLOTS, st.none() | st.integers(1, 40), st.sampled_from(PLACEMENTS))
def test_no_host_has_more_nodes_than_slots_and_all_are_placed_or_none(
    slots: dict[str, int], nodes: int | None, placement: str
) -> None:
    room = sum(slots.values()) if placement == "spread" else sum(map(bool, slots.values()))
    if not room or (nodes or 0) > room:
        with pytest.raises(ConfigError):
            place(slots, nodes, placement)
        return
    placed = place(slots, nodes, placement)
    assert list(placed) == list(slots)
    assert sum(placed.values()) == (room if nodes is None else nodes)
    assert all(0 <= placed[name] <= slots[name] for name in slots)


@given(SLOTS, st.integers(1, 40))
def test_spread_differs_by_at_most_one_where_slots_allow(slots: dict[str, int], nodes: int) -> None:
    nodes = min(nodes, sum(slots.values()))
    if not nodes:
        return
    placed = place(slots, nodes, "spread")
    most = max(placed.values())
    assert all(count >= most - 1 or count == slots[name] for name, count in placed.items())


@given(SLOTS, st.integers(1, 40))
def test_of_equal_hosts_the_earlier_ones_get_more(slots: dict[str, int], nodes: int) -> None:
    nodes = min(nodes, sum(slots.values()))
    if not nodes:
        return
    placed = place(slots, nodes, "spread")
    for first, second in pairwise(slots):
        if slots[first] >= slots[second]:
            assert placed[first] >= placed[second]


@given(SLOTS, st.integers(1, 40))
def test_one_node_more_changes_one_host(slots: dict[str, int], nodes: int) -> None:
    if nodes + 1 > sum(slots.values()):
        return
    fewer, more = place(slots, nodes, "spread"), place(slots, nodes + 1, "spread")
    assert sorted(more[name] - fewer[name] for name in slots) == [0] * (len(slots) - 1) + [1]


@given(SLOTS, st.integers(1, 40))
def test_strict_takes_the_first_hosts_that_have_a_slot(slots: dict[str, int], nodes: int) -> None:
    usable = [name for name, count in slots.items() if count]
    nodes = min(nodes, len(usable))
    if nodes:
        assert [name for name, count in place(slots, nodes, "strict").items() if count] == usable[:nodes]


@pytest.mark.parametrize(
    ("slots", "nodes", "placement", "text"),
    [
        (
            {"a": 4, "b": 4},
            12,
            "spread",
            "12 nodes need 12 slots, and the hosts have 8 (a 4, b 4): set nodes to 8 or fewer, or give the "
            "hosts 4 more",
        ),
        (
            {"a": 4, "b": 0, "c": 1},
            3,
            "strict",
            'placement = "strict" puts one node on each host, so 3 nodes need 3 hosts with a slot, and there are 2 '
            '(a, c; without a slot: b): set nodes to 2 or fewer, add 1 host, or use placement = "spread"',
        ),
        ({"a": 0}, None, "spread", "no host has a slot: set slots of one of them to 1 or more"),
        ({"a": 0}, 1, "strict", "no host has a slot: set slots of one of them to 1 or more"),
    ],
)
def test_what_is_missing_is_said(slots: dict[str, int], nodes: int | None, placement: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place(slots, nodes, placement)
    assert caught.value.text == text
