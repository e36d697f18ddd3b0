"""What members that send nonsense, or too much, do to a call along a tree: no member is left out, and nothing hangs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

from tests.templates.test_tree_calls import ARITY, COUNT, Shop, Town, open_town
from trionet import MalformedRequest, Node, NodeAddress, NodeConfig, RemoteError, open_node, rpc
from trionet.codec import JSON, MESSAGEPACK
from trionet.message import RELAYING
from trionet.protocols.relaying import RelayedCall, packed_members
from trionet.services.base import exposed_methods
from trionet.templates import tree_calls
from trionet.templates.tree_calls import from_own

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER: Final = [True, MESSAGEPACK.encode("x"), []]
ENTRIES: Final[dict[str, Any]] = {
    "the place is a list": [[], ANSWER, None],
    "the place is a float": [1.0, ANSWER, None],
    "the place is a truth": [True, ANSWER, None],
    "the place is nowhere": [-1, ANSWER, None],
    "there is no answer": [1, None, None],
    "the answer is none": [1, [1, 2, 3], None],
    "the answer of itself is none": [0, 5, None],
    "the answer has no value": [1, [True, b"\xc1", []], None],
    "the answer lacks a blob": [1, [True, b"\xd4\x01\x00", []], None],
    "the error is a list": [1, [False, MESSAGEPACK.encode([1]), []], None],
    "the error is none": [1, None, "late"],
    "it is short": [1],
    "it is a number": 5,
}


class Liar:
    """Relays nothing, and streams an entry."""

    def __init__(self, entry: Any) -> None:
        self._entry = entry

    @rpc
    async def relay(self, call: Any, way: Any, members: Any, arity: Any) -> AsyncGenerator[Any]:
        del call, way, members, arity
        yield [self._entry]


@pytest.fixture(autouse=True)
def _arity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_calls, "arity_of", lambda _: ARITY)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
async def test_each_member_has_one_outcome_whatever_a_member_relays(entry: Any) -> None:
    async with open_town() as town:
        router = town.heads()[0].local.comm.router
        known = router.methods.by_name["all"]["comm"]
        lying = {name: known[name] for name in known} | dict(exposed_methods(Liar(entry)))
        router.put("all", "comm", lying)
        replies = await town.tree.call(Shop.sell, "milk")
        assert replies.values.keys() | replies.errors.keys() == town.group.members().keys()
        assert not replies.values.keys() & replies.errors.keys()
        assert len(replies.values) >= COUNT - len(town.run_of(town.heads()[0]))


def relayed(**fields: Any) -> list[Any]:
    """Return a call as it is relayed."""
    call: dict[str, Any] = {
        "gid": "local",
        "service": "shop",
        "method": "sell",
        "args": MESSAGEPACK.encode(["milk"]),
        "kwargs": None,
        "blobs": [],
        "id": "a-1",
        "caller": "127.0.0.1:1",
    }
    return RelayedCall(**call | fields).plain()


async def relay(town: Town, call: list[Any], members: bytes = b"", arity: int = 8) -> dict[int, Any]:
    """Have the second node of a town relay a call; return its entries."""
    remote: Any = {"node": town.nodes[1], "gid": "all", "service": "comm", "method": "relay"}
    entries: dict[int, Any] = {}
    async with town.caller.local.comm.stream([call, [], members, arity], remote) as items:
        async for batch in items:
            entries |= {place: answer if error is None else error for place, answer, error in batch}
    return entries


@pytest.mark.parametrize("arity", [2, 8])
@pytest.mark.parametrize("times", [2, 5, 40])
async def test_a_list_with_one_member_many_times_has_an_entry_for_each(times: int, arity: int) -> None:
    async with open_town(3) as town:
        for index in (1, 2):  # the node itself, and another one
            members = packed_members([town.nodes[index].address] * times)
            entries = await relay(town, relayed(id=f"a-{index}"), members, arity)
            assert sorted(entries) == list(range(times + 1))
            assert len({answer[1] for answer in entries.values()}) == index
        assert [len(shop.calls) for shop in town.shops] == [0, 2, 1]


@pytest.mark.parametrize("method", RELAYING)
async def test_a_call_that_relays_is_not_relayed(method: str) -> None:
    async with open_town(2) as town:
        args = MESSAGEPACK.encode([relayed(), []])
        with pytest.raises(MalformedRequest, match="not relayed itself"):
            await relay(town, relayed(gid="all", service="comm", method=method, args=args))


@pytest.mark.parametrize("fields", [{"id": "x" * 200}, {"id": ""}, {"caller": "nobody"}])
async def test_an_id_or_a_caller_that_is_none_is_refused(fields: dict[str, str]) -> None:
    async with open_town(2) as town:
        with pytest.raises(MalformedRequest):
            await relay(town, relayed(**fields))
        assert len(town.shops[1].calls) == 0


async def test_arguments_have_no_more_containers_than_the_node_accepts() -> None:
    async with open_town(2, NodeConfig(max_message_containers=1000)) as town:
        for wire, is_json in ((MESSAGEPACK, False), (JSON, True)):
            call = relayed(id=f"a-{is_json}", args=wire.encode([[[]] * 2000]), is_json=is_json)
            is_value, data, _ = (await relay(town, call))[0]
            assert (is_value, wire.decode(data)["name"]) == (None, "DecodeError")


async def test_a_parent_or_a_trace_that_is_none_is_left_out() -> None:
    async with open_town(2) as town:
        await relay(town, relayed(parent="p" * 1000, trace=b"t" * 1000))
        (call,) = town.shops[1].calls
        assert (call.parent, call.trace) == ("", b"")


async def test_a_chain_is_no_tree() -> None:
    async with open_town(2) as town:
        with pytest.raises(MalformedRequest, match="from 2 on"):
            await relay(town, relayed(), packed_members([town.caller.address]), arity=1)


async def test_names_of_any_length_are_members() -> None:
    async with open_town(2) as town:
        entries = await relay(town, relayed(), packed_members([NodeAddress("ü" * 200, 5), town.caller.address]))
        assert sorted(entries) == [0, 1, 2]
        assert type(entries[2]) is list


@pytest.mark.parametrize(
    "call",
    [
        lambda node: node.all.comm.answer(relayed(), []),
        lambda node: node.all.comm.recall(relayed(), []),
        lambda node: anext(node.all.comm.relay(relayed(), [], b"", 8)),
    ],
)
async def test_the_methods_of_nodes_say_what_programs_call(call: Callable[[Node], Any]) -> None:
    async with open_town(1) as town:
        with pytest.raises(MalformedRequest, match="tree=True"):
            await call(town.caller)


class Ware:
    """A service with one long answer among short ones."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @rpc
    async def fetch(self, who: str, size: int) -> bytes:
        if self._node.sid == who:
            return bytes(size)
        await trio.sleep(0.05)
        return b""


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_an_answer_that_is_too_long_is_the_error_of_its_member_alone(transport: Any) -> None:
    config = NodeConfig(transport=transport, max_message_bytes=100_000)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_node(config)) for _ in range(8)]
        for node in nodes:
            await node.local.routes.put(Ware(node))
        await nodes[0].local.groups.put("town", nodes)
        group = nodes[0].group("town")
        others = from_own(group.members(), nodes[0].address)
        for who, _ in others[:2]:  # one that relays, and one of its run
            replies = await group.options(tree=True).call(Ware.fetch, who, 100_000)
            assert {sid: type(error) for sid, error in replies.errors.items()} == {who: RemoteError}
            assert "MessageTooLarge" in replies.errors[who].text
            assert len(replies.values) == len(nodes) - 1
