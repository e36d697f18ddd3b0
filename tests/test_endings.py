"""How a program with a node ends: by what it raises, as it is, whatever that is and wherever it was raised."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trionet
from trionet import NodeConfig, Remote, open_node, simulation
from trionet.testing.clusters import open_cluster_factory
from trionet.testing.nodes import open_node_factory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trionet import Node

ENDINGS = [SystemExit(7), KeyboardInterrupt(), GeneratorExit()]
NID = Remote(service="status", method="get")


async def within_a_node(error: BaseException) -> None:
    async with open_node():
        raise error


async def within_on_start(error: BaseException) -> None:
    def on_start(_: Node) -> None:
        raise error

    async with open_node(NodeConfig(on_start=on_start)):
        raise AssertionError("was opened")


async def within_two_nodes(error: BaseException) -> None:
    async with open_node() as first, open_node(NodeConfig(join=[str(first.address)])):
        raise error


async def within_a_member_scope(error: BaseException) -> None:
    async with open_node() as node, node.member(node.sid), node.all.member(node.sid):
        raise error


async def within_a_stream_of_a_group(error: BaseException) -> None:
    async with open_node() as node, node.all.comm.stream(["nid"], NID) as answers:
        async for _ in answers:
            raise error


async def within_a_stream(error: BaseException) -> None:
    async def count() -> AsyncGenerator[int]:
        yield 1
        await trio.sleep_forever()

    async with open_node() as node, open_node() as other:
        await other.local.routes.put({"count": count}, "counter")
        remote = Remote(node=other.address, service="counter", method="count")
        async with node.local.comm.stream([], remote) as items:
            async for _ in items:
                raise error


async def within_a_cluster_of_a_test(error: BaseException) -> None:
    async with open_node_factory() as factory:
        await factory(1)
        raise error


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
@pytest.mark.parametrize(
    "program",
    [
        within_a_node,
        within_on_start,
        within_two_nodes,
        within_a_member_scope,
        within_a_stream_of_a_group,
        within_a_stream,
        within_a_cluster_of_a_test,
    ],
    ids=lambda program: program.__name__,
)
def test_what_the_block_raises_comes_out_as_it_is(program: Any, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        trio.run(program, error)
    assert caught.value is error


async def in_a_simulation(error: BaseException) -> None:
    async with simulation.open_cluster(2, seed=1):
        raise error


async def in_a_cluster_factory(error: BaseException) -> None:
    async with open_cluster_factory(1) as factory:
        await factory(2)
        raise error


@pytest.mark.parametrize("error", ENDINGS, ids=repr)
@pytest.mark.parametrize("program", [in_a_simulation, in_a_cluster_factory], ids=lambda program: program.__name__)
def test_so_it_does_in_virtual_time(program: Any, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        simulation.run(program, error, seed=1)
    assert caught.value is error


def test_run_raises_the_end_of_the_program_as_it_is() -> None:
    async def main(_: Node) -> None:
        sys.exit(7)

    with pytest.raises(SystemExit) as caught:
        trionet.run(main)
    assert caught.value.code == 7


def test_run_passes_arguments_on() -> None:
    async def main(node: Node, one: int, other: str) -> tuple[str, int, str]:
        return node.address.ip, one, other

    assert trionet.run(main, None, 1, "two") == ("127.0.0.1", 1, "two")
    assert trionet.run(main, NodeConfig(), 1, "two") == ("127.0.0.1", 1, "two")


@pytest.mark.parametrize("where", ["main", "a task of the node", "a handler of its own"])
def test_ctrl_c_is_a_plain_keyboard_interrupt_wherever_it_strikes(where: str) -> None:
    async def main(node: Node) -> None:
        if where == "main":
            signal.raise_signal(signal.SIGINT)
        elif where == "a task of the node":
            await node.all.gossip.at(0.01, lambda: signal.raise_signal(signal.SIGINT))
        else:
            await node.local.routes.put({"interrupt": lambda: signal.raise_signal(signal.SIGINT)}, "probe")
            await node.all.comm.send([], Remote(service="probe", method="interrupt"))
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trionet.run(main)


async def test_a_call_in_progress_is_answered_when_the_program_is_told_to_end() -> None:
    began, may_end = trio.Event(), trio.Event()
    answers = []

    async def wait() -> str:
        began.set()
        await may_end.wait()
        return "answered"

    async def serve(*, task_status: trio.TaskStatus[Node]) -> None:
        with contextlib.suppress(SystemExit):
            async with open_node(NodeConfig(stop_grace_s=60)) as node:
                await node.local.routes.put({"wait": wait}, "patience")
                task_status.started(node)
                await began.wait()
                sys.exit(3)

    async def call(caller: Node, node: Node) -> None:
        answers.append(await caller.local.comm.send([], Remote(node=node.address, service="patience", method="wait")))

    with trio.fail_after(60):
        async with open_node() as caller, trio.open_nursery() as nursery:
            node = await nursery.start(serve)
            nursery.start_soon(call, caller, node)
            while not node.is_stopping:  # noqa: ASYNC110  nobody tells
                await trio.sleep(0.01)
            may_end.set()
    assert answers == ["answered"]


PROGRAM = """
import os, signal, sys
import trio, trionet

async def main(node):
    {what}
    await trio.sleep_forever()

try:
    trionet.run(main)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "status", "printed"),
    [
        ("sys.exit(7)", 7, ""),
        ("sys.exit('a reason')", 1, ""),
        ("os.kill(os.getpid(), signal.SIGINT)", 0, "interrupted\n"),
        ("await node.local.status.spawn(trionet.NodeConfig()); sys.exit(7)", 7, ""),
    ],
)
def test_a_program_ends_with_the_status_that_it_says(what: str, status: int, printed: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(what=what), encoding="utf-8")
    # Where the tests run in the background of a shell, SIGINT is ignored, and would stay so.
    ended = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert (ended.returncode, ended.stdout) == (status, printed)
    assert "Traceback" not in ended.stderr
