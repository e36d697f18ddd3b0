"""An `on_start` without an import path goes to a child by value, with each launcher."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from trionet import ConfigError, EncodeError, Node, NodeConfig, Remote, SpawnError, open_node
from trionet.launchers.passed_code import portable, run_passed

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import NodeAddress

each_launcher = pytest.mark.parametrize("launcher", ["forkserver", "subprocess", "in_process"])


async def _said(node: Node, child: NodeAddress) -> Any:
    return await node.local.comm.send([], Remote(node=child, service="greeter", method="greet"))


def _greeting(text: str) -> Any:
    async def greet(node: Node) -> None:
        await node.local.routes.put({"greet": lambda: text}, "greeter")

    return greet


class _Greeter:
    def __init__(self, text: str) -> None:
        self.text = text

    async def begin(self, node: Node) -> None:
        await node.local.routes.put({"greet": lambda: self.text}, "greeter")


@each_launcher
@pytest.mark.parametrize(
    "on_start",
    [
        _greeting("hi"),
        lambda node: node.local.routes.put({"greet": lambda: "hi"}, "greeter"),
        _Greeter("hi").begin,
        functools.partial(_greeting("hi")),
    ],
    ids=["closure", "lambda", "bound method", "partial"],
)
async def test_any_callable_begins_a_child(launcher: str, on_start: Any) -> None:
    async with open_node() as node:
        assert (
            await _said(node, await node.local.status.spawn(NodeConfig(on_start=on_start, launcher=launcher))) == "hi"
        )


async def test_a_restarted_child_begins_with_it_again() -> None:
    async with open_node() as node:
        events = node.events()
        child = await node.local.status.spawn(
            NodeConfig(on_start=_greeting("hi"), restart="always", launcher="subprocess")
        )
        await node.local.comm.send([], Remote(node=child, service="status", method="stop"))
        async for event in events:
            if type(event).__name__ == "ChildRestarted":
                assert await _said(node, event.node) == "hi"
                break


async def test_what_it_raises_is_the_reason() -> None:
    def fail(_: Node) -> None:
        raise LookupError("no plan")

    async with open_node() as node:
        with pytest.raises(SpawnError, match="no plan"):
            await node.local.status.spawn(NodeConfig(on_start=fail, launcher="subprocess"))


async def test_what_can_not_be_pickled_is_refused_before_anything_starts() -> None:
    lock = threading.Lock()
    async with open_node() as node:
        with pytest.raises(EncodeError, match=r"on_start.*can't travel as code") as caught:
            await node.local.status.spawn(NodeConfig(on_start=lambda _: lock.locked(), launcher="subprocess"))
        assert caught.value.path == "$.on_start"


def test_a_function_with_an_import_path_goes_by_that() -> None:
    config, code = portable(NodeConfig(on_start=portable))
    assert (config.on_start, code) == ("trionet.launchers.passed_code:portable", b"")


async def test_a_launcher_that_does_not_pass_the_code_makes_a_node_that_says_so() -> None:
    with pytest.raises(ConfigError, match="launcher has not passed its code"):
        await run_passed(None)


MAIN = """
import trio, trionet

class Rumors:
    def __init__(self):
        self.count = 0
    @trionet.rpc
    def hear(self, what):
        self.count += 1
        return self.count

async def begin(node):
    await node.local.routes.put(Rumors(), "rumors")

async def main():
    async with trionet.open_node() as node:
        child = await node.local.status.spawn(trionet.NodeConfig(on_start=begin))
        print(await node.local.comm.send(["x"], trionet.Remote(node=child, service="rumors", method="hear")))

if __name__ == "__main__":
    trio.run(main)
"""


def test_functions_and_classes_of_the_main_program_travel(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(MAIN)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.parametrize("launcher", ["forkserver", "subprocess"])
async def test_code_that_is_too_large_for_the_pipe_is_said(launcher: str) -> None:
    data = bytes(16 * 1024 * 1024)
    async with open_node() as node:
        with pytest.raises(SpawnError, match=r"over the limit of 16,777,216 bytes; the code of its on_start has 16,"):
            await node.local.status.spawn(NodeConfig(on_start=lambda _: len(data)), launcher=launcher)


SCRIPT = """
import dataclasses
import msgspec
import trionet

@trionet.register_type
@dataclasses.dataclass
class Item:
    name: str

@trionet.register_type
class Lost(msgspec.Struct):
    name: str

class Shop:
    @trionet.rpc
    def bought(self, item: Item) -> Item:
        return Item(item.name + "!")

class Losing:
    @trionet.rpc
    def found(self) -> None:
        Lost("")

async def main(node: trionet.Node) -> None:
    child = await node.local.status.spawn(trionet.NodeConfig(trust_code=True))
    await node.local.groups.put("shop", [child])
    for _ in range(2):
        assert not (await node.group("shop").routes.put(Shop(), "shop")).errors
        remote = trionet.Remote(node=child, service="shop", method="bought")
        assert await node.local.comm.send([Item("tea")], remote) == Item("tea!")
    try:
        await node.group("shop").routes.put(Losing(), "losing")
    except trionet.CodeRefused as exc:
        print(exc.text)

if __name__ == "__main__":
    trionet.run(main)
"""


def test_registered_types_of_the_main_program_travel_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, [line for line in done.stderr.splitlines() if " INFO " not in line]) == (0, [])
    assert "the msgspec.Struct Lost would lose its fields: make it a dataclass" in done.stdout
