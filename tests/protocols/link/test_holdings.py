"""The bytes that all links of a node hold together: bounded, and the greediest pays."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.link.holdings import Account, Holding


def test_who_holds_most_of_what_is_incomplete_pays_and_not_who_came_last() -> None:
    account, paid = Account(1_000), list[str]()
    greedy, modest = account.open(lambda _: paid.append("greedy")), account.open(lambda _: paid.append("modest"))
    greedy.change(partial=700)
    modest.change(partial=200, whole=100)
    assert paid == []
    modest.change(partial=1)
    assert paid == ["greedy"]
    assert account.partial_bytes + account.whole_bytes == 301


def test_where_most_of_it_is_complete_messages_who_holds_most_in_all_pays() -> None:
    account, paid = Account(1_000), list[str]()
    greedy, modest = account.open(lambda _: paid.append("greedy")), account.open(lambda _: paid.append("modest"))
    greedy.change(whole=950)
    modest.change(partial=51)
    assert paid == ["greedy"]


def test_the_reason_names_the_setting() -> None:
    reasons = list[str]()
    account = Account(1_000)
    account.open(reasons.append).change(partial=1_001)
    assert reasons == ["the node's links held more than max_held_bytes, 1,000, and this one most of it"]


def _forget(holdings: dict[int, Holding], number: int, _: str) -> None:
    del holdings[number]


_STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["partial", "whole", "close"]), st.integers(-300, 300)), max_size=60
)


@given(_STEPS)
def test_no_more_is_ever_held_than_the_limit_and_the_sums_are_right(steps: list[tuple[int, str, int]]) -> None:
    account = Account(1_000)
    holdings: dict[int, Holding] = {}
    for number, kind, size in steps:
        if number not in holdings:
            holdings[number] = account.open(functools.partial(_forget, holdings, number))
        holding = holdings[number]
        if kind == "close":
            holdings.pop(number).close()
        elif kind == "partial":
            holding.change(partial=max(size, -holding.partial_bytes))
        else:
            holding.change(whole=max(size, -holding.whole_bytes))
        assert account.partial_bytes == sum(each.partial_bytes for each in holdings.values())
        assert account.whole_bytes == sum(each.whole_bytes for each in holdings.values())
        assert account.partial_bytes + account.whole_bytes <= account.limit_bytes


def test_a_closed_holding_holds_nothing_whatever_is_said_of_it_later() -> None:
    account = Account(1_000)
    holding = account.open(lambda _: None)
    holding.change(whole=500)
    holding.close()
    holding.change(whole=-500)
    holding.close()
    assert (account.partial_bytes, account.whole_bytes) == (0, 0)
