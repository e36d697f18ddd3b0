"""Services that a group keeps: members that come later serve them, too."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clusters import Cluster, open_cluster, take
from tests.samples import Counter
from tests.waiting import DEADLINE_S
from trionet import (
    Abort,
    CodeRefused,
    ConfigError,
    GroupFailed,
    GroupNotFound,
    MalformedRequest,
    Node,
    Remote,
    Replies,
    ServiceFailed,
    ServiceNotFound,
    rpc,
)
from trionet.services.kept_services import kept_service

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trionet import Event, Events

ADD = Remote(service="tally", method="add")
COUNTER = "tests.samples:Counter"
LATE_S = 2.0


class Doubler:
    """Another service of the same shape."""

    @rpc
    def add(self, amount: int = 1) -> str:
        return f"doubled {2 * amount}"


class Moody:
    """Can be made on some days."""

    is_moody = False

    def __init__(self) -> None:
        if self.is_moody:
            raise LookupError("not today")

    @rpc
    def add(self) -> str:
        return "in a good mood"


DOUBLER, MOODY = f"{__name__}:Doubler", f"{__name__}:Moody"


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Moody is moody while the test runs, from `moody.setattr(Moody, "is_moody", True)` on."""
    return monkeypatch


async def _find(node: Node, name: str = "tally") -> Any:
    """Return the service of a node, or None."""
    with suppress(ServiceNotFound):
        return await node.local.routes.get(name)
    return None


async def _wait_for(node: Node, kind: type | None, within_s: float = LATE_S) -> Any:
    """Return the service of a node once it is of this type; for None, once there is none."""
    with trio.fail_after(within_s):
        while True:
            found = await _find(node)
            if type(found) is (kind or type(None)):
                return found
            await trio.sleep(0.01)


async def _wait_all(nodes: list[Node], kind: type | None, within_s: float = LATE_S) -> None:
    for node in nodes:
        await _wait_for(node, kind, within_s)


async def _rest(seconds: float = 15.0) -> None:
    """Let everything arrive that will."""
    await trio.sleep(seconds)


async def test_every_member_serves_it_at_once_and_those_that_join_later_within_two_seconds(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    replies = await nodes[0].all.routes.put(Counter, "tally", keep=True)
    assert replies == Replies(dict.fromkeys(sorted(node.sid for node in nodes), "tally"), {})
    services = [await _find(node) for node in nodes]
    assert [type(service) for service in services] == [Counter] * 3
    assert len(set(map(id, services))) == 3
    late = await cluster.start()
    await _wait_for(late, Counter)
    assert await nodes[1].local.comm.send([5], Remote(node=late.address, service="tally", method="add")) == 5


async def test_without_keep_those_that_join_later_do_not_have_it(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(Counter, "tally")
    late = await cluster.start()
    await _rest()
    assert await _find(late) is None


async def test_a_restarted_node_serves_it_again(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(Counter, "tally", keep=True)
    cluster.kill(nodes[2])
    await cluster.wait_members(nodes[:2])
    cluster.network.dark.discard(nodes[2].address)
    again = await cluster.start(port=nodes[2].address.port, join=[str(nodes[0].address)])
    await _wait_for(again, Counter)


async def test_the_state_of_an_instance_survives_what_arrives_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(Counter, "tally", keep=True)
    await nodes[0].all.comm.send([5], ADD)
    late = await cluster.start()
    await _wait_for(late, Counter)
    await _rest()
    replies = await nodes[0].all.comm.send([], ADD)
    assert sorted(replies.values.values()) == [1, 6, 6, 6]


async def test_putting_it_again_makes_new_instances(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    for _ in range(2):
        await nodes[0].all.routes.put(Counter, "tally", keep=True)
        assert list((await nodes[1].all.comm.send([], ADD)).values.values()) == [1] * 3


async def test_rem_removes_it_everywhere_and_those_that_join_later_do_not_have_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(Counter, "tally", keep=True)
    replies = await nodes[2].all.routes.rem("tally")
    assert list(replies.values.values()) == [True] * 3
    late = await cluster.start()
    await _rest()
    assert [await _find(node) for node in (*nodes, late)] == [None] * 4


async def test_members_that_could_not_be_reached_serve_it_later_and_lose_it_later(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    addresses = [node.address for node in nodes]
    cluster.network.sides = [set(addresses[:2]), set(addresses[2:])]
    with trio.move_on_after(5):
        await nodes[0].all.routes.put(Counter, "tally", keep=True)
    assert await _find(nodes[2]) is None
    cluster.network.sides = []
    await _wait_for(nodes[2], Counter, DEADLINE_S)
    await cluster.wait_members(nodes)
    cluster.network.sides = [set(addresses[:2]), set(addresses[2:])]
    await cluster.wait_members(nodes[:2])
    await nodes[0].all.routes.rem("tally")
    assert [await _find(node) for node in nodes[:2]] == [None] * 2
    assert type(await _find(nodes[2])) is Counter
    cluster.network.sides = []
    await _wait_for(nodes[2], None, DEADLINE_S)


async def test_after_puts_on_both_sides_of_a_partition_all_serve_the_later_one_and_the_log_names_both(
    autojump_clock: MockClock, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(4)
    addresses = [node.address for node in nodes]
    cluster.network.sides = [set(addresses[:2]), set(addresses[2:])]
    await cluster.wait_members(nodes[:2])
    await cluster.wait_members(nodes[2:])
    await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    await trio.sleep(1)
    await nodes[2].all.routes.put(DOUBLER, "tally", keep=True)
    assert [type(await _find(node)) for node in nodes] == [Counter, Counter, Doubler, Doubler]
    cluster.network.sides = []
    await _wait_all(nodes, Doubler, DEADLINE_S)
    assert (
        f"{addresses[0]} and {addresses[2]} have changed route/tally in the group all without knowing of each other; "
        f"the change by {addresses[2]} holds" in caplog.text
    )


async def test_a_node_that_has_just_joined_removes_what_it_has_not_heard_of(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(Counter, "tally", keep=True)
    late = await cluster.start()
    await late.all.routes.rem("tally")  # before any comparison
    await _rest()
    last = await cluster.start()
    await _rest()
    assert [await _find(node) for node in (*nodes, late, last)] == [None] * 5


# ---- other services of that name


async def test_a_kept_service_replaces_a_configured_one_also_on_those_that_come_later(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    settings: dict[str, Any] = {"services": {"tally": COUNTER}}
    nodes = [await cluster.start(**settings, join=[])]
    nodes.append(await cluster.start(**settings, join=[str(nodes[0].address)]))
    await cluster.wait_members(nodes)
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    late = await cluster.start(**settings, join=[str(nodes[0].address)])
    await _wait_all([*nodes, late], Doubler)


async def test_what_a_node_has_put_itself_stays_when_a_kept_one_arrives_later(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    late, own = await cluster.start(), Counter()
    await late.local.routes.put(own, "tally")  # before or after the kept one, as it happens
    await _rest()
    assert await _find(late) is own
    await nodes[0].all.routes.rem("other")
    await late.local.routes.rem("tally")
    await _rest()
    assert await _find(late) is None  # what was passed over does not come back


async def test_a_call_of_put_replaces_what_a_node_has_put_itself(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[1].local.routes.put(Counter(), "tally")
    replies = await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    assert replies.errors == {}
    assert [type(await _find(node)) for node in nodes] == [Doubler] * 3


async def test_a_local_put_over_a_kept_one_stays_and_rem_by_the_group_removes_it_too(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    own = Counter()
    await nodes[1].local.routes.put(own, "tally")
    await _rest()
    assert await _find(nodes[1]) is own
    assert list((await nodes[0].all.routes.rem("tally")).values.values()) == [True] * 3
    assert [await _find(node) for node in nodes] == [None] * 3


async def test_a_local_rem_of_a_kept_one_holds_until_it_is_put_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    assert await nodes[1].local.routes.rem("tally") is True
    await _rest()
    assert await _find(nodes[1]) is None
    await nodes[2].all.routes.put(DOUBLER, "tally", keep=True)
    assert type(await _find(nodes[1])) is Doubler


async def test_a_put_without_keep_ends_the_kept_one_everywhere(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    await nodes[1].all.routes.put(COUNTER, "tally")
    await _rest()
    assert [type(await _find(node)) for node in nodes] == [Counter] * 3
    late = await cluster.start()
    await _rest()
    assert await _find(late) is None


async def test_a_put_that_no_member_can_carry_out_leaves_the_kept_one(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    replies = await nodes[1].all.routes.put("tests.nowhere:Counter", "tally")
    assert replies.values == {}
    late = await cluster.start()
    await _wait_all([*nodes, late], Doubler)


# ---- several groups, and their members


async def _put_group(nodes: list[Node], gid: str, members: list[Node]) -> None:
    replies = await nodes[0].all.groups.put(gid, members)
    assert replies.errors == {}


async def test_of_two_groups_that_keep_one_name_the_later_put_serves_and_after_its_end_the_other(
    autojump_clock: MockClock,
    cluster: Cluster,
) -> None:
    nodes = await cluster.start_many(4)
    await _put_group(nodes, "one", nodes[:3])
    await _put_group(nodes, "two", nodes[1:])
    await nodes[0].group("one").routes.put(COUNTER, "tally", keep=True)
    await nodes[3].group("two").routes.put(DOUBLER, "tally", keep=True)
    await _rest()
    assert [type(await _find(node)) for node in nodes] == [Counter, Doubler, Doubler, Doubler]
    await nodes[3].group("two").routes.rem("tally")
    await _wait_all(nodes[:3], Counter)
    assert await _find(nodes[3]) is None


async def test_the_end_in_one_group_leaves_what_another_has_put_later(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "one", nodes)
    await _put_group(nodes, "two", nodes[1:])
    await nodes[0].group("two").routes.put(COUNTER, "tally", keep=True)
    await nodes[0].group("one").routes.put(DOUBLER, "tally", keep=True)
    assert list((await nodes[0].group("two").routes.rem("tally")).values.values()) == [True] * 2
    await _wait_all(nodes, Doubler)


async def test_a_member_that_is_added_gets_it_and_one_that_is_removed_loses_it(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "shop", nodes[:2])
    replies = await nodes[0].group("shop").routes.put(COUNTER, "tally", keep=True)
    assert len(replies.values) == 2
    await _rest()
    assert await _find(nodes[2]) is None
    await nodes[0].all.groups.add("shop", nodes[2].address)
    await _wait_for(nodes[2], Counter)
    await nodes[0].all.groups.rem("shop", nodes[2].sid)
    assert [type(await _find(node)) for node in nodes] == [Counter, Counter, type(None)]


async def test_a_group_that_is_put_with_other_members_keeps_on(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "shop", nodes[:2])
    await nodes[0].group("shop").routes.put(COUNTER, "tally", keep=True)
    await _put_group(nodes, "shop", nodes[1:])
    await _wait_all(nodes[1:], Counter)
    assert await _find(nodes[0]) is None


async def test_a_caller_that_is_cancelled_at_once_serves_it_like_the_others(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    with trio.CancelScope() as scope:
        scope.cancel()
        await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    await _wait_all(nodes, Counter)


async def test_a_node_that_leaves_serves_on_and_one_that_comes_back_follows(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    await nodes[2].leave()
    await nodes[0].all.routes.put(DOUBLER, "tally", keep=True)
    await _rest()
    assert [type(await _find(node)) for node in nodes] == [Doubler, Doubler, Counter]
    await nodes[2].join([nodes[0].address])
    await _wait_all(nodes, Doubler)
    await nodes[2].leave()
    assert list((await nodes[2].all.routes.rem("tally")).values.values()) == [True]  # alone, and of itself


async def test_a_caller_that_is_cancelled_at_once_ends_it_everywhere(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    await nodes[0].all.groups.put("shop", where={})
    with trio.CancelScope() as scope:
        scope.cancel()
        await nodes[1].all.routes.rem("tally")
    with trio.CancelScope() as scope:
        scope.cancel()
        await nodes[1].all.groups.del_("shop")
    await _wait_all(nodes, type(None))
    late = await cluster.start()
    await _rest()
    assert await _find(late) is None
    assert [node.local.groups.gids() for node in (*nodes, late)] == [["all", "local"]] * 4


async def test_a_caller_that_has_not_heard_of_it_ends_it_everywhere(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await _rest()
    nodes[0].local.kept.put("all", *kept_service(COUNTER, "tally"))  # the packets are on their way
    replies = await nodes[1].all.routes.rem("tally")
    assert replies.values[nodes[0].sid] is True
    await _rest()
    assert [await _find(node) for node in nodes] == [None] * 3
    late = await cluster.start()
    await _rest()
    assert await _find(late) is None


async def test_a_node_that_leaves_brings_nothing_kept_to_the_cluster_that_it_joins_next(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes, other = await cluster.start_many(2), await cluster.start(join=[])
    await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    await nodes[0].all.groups.put("shop", where={})
    await nodes[1].leave()
    await nodes[1].join([other.address])
    await _rest()
    assert [await _find(node) for node in (nodes[1], other)] == [None, None]
    assert [node.local.groups.gids() for node in (nodes[1], other)] == [["all", "local"]] * 2
    await nodes[1].leave()
    await nodes[1].join([nodes[0].address])
    await _wait_for(nodes[1], Counter, DEADLINE_S)
    assert len(nodes[1].group("shop").members()) == 2


async def test_the_deletion_of_a_group_ends_what_it_keeps(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "shop", nodes)
    await nodes[0].group("shop").routes.put(COUNTER, "tally", keep=True)
    await nodes[1].all.groups.del_("shop")
    assert [await _find(node) for node in nodes] == [None] * 3
    await _put_group(nodes, "shop", nodes)
    await _rest()
    assert [await _find(node) for node in nodes] == [None] * 3


async def test_a_caller_that_is_no_member_makes_the_group_keep_it_and_serves_nothing(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "shop", nodes[1:])
    replies = await nodes[0].group("shop").routes.put(COUNTER, "tally", keep=True)
    assert set(replies.values) == {node.sid for node in nodes[1:]}
    await _rest()
    assert [type(await _find(node)) for node in nodes] == [type(None), Counter, Counter]


async def test_a_group_without_members_keeps_it_for_its_first_one(autojump_clock: MockClock, cluster: Cluster) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "shop", [])
    assert await nodes[0].group("shop").routes.put(COUNTER, "tally", keep=True) == Replies({}, {})
    await nodes[0].all.groups.add("shop", nodes[1].address)
    await _wait_for(nodes[1], Counter, DEADLINE_S)
    await nodes[0].all.groups.rem("shop", nodes[1].sid)
    assert await nodes[0].group("shop").routes.rem("tally") == Replies({}, {})
    await nodes[0].all.groups.add("shop", nodes[2].address)
    await _rest()
    assert await _find(nodes[2]) is None


async def test_members_that_do_not_know_the_group_are_in_the_errors(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await nodes[0].local.groups.put("mine", nodes)
    replies = await nodes[0].group("mine").routes.put(COUNTER, "tally", keep=True)
    assert replies.values == {nodes[0].sid: "tally"}
    assert {type(error) for error in replies.errors.values()} == {GroupNotFound}


async def test_a_member_that_does_not_see_itself_as_one_follows_once_it_does(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(3)
    await _put_group(nodes, "shop", nodes)
    await nodes[2].local.groups.rem("shop", nodes[2].sid)
    replies = await nodes[0].group("shop").routes.put(COUNTER, "tally", keep=True)
    assert {sid: type(error) for sid, error in replies.errors.items()} == {nodes[2].sid: Abort}
    await nodes[2].local.groups.add("shop", nodes[2].address)
    assert type(await _find(nodes[2])) is Counter


# ---- what can't be put


async def test_a_class_that_the_members_cannot_import_is_an_error_of_each(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    replies = await nodes[0].all.routes.put("tests.nowhere:Counter", "tally", keep=True)
    assert replies.values == {}
    assert {type(error) for error in replies.errors.values()} == {MalformedRequest}
    assert all("tests.nowhere" in error.text for error in replies.errors.values())


async def test_on_a_node_that_comes_later_it_is_an_event_and_a_line_of_the_log_and_the_node_goes_on(
    autojump_clock: MockClock, cluster: Cluster, moody: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start_many(2)
    assert (await nodes[0].all.routes.put(MOODY, "tally", keep=True)).errors == {}
    moody.setattr(Moody, "is_moody", True)
    late = await cluster.start()
    *_, event = await take(late.events(), lambda event: isinstance(event, ServiceFailed))
    assert event == ServiceFailed(node=late.address, gid="all", service="tally", error="LookupError: not today")
    assert "route/tally, which the group all keeps, can't be put here: LookupError: not today" in caplog.text
    assert await _find(late) is None
    await cluster.wait_members([*nodes, late])
    moody.setattr(Moody, "is_moody", False)
    assert (await nodes[0].all.routes.put(MOODY, "tally", keep=True)).errors == {}
    assert type(await _find(late)) is Moody


async def test_one_that_fails_leaves_the_one_before_until_it_is_removed(
    autojump_clock: MockClock, cluster: Cluster, moody: pytest.MonkeyPatch
) -> None:
    nodes = await cluster.start_many(2)
    await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    moody.setattr(Moody, "is_moody", True)
    replies = await nodes[0].all.routes.put(MOODY, "tally", keep=True)
    assert len(replies.errors) == 2
    assert [type(await _find(node)) for node in nodes] == [Counter] * 2
    await nodes[1].all.routes.rem("tally")
    assert [await _find(node) for node in nodes] == [None] * 2


@pytest.mark.parametrize("keep", [1, "yes", None, 0])
async def test_keep_is_true_or_false(autojump_clock: MockClock, cluster: Cluster, keep: Any) -> None:
    node = await cluster.start(join=[])
    with pytest.raises(MalformedRequest, match="keep is True or False"):
        await node.all.routes.put(COUNTER, "tally", keep=keep)


@pytest.mark.parametrize(
    ("service", "name", "kind", "reason"),
    [
        (Counter(), "tally", CodeRefused, "travel as code"),
        ({"add": max}, "tally", CodeRefused, "travel as code"),
        ("counter", "tally", MalformedRequest, "import path"),
        (COUNTER, "status", MalformedRequest, "built-in"),
        (COUNTER, "a b", MalformedRequest, "service name"),
        (COUNTER, 5, MalformedRequest, "service name"),
    ],
    ids=["object", "mapping", "no path", "built-in", "malformed", "number"],
)
async def test_what_can_not_be_kept_is_refused_before_anything_is_sent(
    autojump_clock: MockClock, cluster: Cluster, service: Any, name: Any, kind: type[Exception], reason: str
) -> None:
    nodes = await cluster.start_many(2)
    with pytest.raises(kind, match=reason):
        await nodes[0].all.routes.put(service, name, keep=True)
    await _rest()
    assert [node.local.replicated.items("all", "") for node in nodes] == [{}] * len(nodes)


async def test_a_node_without_a_cluster_is_told_how_to_begin_one(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=None)
    with pytest.raises(ConfigError, match=r"belongs to no cluster: start it with join=\[\]"):
        await node.all.routes.put(COUNTER, "tally", keep=True)
    assert await _find(node) is None
    assert (await node.all.routes.put(COUNTER, "tally")).errors == {}
    assert list((await node.all.routes.rem("tally")).values.values()) == [True]


async def test_the_group_of_the_node_alone_keeps_nothing(autojump_clock: MockClock, cluster: Cluster) -> None:
    node = await cluster.start(join=[])
    with pytest.raises(MalformedRequest, match="'local' is this node alone"):
        await node.group("local").routes.put(COUNTER, "tally", keep=True)
    assert (await node.group("local").routes.put(COUNTER, "tally")).errors == {}


@pytest.mark.parametrize("entry", [b"", b"\x00", b"\xc1" * 40, "text", 5, None], ids=repr)
async def test_an_entry_from_a_stranger_that_is_none_is_refused(
    autojump_clock: MockClock, cluster: Cluster, entry: Any
) -> None:
    nodes = await cluster.start_many(2)
    with pytest.raises(MalformedRequest):
        await nodes[0].local.comm.send([entry], Remote(node=nodes[1].address, service="kept", method="keep"))


@pytest.mark.parametrize(("key", "value"), [("setting/limit", b"5"), ("route/tally", None), ("other", b"x")])
async def test_an_entry_that_is_nothing_to_keep_is_refused(
    autojump_clock: MockClock, cluster: Cluster, key: str, value: bytes | None
) -> None:
    nodes = await cluster.start_many(2)
    entry = nodes[0].local.replicated.put("all", key, value).encoded
    with pytest.raises(MalformedRequest, match="nothing that a group can keep"):
        await nodes[0].local.comm.send([entry], Remote(node=nodes[1].address, service="kept", method="keep"))


async def test_an_entry_that_names_no_service_is_an_event_and_breaks_nothing(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    nodes = await cluster.start_many(2)
    events = nodes[1].events()
    for key, value in (
        ("route/tally", b"\xff"),
        ("route/a b", b"\x91\xa3a:b"),
        ("route/", b""),
        ("group/a b", b"\x91\x80"),
    ):
        nodes[0].local.replicated.put("all", key, value)
    failed = [event async for event in _first(events, 4)]
    assert {type(event).__name__ for event in failed} == {"ServiceFailed", "GroupFailed"}
    await nodes[0].all.routes.put(COUNTER, "tally", keep=True)
    assert type(await _find(nodes[1])) is Counter


async def _first(events: Events, count: int) -> AsyncGenerator[Event]:
    """Yield the first events about what can't be put."""
    with trio.fail_after(DEADLINE_S):
        while count:
            event = await anext(events)
            if isinstance(event, ServiceFailed | GroupFailed):
                count -= 1
                yield event
