"""A window of bytes: never exceeded, and first come, first served."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from trionet.protocols.link.windows import ByteWindow

_SIZES = st.integers(min_value=1, max_value=100)
_SHARES = st.floats(min_value=0, max_value=1)
_STEPS = st.lists(st.tuples(st.sampled_from(["request", "request", "release", "withdraw"]), _SHARES), max_size=60)


class Item:
    """A request for bytes of a window."""

    def __init__(self, count: int) -> None:
        self.count = count


class Model:
    """The rules, written down as a list of those who wait and a list of those who hold bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.waiting: deque[Item] = deque()
        self.holding: list[Item] = []

    @property
    def free(self) -> int:
        return self.size - sum(item.count for item in self.holding)

    def grant(self) -> list[Item]:
        """Grant requests in their order, until one has no room."""
        granted = []
        while self.waiting and self.waiting[0].count <= self.free:
            item = self.waiting.popleft()
            self.holding.append(item)
            granted.append(item)
        return granted


@given(_SIZES, _STEPS)
def test_a_window_is_never_exceeded_and_serves_in_order(size: int, steps: list[tuple[str, float]]) -> None:
    window, model = ByteWindow[Item](size), Model(size)
    for kind, share in steps:
        if kind == "request":
            item = Item(max(1, round(share * size)))
            is_free = window.is_free(item.count)
            model.waiting.append(item)
            granted = [item] if window.request(item.count, item) else []
            assert is_free == bool(granted)
        elif kind == "release" and model.holding:
            item = model.holding.pop(int(share * len(model.holding)) % len(model.holding))
            granted = window.release(item.count)
        elif kind == "withdraw" and model.waiting:
            item = model.waiting[int(share * len(model.waiting)) % len(model.waiting)]
            model.waiting.remove(item)
            granted = window.withdraw(item)
        else:
            continue
        assert granted == model.grant()
        assert model.free >= 0
    while model.holding:  # everything is released, and so everyone is served
        assert window.release(model.holding.pop(0).count) == model.grant()
    assert not model.waiting
    assert window.is_free(size)


def test_free_bytes_are_granted_at_once() -> None:
    window = ByteWindow[str](10)
    assert window.request(4, "one")
    assert window.request(6, "other")
    assert not window.request(1, "third")


def test_a_large_request_that_waits_is_not_overtaken_by_a_small_one() -> None:
    window = ByteWindow[str](10)
    assert window.request(7, "first")
    assert not window.request(10, "large")
    assert not window.is_free(1)  # although three bytes are
    assert not window.request(1, "small")
    assert window.release(7) == ["large"]
    assert window.release(10) == ["small"]


def test_when_the_longest_waiting_request_is_withdrawn_those_behind_it_are_granted() -> None:
    window = ByteWindow[str](10)
    assert window.request(5, "first")
    for count, item in ((10, "large"), (2, "two"), (3, "three"), (1, "one")):
        assert not window.request(count, item)
    assert window.withdraw("large") == ["two", "three"]
    assert window.release(10) == ["one"]
    assert window.release(1) == []
    assert window.request(10, "all of it")  # nothing is held for the withdrawn one


def test_a_request_behind_others_is_withdrawn_without_any_effect_on_them() -> None:
    window = ByteWindow[str](10)
    assert window.request(10, "first")
    for item in ("second", "third", "fourth"):
        assert not window.request(5, item)
    assert window.withdraw("third") == []
    assert window.release(10) == ["second", "fourth"]


def test_the_window_of_a_closed_link_returns_all_that_wait() -> None:
    window = ByteWindow[str](10)
    assert window.request(10, "first")
    for count, item in ((10, "large"), (1, "small"), (5, "third")):
        assert not window.request(count, item)
    assert window.clear() == ["large", "small", "third"]
    assert window.clear() == []
    assert window.release(10) == []


def test_a_peer_that_releases_too_much_widens_no_window() -> None:
    window = ByteWindow[str](10)
    assert window.request(2, "first")
    assert window.release(1_000_000) == []
    assert window.request(10, "second")
    assert not window.request(1, "third")
