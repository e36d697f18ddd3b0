"""News is sent a bounded number of times, the least sent first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.swim_clusters import alive, stated
from trionet.protocols.dissemination import Dissemination, retransmit_limit
from trionet.protocols.statements import State, encoded_bytes


@pytest.mark.parametrize(
    ("members", "limit"), [(0, 4), (1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (999, 12), (10_000, 20)]
)
def test_the_retransmit_limit_is_logarithmic(members: int, limit: int) -> None:
    assert retransmit_limit(4, members) == limit


@given(st.integers(1, 30), st.integers(1, 400), st.integers(1, 200))
def test_every_statement_is_sent_as_often_as_the_limit(count: int, room: int, members: int) -> None:
    news = Dissemination(4)
    size = encoded_bytes(alive("m10"))
    for number in range(10, 10 + count):
        news.put(alive(f"m{number}"))
    times: dict[str, int] = {}
    while news.items:
        taken = news.next_statements(max(room, size), members)
        assert taken
        assert sum(encoded_bytes(statement) for statement in taken) <= max(room, size)
        for statement in taken:
            times[statement.name] = times.get(statement.name, 0) + 1
        assert max(times.values()) - min(times.get(f"m{n}", 0) for n in range(10, 10 + count)) <= 1, "fewest first"
    assert set(times.values()) == {retransmit_limit(4, members)}
    assert len(times) == count


def test_a_newer_statement_replaces_an_older_one() -> None:
    news = Dissemination(4)
    news.put(alive("x", 1))
    news.next_statements(1000, 10)
    news.put(stated("x", State.SUSPECT, 1))
    news.put(alive("x", 2))
    assert len(news.items) == 1
    assert [statement.incarnation for _ in range(20) for statement in news.next_statements(1000, 10)] == [2] * 8


def test_urgent_news_goes_first_and_news_that_does_not_fit_waits() -> None:
    news = Dissemination(4)
    news.put(alive("a"))
    news.put(alive("b", text="long" * 50))
    news.put(alive("c"), is_urgent=True)
    assert [statement.name for statement in news.next_statements(60, 10)] == ["c", "a"]
    assert [statement.name for statement in news.next_statements(300, 10)] == ["b", "c", "a"]


def test_dropped_news_is_not_sent() -> None:
    news = Dissemination(4)
    news.put(alive("a"))
    news.put(alive("b"))
    news.drop("a")
    news.drop("nobody")
    assert "a" not in news
    assert [statement.name for statement in news.next_statements(1000, 10)] == ["b"]


@pytest.mark.parametrize(("count", "most"), [(64, 12.0), (200, 8.0), (1000, 5.5)])
def test_the_news_of_very_many_new_members_is_sent_less_often(count: int, most: float) -> None:
    news, times = Dissemination(4), dict[str, int]()
    for number in range(count):
        news.put(alive(f"m{number}"), is_new=True)
    while taken := news.next_statements(1400, 999):
        for statement in taken:
            times[statement.name] = times.get(statement.name, 0) + 1
    assert len(times) == count
    assert 4 <= min(times.values()) <= max(times.values()) <= retransmit_limit(4, 999)
    assert sum(times.values()) <= most * count
    assert not news.items
    assert news.new == 0


def test_what_is_no_news_of_a_new_member_is_sent_as_often_as_ever() -> None:
    news = Dissemination(4)
    for number in range(500):
        news.put(alive(f"m{number}"), is_new=True)
    news.put(stated("x", State.SUSPECT), is_urgent=True)
    sent = [statement.name for _ in range(400) for statement in news.next_statements(1400, 999)]
    assert sent.count("x") == retransmit_limit(4, 999)
    assert retransmit_limit(4, 999) > sent.count("m0") >= 4
