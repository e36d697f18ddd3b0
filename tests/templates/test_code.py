"""Code by value, between nodes: which ways it goes, and that no other way has it read."""

from __future__ import annotations

import base64
import os
import pickle
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.security.keys import key_of
from tests.waiting import wait_until
from trionet import CodeRefused, NodeConfig, Remote, Replies, Template, rpc
from trionet.launchers import run_secret as run_secrets
from trionet.launchers.run_secret import RunSecret, run_secret
from trionet.security.code_stamps import CodeKey
from trionet.security.key_file import new_key_file
from trionet.security.keys import derive
from trionet.security.token_scope import Scope
from trionet.security.tokens import issue_token

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from trionet import Node
    from trionet.security.code_stamps import SentCode

    StartNode = Callable[..., Awaitable[Node]]

TRUSTING = NodeConfig(trust_code=True)
COUNT = Remote(service="rumors", method="count")


def _rumors() -> Any:
    """Return a service of a class that no other process can import."""

    class Rumors:
        def __init__(self) -> None:
            self.heard: list[str] = []

        @rpc
        def hear(self, what: str) -> None:
            self.heard.append(what)

        @rpc
        def count(self) -> int:
            return len(self.heard)

    return Rumors()


@pytest.fixture
async def nodes(start_node: StartNode) -> list[Node]:
    """Three nodes that trust code, and know each other as ``town``."""
    nodes = [await start_node(TRUSTING) for _ in range(3)]
    for node in nodes:
        await node.local.groups.put("town", nodes)
    return nodes


async def test_each_member_gets_a_copy_of_an_object_and_rumors_reach_it(nodes: list[Node]) -> None:
    group = nodes[0].group("town")
    assert set((await group.routes.put(_rumors(), "rumors")).values.values()) == {"rumors"}
    for text in ("a", "b"):
        await (await group.gossip.send([text], Remote(service="rumors", method="hear"))).wait_spread(1.0)
    assert list((await group.comm.send([], COUNT)).values.values()) == [2, 2, 2]


async def test_a_class_without_an_import_path_has_an_instance_on_each(nodes: list[Node]) -> None:
    group = nodes[0].group("town")
    await group.routes.put(type(_rumors()), "rumors")
    await group.comm.send(["a"], Remote(service="rumors", method="hear"))
    assert list((await group.comm.send([], COUNT)).values.values()) == [1, 1, 1]


async def test_a_function_in_a_rumor_is_called_by_each(nodes: list[Node]) -> None:
    called: dict[str, int] = {}

    class Runner:
        def __init__(self, sid: str) -> None:
            self._sid = sid

        @rpc
        def run(self, function: Callable[[int], int], number: int) -> None:
            called[self._sid] = function(number)

    for node in nodes:
        await node.local.routes.put(Runner(node.sid), "runner")
    offset = 2
    receipt = (
        await nodes[0].group("town").gossip.send([lambda n: n + offset, 5], Remote(service="runner", method="run"))
    )
    await receipt.wait_spread(1.0)
    assert called == {node.sid: 7 for node in nodes}


async def test_code_does_not_travel_by_rumor_under_a_policy(start_node: StartNode) -> None:
    policed = NodeConfig(trust_code=True, policy={"deny": {"*": ["*/shop/*"]}})
    nodes = [await start_node(TRUSTING), await start_node(policed)]
    for node in nodes:
        await node.local.groups.put("town", nodes)
    put = Remote(service="routes", method="put")
    await nodes[0].group("town").gossip.send([type(_rumors()), "rumors"], put)
    await wait_until(lambda: nodes[1].statistics().code_refused == 1)
    with pytest.raises(CodeRefused, match="with a policy, code does not travel by rumor"):
        await nodes[1].group("town").gossip.send([type(_rumors()), "rumors"], put)
    assert not (await nodes[0].group("town").routes.put(_rumors(), "rumors")).errors  # a call does carry it


async def test_the_code_of_a_rumor_that_is_not_permitted_is_not_read(start_node: StartNode) -> None:
    policed = NodeConfig(trust_code=True, policy={"deny": {"*": ["local/routes/put"]}})
    nodes = [await start_node(TRUSTING), await start_node(policed)]
    for node in nodes:
        await node.local.groups.put("town", nodes)
    await nodes[0].group("town").gossip.send([type(_rumors()), "rumors"], Remote(service="routes", method="put"))
    await wait_until(lambda: nodes[1].statistics().calls_refused == 1)
    assert nodes[1].statistics().code_refused == 0


async def test_a_service_can_be_put_by_a_rumor(nodes: list[Node]) -> None:
    receipt = (
        await nodes[0].group("town").gossip.send([type(_rumors()), "rumors"], Remote(service="routes", method="put"))
    )
    await receipt.wait_spread(1.0)
    await wait_until(lambda: all(node.local.routes._table.find("rumors") for node in nodes))  # noqa: SLF001  async rpc


async def test_a_subset_goes_to_each_member(nodes: list[Node]) -> None:
    replies = await nodes[0].group("town").groups.put("cell", nodes, subset=lambda sids: len(sids) - 1)
    assert not replies.errors
    for node in nodes:
        size = node.local.groups.checked_subset("cell")
        assert callable(size)
        assert size(["a", "b", "c"]) == 2


async def test_a_template_can_be_registered_everywhere(nodes: list[Node]) -> None:
    class Shouting(Template):
        @rpc
        async def shout(self, text: str) -> str:
            return f"{text.upper()} from {self.context.gid}"

    replies = await nodes[0].register_template("shouting", Shouting, everywhere=True)
    assert set(replies.values) == {node.sid for node in nodes[1:]}
    for node in nodes:
        assert await node.group("town").service("shouting").shout("hi") == "HI from town"
    by_path = await nodes[0].register_template("ask", Template, everywhere=True)
    assert not by_path.errors


# ------------------------------------------------------------------------------------------------- who is not believed


class _Marking:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @rpc
    def nothing(self) -> None: ...

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def _exists(mark: Path) -> bool:
    return mark.exists()


async def test_the_node_of_a_stranger_leaves_no_mark(
    start_node: StartNode, mark: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    victim = await start_node(TRUSTING)
    monkeypatch.setattr(run_secrets, "_of_process", [RunSecret(bytes(32))])  # another run
    stranger = await start_node(TRUSTING)
    for node in (victim, stranger):
        await node.local.groups.put("town", [victim])
    group = stranger.group("town")
    refusals: list[Replies[Any]] = [
        await group.routes.put(_Marking(mark), "marking"),
        await group.routes.put_template(_Marking(mark).nothing, "marking"),
        await group.groups.put("cell", [victim], subset=_subset_marking(mark)),
    ]
    assert [type(error) for one in refusals for error in one.errors.values()] == [CodeRefused] * 3
    await group.gossip.send([_subset_marking(mark)], Remote(service="routes", method="get"))
    await wait_until(lambda: victim.statistics().code_refused == 4)
    assert not _exists(mark)
    lines = [record.getMessage() for record in caplog.records if "refuses code for" in record.getMessage()]
    assert len(lines) == 4
    assert all(str(stranger.address) in line for line in lines), lines  # who, and not only what


def _subset_marking(mark: Path) -> Callable[..., int]:
    marking = _Marking(mark)
    return lambda sids: len(sids) + (marking is None)


async def test_a_token_carries_no_code(start_node: StartNode, tmp_path: Path, mark: Path) -> None:
    key = key_of(1)
    new_key_file(str(tmp_path / "one.key"), key)
    node = await start_node(NodeConfig(trust_code=True, key_file=str(tmp_path / "one.key")))
    token = issue_token(derive(key, "trionet"), Scope.ADMIN, time.time(), 60)
    for code in (
        _forged(mark, CodeKey(bytes(32), "trionet", key.id)),
        _forged(mark, CodeKey(run_secret().material, "trionet")),
    ):
        fields = {name: {"$bytes": _base64(getattr(code, name))} for name in ("pickle", "key_id", "nonce", "stamp")}
        arguments = [{"$type": ["trionet:SentCode", {**fields, "what": "harmless"}]}, "marking"]
        async with httpx.AsyncClient() as client:
            answer = await client.put(
                f"http://{node.address}/local/routes/put", json=arguments, headers={"Authorization": f"Bearer {token}"}
            )
        assert (answer.status_code, answer.json()["error"]["name"]) == (403, "CodeRefused")
    assert not _exists(mark)


def _forged(mark: Path, key: CodeKey) -> SentCode:
    return key.stamp(pickle.dumps(_Marking(mark)), "harmless", "routes/put", time.time_ns() // 1000, os.urandom(16))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_holders_of_one_key_send_code_to_each_other(start_node: StartNode, tmp_path: Path) -> None:
    new_key_file(str(tmp_path / "one.key"), key_of(1))
    config = NodeConfig(trust_code=True, key_file=str(tmp_path / "one.key"))
    first, second = [await start_node(config) for _ in range(2)]
    await first.local.groups.put("town", [second])
    replies = await first.group("town").routes.put(_rumors(), "rumors")
    assert replies.values == {second.sid: "rumors"}


async def test_a_spawned_node_is_of_its_spawners_cluster_and_believes_its_code(start_node: StartNode) -> None:
    node = await start_node(NodeConfig(trust_code=True, cluster="shop"))
    child = await node.local.status.spawn(NodeConfig(trust_code=True, launcher="in_process"))
    named = await node.local.status.spawn(NodeConfig(trust_code=True, launcher="in_process", cluster="bank"))
    await node.local.groups.put("town", [child, named])
    replies = await node.group("town").routes.put(_rumors(), "rumors")
    assert replies.values == {child.sid: "rumors"}
    assert {sid: type(error) for sid, error in replies.errors.items()} == {named.sid: CodeRefused}
