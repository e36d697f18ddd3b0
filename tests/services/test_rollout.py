"""A plain cluster becomes sealed while it runs."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.rolling import STEPS, config_of
from tests.security.keys import key_of
from tests.transports.keyed_nodes import http_client, token
from tests.waiting import wait_until
from trionet import NodeConfig, Remote, current_call, open_node, rpc
from trionet.errors import (
    ConfigError,
    KeyMismatch,
    MalformedRequest,
    NodeUnreachable,
    NotPermitted,
    PreconditionFailed,
    ServiceNotFound,
    TemporarilyUnavailable,
)
from trionet.protocols.link.outgoing import LinkRetired
from trionet.security.key_file import new_key_file, read_key_file
from trionet.security.live_keys import LiveKeys
from trionet.security.node_keys import NodeKeys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trionet import Node


@asynccontextmanager
async def plain_nodes(folder: Path, count: int = 3) -> AsyncGenerator[list[Node]]:
    """Run plain nodes of one cluster; the key of each comes later."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for number in range(count):
            join = [str(nodes[0].address)] if nodes else []
            nodes.append(await stack.enter_async_context(open_node(config_of(folder / f"{number}.key", join=join))))
        await wait_until(lambda: all(len(node.members()) == count for node in nodes))
        yield nodes


def give_keys(folder: Path, count: int = 3) -> None:
    for number in range(count):
        new_key_file(str(folder / f"{number}.key"), key_of(1))


async def ping(one: Node, other: Node) -> None:
    assert await one.local.comm.send(["nid"], Remote(node=other.address, service="status", method="get"))


async def ping_all(nodes: list[Node]) -> None:
    for one in nodes:
        for other in nodes:
            await ping(one, other)


async def test_a_plain_cluster_goes_to_sealed_in_steps(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path) as nodes:
        give_keys(tmp_path)
        for node in nodes:
            await node.reload()
            await ping_all(nodes)
        status = await nodes[0].keys.status()
        assert (status.rollout, status.is_protected, status.waits_for) == ("accept=both send=plain", False, "ready")
        await nodes[1].keys.rollout("send=sealed")
        await ping_all(nodes)
        assert {one.rollout for one in (await nodes[2].keys.status()).members} == {"accept=both send=sealed"}
        await nodes[2].keys.rollout("accept=sealed")
        await ping_all(nodes)
        assert all([(await node.keys.status()).is_protected for node in nodes])
        assert all(len(node.members()) == 3 for node in nodes)


async def test_a_step_waits_for_members_without_the_key_and_names_them(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path) as nodes:
        give_keys(tmp_path, 2)
        for node in nodes[:2]:
            await node.reload()
        with pytest.raises(PreconditionFailed, match=str(nodes[2].address)):
            await nodes[0].keys.rollout("send=sealed")
        with pytest.raises(PreconditionFailed, match="a step at a time"):
            await nodes[0].keys.rollout("accept=sealed")
        await ping_all(nodes)


async def test_spawned_nodes_read_the_key_with_their_spawner(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path, 1) as (node,):
        first = await node.local.status.spawn(NodeConfig(launcher="in_process"))
        give_keys(tmp_path, 1)
        await node.reload()
        second = await node.local.status.spawn(NodeConfig(launcher="in_process"))
        await wait_until(lambda: len(node.members()) == 3)
        for step in STEPS:
            await node.keys.rollout(step)
        status = await node.keys.status()
        assert {one.name for one in status.members} == {str(one) for one in (node.address, first, second)}
        assert {one.rollout for one in status.members} == {"accept=sealed send=sealed"}


@pytest.mark.parametrize("has_datagrams", [True, False])
async def test_a_sealed_node_joins_those_that_began_plain(tmp_path: Path, has_datagrams: bool) -> None:
    async with plain_nodes(tmp_path, 2) as nodes:
        give_keys(tmp_path, 2)
        for node in nodes:
            await node.reload()
        for step in STEPS:
            await nodes[0].keys.rollout(step)
        new_key_file(str(tmp_path / "late.key"), key_of(1))
        join = [str(nodes[0].address)]
        config = NodeConfig(key_file=str(tmp_path / "late.key"), join=join, datagrams=has_datagrams)
        async with open_node(config) as late:
            await wait_until(lambda: all(len(node.members()) == 3 for node in (*nodes, late)))


async def test_a_node_that_has_stopped_takes_no_key(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path, 1) as (node,):
        pass
    give_keys(tmp_path, 1)
    with pytest.raises(TemporarilyUnavailable):
        await node.reload()


async def test_a_broken_file_leaves_a_node_plain_and_says_why(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path, 2) as nodes:
        with pytest.raises(ConfigError, match=r"keys: .*0\.key"):
            await nodes[0].reload()
        path = tmp_path / "0.key"
        path.write_text("nonsense\n")
        path.chmod(0o600)
        with pytest.raises(ConfigError):
            await nodes[0].reload()
        await ping_all(nodes)
        with pytest.raises(PreconditionFailed):
            await nodes[0].keys.status()


async def test_a_plain_peer_administers_nothing_and_then_is_refused(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path, 2) as nodes, open_node() as stranger:
        node = nodes[0]
        to = node.address
        await ping(stranger, node)
        give_keys(tmp_path, 2)
        for one in nodes:
            await one.reload()
        await ping(stranger, node)
        for service, method in (("status", "stop"), ("keys", "status"), ("keys", "rollout"), ("routes", "put")):
            with pytest.raises(NotPermitted, match="hold the key"):
                await stranger.local.comm.send([], Remote(node=to, service=service, method=method))
        detour = [[], Remote(node=to, service="status", method="stop")]
        with pytest.raises(NotPermitted, match="hold the key"):
            await stranger.local.comm.send(detour, Remote(node=to, service="comm", method="send"))
        await node.keys.rollout("send=sealed")
        await node.keys.rollout("accept=sealed")
        async with open_node() as late:
            with pytest.raises((KeyMismatch, NodeUnreachable)):
                await ping(late, node)


async def test_a_plain_peer_gains_nothing_by_a_rumor_and_each_refusal_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with plain_nodes(tmp_path, 2) as nodes, open_node(NodeConfig(join=[str(nodes[0].address)])) as stranger:
        await wait_until(lambda: all(len(one.members()) == 3 for one in (*nodes, stranger)))
        give_keys(tmp_path, 2)
        for one in nodes:
            await one.reload()
        put, stop = Remote(service="routes", method="put"), Remote(gid="all", service="status", method="stop")
        await stranger.all.gossip.send(["tests.services.test_rollout:Other", "other"], put)
        await stranger.all.gossip.send([], stop)
        await wait_until(lambda: all(one.statistics().calls_refused == 2 for one in nodes))
        assert not any(one.is_stopping for one in nodes)
        with pytest.raises(ServiceNotFound):
            await nodes[0].local.routes.get("other")
        with pytest.raises(NotPermitted):
            await stranger.local.comm.send([], Remote(node=nodes[0].address, service="status", method="stop"))
        assert nodes[0].statistics().calls_refused == 3
        assert f"by anyone at {stranger.address}" in caplog.text
        async with http_client() as client:
            answer = await client.put(f"http://{nodes[0].address}/local/status/stop", content="[]")
            assert answer.status_code == 403
        assert nodes[0].statistics().requests_refused == 1
        assert "a request of 127.0.0.1 for /local/status/stop" in caplog.text


class Other:
    @rpc
    def do(self) -> None: ...


async def test_a_node_that_restarts_in_a_rollout_keeps_its_step(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path, 2) as nodes:
        give_keys(tmp_path, 2)
        for node in nodes:
            await node.reload()
        await nodes[0].keys.rollout("send=sealed")
    assert str(read_key_file(str(tmp_path / "0.key")).rollout) == "accept=both send=sealed"
    async with open_node(config_of(tmp_path / "0.key", join=[])) as node:
        assert (await node.keys.status()).rollout == "accept=both send=sealed"
    shutil.copy(tmp_path / "0.key", tmp_path / "copy.key")


async def test_a_request_with_a_token_is_answered_before_the_key_has_come_and_after(tmp_path: Path) -> None:
    async with plain_nodes(tmp_path, 1) as (node,), http_client() as client:
        url = f"http://{node.address}/local/status/get"
        for headers in ({}, {"Authorization": f"Bearer {token()}"}):
            assert (await client.put(url, content='["nid"]', headers=headers)).json() == {"value": node.nid}
        give_keys(tmp_path, 1)
        await node.reload()
        for headers in ({}, {"Authorization": f"Bearer {token()}"}):
            assert (await client.put(url, content='["nid"]', headers=headers)).json() == {"value": node.nid}
        wrong = await client.put(url, content='["nid"]', headers={"Authorization": f"Bearer {token(seed=2)}"})
        assert wrong.status_code == 401


class Seen:
    @rpc
    def key(self) -> str:
        return current_call().key_id.hex()


async def test_a_call_that_must_be_sealed_is_never_repeated_over_a_plain_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_keys(tmp_path, 2)
    configs = [NodeConfig(key_file=str(tmp_path / f"{at}.key"), accept="both", send="plain") for at in range(2)]
    async with open_node(configs[0]) as one, open_node(configs[1]) as other:
        await other.local.routes.put(Seen(), "seen")
        links: Any = one._endpoint.links  # noqa: SLF001  as its keys use them
        to = other.address
        remote = Remote(node=to, service="seen", method="key")
        request = one.local.comm.prepare([], {}, remote)
        assert await one.local.comm.send([], remote) == ""
        plain = links._links[to]  # noqa: SLF001
        sealed_key = await links.call_sealed(to, request, bool)
        assert sealed_key
        sealed = links._links[to]  # noqa: SLF001
        retired: list[object] = []

        async def retire(_: object) -> None:
            retired.append(sealed)
            links._links[to] = plain  # noqa: SLF001  a peer has made one that states this address
            raise LinkRetired

        monkeypatch.setattr(type(sealed.calls), "call", _first(retire, type(sealed.calls).call))
        assert await links.call_sealed(to, request, bool) == sealed_key
        assert retired


def _first(once: Any, then: Any) -> Any:
    """Return a method that is `once` at its first call, and `then` from the second on."""
    calls: list[None] = []

    async def call(self: Any, request: Any) -> Any:
        calls.append(None)
        return await (once(request) if len(calls) == 1 else then(self, request))

    return call


async def test_a_file_amid_a_rollout_opens_no_node_to_others(tmp_path: Path) -> None:
    give_keys(tmp_path, 1)
    path = tmp_path / "0.key"
    path.write_text(path.read_text() + "rollout accept=both send=sealed\n")
    config = NodeConfig(key_file=str(path), ip="0.0.0.0", advertise_ip="127.0.0.1")
    with pytest.raises(ConfigError, match=r"accepts plain peers.* insecure=True"):
        async with open_node(config):
            pass
    async with open_node(NodeConfig(key_file=str(path), ip="0.0.0.0", advertise_ip="127.0.0.1", insecure=True)):
        pass


@pytest.mark.parametrize("step", [("plain", "plain"), ("both", "plain"), ("both", "sealed")])
def test_a_node_with_a_certificate_sends_and_accepts_nothing_plain(step: tuple[str, str], tmp_path: Path) -> None:
    accept, send = step
    files = {"certificate_file": "a.pem", "private_key_file": "a.key.pem", "ca_file": "ca.pem"}
    with pytest.raises(ConfigError, match="without a certificate"):
        NodeConfig(accept=accept, send=send, **files)  # type: ignore[arg-type]  # any text
    if accept == "both":  # a key file may say it, too
        give_keys(tmp_path, 1)
        path = tmp_path / "0.key"
        path.write_text(path.read_text() + f"rollout accept={accept} send={send}\n")
        keys = LiveKeys(NodeKeys(read_key_file(str(path)), "trionet"), is_certified=True)
        assert keys.seals
        assert not keys.accepts_plain


@pytest.mark.parametrize("step", ["accept=plain", "send=plain", "", None, 3, b"accept=both", ["accept=both"]])
async def test_other_steps_are_malformed(tmp_path: Path, step: object) -> None:
    give_keys(tmp_path, 1)
    async with open_node(config_of(tmp_path / "0.key", join=[])) as node:
        with pytest.raises(MalformedRequest, match="accept=both, send=sealed or accept=sealed"):
            await node.keys.rollout(step)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(("accept", "send"), [("plain", "sealed"), ("sealed", "plain")])
def test_a_configuration_names_a_step(accept: str, send: str) -> None:
    with pytest.raises(ConfigError, match="no step of a rollout"):
        NodeConfig(accept=accept, send=send)  # type: ignore[arg-type]  # that is the test


async def test_a_node_without_a_key_file_has_nothing_to_reload() -> None:
    async with open_node() as node:
        assert not node.reloading
        await node.reload()
        with pytest.raises(PreconditionFailed):
            await node.keys.reload()
    await trio.lowlevel.checkpoint()
