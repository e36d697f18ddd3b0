"""Push along a tree."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.gossip_meshes import Mesh
from trionet.protocols.effects import Send
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import Rumor
from trionet.protocols.group_members import GroupMembers, OrderedNames
from trionet.protocols.push import RandomPush
from trionet.protocols.tree_push import FAN_OUT, TreePush, share_step

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = st.lists(st.text("abc:01", min_size=1, max_size=4), min_size=1, max_size=120, unique=True)


def _rumors(effects: Sequence[object]) -> dict[str, Rumor]:
    sent = [one for one in effects if isinstance(one, Send) and isinstance(one.message, Rumor)]
    return {one.to: one.message for one in sent if isinstance(one.message, Rumor)}


def _copies(names: list[str], origin: str, views: dict[str, GroupMembers], seed: int) -> list[str]:
    """Return who gets copies of one rumor, in some order, and how often."""
    push, at_origin = TreePush(), GroupMembers(origin, tuple(names), Random(seed))
    first = push.begin(at_origin, 0.0)
    waiting = [(to, share, 1) for to, share in zip(first.targets, first.shares, strict=True)]
    found: list[str] = []
    while waiting:
        name, share, hops = waiting.pop()
        found.append(name)
        step = share_step(views[name], name, share, hops)
        assert len(step.targets) <= FAN_OUT
        waiting += [(to, last, step.hops) for to, last in zip(step.targets, step.shares, strict=True)]
    return found


@given(_NAMES, st.integers(0, 9), st.booleans())
def test_each_other_member_gets_one_copy(names: list[str], seed: int, is_member: bool) -> None:
    origin = names[0] if is_member else "z"
    views = {name: GroupMembers(name, tuple(names), Random(seed)) for name in names}
    copies = _copies(names, origin, views, seed)
    others = sorted(set(names) - {origin})
    extra = 1 if origin in copies else 0  # a share may go round past the origin
    assert sorted(set(copies) - {origin}) == others
    assert len(copies) == len(others) + extra


@given(_NAMES, st.data())
def test_a_rumor_ends_though_each_member_knows_others(names: list[str], data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(names), unique=True).map(tuple)
    views = {name: GroupMembers(name, data.draw(some), Random(1)) for name in names}
    copies = _copies(names, "z", views, 1)
    assert len(copies) <= 2 * len(names)


@given(_NAMES, st.lists(st.tuples(st.booleans(), st.text("abc:01", min_size=1, max_size=4)), max_size=30))
def test_the_members_stay_in_order_whatever_changes(names: list[str], changes: list[tuple[bool, str]]) -> None:
    members, expected = GroupMembers("me", tuple(names), Random(1)), set(names)
    for is_added, name in changes:
        members.change([name] if is_added else [], [] if is_added else [name])
        (expected.add if is_added else expected.discard)(name)
        assert list(members.ordered()) == sorted(expected)
        assert (name in members) == is_added
    for after, last in [("a", "c"), ("c", "a"), ("b", "b")]:
        inside = [name for name in expected if (after < name <= last if after < last else name > after or name <= last)]
        assert sorted(members.between(after, last)) == sorted(inside)


def test_a_copy_without_a_share_goes_on_to_random_members() -> None:
    members, push = GroupMembers("n0", tuple(f"n{number}" for number in range(100)), Random(1)), TreePush()
    push.adjust(members)
    step = push.step(members, "n7", 1, 0.0)
    assert len(step.targets) == 3
    assert not step.shares


def _core(name: str = "n00") -> GossipProtocol:
    core = GossipProtocol(name, Random(1))
    core.set_group("g", [f"n{number:02}" for number in range(20)], now=0.0)
    return core


def _rumor(share: str) -> Rumor:
    return Rumor("g", bytes(12), "n19", 5, 1, b"news", share)


def test_a_share_that_comes_after_a_pulled_copy_is_served_once() -> None:
    core = _core()
    assert all(not rumor.share for rumor in _rumors(core.receive("n09", _rumor(""), 1.0)).values())
    late = _rumors(core.receive("n19", _rumor("n05"), 1.1))
    assert {name: rumor.share for name, rumor in late.items()} == {f"n0{n}": f"n0{n}" for n in range(1, 6)}
    assert core.receive("n19", _rumor("n05"), 1.2) == []


def test_the_last_member_of_a_share_sends_no_copy() -> None:
    assert _rumors(_core().receive("n19", _rumor("n00"), 1.0)) == {}


def test_the_share_of_an_unreachable_member_is_divided_again() -> None:
    core = _core("n19")
    rumors = _rumors(core.send("g", b"news", 1.0).effects)
    to, rumor = next((to, rumor) for to, rumor in rumors.items() if rumor.share != to)
    again = _rumors(core.delivering.share_again(rumor, to, 1.1))
    assert to not in again
    assert rumor.share in again
    assert all(one.id == rumor.id for one in again.values())


def test_without_loss_a_hundred_members_get_hardly_more_than_one_copy_each() -> None:
    mesh = Mesh(1, 100)
    rumor = mesh.send("n0")
    mesh.run(5.0)
    assert mesh.who(rumor) == mesh.live()
    assert mesh.total("duplicates") <= 30, "those that were announced sooner than they came"


def test_nodes_whose_pushes_differ_reach_all() -> None:
    mesh = Mesh(3, 40)
    for name in mesh.names[::2]:
        mesh.cores[name].set_group("g", mesh.names, now=0.0, push=RandomPush(2))
    for sender in mesh.names[:2]:
        rumor = mesh.send(sender)
        mesh.run(5.0)
        assert mesh.who(rumor) == mesh.live()


@given(_NAMES)
def test_names_that_many_nodes_share_are_the_same_object_after_a_rumor(names: list[str]) -> None:
    shared = OrderedNames([*names, *names])
    assert list(shared) == sorted(names)
    views = {name: GroupMembers(name, shared, Random(1)) for name in names}
    _copies(names, names[0], views, 1)
    assert all(view.ordered() is shared is view.names for view in views.values())
