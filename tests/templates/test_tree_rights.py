"""Whose rights a call along a tree needs: those of its caller, and of each member on its way."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.security.keys import key_of
from trionet import Node, NodeConfig, NotPermitted, Principal, current_call, open_node, rpc
from trionet.codec import MESSAGEPACK
from trionet.error_wire import error_from_wire
from trionet.message import RELAYING
from trionet.protocols.relaying import RelayedCall, packed_members, runs_of
from trionet.security.key_entries import KeyFile
from trionet.security.node_keys import NodeKeys
from trionet.templates import tree_calls
from trionet.templates.tree_calls import from_own
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet import NodeAddress

COUNT = 16
ARITY = 2


class Safe:
    """A service that notes for whom it runs."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    @rpc
    def open(self) -> str:
        self.opened.append(str(current_call().principal))
        return self.opened[-1]


class Bank:
    """Nodes with one key; the first one calls."""

    def __init__(self, nodes: list[Node], safes: list[Safe]) -> None:
        self.nodes, self.safes = nodes, safes
        self.caller = nodes[0]
        self.group = self.caller.group("bank")

    @property
    def ordered(self) -> list[NodeAddress]:
        return [node for _, node in from_own(self.group.members(), self.caller.address)]

    def way_to(self, address: NodeAddress) -> list[NodeAddress]:
        """Return the members by way of which the caller's call comes to one of them."""
        way, members = list[Any](), self.ordered
        while True:
            begin, end = next(run for run in runs_of(len(members), ARITY) if address in members[slice(*run)])
            if members[begin] == address:
                return way
            way.append(members[begin])
            members = members[begin + 1 : end]

    def safe(self, address: NodeAddress) -> Safe:
        return next(safe for node, safe in zip(self.nodes, self.safes, strict=True) if node.address == address)

    def node(self, address: NodeAddress) -> Node:
        return next(node for node in self.nodes if node.address == address)

    async def call(self) -> Any:
        return await self.group.options(tree=True).call(Safe.open)


@asynccontextmanager
async def open_bank(**policies: dict[str, Any]) -> AsyncGenerator[Bank]:
    """Run nodes with policies, each by the index of its node."""
    fabric, safes = MemoryFabric(seed=1), [Safe() for _ in range(COUNT)]
    async with AsyncExitStack() as stack:
        nodes = []
        for index, safe in enumerate(safes):
            config = NodeConfig(policy=policies.get(f"at_{index}"))
            keys = NodeKeys(KeyFile.of(key_of(1)), "trionet")
            node = await stack.enter_async_context(open_node(config, fabric=fabric, keys=keys))
            await node.local.routes.put(safe)
            nodes.append(node)
        await nodes[0].local.groups.put("bank", [node.address for node in nodes])
        yield Bank(nodes, safes)


@pytest.fixture(autouse=True)
def _arity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_calls, "arity_of", lambda _: ARITY)


async def far_member() -> tuple[int, list[str], str]:
    """Return the index of a member that is called by way of two others, these, and the caller, as principals."""
    async with open_bank() as bank:
        far = next(one for one in bank.ordered if len(bank.way_to(one)) == 2)
        way = [str(Principal.node(one)) for one in bank.way_to(far)]
        return [node.address for node in bank.nodes].index(far), way, str(Principal.node(bank.caller.address))


async def test_each_member_runs_the_call_for_its_caller() -> None:
    async with open_bank() as bank:
        who = str(Principal.node(bank.caller.address))
        assert set((await bank.call()).values.values()) == {who}


async def test_a_caller_gains_no_right_by_the_members_on_the_way() -> None:
    index, _, caller = await far_member()
    async with open_bank(**{f"at_{index}": {"deny": {caller: ["local/safe/*"]}}}) as bank:
        replies = await bank.call()
        assert {sid: type(error) for sid, error in replies.errors.items()} == {bank.nodes[index].sid: NotPermitted}
        assert bank.safes[index].opened == []
        assert len(replies.values) == COUNT - 1


@pytest.mark.parametrize("on_the_way", [0, 1])
@pytest.mark.parametrize("method", ["local/safe/*", "all/comm/*"])
async def test_where_a_member_on_the_way_has_no_right_the_caller_calls_itself(on_the_way: int, method: str) -> None:
    index, way, caller = await far_member()
    async with open_bank(**{f"at_{index}": {"deny": {way[on_the_way]: [method]}}}) as bank:
        replies = await bank.call()
        assert not replies.errors
        assert bank.safes[index].opened == [caller]
        refused = bank.nodes[index].statistics().calls_refused
        assert refused == (method == "local/safe/*" or on_the_way == 1)


async def test_a_policy_that_allows_no_relaying_means_a_call_without_a_tree() -> None:
    policy = {"allow": {"node:*": ["*/safe/*"]}}
    async with open_bank(**{f"at_{index}": policy for index in range(COUNT)}) as bank:
        replies = await bank.call()
        assert len(replies.values) == COUNT
        assert [len(safe.opened) for safe in bank.safes] == [1] * COUNT


async def test_a_member_gains_nothing_by_the_name_of_another_caller() -> None:
    index, way, caller = await far_member()
    thief = way[0]
    async with open_bank(**{f"at_{index}": {"deny": {thief: ["local/safe/*"]}}}) as bank:
        far = bank.nodes[index].address
        comm = bank.node(bank.way_to(far)[0]).local.comm
        honest = bank.way_to(far)[1]
        stolen = RelayedCall("local", "safe", "open", MESSAGEPACK.encode([]), None, [], "stolen", caller[5:])
        prepared = comm.prepare([stolen.plain(), [], packed_members([far]), 4], {}, RELAYING["relay"])
        forged = msgspec.structs.replace(prepared, principal=Principal.parse(caller))
        errors: dict[int, Any] = {}
        async with comm.open_items(honest, forged) as batches:
            async for batch in batches:
                errors |= {place: error for place, _, error in batch}
        assert isinstance(errors[1], NotPermitted)
        assert bank.safes[index].opened == []


async def test_a_way_that_is_hidden_gives_no_more_than_the_rights_of_who_hides_it() -> None:
    index, way, caller = await far_member()
    async with open_bank(**{f"at_{index}": {"deny": {way[1]: ["local/safe/*"]}}}) as bank:
        far = bank.nodes[index].address
        comm = bank.node(bank.way_to(far)[1]).local.comm
        stolen = RelayedCall("local", "safe", "open", MESSAGEPACK.encode([]), None, [], "stolen", caller[5:])
        for method in ("answer", "recall"):
            prepared = comm.prepare([stolen.plain(), []], {}, RELAYING[method])
            forged = msgspec.structs.replace(prepared, principal=Principal.parse(caller))
            if method == "answer":
                is_value, data, _ = await comm.call(far, forged)
                assert not is_value
                assert isinstance(error_from_wire(MESSAGEPACK.decode(data)), NotPermitted)
            else:
                with pytest.raises(NotPermitted):
                    await comm.call(far, forged)
        assert bank.safes[index].opened == []
