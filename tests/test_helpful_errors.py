"""What newcomers get wrong is answered in trionet's words, and what they may well write is understood."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import trionet
from tests.clusters import open_cluster
from trionet import (
    ConfigError,
    DecodeError,
    EncodeError,
    Event,
    MalformedRequest,
    MemberEvent,
    Node,
    NodeAddress,
    NodeConfig,
    Remote,
    RemoteError,
    SSHLauncher,
    events,
    open_node,
    register_type,
    rpc,
)
from trionet.codec import JSON
from trionet.testing import assert_no_orphans, wait_converged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock


class Greeter:
    @rpc
    def greet(self, name: str, *, loudly: bool = False) -> str:
        return name.upper() if loudly else name

    @rpc
    async def letters(self, name: str) -> AsyncGenerator[str]:
        for letter in name:
            yield letter

    @rpc
    async def forgets(self) -> Any:
        return later()

    @rpc
    def takes_all(self, **named: Any) -> dict[str, Any]:
        return named


async def later() -> int:
    return 1


@pytest.fixture
async def node() -> AsyncGenerator[Node]:
    async with open_node() as node:
        await node.local.routes.put(Greeter(), "greeter")
        yield node


def _greet(node: Node) -> Any:
    return {"node": str(node.address), "service": "greeter", "method": "greet"}


async def test_a_remote_may_be_a_dict_and_a_call_has_keyword_arguments(node: Node) -> None:
    send: Any = node.local.comm.send
    assert await send(["ada"], _greet(node)) == "ada"
    assert await send([], _greet(node), kwargs={"name": "ada", "loudly": True}) == "ADA"
    replies = await node.all.comm.send(["ada"], Remote(service="greeter", method="greet"), kwargs={"loudly": True})
    assert replies.values == {node.sid: "ADA"}
    letters: Any = {"node": node.address, "service": "greeter", "method": "letters"}
    async with node.local.comm.stream([], letters, kwargs={"name": "ada"}) as items:
        assert [item async for item in items] == ["a", "d", "a"]
    of_group: Any = {"service": "greeter", "method": "letters"}
    async with node.all.comm.stream([], of_group, kwargs={"name": "ab"}, items=True) as pairs:
        assert [pair async for pair in pairs] == [(node.sid, "a"), (node.sid, "b")]


async def test_keyword_arguments_go_by_http_too(node: Node) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.put(
            f"http://{node.address}/all/comm/send?kwargs=%7B%22loudly%22:true%7D",
            content='[["ada"], {"service": "greeter", "method": "greet"}]',
        )
    assert response.json()["values"] == {node.sid: "ADA"}


@pytest.mark.parametrize("spawn", ["spawn", "local", "group"])
async def test_a_node_is_spawned_from_a_dict(node: Node, spawn: str) -> None:
    settings: Any = {"launcher": "in_process", "stop_grace_s": 0}
    how = {"spawn": node.spawn, "local": node.local.status.spawn, "group": node.all.status.spawn}
    address = await how[spawn](settings)
    assert await node.local.comm.send(["port"], Remote(node=address, service="status", method="get")) == address.port


async def test_a_node_is_taken_out_of_a_group_by_its_address(node: Node) -> None:
    other = NodeAddress("127.0.0.1", 9)
    for name in (other, other.sid, str(other)):
        await node.local.groups.put("browncs", [node, other])
        assert list(await node.local.groups.rem("browncs", name)) == [node.sid]
        await node.local.groups.put("browncs", [node, other])
        remote = Remote(node=node.address, service="groups", method="rem")
        assert list(await node.local.comm.send(["browncs", name], remote)) == [node.sid]
    await node.local.groups.put("browncs", [node, other])
    await node.all.groups.rem("browncs", other)
    assert list(node.group("browncs").members()) == [node.sid]


ANY_REMOTE: Any = Remote
ANY_THREE: Any = 3
ANY_DICT: Any = {"port": "x"}
WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "remote by position": (lambda node: ANY_REMOTE(node, "status", "get"), r"by name: trionet\.Remote\(node="),
    "remote with a typo": (lambda _: ANY_REMOTE(servce="status"), "no 'servce'"),
    "no remote": (lambda node: node.local.comm.send([], None), r"names a service and a method.*not None"),
    "no remote for all": (lambda node: node.all.comm.send([], None), r"names a service and a method.*not None"),
    "no node": (lambda node: node.local.comm.send([], Remote(service="a", method="b")), "names no node"),
    "no configuration": (lambda node: node.spawn(None), r"trionet\.NodeConfig\(\).*not None"),
    "keyword arguments in a list": (
        lambda node: node.all.comm.send([], {"service": "a", "method": "b"}, kwargs=[1]),
        "dict",
    ),
    "one seed": (lambda node: node.join("127.0.0.1:8080"), r"a list of addresses, as in join\(\['127"),
    "a node as seeds": (lambda node: node.join(node), "a list of addresses"),
    "a dict as a service's name": (lambda node: node.local.routes.get({"name": "a"}), "name is a text"),
    "milliseconds": (lambda node: node.all.gossip.at(5000, print), r"seconds.*milliseconds.*interval_s=5000"),
    "two intervals": (lambda node: node.all.gossip.at(5, print, interval_s=5), "one interval"),
    "no interval": (lambda node: node.all.gossip.at(method=print), "one interval"),
    "a coroutine as a task": (lambda node: node.all.gossip.at(5, later()), r"later, not later\(\)"),
    "an async listener": (lambda node: node.listen(later), "plain function"),
    "a remote with a field too many": (
        lambda node: node.local.comm.send([], {"node": node, "service": "a", "method": "b", "timeout": 3}),
        "a remote has no 'timeout'",
    ),
    "no boolean": (
        lambda node: node.all.comm.send([], Remote(service="a", method="b"), partial="x"),
        "partial is True or False, not 'x'",
    ),
    "a number as a type's name": (lambda _: register_type(Remote, name=ANY_THREE), "is a text, not 3"),
    "options of ssh in one text": (
        lambda _: SSHLauncher("attic", options="-v"),
        "options is a list of words, not '-v'",
    ),
    "no host": (lambda _: SSHLauncher(ANY_THREE), "user@host, not 3"),
    "no nodes": (lambda _: wait_converged(ANY_THREE), "nodes in a list, not 3"),
    "no nodes that could have orphans": (lambda _: assert_no_orphans([ANY_THREE]), "nodes in a list, not 3"),
    "no source of random numbers": (
        lambda _: open_node(random=ANY_THREE).__aenter__(),
        r"random is a random\.Random, not 3",
    ),
    "an on_start that can't be called": (
        lambda _: open_node(NodeConfig(on_start="sys:path")).__aenter__(),
        "'sys:path' leads to a list, not to a function",
    ),
    "a wrong setting in a dict": (lambda _: open_node(ANY_DICT).__aenter__(), "^configuration: port: Expected"),
    "a setting that there isn't": (lambda node: node.spawn({"prt": 80}), "prt"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_said(node: Node, what: str) -> None:
    do, text = WRONG[what]

    async def call() -> None:
        result = do(node)
        if hasattr(result, "__await__"):
            await result

    with pytest.raises(MalformedRequest, match=text):
        await call()


async def test_an_interval_by_name_is_taken_as_said(node: Node) -> None:
    await node.all.gossip.at(interval_s=5000, method=print)
    await node.all.gossip.at(60, print)
    assert [task.interval_s for task in await node.local.gossip.tasks()] == [5000, 60]


async def test_what_a_service_is_bound_to_is_no_argument(node: Node) -> None:
    remote = Remote(node=node.address, service="greeter", method="takes_all")
    with pytest.raises(MalformedRequest, match="'self' is the service itself"):
        await node.local.comm.send([], remote, kwargs={"self": 1})
    assert await node.local.comm.send([], remote, kwargs={"cls": 1}) == {"cls": 1}


@pytest.mark.parametrize("tag", ["$error", "$replies", "$uuid", "$map", "$address", "$type", "$bytes", "$tuple"])
def test_a_value_that_can_not_be_read_names_its_tag_and_no_attribute(tag: str) -> None:
    with pytest.raises(DecodeError) as caught:
        JSON.decode(b'{"%b": 3}' % tag.encode())
    assert "attribute" not in caught.value.text
    assert tag in caught.value.text or "expected a list" in caught.value.text


@pytest.mark.filterwarnings("ignore:coroutine 'later' was never awaited")
async def test_a_forgotten_await_is_named(node: Node) -> None:
    with pytest.raises(EncodeError, match="coroutine does not travel: await it"):
        await node.local.comm.send([later()], Remote(node=node.address, service="greeter", method="greet"))
    with pytest.raises(RemoteError, match="coroutine does not travel: await it"):
        await node.local.comm.send([], Remote(node=node.address, service="greeter", method="forgets"))


def test_asyncio_is_told_from_trio() -> None:
    async def main() -> None:
        async with open_node():
            raise AssertionError("was opened")

    with pytest.raises(RuntimeError, match=r"trionet\.open_node needs Trio, and asyncio runs this"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("main", "text"),
    [
        (lambda _: 3, "write 'async def"),
        (None, "an async function of a node, not None"),
        (later, None),
    ],
)
def test_run_takes_an_async_function(main: Any, text: str | None) -> None:
    if text is None:
        main, text = later(), r"itself: later, not later\(\.\.\.\)"
    with pytest.raises(TypeError, match=text):
        trionet.run(main)


async def test_run_within_a_run_is_refused() -> None:
    async def main(_: Node) -> None:
        raise AssertionError("was run")

    with pytest.raises(RuntimeError, match=r"use trionet\.open_node there.*__main__"):
        trionet.run(main)


@pytest.mark.parametrize("how", ["trionet.run(main)", "import trio; trio.run(main, None)"])
async def test_a_program_without_a_guard_that_a_node_imports_is_told_of_one(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"unguarded_{len(how)}"
    (tmp_path / f"{name}.py").write_text(
        f"import trionet\nasync def main(node): pass\ndef hello(node): pass\n{how}\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="if __name__ == '__main__'"):
        async with open_node(NodeConfig(on_start=f"{name}:hello")):
            raise AssertionError("was opened")


# ---- events and the log


def test_each_event_names_a_node() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    address = NodeAddress("127.0.0.1", 8080)
    assert len(kinds) > 10
    for kind in kinds:
        fields: dict[str, Any] = dict.fromkeys(kind.__struct_fields__, "x") | {"node": str(address)}
        event = kind(**fields)
        assert (event.node, event.sid) == (address, address.sid)


async def test_the_log_says_who_saw_which_member_come_and_go(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster() as cluster:
        with caplog.at_level(logging.INFO, "trionet.services"):
            first, second, third = await cluster.start_many(3)
            cluster.kill(third)
            await cluster.wait_members([first, second])
            await second.leave()
            await trio.sleep(5)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", f"node {second.address} has joined the cluster, by way of {first.address}") in said
    assert ("WARNING", f"node {first.address}: the member {third.address} has failed") in said
    assert ("INFO", f"node {second.address} leaves its cluster") in said


async def _next(iterator: Any, kind: type[Event]) -> Any:
    async for event in iterator:
        if isinstance(event, kind):
            return event
    raise AssertionError("there was none")


async def test_the_events_of_members_have_their_addresses(autojump_clock: MockClock) -> None:
    async with open_cluster() as cluster:
        first = await cluster.start(join=[])
        watch = first.events()
        second = await cluster.start(join=[str(first.address)])
        event: Any = await _next(watch, MemberEvent)
        assert (event.node, event.sid) == (second.address, second.sid)
