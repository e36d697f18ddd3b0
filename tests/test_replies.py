import pytest

from trionet import Aggregate, CallTimeout, NodeUnreachable, RemoteError, Replies


def test_both_maps_are_in_sid_order_whatever_order_the_answers_came_in() -> None:
    replies = Replies({"b": 1, "a": 2}, {"d": CallTimeout(), "c": CallTimeout()})
    assert list(replies.values) == ["a", "b"]
    assert list(replies.errors) == ["c", "d"]


def test_raise_errors_raises_a_group_with_one_leaf_for_each_failed_node() -> None:
    unreachable, timeout = NodeUnreachable("gone"), CallTimeout("late")
    replies = Replies({"a": 1}, {"c": timeout, "b": unreachable})
    with pytest.raises(ExceptionGroup, match="2 of 3 nodes failed") as caught:
        replies.raise_errors()
    assert caught.value.exceptions == (unreachable, timeout)


def test_raise_errors_returns_when_no_node_failed() -> None:
    Replies({"a": 1}, {}).raise_errors()
    Replies({}, {}).raise_errors()


def test_replies_with_equal_maps_are_equal() -> None:
    assert Replies({"a": 1}, {"b": CallTimeout("late")}) == Replies({"a": 1}, {"b": CallTimeout("late")})
    assert Replies({"a": 1}, {}) != Replies({"a": 2}, {})
    assert Replies({}, {"b": CallTimeout("late")}) != Replies({}, {"b": NodeUnreachable("late")})
    assert Replies({}, {}) != ({}, {})


def test_an_aggregate_has_a_value_besides_the_maps() -> None:
    total = Aggregate(3, {"b": 1, "a": 2}, {"c": RemoteError("broken")})
    assert total.value == 3
    assert list(total.values) == ["a", "b"]
    assert total != Aggregate(4, total.values, total.errors)
    assert total != Replies(total.values, total.errors)
    assert Replies(total.values, total.errors) != total


def test_replies_show_what_they_hold() -> None:
    assert (
        repr(Replies({"a": 1}, {"b": CallTimeout("late")}))
        == "Replies(values={'a': 1}, errors={'b': CallTimeout('late')})"
    )
    assert repr(Aggregate(1, {"a": 1}, {})) == "Aggregate(value=1, values={'a': 1}, errors={})"


def test_replies_cannot_be_hashed_because_their_maps_can_change() -> None:
    with pytest.raises(TypeError):
        hash(Replies({}, {}))
