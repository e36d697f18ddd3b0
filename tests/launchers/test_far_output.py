"""What nodes over there print comes to standard error here, and holds up nothing but those that print."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.launchers.families import Family, marked_family
from tests.launchers.ssh_server import SSHD, Server, open_sshd
from tests.launchers.test_ssh_shared import MISFIT, launcher_for
from tests.waiting import DEADLINE_S
from trionet import ConnectionLost, NodeConfig, Remote, open_node, rpc
from trionet.launchers.far_output import GRANTED_BYTES, FarOutput

if TYPE_CHECKING:
    from collections.abc import Generator

PRINTED_BYTES = 16 * GRANTED_BYTES


class Printer:
    """Prints much more than anything holds, and is in it for ever where nobody reads."""

    @rpc(thread=True)
    def go_on(self) -> None:
        for _ in range(PRINTED_BYTES // 1024):
            os.write(2, b"." * 1023 + b"\n")

    @rpc
    def say(self, text: str) -> None:
        os.write(1, text.encode() + b"\n")
        os._exit(7)


@contextmanager
def stderr_of_a_pipe() -> Generator[int]:
    """Have standard error be a pipe; yield the end from which it is read."""
    before, (there, here) = os.dup(2), os.pipe()
    os.dup2(here, 2)
    os.close(here)
    try:
        yield there
    finally:
        os.close(there)
        os.dup2(before, 2)
        os.close(before)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """An sshd of our own, which lets this user in with a key made for it."""
    with open_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def family() -> Generator[Family]:
    with marked_family() as found:
        yield found


PRINTER = NodeConfig(
    services={"printer": "tests.launchers.test_far_output:Printer"}, launcher="there", stop_grace_s=0.2
)

needs_sshd = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh-server isn't installed")


@needs_sshd
@pytest.mark.slow
async def test_where_nobody_reads_what_a_node_prints_other_nodes_start_answer_and_stop(
    sshd: Server, family: Family
) -> None:
    with stderr_of_a_pipe(), trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", launcher_for(sshd))
            address = await node.local.status.spawn(PRINTER)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.local.comm.send, [], Remote(node=address, service="printer", method="go_on"))
                other = await node.local.status.spawn(MISFIT)
                for _ in range(20):
                    third = await node.local.status.spawn(MISFIT)
                    await node.local.comm.send([], Remote(node=third, service="status", method="stop"))
                assert await node.local.comm.send([], Remote(node=other, service="misfit", method="pid"))
                nursery.cancel_scope.cancel()
        assert not family.left()


@needs_sshd
@pytest.mark.slow
async def test_all_that_is_read_comes_and_the_last_words_of_a_node_too(sshd: Server) -> None:
    found = bytearray()
    with stderr_of_a_pipe() as pipe, trio.fail_after(DEADLINE_S):

        async def read() -> None:
            while True:
                await trio.lowlevel.wait_readable(pipe)
                found.extend(os.read(pipe, 65_536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async with open_node() as node:
                node.register_launcher("there", launcher_for(sshd))
                address = await node.local.status.spawn(PRINTER)
                await node.local.comm.send([], Remote(node=address, service="printer", method="go_on"))
                with pytest.raises(ConnectionLost):
                    await node.local.comm.send(["farewell"], Remote(node=address, service="printer", method="say"))
            nursery.cancel_scope.cancel()
        while select.select([pipe], [], [], 0)[0]:
            found += os.read(pipe, 65_536)
    assert found.count(b"." * 1023 + b"\n") == PRINTED_BYTES // 1024
    assert found.endswith(b"farewell\n")


async def test_what_is_held_is_granted_again_only_once_it_is_written() -> None:
    granted = []

    async def grant(count: int) -> None:
        granted.append(count)

    with stderr_of_a_pipe() as pipe, trio.fail_after(DEADLINE_S):
        output = FarOutput(grant)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.run)
            output.feed(b"x" * 300_000)  # more than a pipe holds
            await trio.lowlevel.wait_readable(pipe)
            output.feed(b"y" * 1_000)
            await trio.testing.wait_all_tasks_blocked()
            assert granted == []
            read = b""
            while len(read) < 301_000:
                await trio.lowlevel.wait_readable(pipe)
                read += os.read(pipe, 65_536)
            output.close()
    assert read == b"x" * 300_000 + b"y" * 1_000
    assert granted == [300_000, 1_000]


LEAVES = """
import os, sys, trio
from trionet.launchers.far_output import FarOutput

async def main():
    output = FarOutput(lambda _: trio.lowlevel.checkpoint())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        output.feed(b"x" * 300_000)
        output.close()

os.write(1, b"begun")
trio.run(main)
os.write(1, b"ended")
"""


@pytest.mark.slow
def test_output_that_nobody_reads_keeps_no_program_from_its_end() -> None:
    with subprocess.Popen([sys.executable, "-c", LEAVES], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read() == b"begunended"
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
