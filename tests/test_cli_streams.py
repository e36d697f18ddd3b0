"""What commands do with the standard streams that they are given: none, full ones, ones that nobody reads any more."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
import trio

import trionet
from tests.launchers.families import Family, marked_family
from tests.launchers.loud import LOUD
from tests.node_processes import ROOT
from tests.ports import free_port
from tests.waiting import DEADLINE_S, is_listening, wait_until
from trionet import NodeAddress, NodeConfig, Remote, open_node
from trionet.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.slow]

SEARCH = "simulate --seeds 2 --duration 1 --processes 1"
SEED = "simulate --seed 2 --duration 1 --json"
TEST = "maelstrom test -w echo --bin echo --simulate --time-limit 1 --node-count 1 --no-store --seed 7"
FULL = "can't write to standard output: No space left on device"


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started; the test fails when one of them is left."""
    with marked_family() as found:
        yield found


def run(arguments: str, redirect: str = "", module: str = "trionet") -> tuple[int, str, str]:
    """Run a command to its end by a shell; return its exit status, and what it wrote."""
    command = f"{sys.executable} -m {module} {arguments} {redirect}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout, done.stderr


@cache
def shown_by(arguments: str) -> str:
    """Return what a command with all its streams writes to standard output."""
    return run(arguments)[1]


ALL_MISSING, FULL_ERROR = "<&- >&- 2>&-", "2>/dev/full"
MISSING = [
    pytest.param(
        arguments,
        redirect,
        # The search has processes of its own, with the same streams; for the others these two redirections do.
        marks=[] if arguments == SEARCH or redirect in {ALL_MISSING, FULL_ERROR} else [pytest.mark.soak],
    )
    for arguments in (SEARCH, SEED, TEST, "--version")
    for redirect in ("2>&-", ">&-", "<&-", ALL_MISSING, FULL_ERROR)
]


@pytest.mark.parametrize(("arguments", "redirect"), MISSING)
def test_a_command_works_whichever_streams_are_missing(arguments: str, redirect: str) -> None:
    expected = shown_by(arguments)
    status, out, err = run(arguments, redirect)
    assert (status, err) == (0, "")
    if ">&-" not in redirect.replace("2>&-", ""):
        assert out.split(":")[0] == expected.split(":")[0] != ""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (SEARCH, 2), (SEED, 2), (TEST, 3), ("--version", 1), ("node --help", 1), ("node", 1), ("up 1", 1),
        ("completion bash", 1),
    ],
)  # fmt: skip
def test_what_was_asked_for_and_cannot_be_written_is_told_by_the_status(arguments: str, status: int) -> None:
    found, out, err = run(arguments, ">/dev/full")
    assert (found, out) == (status, "")
    assert err.endswith(f"{FULL}\n")
    assert [" INFO " in line for line in err.splitlines()].count(False) == 1


@pytest.mark.parametrize(
    "arguments", [SEARCH, "--help", *(pytest.param(one, marks=pytest.mark.soak) for one in (SEED, TEST))]
)
def test_a_reader_that_has_gone_is_no_failure(arguments: str) -> None:
    command = f"({sys.executable} -m trionet {arguments}; echo $? >&2) | true"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.stderr == "0\n"


@pytest.mark.parametrize("command", ["node", "up 1"])
async def test_a_node_runs_without_any_streams_and_is_stopped(family: Family, command: str) -> None:
    port = await trio.to_thread.run_sync(free_port)
    option = "--port" if command == "node" else "--port-from"
    shell = f"exec {sys.executable} -m trionet {command} {option} {port} <&- >&- 2>&-"
    process = await trio.lowlevel.open_process(["sh", "-c", shell], cwd=ROOT)
    with trio.fail_after(DEADLINE_S):
        try:
            while not await is_listening(port):  # noqa: ASYNC110  another process sets no event
                await trio.sleep(0.05)
            process.terminate()
        except BaseException:
            process.kill()
            raise
        assert await process.wait() in (0, 130)  # it may still have been starting


@pytest.mark.parametrize(
    "command",
    ["trionet", "trionet node", "trionet up", "trionet simulate", "trionet plot", "trionet demo", "trionet maelstrom",
     "trionet maelstrom test"],
)  # fmt: skip
def test_every_command_tells_the_version(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split()[1:], "--version"])  # in this process, which is faster
    name = "trionet-node" if command == "trionet node" else command  # the same command
    assert (caught.value.code or 0, *capsys.readouterr()) == (0, f"{name} {trionet.__version__}\n", "")


@pytest.mark.parametrize(
    ("module", "name"), [("trionet.cli.node", "trionet-node"), ("trionet.cli.glomers", "trionet-glomers")]
)
def test_the_commands_of_their_own_tell_it_too(module: str, name: str) -> None:
    assert run("--version", module=module) == (0, f"{name} {trionet.__version__}\n", "")


# --------------------------------------------------------------------------------------------------------- who prints


@pytest.mark.parametrize("command", ["node --json", "up 1 --json"])
async def test_nothing_is_on_standard_output_but_what_was_asked_for_and_children_say_who_prints(command: str) -> None:
    config = json.dumps({"services": LOUD})
    words = [sys.executable, "-m", "trionet", *command.split(), "--config", config]
    process = await trio.lowlevel.open_process(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = bytearray(), bytearray()

    async def read(stream: trio.abc.ReceiveStream | None, into: bytearray) -> None:
        assert stream is not None
        async for chunk in stream:
            into += chunk

    with trio.fail_after(DEADLINE_S):
        async with open_node() as node, trio.open_nursery() as nursery:
            nursery.start_soon(read, process.stdout, out)
            nursery.start_soon(read, process.stderr, err)
            try:
                await wait_until(lambda: b"\n" in out)
                ready = json.loads(out)
                first = ready["nodes"][0] if "nodes" in ready else ready
                printing = {"first": NodeAddress(first["ip"], first["port"])}
                for launcher in ("forkserver", "subprocess"):
                    printing[launcher] = await spawn(node, printing["first"], launcher)
                    printing[f"below {launcher}"] = await spawn(node, printing[launcher], "forkserver")
                for name, address in printing.items():
                    await node.local.comm.send([name], Remote(node=address, service="loud", method="say"))
            finally:
                process.terminate()
                await process.wait()
    assert out.count(b"\n") == 1
    lines = err.decode().splitlines()
    for name, address in printing.items():
        who = "" if name == "first" and command.startswith("node") else f"[{address.sid} {address}] "
        for said in (name, f"{name}, amid a line", f"{name} on stderr", f"{name} as bytes"):
            assert lines.count(who + said) == 1, (said, lines)
        assert lines.count(f"{name} by a program") == 1


async def spawn(caller: trionet.Node, parent: NodeAddress, launcher: str) -> NodeAddress:
    config = NodeConfig(services=LOUD, launcher=launcher)
    address: NodeAddress = await caller.local.comm.send([config], Remote(node=parent, service="status", method="spawn"))
    return address


# ------------------------------------------------------------------------------------------------------------ streams


def test_a_stream_that_others_have_made_non_blocking_gets_all_of_it() -> None:
    program = (
        "import os, sys; from trionet.streams import prepare_streams\n"
        "os.set_blocking(1, False); prepare_streams(); print('x' * 1_000_000)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"x" * 1_000_000 + b"\n"


def test_streams_that_have_been_replaced_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from trionet.streams import check_written, claim_stdout

    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    assert claim_stdout() is mine
    check_written(mine)


def test_no_file_gets_the_number_of_a_missing_stream() -> None:
    program = (
        "import os, sys; from trionet.streams import prepare_streams; prepare_streams()\n"
        "end, _ = os.pipe(); is_nothing = os.path.sameopenfile(2, os.open(os.devnull, os.O_RDONLY))\n"
        "os.write(int(sys.argv[1]), f'{end} {is_nothing}'.encode())"
    )
    reading, writing = os.pipe()
    command = 'exec "$0" "$@" <&- >&- 2>&-'
    subprocess.run(
        ["sh", "-c", command, sys.executable, "-c", program, str(writing)], pass_fds=[writing], cwd=ROOT, check=True
    )
    os.close(writing)
    with os.fdopen(reading) as said:
        found = re.fullmatch(r"(\d+) True", said.read())
    assert found is not None
    assert int(found[1]) > 2
