"""A topic is gathered for all viewers together, and only while somebody looks; a viewer is sent what has changed."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio

from trionet import NodeAddress
from trionet.dashboard.channel import MOST_BYTES, Channel
from trionet.dashboard.looked_at import MOST_OF, LookedAt, asked_of, together
from trionet.dashboard.topics import TOPICS, Topic
from trionet.dashboard.viewer import News, Viewer
from trionet.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

ANY = LookedAt(topics=("counted",))


class Counted(Topic):
    """Counts its documents."""

    name: ClassVar[str] = "counted"

    def __init__(self) -> None:
        self.gathered = 0
        self.is_closed = False
        self.make: Callable[[int], dict[str, Any]] = lambda number: {"number": number, "same": "x"}
        self.takes_s = 0.0

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        self.gathered += 1
        await trio.sleep(self.takes_s)
        return self.make(self.gathered)

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        return {sid: document[sid] for sid in looked_at.of} if looked_at.of else document

    def close(self) -> None:
        self.is_closed = True


def events_in(data: bytes) -> list[tuple[str, Any]]:
    """Return the names and data of the events of a stream."""
    found = []
    for text in data.decode().split("\n\n"):
        if text and not text.startswith(":"):
            name, _, line = text.partition("\n")
            found.append((name.removeprefix("event: "), json.loads(line.removeprefix("data: "))))
    return found


class Audience:
    """A channel with viewers."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.topic, self.news = Counted(), News()
        self.channel = Channel(self.topic, self.news.tell, NodeAddress("127.0.0.1", 80))
        nursery.start_soon(self.channel.run)

    def viewer(self, looked_at: LookedAt = ANY) -> Viewer:
        self.channel.add(looked_at)
        return Viewer(looked_at, {"counted": self.channel}, self.news)


async def test_viewers_share_one_gathering_a_second_and_get_patches(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        audience = Audience(nursery)
        streams = [audience.viewer().messages() for _ in range(5)]
        seen: list[list[tuple[str, Any]]] = [[] for _ in streams]

        async def look(place: int) -> None:
            async for message in streams[place]:
                seen[place] += [event for event in events_in(message) if event[0] == "counted"]

        for place in range(5):
            nursery.start_soon(look, place)
        await trio.sleep(10.5)
        assert 10 <= audience.topic.gathered <= 12
        nursery.cancel_scope.cancel()
    for events in seen:
        assert events[0] == ("counted", {"number": 1, "same": "x"})
        assert [event[1] for event in events[1:]] == [{"number": place} for place in range(2, len(events) + 1)]
        assert len(events) >= 10
    assert audience.topic.is_closed


async def test_a_viewer_that_is_late_gets_one_patch_of_all_it_has_missed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        audience = Audience(nursery)
        audience.topic.make = lambda number: {
            str(place): place for place in range(min(number, 50), min(number, 50) + 3)
        }
        async with aclosing(audience.viewer().messages()) as messages:
            received = [*events_in(await anext(messages)), *events_in(await anext(messages))]
            assert ("counted", {"1": 1, "2": 2, "3": 3}) in received
            await trio.sleep(100)  # it reads nothing
            assert events_in(await anext(messages)) == [
                ("counted", {"1": None, "2": None, "3": None, "50": 50, "51": 51, "52": 52})
            ]
        nursery.cancel_scope.cancel()


async def test_a_viewer_sees_what_it_looks_at(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        audience = Audience(nursery)
        audience.topic.make = lambda number: {"a": {"n": min(number, 5)}, "b": {"n": 0}}
        viewers = [audience.viewer(LookedAt(topics=("counted",), of=(sid,))) for sid in "ab"]
        async with aclosing(viewers[0].messages()) as of_a, aclosing(viewers[1].messages()) as of_b:
            await trio.sleep(0.5)
            assert ("counted", {"a": {"n": 1}}) in events_in(await anext(of_a))
            assert ("counted", {"b": {"n": 0}}) in events_in(await anext(of_b))
            await trio.sleep(10)
            assert events_in(await anext(of_a)) == [("counted", {"a": {"n": 5}})]
            assert events_in(await anext(of_b)) == []  # nothing has changed for it
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("why", "error"),
    [("slow", "longer than 1 s"), ("failing", "RuntimeError: no cluster"), ("large", "more than"), ("odd", "can't be")],
)
async def test_a_topic_that_cannot_be_gathered_is_told_and_comes_back(
    why: str, error: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        audience = Audience(nursery)
        messages = audience.viewer().messages()
        await anext(messages)
        good = audience.topic.make

        def fail(number: int) -> dict[str, Any]:
            if why == "failing":
                raise RuntimeError("no cluster")
            return {"large": "x" * MOST_BYTES} if why == "large" else {"odd": object()} if why == "odd" else {}

        audience.topic.make = good if why == "slow" else fail
        audience.topic.takes_s = 1.5 if why == "slow" else 0.0
        found = ""
        while error not in found:
            found = "".join(
                data["errors"].get("counted") or "" for name, data in events_in(await anext(messages)) if name == "feed"
            )
        audience.topic.make, audience.topic.takes_s = good, 0.0
        names = dict[str, Any]()
        while names.get("feed") != {"errors": {"counted": None}}:
            names |= dict(events_in(await anext(messages)))
        await messages.aclose()
        nursery.cancel_scope.cancel()


async def test_a_quiet_stream_has_a_comment_now_and_then_and_ends_with_the_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        audience = Audience(nursery)
        audience.topic.make = lambda _: {"same": 1}
        messages = audience.viewer().messages()
        begun = trio.current_time()
        found = [await anext(messages) for _ in range(4)]
        assert [message.startswith(b":") for message in found[-2:]] == [True, True]
        assert trio.current_time() - begun < 40
        audience.news.close()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"topics": ""},
        {"topics": "cluster,nothing"},
        {"topics": "details", "of": "xyz"},
        {"topics": "details", "of": ",".join(f"{number:010x}" for number in range(MOST_OF + 1))},
        {"topics": "node", "node": "../../etc"},
        {"topics": "cluster", "rumor": "no colon"},
        {"topics": "cluster", "rumor": "g:" + "x" * 1000},
    ],
)
def test_a_query_that_names_nothing_or_too_much_is_malformed(query: dict[str, str]) -> None:
    with pytest.raises(MalformedRequest):
        asked_of(query, TOPICS)


def test_what_all_look_at_is_bounded_and_each_thing_once() -> None:
    asked = [
        asked_of({"topics": "details", "of": ",".join(f"{n + 60 * v:010x}" for n in range(64))}, TOPICS)
        for v in range(9)
    ]
    assert len(set(together(asked).of)) == len(together(asked).of) == 256
