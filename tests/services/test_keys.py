"""The service ``keys``: its steps, who they wait for, and what never travels."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.keyed_nodes import KEEPER, told
from tests.security.keys import key_of, node_keys
from tests.simulation.rotating import check_calls, rotate_once
from tests.transports.keyed_nodes import error_in, request, token
from tests.waiting import wait_until
from trionet import (
    ChildRestarted,
    ConfigError,
    ConnectionLost,
    MalformedRequest,
    Node,
    NodeConfig,
    NotPermitted,
    Remote,
    open_node,
)
from trionet.errors import PreconditionFailed
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_file import new_key_file, read_key_file
from trionet.security.key_news import KeyNews, encode_news
from trionet.security.key_statements import KeyState
from trionet.security.node_keys import NodeKeys
from trionet.security.token_scope import Scope
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio.testing import MockClock

OLD, NEW = key_of(1), key_of(2)


@pytest.fixture
def new(tmp_path: Path) -> str:
    """The file of a new key."""
    new_key_file(str(tmp_path / "new"), NEW)
    return str(tmp_path / "new")


@pytest.fixture
def start(tmp_path: Path, nursery: trio.Nursery) -> Callable[..., Awaitable[Node]]:
    """Starts nodes of one cluster, each with a file of the old key."""
    nodes = list[Node]()

    async def serve(config: NodeConfig, *, task_status: trio.TaskStatus[Node]) -> None:
        async with open_node(config) as node:
            task_status.started(node)
            await trio.sleep_forever()

    async def start(name: str = "", **settings: Any) -> Node:
        path = tmp_path / (name or f"node{len(nodes)}")
        if not path.exists():
            new_key_file(str(path), OLD)
        config = NodeConfig(join=[str(node.address) for node in nodes[:1]], key_file=str(path), **settings)
        nodes.append(await nursery.start(serve, config))
        await wait_until(lambda: all(len(node.members()) == len(nodes) for node in nodes))
        return nodes[-1]

    return start


def held_in(path: Path) -> list[str]:
    return [one.id.hex() for one in read_key_file(str(path)).entries if one.key is not None]


async def test_a_rotation_reaches_the_key_file_of_each_member(
    start: Callable[..., Awaitable[Node]], new: str, tmp_path: Path
) -> None:
    one, other = await start(), await start()
    assert await rotate_once(one, new) == NEW.name
    await wait_until(lambda: held_in(tmp_path / "node0") == held_in(tmp_path / "node1") == [NEW.name])
    assert stat.S_IMODE(os.stat(tmp_path / "node1").st_mode) == 0o600
    await check_calls([one, other])
    states = {key.id: (key.state, key.seals, key.is_held) for key in (await other.keys.status()).keys}
    assert states == {OLD.name: ("retired", False, False), NEW.name: ("used", True, True)}


async def test_new_members_join_after_a_rotation(
    start: Callable[..., Awaitable[Node]], new: str, tmp_path: Path
) -> None:
    one = await start()
    await start()
    await rotate_once(one, new)
    new_key_file(str(tmp_path / "late"), NEW)
    late = await start("late")
    child = await one.local.status.spawn(NodeConfig(), launcher="in_process")
    await wait_until(lambda: child in {member.node for member in late.members()})


async def test_an_ordinary_rotation_gives_the_new_key_to_a_member_that_was_away(
    new: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    fabric = MemoryFabric()
    for name in ("one", "away"):
        new_key_file(str(tmp_path / name), OLD)
    seeds = NodeConfig(key_file=str(tmp_path / "one"), join=[], port=1)
    away = NodeConfig(key_file=str(tmp_path / "away"), join=["127.0.0.1:1"], port=2)
    async with open_node(seeds, fabric=fabric) as one:
        async with open_node(away, fabric=fabric):
            await wait_until(lambda: len(one.members()) == 2)
        key_id = await one.keys.install(new)
        with pytest.raises(PreconditionFailed, match=r"absent: 127\.0\.0\.1:2: start them, or except them"):
            await one.keys.use(key_id)
        await one.keys.use(key_id, without=["127.0.0.1:2"])
        with pytest.raises(PreconditionFailed, match=r"absent: 127\.0\.0\.1:2"):
            await one.keys.retire(OLD.name)
        assert held_in(tmp_path / "away") == [OLD.name]
        async with open_node(away, fabric=fabric) as back:
            await wait_until(lambda: NEW.name in held_in(tmp_path / "away"))
            await check_calls([one, back])
            await one.keys.retire(OLD.name)
            await wait_until(lambda: held_in(tmp_path / "away") == [NEW.name])


async def test_by_file_a_key_never_travels_and_evicts_who_has_only_the_old_one(
    new: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    fabric = MemoryFabric()
    for name in ("one", "other"):
        new_key_file(str(tmp_path / name), OLD)
    async with (
        open_node(NodeConfig(key_file=str(tmp_path / "one"), join=[]), fabric=fabric) as one,
        open_node(NodeConfig(key_file=str(tmp_path / "other"), join=[str(one.address)]), fabric=fabric) as other,
    ):
        await wait_until(lambda: len(one.members()) == len(other.members()) == 2)
        key_id = await one.keys.install(new, by_file=True)
        await trio.sleep(100)
        assert held_in(tmp_path / "other") == [OLD.name]
        with pytest.raises(PreconditionFailed, match=f"not ready: {other.address}"):
            await one.keys.use(key_id)
        await one.keys.use(key_id, without=[other.sid])
        await one.keys.retire(OLD.name, without=[other.sid])
        await trio.sleep(60)
        assert held_in(tmp_path / "other") == [OLD.name]
        assert one.members() == [member for member in one.members() if member.node == one.address]


async def test_a_file_that_was_replaced_installs_its_key_and_uses_it_not_before_all_hold_it(
    start: Callable[..., Awaitable[Node]], tmp_path: Path
) -> None:
    one, other = await start("one"), await start("other")
    for number in range(2, 6):  # of two keys that are used by no command the greater id would seal
        replacement = tmp_path / f"key{number}"
        new_key_file(str(replacement), key_of(number))
        replacement.replace(tmp_path / "one")
        await one.reload()
        status = await other.keys.status()
        assert {key.id: key.state for key in status.keys}[key_of(number).name] == "installed"
        assert {member.seals_with for member in status.members} == {OLD.name}
        assert OLD.name in held_in(tmp_path / "one")


async def test_who_has_left_is_forgotten_in_the_key_file(start: Callable[..., Awaitable[Node]], tmp_path: Path) -> None:
    node = await start("one")
    file = tmp_path / "one"
    child = await node.local.status.spawn(NodeConfig(launcher="in_process"))
    new_key_file(str(tmp_path / "guest"), OLD)
    async with open_node(NodeConfig(key_file=str(tmp_path / "guest"), join=[str(node.address)])) as guest:
        await wait_until(lambda: f"member={guest.address}" in file.read_text())
        assert str(child) not in file.read_text()
    await wait_until(lambda: "member=" not in file.read_text())


async def test_by_file_each_node_takes_it_from_its_own_file(
    start: Callable[..., Awaitable[Node]], new: str, tmp_path: Path
) -> None:
    one, other = await start(), await start()
    for node in (one, other):
        key_id = await node.keys.install(new, by_file=True)
    await one.keys.use(key_id)
    await other.keys.retire(OLD.name)
    await wait_until(lambda: held_in(tmp_path / "node0") == held_in(tmp_path / "node1") == [NEW.name])


async def test_a_key_in_memory_only_is_volatile_and_blocks_retirement(new: str, autojump_clock: MockClock) -> None:
    fabric = MemoryFabric()
    async with (
        open_node(NodeConfig(join=[]), fabric=fabric, keys=node_keys(1)) as one,
        open_node(NodeConfig(join=[str(one.address)]), fabric=fabric, keys=node_keys(1)) as other,
    ):
        await wait_until(lambda: len(one.members()) == 2)
        key_id = await one.keys.install(new)
        await one.keys.use(key_id)
        status = await one.keys.status()
        assert status.fault == "this node has no key file"
        assert {member.holds[key_id] for member in status.members} == {"volatile"}
        with pytest.raises(PreconditionFailed, match=f"without it in a key file: .*{other.address}"):
            await one.keys.retire(OLD.name)


async def test_a_file_that_can_not_be_written_is_said_and_tried_again(
    new: str, tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    new_key_file(str(tmp_path / "key"), OLD)
    async with open_node(NodeConfig(key_file=str(tmp_path / "key"), join=[]), fabric=MemoryFabric()) as node:
        os.rename(tmp_path / "key", tmp_path / "moved")
        await node.keys.install(new)
        assert "there is no such file" in (await node.keys.status()).fault
        assert "a restart would lose the new ones" in caplog.text
        os.rename(tmp_path / "moved", tmp_path / "key")
        await wait_until(lambda: NEW.name in held_in(tmp_path / "key"))
        assert (await node.keys.status()).fault == ""


async def test_a_tokens_key_is_retired_and_the_token_ends(start: Callable[..., Awaitable[Node]], new: str) -> None:
    node = await start()
    path, bearer = "/local/keys/status", token(Scope.ADMIN)
    assert (await request(node, path, bearer=bearer)).status_code == 200
    await rotate_once(node, new)
    assert (await request(node, path, bearer=bearer)).status_code == 401
    assert (await request(node, path, bearer=token(Scope.ADMIN, seed=2))).status_code == 200


async def test_no_key_goes_over_http(start: Callable[..., Awaitable[Node]], new: str) -> None:
    node = await start()
    key_id = await node.keys.install(new)
    bearer = token(Scope.ADMIN)
    for method in ("exchange", "give"):
        refused = await request(node, f"/local/keys/{method}", '["AA=="]', bearer=bearer)
        assert refused.status_code == 403
    assert (await request(node, "/local/keys/install", '["/x"]', bearer=bearer)).status_code == 404
    assert (await request(node, "/local/keys/use", f'["{key_id}"]', bearer=token(Scope.CALL))).status_code == 403
    assert (await request(node, "/local/keys/use", f'["{key_id}"]', bearer=bearer)).status_code == 200
    early = await request(node, "/local/keys/retire", f'["{key_id}"]', bearer=bearer)
    assert "use another one first" in error_in(early)["text"]
    status = (await request(node, "/local/keys/status", bearer=bearer)).text
    assert OLD.reveal()[20:] not in status
    assert NEW.reveal()[20:] not in status


async def test_a_node_that_calls_itself_or_by_http_gets_no_keys(start: Callable[..., Awaitable[Node]]) -> None:
    node, other = await start(), await start(transport="http")
    for caller in (node, other):
        remote = Remote(node=node.address, service="keys", method="exchange")
        with pytest.raises(NotPermitted, match="sealed links only"):
            await caller.local.comm.send([encode_news(KeyNews(wanted=(OLD.id,)))], remote)


async def test_malformed_news_are_refused_without_a_quotation(start: Callable[..., Awaitable[Node]]) -> None:
    node, other = await start(), await start()
    remote = Remote(node=node.address, service="keys", method="exchange")
    for wrong in (b"", b"\xc1", "text", 7, encode_news(KeyNews())[:-1], NEW.reveal().encode()):
        with pytest.raises(MalformedRequest) as caught:
            await other.local.comm.send([wrong], remote)
        assert NEW.reveal()[20:] not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "args", "text"),
    [
        ("use", ["x"], "8 hex digits"),
        ("use", [None], "8 hex digits"),
        ("use", [NEW.reveal()], "not its id"),
        ("use", ["00000000"], "not installed here"),
        ("use", ["00000000", "127.0.0.1:1"], "without is a list"),
        ("use", ["00000000", ["nobody"]], "no member 'nobody'"),
        ("retire", ["00000000"], "there is no key"),
        ("retire", [OLD.name], "use another one first"),
        ("retire", [OLD.name, [1]], "without is a list"),
    ],
)
async def test_what_is_wrong_with_a_step_is_said(
    start: Callable[..., Awaitable[Node]], method: str, args: list[Any], text: str
) -> None:
    node = await start()
    with pytest.raises((MalformedRequest, PreconditionFailed), match=text):
        await getattr(node.keys, method)(*args)


@pytest.mark.parametrize("key", [None, 7, b"path", ["path"]])
async def test_a_key_is_given_by_the_path_of_its_file(start: Callable[..., Awaitable[Node]], key: Any) -> None:
    node = await start()
    with pytest.raises(MalformedRequest, match="path of its file"):
        await node.keys.install(key)
    with pytest.raises(ConfigError, match="there is no such file"):
        await node.keys.install("/nowhere/key")
    with pytest.raises(ConfigError, match="not the path of a file"):
        await node.keys.install(NEW.reveal())
    with pytest.raises(MalformedRequest, match="by_file is True or False"):
        await node.keys.install("/nowhere/key", by_file=1)  # type: ignore[arg-type]  # what a caller may do


async def test_a_node_without_a_key_says_so() -> None:
    async with open_node() as node:
        for step in (node.keys.status(), node.keys.use("00000000"), node.keys.install("x"), node.keys.reload()):
            with pytest.raises(PreconditionFailed, match="this node has no key: make one with"):
                await step


async def test_a_node_that_has_not_joined_takes_itself_for_no_cluster(tmp_path: Path, new: str) -> None:
    new_key_file(str(tmp_path / "key"), OLD)
    config = NodeConfig(key_file=str(tmp_path / "key"), join=["127.0.0.1:9"], connect_timeout_s=0.1)
    async with open_node(config) as node:
        key_id = await node.keys.install(new)
        with pytest.raises(PreconditionFailed, match="has not joined its cluster yet"):
            await node.keys.use(key_id)


async def test_a_cluster_that_does_not_rotate_sends_nothing_about_keys(autojump_clock: MockClock) -> None:
    fabric = MemoryFabric()
    async with (
        open_node(NodeConfig(join=[]), fabric=fabric, keys=node_keys(1)) as one,
        open_node(NodeConfig(join=[str(one.address)]), fabric=fabric, keys=node_keys(1)) as other,
    ):
        await wait_until(lambda: len(one.members()) == len(other.members()) == 2)
        await trio.sleep(600)
        for node in (one, other):
            agent = node.keys.agent
            assert agent is not None
            own = agent.ring.report()
            assert list(agent.ring.reports) == [own]


async def test_links_of_a_retired_key_are_replaced_and_closed_within_a_minute(
    new: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    ended = list[str]()

    async def wait(seconds: float) -> None:
        await trio.sleep(seconds)

    async def call(node: Node, other: Node, seconds: float) -> None:
        try:
            await node.local.comm.send([seconds], Remote(node=other.address, service="slow", method="wait"))
        except ConnectionLost as exc:
            ended.append(f"{seconds:g} {exc.text.rpartition(': ')[2]}")
        else:
            ended.append(f"{seconds:g} answered")

    fabric = MemoryFabric()
    for name in ("one", "other"):
        new_key_file(str(tmp_path / name), OLD)
    async with (
        open_node(NodeConfig(key_file=str(tmp_path / "one"), join=[]), fabric=fabric) as one,
        open_node(NodeConfig(key_file=str(tmp_path / "other"), join=[str(one.address)]), fabric=fabric) as other,
        trio.open_nursery() as nursery,
    ):
        await other.local.routes.put({"wait": wait}, "slow")
        await wait_until(lambda: len(one.members()) == len(other.members()) == 2)
        for seconds in (30, 300):
            nursery.start_soon(call, one, other, seconds)
        await trio.sleep(1)
        await rotate_once(other, new)
        for _ in range(60):
            await check_calls([one, other])
            await trio.sleep(1)
        assert ended == ["30 answered", "300 its key is retired"]


async def test_a_spawned_node_that_is_started_again_has_the_present_keys(
    start: Callable[..., Awaitable[Node]], new: str
) -> None:
    node = await start()
    child = await node.local.status.spawn(KEEPER, launcher="subprocess", restart="always")
    await wait_until(lambda: len(node.members()) == 2)
    await rotate_once(node, new)
    restarted = trio.Event()
    node.listen(lambda event: restarted.set() if isinstance(event, ChildRestarted) else None)
    os.kill((await told(node, child, "settings"))["pid"], signal.SIGKILL)
    await restarted.wait()
    await wait_until(lambda: len(node.members()) == 2)
    await check_calls([node])
    assert await told(node, next(one.node for one in node.members() if one.node != node.address), "variables") == []
    assert {member.seals_with for member in (await node.keys.status()).members if member.is_present} == {NEW.name}


async def test_a_node_that_has_missed_a_use_is_reached_with_the_older_key_and_gets_the_newer_one(
    autojump_clock: MockClock,
) -> None:
    file = KeyFile((KeyEntry.of(OLD), KeyEntry(NEW.id, KeyState.USED, 1, key=NEW)))
    fabric = MemoryFabric()
    async with (
        open_node(fabric=fabric, keys=NodeKeys(file, "trionet")) as ahead,
        open_node(fabric=fabric, keys=node_keys(1)) as behind,
    ):
        await check_calls([ahead, behind])
        agent = behind.keys.agent
        assert agent is not None
        await wait_until(lambda: agent.ring.keys.sealing == NEW.id)
        await check_calls([ahead, behind])
