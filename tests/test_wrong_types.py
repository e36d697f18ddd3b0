"""Values of wrong types at each public method: an error of ours that says so, or success; and the node lives."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet import NodeConfig, Remote, TrionetError, open_node
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from trionet import Node

Call = tuple[str, list[Any], dict[str, Any]]

NID = Remote(service="status", method="get")
WRONG: list[Any] = [
    None,
    3,
    -1,
    1.5,
    True,
    "x",
    "",
    b"x",
    [],
    {},
    (),
    set(),
    [None],
    {"a": 1},
    object(),
    print,
    Exception,
]

SOUND: dict[str, Callable[[Node], tuple[Callable[..., Any], dict[str, Any]]]] = {
    "status.get": lambda node: (node.local.status.get, {"key": "nid"}),
    "status.spawn": lambda node: (
        node.local.status.spawn,
        {"config": {"launcher": "in_process"}, "launcher": "in_process", "restart": "never", "detach": False},
    ),
    "spawn": lambda node: (node.spawn, {"config": {"launcher": "in_process"}}),
    "groups.get": lambda node: (node.local.groups.get, {"gid": "all"}),
    "groups.put": lambda node: (node.local.groups.put, {"gid": "g", "nodes": [node], "subset": 1}),
    "groups.add": lambda node: (node.local.groups.add, {"gid": "g", "node": node.address}),
    "groups.rem": lambda node: (node.local.groups.rem, {"gid": "g", "sid": node.sid}),
    "groups.del_": lambda node: (node.local.groups.del_, {"gid": "g"}),
    "routes.put": lambda node: (node.local.routes.put, {"service": {"a": print}, "name": "a"}),
    "routes.get": lambda node: (node.local.routes.get, {"name": "status"}),
    "routes.describe": lambda node: (node.local.routes.describe, {"name": "status"}),
    "routes.rem": lambda node: (node.local.routes.rem, {"name": "a"}),
    "comm.send": lambda node: (
        node.local.comm.send,
        {
            "args": ["nid"],
            "remote": Remote(node=node.address, service="status", method="get"),
            "kwargs": {},
            "orphans": "report",
        },
    ),
    "comm.stream": lambda node: (
        _entering(node.local.comm.stream),
        {
            "args": [],
            "remote": Remote(node=node.address, service="probe", method="items"),
            "kwargs": {},
            "orphans": "report",
        },
    ),
    "gossip.tasks": lambda node: (node.local.gossip.tasks, {"gid": "all"}),
    "gossip.del_": lambda node: (node.local.gossip.del_, {"task_id": "x"}),
    "join": lambda node: (node.join, {"seeds": [node.address]}),
    "membership.join": lambda node: (node.local.membership.join, {"seeds": [node.address]}),
    "membership.packet": lambda node: (node.local.membership.packet, {"data": b"x"}),
    "membership.unreachable": lambda node: (node.local.membership.unreachable, {"by": node.address}),
    "set_tags": lambda node: (node.set_tags, {"tags": {}}),
    "member": lambda node: (_entering(node.member), {"sid": "0"}),
    "group": lambda node: (node.group, {"gid": "all"}),
    "register_template": lambda node: (node.register_template, {"name": "t", "template": lambda _: {}}),
    "register_launcher": lambda node: (node.register_launcher, {"name": "t", "launcher": object()}),
    "launcher": lambda node: (node.launcher, {"name": "in_process"}),
    "listen": lambda node: (node.listen, {"listener": print}),
    "group status.get": lambda node: (node.all.status.get, {"key": "nid"}),
    "group status.spawn": lambda node: (node.all.status.spawn, {"config": {"launcher": "in_process"}}),
    "group groups.get": lambda node: (node.all.groups.get, {"gid": "all"}),
    "group groups.put": lambda node: (node.all.groups.put, {"gid": "g", "nodes": [node], "subset": 1}),
    "group groups.add": lambda node: (node.all.groups.add, {"gid": "g", "node": node.address}),
    "group groups.rem": lambda node: (node.all.groups.rem, {"gid": "g", "sid": node.sid}),
    "group groups.del_": lambda node: (node.all.groups.del_, {"gid": "g"}),
    "group routes.put": lambda node: (node.all.routes.put, {"service": "tests.samples:Counter", "name": "a"}),
    "group routes.get": lambda node: (node.all.routes.get, {"name": "status"}),
    "group routes.rem": lambda node: (node.all.routes.rem, {"name": "a"}),
    "group comm.send": lambda node: (
        node.all.comm.send,
        {"args": ["nid"], "remote": NID, "kwargs": {}, "wait": "all", "partial": False, "orphans": "report"},
    ),
    "group comm.stream": lambda node: (
        _entering(node.all.comm.stream),
        {"args": ["nid"], "remote": NID, "kwargs": {}, "items": False, "orphans": "report"},
    ),
    "group gossip.send": lambda node: (node.all.gossip.send, {"args": ["nid"], "remote": NID, "kwargs": {}}),
    "group gossip.at": lambda node: (
        node.all.gossip.at,
        {"interval_s": 3600.0, "method": print, "jitter_s": 0.0},
    ),
    "group gossip.del_": lambda node: (node.all.gossip.del_, {"task_id": "x"}),
    "group settings.put": lambda node: (node.all.settings.put, {"key": "limit", "value": 5}),
    "group settings.get": lambda node: (node.all.settings.get, {"key": "limit"}),
    "group settings.del_": lambda node: (node.all.settings.del_, {"key": "limit"}),
    "group member": lambda node: (_entering(node.all.member), {"sid": "0"}),
    "group service": lambda node: (node.all.service, {"name": "nothing"}),
}


def _entering(opened: Callable[..., Any]) -> Callable[..., Any]:
    async def enter(**arguments: Any) -> None:
        async with opened(**arguments):
            pass

    return enter


async def items() -> AsyncGenerator[int]:
    yield 1


def _wrong_calls(sound: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield sound
    for name in sound:
        for wrong in WRONG:
            yield sound | {name: wrong}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
async def test_a_wrong_type_is_an_error_of_ours_and_leaves_the_node_whole(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    fabric = MemoryFabric()
    async with open_node(NodeConfig(join=[]), fabric=fabric) as node, open_node(fabric=fabric) as other:
        await node.local.routes.put({"items": items}, "probe")
        method, sound = SOUND[name](node)
        for arguments in _wrong_calls(sound):
            with trio.fail_after(DEADLINE_S):
                try:
                    result = method(**arguments)
                    if inspect.isawaitable(result):
                        await result
                except TrionetError:
                    continue
                except Exception as exc:
                    raise AssertionError(f"{name}({arguments}) raises {exc!r}") from exc
        remote = Remote(node=node.address, service="status", method="get")
        assert await other.local.comm.send(["sid"], remote) == node.sid
        assert not node.is_stopping
        assert node.sid in await node.local.groups.get("all")
        assert (await node.all.status.get("sid")).values[node.sid] == node.sid
        receipt = await node.all.gossip.send(["sid"], NID)
        assert len(receipt.id) > 0
