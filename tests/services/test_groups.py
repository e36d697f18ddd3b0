import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.samples import COLLIDING, BrokenTemplate, Census
from trionet import GroupContext, GroupNotFound, MalformedRequest, Member, Node, NodeAddress, Remote, SIDCollision
from trionet.services.groups import Groups

StartNode = Callable[..., Awaitable[Node]]

OWN = NodeAddress("127.0.0.1", 8080)
A, B, C = (NodeAddress("127.0.0.1", port) for port in (1, 2, 3))


class Observer:
    """Notes which groups have begun and ended."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def group_added(self, gid: str) -> None:
        self.seen.append(f"+{gid}")

    def group_changed(self, gid: str) -> None:
        pass

    def group_removed(self, gid: str) -> None:
        self.seen.append(f"-{gid}")

    def cluster_members(self) -> list[Member]:
        return []


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def groups(observer: Observer) -> Groups:
    return Groups(OWN, observer)


def _by_sid(*nodes: NodeAddress) -> dict[str, NodeAddress]:
    return {node.sid: node for node in sorted(nodes, key=lambda node: node.sid)}


async def test_all_and_local_hold_the_node_itself(groups: Groups) -> None:
    assert await groups.get("all") == {OWN.sid: OWN}
    assert await groups.get("local") == {OWN.sid: OWN}
    assert groups.gids() == ["all", "local"]


async def test_put_returns_what_was_stored_and_get_returns_it_again(groups: Groups) -> None:
    stored = await groups.put("browncs", [A, B])
    assert stored == await groups.get("browncs") == _by_sid(A, B)
    assert list(stored) == sorted(stored)


async def test_what_get_and_put_and_add_return_is_a_copy(groups: Groups) -> None:
    (await groups.put("browncs", [A])).clear()
    (await groups.get("browncs")).clear()
    (await groups.add("browncs", B)).clear()
    (await groups.rem("browncs", C.sid)).clear()
    assert await groups.get("browncs") == _by_sid(A, B)


async def test_a_group_may_be_put_without_members(groups: Groups) -> None:
    assert await groups.put("empty", []) == {}
    assert await groups.get("empty") == {}


@pytest.mark.parametrize(
    "nodes",
    [
        [A, B],
        (A, B),
        iter([A, B]),
        {"any key": A, 5: B},
        {A.sid: {"ip": "127.0.0.1", "port": 1}, B.sid: "127.0.0.1:2"},
        [A, B, A],
        ["127.0.0.1:1", {"ip": "127.0.0.1", "port": 2}],
    ],
    ids=["list", "tuple", "iterator", "wrong keys", "plain values", "twice", "plain items"],
)
async def test_put_takes_any_iterable_of_addresses_or_mapping_and_computes_the_keys(groups: Groups, nodes: Any) -> None:
    assert await groups.put("browncs", nodes) == _by_sid(A, B)


async def test_put_replaces_a_group(groups: Groups, observer: Observer) -> None:
    await groups.put("browncs", [A, B], subset=2)
    assert groups.subset("browncs") == 2
    assert await groups.put("browncs", [C]) == await groups.get("browncs") == _by_sid(C)
    assert groups.subset("browncs") is None
    assert observer.seen == ["+browncs"]


async def test_nodes_of_a_group_become_known_in_all_and_stay(groups: Groups) -> None:
    await groups.put("browncs", [A])
    assert await groups.get("all") == _by_sid(OWN, A)
    await groups.add("browncs", B)
    assert await groups.get("all") == _by_sid(OWN, A, B)
    await groups.put("browncs", [])
    await groups.del_("browncs")
    assert await groups.get("all") == _by_sid(OWN, A, B)
    assert await groups.get("local") == _by_sid(OWN)


@pytest.mark.parametrize("gid", ["all", "local"])
async def test_all_and_local_cannot_be_put_or_deleted(groups: Groups, gid: str) -> None:
    for change in (groups.put(gid, [A]), groups.del_(gid)):
        with pytest.raises(MalformedRequest, match=gid):
            await change
    assert await groups.get(gid) == _by_sid(OWN)


@pytest.mark.parametrize("gid", ["", "a b", "a/b", "ü", "x" * 129, None, 5], ids=lambda gid: f"{gid!r:.10}")
async def test_a_malformed_gid_is_refused_and_nothing_changes(groups: Groups, gid: Any) -> None:
    for change in (groups.put(gid, [A]), groups.add(gid, A), groups.rem(gid, A.sid), groups.del_(gid)):
        with pytest.raises(MalformedRequest, match="gid"):
            await change
    assert groups.gids() == ["all", "local"]
    assert await groups.get("all") == _by_sid(OWN)


async def test_a_gid_of_one_and_of_128_characters_is_fine(groups: Groups) -> None:
    for gid in ("x", "Az0_-." + 122 * "y"):
        assert await groups.put(gid, [A]) == _by_sid(A)


@pytest.mark.parametrize("nodes", [None, 5, "127.0.0.1:1", [None], [5], ["nonsense"], {"a": "b"}, [A, "127.0.0.1:x"]])
async def test_what_is_no_set_of_addresses_is_refused_and_nothing_changes(groups: Groups, nodes: Any) -> None:
    await groups.put("browncs", [B])
    with pytest.raises(MalformedRequest):
        await groups.put("browncs", nodes)
    assert await groups.get("browncs") == _by_sid(B)
    assert await groups.get("all") == _by_sid(OWN, B)


@pytest.mark.parametrize("subset", [0, 1, 5, len, "math:isqrt", None])
async def test_the_subset_is_kept_with_the_group(groups: Groups, subset: Any) -> None:
    await groups.put("browncs", [A], subset=subset)
    assert groups.subset("browncs") == subset


def _giving(value: Any) -> Callable[[list[str]], Any]:
    return lambda _: value


JUNK = [*map(_giving, ("x", None, True, math.nan)), "x", "3", "os:sep", "no.such.module:function"]


@pytest.mark.parametrize(
    "subset",
    [-1, 1.5, math.nan, True, [3], *JUNK],
)
async def test_any_other_subset_is_refused(groups: Groups, subset: Any) -> None:
    with pytest.raises(MalformedRequest, match="subset"):
        await groups.put("browncs", [A], subset=subset)
    assert groups.gids() == ["all", "local"]


@pytest.mark.parametrize("gid", ["nowhere", "x" * 129, ""])
async def test_an_unknown_group_is_not_found(groups: Groups, gid: str) -> None:
    with pytest.raises(GroupNotFound):
        await groups.get(gid)
    with pytest.raises(GroupNotFound):
        groups.subset(gid)


async def test_add_returns_the_updated_group(groups: Groups) -> None:
    await groups.put("browncs", [A])
    assert await groups.add("browncs", B) == await groups.get("browncs") == _by_sid(A, B)
    assert await groups.add("browncs", B) == _by_sid(A, B)


async def test_a_node_can_be_added_to_all(groups: Groups) -> None:
    assert await groups.add("all", A) == await groups.get("all") == _by_sid(OWN, A)


async def test_nothing_can_be_added_to_local(groups: Groups) -> None:
    with pytest.raises(MalformedRequest, match="local"):
        await groups.add("local", A)
    assert await groups.get("local") == _by_sid(OWN)


async def test_adding_to_a_group_that_is_not_there_changes_nothing(groups: Groups, observer: Observer) -> None:
    assert await groups.add("nowhere", A) == {}
    assert groups.gids() == ["all", "local"]
    assert await groups.get("all") == _by_sid(OWN)
    assert observer.seen == []


async def test_rem_returns_the_updated_group(groups: Groups) -> None:
    await groups.put("browncs", [A, B])
    assert await groups.rem("browncs", A.sid) == await groups.get("browncs") == _by_sid(B)


async def test_removing_what_is_not_there_changes_nothing(groups: Groups) -> None:
    await groups.put("browncs", [A])
    assert await groups.rem("browncs", B.sid) == _by_sid(A)
    assert await groups.rem("browncs", "nonsense") == _by_sid(A)
    assert await groups.rem("nowhere", A.sid) == {}
    assert groups.gids() == ["all", "browncs", "local"]


async def test_a_node_can_be_removed_from_all_but_the_node_itself_cannot(groups: Groups) -> None:
    await groups.add("all", A)
    assert await groups.rem("all", OWN.sid) == _by_sid(OWN, A)
    assert await groups.rem("all", A.sid) == _by_sid(OWN)
    assert await groups.rem("local", OWN.sid) == _by_sid(OWN)


async def test_the_node_itself_can_be_removed_from_any_other_group(groups: Groups) -> None:
    await groups.put("browncs", [OWN, A])
    assert await groups.rem("browncs", OWN.sid) == _by_sid(A)


async def test_del_returns_what_it_removed(groups: Groups, observer: Observer) -> None:
    await groups.put("browncs", [A, B])
    assert await groups.del_("browncs") == _by_sid(A, B)
    assert groups.gids() == ["all", "local"]
    assert observer.seen == ["+browncs", "-browncs"]
    for again in (groups.get("browncs"), groups.del_("browncs")):
        with pytest.raises(GroupNotFound, match="'browncs'"):
            await again


async def test_two_addresses_with_one_sid_in_put_are_an_error_and_nothing_changes(groups: Groups) -> None:
    await groups.put("browncs", [A])
    for gid in ("browncs", "new"):
        with pytest.raises(SIDCollision):
            await groups.put(gid, COLLIDING)
    assert groups.gids() == ["all", "browncs", "local"]
    assert await groups.get("browncs") == _by_sid(A)
    assert await groups.get("all") == _by_sid(OWN, A)


@pytest.mark.parametrize(("known", "new"), [COLLIDING, COLLIDING[::-1]])
async def test_an_address_with_the_sid_of_a_known_one_is_an_error_and_nothing_changes(
    groups: Groups, known: NodeAddress, new: NodeAddress
) -> None:
    await groups.put("browncs", [known])
    await groups.put("other", [A])
    for change in (
        groups.add("browncs", new),
        groups.add("other", new),
        groups.add("all", new),
        groups.put("other", [new]),
        groups.put("new", [new]),
    ):
        with pytest.raises(SIDCollision):
            await change
    assert groups.gids() == ["all", "browncs", "local", "other"]
    assert await groups.get("browncs") == {known.sid: known}
    assert await groups.get("other") == _by_sid(A)
    assert await groups.get("all") == _by_sid(OWN, A, known)


async def test_the_services_of_a_group_exist_as_soon_as_put_returns_and_are_gone_once_del_has(
    start_node: StartNode,
) -> None:
    node, person = await start_node(), await start_node()
    remote = Remote(node=node.address, gid="browncs", service="status", method="get")
    with pytest.raises(GroupNotFound):
        await person.local.comm.send(["sid"], remote)
    await node.local.groups.put("browncs", [node.address])
    handle = node.group("browncs")
    assert (await person.local.comm.send(["sid"], remote)).value == [node.sid]
    assert (await handle.status.get("sid")).value == [node.sid]
    await node.local.groups.del_("browncs")
    with pytest.raises(GroupNotFound):
        await person.local.comm.send(["sid"], remote)
    with pytest.raises(GroupNotFound, match="'browncs'"):
        await handle.status.get("sid")
    with pytest.raises(GroupNotFound, match="'browncs'"):
        node.group("browncs")


async def test_a_handle_to_a_deleted_group_does_not_come_back_to_life_with_the_next_group_of_that_name(
    start_node: StartNode,
) -> None:
    node = await start_node()
    await node.local.groups.put("browncs", [node.address])
    handle = node.group("browncs")
    await node.local.groups.del_("browncs")
    await node.local.groups.put("browncs", [node.address])
    with pytest.raises(GroupNotFound):
        await handle.status.get("sid")
    assert (await node.group("browncs").status.get("sid")).value == [node.sid]


async def test_a_handle_sees_a_group_that_was_put_again(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.groups.put("browncs", [])
    handle = node.group("browncs")
    await node.local.groups.put("browncs", [node.address])
    assert (await handle.status.get("sid")).value == [node.sid]


async def test_a_group_whose_template_cannot_be_made_is_not_there_in_any_part(start_node: StartNode) -> None:
    def make(context: GroupContext) -> Any:
        return BrokenTemplate(context) if context.gid == "browncs" else {}

    node = await start_node()
    node.register_template("census", Census)
    node.register_template("broken", make)
    with pytest.raises(ValueError, match="without a plan"):
        await node.local.groups.put("browncs", [A])
    assert await node.local.groups.get("all") == {node.sid: node.address}
    with pytest.raises(GroupNotFound):
        await node.local.groups.get("browncs")
    with pytest.raises(GroupNotFound):
        node.group("browncs")
    for service, method in (("status", "get"), ("census", "where")):
        with pytest.raises(GroupNotFound):
            await node.local.comm.send(
                ["sid"], Remote(node=node.address, gid="browncs", service=service, method=method)
            )
    assert await node.local.groups.put("other", [node.address])


async def test_two_nodes_may_hold_different_sets_under_one_gid(start_node: StartNode) -> None:
    one, two = await start_node(), await start_node()
    await one.local.groups.put("browncs", [A])
    await two.local.groups.put("browncs", [B])
    assert await one.local.groups.get("browncs") == _by_sid(A)
    assert await two.local.groups.get("browncs") == _by_sid(B)
