"""What a node holds follows the entries of its groups, in whichever order entries and members come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet import Abort, Event, GroupNotFound, MalformedRequest, NodeAddress, ServiceFailed, TrionetError
from trionet.protocols.entries import Entry, EntryChanged, EntryConflict, EntryMap
from trionet.services.kept import Kept
from trionet.services.replicated import decode_entry, encode_entry

if TYPE_CHECKING:
    from collections.abc import Callable

OWN, WRITER = NodeAddress("127.0.0.1", 1), "127.0.0.1:2"
GIDS, NAMES = ("one", "two"), ("tea", "coffee")


class Memberships:
    """The groups of the node, of which only the node's own membership counts."""

    def __init__(self) -> None:
        self.gids: set[str] = set()

    def has(self, gid: str, node: NodeAddress) -> bool:
        return node == OWN and gid in self.gids

    def size(self, gid: str) -> int:
        return 1


class Maps:
    """The replicated maps of the node."""

    is_active = True

    def __init__(self) -> None:
        self.maps: dict[str, EntryMap] = {gid: EntryMap() for gid in GIDS}
        self.handler: Callable[[EntryChanged], None]
        self.conflict_handler: Callable[[EntryConflict], None]
        self.forgotten_handler: Callable[[], None]

    def on(self, prefix: str, handler: Callable[[EntryChanged], None]) -> None:
        self.handler = handler

    def on_conflict(self, prefix: str, handler: Callable[[EntryConflict], None]) -> None:
        self.conflict_handler = handler

    def on_forgotten(self, handler: Callable[[], None]) -> None:
        self.forgotten_handler = handler

    def merge(self, entry: bytes) -> None:
        self.add(decode_entry(entry))

    def add(self, entry: Entry) -> None:
        if entry.gid not in self.maps:
            raise GroupNotFound(entry.gid)
        merged = self.maps[entry.gid].merge(entry)
        if merged.holds:
            self.handler(EntryChanged(entry.gid, entry, merged.before))


class Shelf:
    """A kind of things: texts on a shelf."""

    prefix = "shelf/"

    def __init__(self) -> None:
        self.things: dict[str, tuple[str, bool]] = {}  # with whether they are the node's own
        self.puts: list[str] = []
        self.is_broken = False

    def has_own(self, name: str) -> bool:
        return name in self.things and self.things[name][1]

    def is_put(self, name: str) -> bool:
        return name in self.things and not self.things[name][1]

    def put(self, name: str, value: bytes) -> None:
        if self.is_broken:
            raise MalformedRequest("the shelf is broken")
        self.things[name] = value.decode(), False
        self.puts.append(value.decode())

    def get(self, name: str) -> Any:
        return self.things[name][0]

    def remove(self, name: str) -> None:
        if name in self.things and not self.things[name][1]:
            del self.things[name]

    def drop(self, name: str) -> Any:
        return self.things.pop(name, None) is not None

    def stays(self, name: str) -> Any:
        return name in self.things

    def failed(self, node: NodeAddress, gid: str, name: str, error: TrionetError) -> Event:
        return ServiceFailed(node=node, gid=gid, service=name, error=str(error))


class World:
    """A node with its groups, maps and shelf."""

    def __init__(self, *gids: str) -> None:
        self.groups, self.maps, self.shelf = Memberships(), Maps(), Shelf()
        self.groups.gids.update(gids)
        self.events: list[Event] = []
        self.kept = Kept(OWN, self.groups, self.maps, [self.shelf], self.events.append)  # type: ignore[arg-type]  # fakes

    def join(self, gid: str, *, is_member: bool) -> None:
        (self.groups.gids.add if is_member else self.groups.gids.discard)(gid)
        self.kept.handle_group_changed(gid)

    def shown(self) -> dict[str, str]:
        return {name: value for name, (value, _) in sorted(self.shelf.things.items())}


def _entry(gid: str, name: str, stamp: int, value: str | None) -> Entry:
    data = None if value is None else value.encode()
    return Entry(gid, f"{gid}{name:.2}{stamp:07}".encode(), f"shelf/{name}", stamp, 0, WRITER, data)


def _expected(entries: list[Entry], gids: set[str]) -> dict[str, str]:
    """Return what the node must hold."""
    found = {}
    for name in sorted(NAMES):
        held = []
        for gid in sorted(gids):
            of_key = [entry for entry in entries if entry.gid == gid and entry.key == f"shelf/{name}"]
            held += [max(of_key, key=lambda entry: (entry.stamp, entry.id))] if of_key else []
        live = [entry for entry in held if entry.value is not None]
        if live:
            value = max(live, key=lambda entry: (entry.stamp, entry.id)).value
            assert value is not None
            found[name] = value.decode()
    return found


_entries = st.lists(
    st.tuples(st.sampled_from(GIDS), st.sampled_from(NAMES), st.integers(1, 9), st.booleans()),
    unique_by=lambda one: (one[0], one[1], one[2]),
    max_size=12,
)


@given(
    _entries, st.lists(st.tuples(st.sampled_from(GIDS), st.booleans()), max_size=6), st.randoms(use_true_random=False)
)
def test_whatever_comes_in_whatever_order_and_however_often_the_greatest_entry_of_the_nodes_groups_holds(
    written: list[tuple[str, str, int, bool]], joined: list[tuple[str, bool]], random: Any
) -> None:
    world = World("one")
    entries = [
        _entry(gid, name, stamp, f"{gid} {name} {stamp}" if is_live else None) for gid, name, stamp, is_live in written
    ]
    steps: list[Any] = [*entries, *entries, *joined]
    random.shuffle(steps)
    for step in steps:
        if isinstance(step, Entry):
            world.maps.add(step)
        else:
            world.join(step[0], is_member=step[1])
    assert world.shown() == _expected(entries, world.groups.gids)
    assert world.events == []


async def test_an_entry_is_put_once_however_often_it_is_delivered() -> None:
    world = World("one")
    entry = _entry("one", "tea", 1, "green")
    assert [await world.kept.keep(encode_entry(entry)) for _ in range(3)] == ["green"] * 3
    assert world.shelf.puts == ["green"]


async def test_what_the_node_has_put_itself_yields_to_a_call_alone() -> None:
    world = World("one")
    world.shelf.things["tea"] = "own", True
    entry = _entry("one", "tea", 1, "green")
    world.maps.add(entry)
    assert world.shown() == {"tea": "own"}
    assert await world.kept.keep(encode_entry(entry)) == "green"
    world.shelf.things["tea"] = "own", True
    world.maps.add(_entry("one", "tea", 2, None))
    assert world.shown() == {"tea": "own"}


async def test_a_failure_is_an_event_of_a_delivery_and_the_error_of_a_call() -> None:
    world = World("one")
    world.shelf.is_broken = True
    entry = _entry("one", "tea", 1, "green")
    with pytest.raises(MalformedRequest, match="the shelf is broken"):
        await world.kept.keep(encode_entry(entry))
    assert world.events == []
    world.maps.add(_entry("one", "coffee", 1, "black"))
    assert world.events == [ServiceFailed(node=OWN, gid="one", service="coffee", error="the shelf is broken")]
    world.shelf.is_broken = False
    assert await world.kept.keep(encode_entry(entry)) == "green"


@pytest.mark.parametrize(
    ("gids", "later", "reason"),
    [
        (["one"], ("one", "tea", 5, "black"), "a later change of 'shelf/tea' in the group 'one'"),
        (["one"], ("one", "tea", 5, None), "a later change of 'shelf/tea' in the group 'one'"),
        (["one", "two"], ("two", "tea", 5, "black"), "another group keeps 'shelf/tea'"),
        (["two"], ("two", "coffee", 5, "black"), "no member of the group 'one'"),
    ],
    ids=["replaced", "removed", "another group", "no member"],
)
async def test_a_call_that_changes_nothing_says_why(gids: list[str], later: Any, reason: str) -> None:
    world = World(*gids)
    world.maps.add(_entry(*later))
    with pytest.raises(Abort, match=reason):
        await world.kept.keep(encode_entry(_entry("one", "tea", 1, "green")))


async def test_a_deleted_group_keeps_nothing() -> None:
    world = World("one", "two")
    world.maps.add(_entry("one", "tea", 2, "green"))
    world.maps.add(_entry("two", "tea", 1, "black"))
    assert world.shown() == {"tea": "green"}
    for gid, expected in (("one", {"tea": "black"}), ("two", {})):
        world.groups.gids.discard(gid)
        world.kept.handle_group_removed(gid)
        assert world.shown() == expected
