"""The methods of a group that is announced are there as if they had been registered at once."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest

from trionet import GroupNotFound, MethodNotFound, NodeConfig, Remote, TemporarilyUnavailable, open_node
from trionet.arguments import Method
from trionet.message import Call
from trionet.method_table import MethodTable
from trionet.router import Router


def shout() -> str:
    return "!"


METHOD = Method(shout)


class Announced:
    """A table with one announced group, and how often its methods were registered."""

    def __init__(self) -> None:
        self.table = MethodTable()
        self.registered = 0
        self.table.put("local", "shop", {"shout": METHOD})
        self.table.announce("team", self._register)

    def _register(self) -> None:
        self.registered += 1
        self.table.put_all("team", {"shop": {"shout": METHOD}})


@pytest.mark.parametrize(
    "look",
    [
        lambda table: table.get("team", "shop", "shout") is METHOD,
        lambda table: table.services("team") == {"shop": {"shout": METHOD}},
        lambda table: table.by_name["team"]["shop"]["shout"] is METHOD,
        lambda table: ("team", "shop", "shout", METHOD) in list(table),
        lambda table: isinstance(table.missing("team", "shop", "shoot", may_suggest=True), MethodNotFound),
    ],
)
def test_the_first_look_at_an_announced_group_registers_it_once(look: Any) -> None:
    announced = Announced()
    assert announced.table.get("local", "shop", "shout") is METHOD
    assert announced.registered == 0
    version = announced.table.version
    assert look(announced.table)
    assert look(announced.table)
    assert announced.registered == 1
    assert announced.table.version == version  # the methods are those that were announced


def test_a_service_that_is_added_to_an_announced_group_stands_beside_the_announced_ones() -> None:
    announced = Announced()
    version = announced.table.version
    announced.table.put("team", "store", {"shout": METHOD})
    assert set(announced.table.services("team")) == {"shop", "store"}
    announced.table.remove("team", "shop")
    assert set(announced.table.services("team")) == {"store"}
    assert announced.table.version == version + 2


@pytest.mark.parametrize("end", [lambda table: table.remove("team", None), lambda table: table.clear()])
def test_an_announced_group_that_is_removed_is_never_registered(end: Any) -> None:
    announced = Announced()
    end(announced.table)
    assert isinstance(announced.table.missing("team", "shop", "shout", may_suggest=True), GroupNotFound)
    assert announced.table.get("team", "shop", "shout") is None
    assert not announced.table.services("team")
    assert announced.registered == 0


def test_a_group_without_announcement_changes_the_version() -> None:
    table = MethodTable()
    table.put_all("team", {"shop": {"shout": METHOD}})
    assert table.version == 1


async def test_a_closed_router_takes_no_group_any_more() -> None:
    router = Router()
    router.close()
    router.announce("team", lambda: router.put_all("team", {}))
    router.put_all("team", {"shop": {"shout": METHOD}})
    with pytest.raises(TemporarilyUnavailable):
        router.permitted(Call(gid="team", service="shop", method="shout", args=[], kwargs={}, id="1", caller=None))


async def test_a_group_is_made_for_the_first_call_to_it_by_another_node() -> None:
    async with open_node() as caller, open_node(NodeConfig(join=[])) as node:
        await node.local.groups.put("team", [node.address])
        remote = Remote(node=node.address, gid="team", service="status", method="get")
        assert await caller.local.comm.send(["nid"], remote) is not None
        await node.local.groups.del_("team")
        with pytest.raises(GroupNotFound):
            await caller.local.comm.send(["nid"], remote)
        with pytest.raises(GroupNotFound):
            node.group("team")


async def test_a_group_that_is_deleted_before_its_first_use_is_gone() -> None:
    async with open_node() as node:
        await node.local.groups.put("team", [node.address])
        await node.local.groups.del_("team")
        with pytest.raises(GroupNotFound):
            node.group("team")
        remote = Remote(node=node.address, gid="team", service="status", method="get")
        with pytest.raises(GroupNotFound):
            await node.local.comm.send(["nid"], remote)


async def test_without_a_descriptor_to_import_it_a_group_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "trionet.group":
                raise OSError(errno.EMFILE, "Too many open files")

    async with open_node() as caller, open_node(NodeConfig(join=[])) as node:
        remote = Remote(node=node.address, gid="all", service="status", method="get")
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "trionet.group")
            patch.setattr(sys, "meta_path", [Full(), *sys.meta_path])
            with pytest.raises(TemporarilyUnavailable, match="Too many open files"):
                await caller.local.comm.send(["nid"], remote)
        assert await caller.local.comm.send(["nid"], remote) is not None
