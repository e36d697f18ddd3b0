"""Spawning from a program whose surroundings are strange: it works, or a `SpawnError` says why it doesn't."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S
from trionet import NodeConfig, SpawnError, TrionetError, open_node
from trionet.launchers.interpreter import import_path

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.slow]

LAUNCHERS = ["forkserver", "subprocess"]
each_launcher = pytest.mark.parametrize("launcher", LAUNCHERS)

PROGRAM = """
import os, sys, trio, trionet

sys.path[:0] = [{root!r}, os.path.dirname(os.path.abspath(__file__))]  # -I leaves it out
{before}

async def main():
    async with trionet.open_node() as node:
        launchers = {launchers!r}
        configs = [trionet.NodeConfig(launcher=launcher, services={{"kin": "kin:Kin"}}) for launcher in launchers]
        kin = [await node.local.status.spawn(config) for config in configs]
        {after}
        tell = [trionet.Remote(node=one, service="kin", method="tell") for one in kin]
        said = [await node.local.comm.send([], remote) for remote in tell]
        os.write(int(sys.argv[1]), repr(dict(zip(launchers, said))).encode())

if __name__ == "__main__":
    trio.run(main)
"""
KIN = """
import io, os, sys, trionet

class Kin:
    @trionet.rpc
    def tell(self) -> dict[str, object]:
        print("a line")
        print("another", file=sys.stderr)
        sys.stdout.flush()
        flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0].islower()}
        flags = {name: value for name, value in flags.items() if not callable(value)}
        return {"flags": flags, "warnings": sys.warnoptions, "options": sys._xoptions, "asserts": not __debug__,
                "unbuffered": sys.__stdout__ is not None and isinstance(sys.__stdout__.buffer, io.RawIOBase)}
"""


def run(
    folder: Path,
    options: Sequence[str] = (),
    *,
    launchers: Sequence[str] = tuple(LAUNCHERS),
    before: str = "",
    after: str = "",
    redirect: str = "",
) -> tuple[dict[str, dict[str, Any]], str]:
    """Run the program in a folder of its own; return what its children said, and what it wrote to standard error.

    It has a child of each launcher, under whose name is what that said. All of them have said something.
    """
    (folder / "kin.py").write_text(KIN, encoding="utf-8")
    program = PROGRAM.format(root=str(ROOT), launchers=list(launchers), before=before, after=after)
    (folder / "program.py").write_text(program, encoding="utf-8")
    reading, writing = os.pipe()
    command = f'exec "$0" "$@" {redirect}'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = ["sh", "-c", command, sys.executable, *options, os.fspath(folder / "program.py"), str(writing)]
    try:
        done = subprocess.run(
            words,
            pass_fds=[writing],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            check=False,
        )
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as said:
        text, errors = said.read(), done.stderr.decode(errors="replace")
    assert text, errors
    found: dict[str, dict[str, Any]] = eval(text)
    assert list(found) == list(launchers)
    return found, errors


# ------------------------------------------------------------------------------------------------ where it imports from


def test_a_folder_whose_name_is_not_utf_8_and_an_import_path_of_two_thousand_long_places(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9\nbar'\"")
    folder.mkdir()
    run(folder, before="sys.path[1:1] = [f'/nowhere/{number}/' + 'x' * 200 for number in range(2000)]")


def test_a_working_directory_that_has_been_deleted(tmp_path: Path) -> None:
    run(
        tmp_path,
        before="os.mkdir('gone'); os.chdir('gone'); sys.path[1:1] = ['', 'lib']; os.rmdir('../gone')",
    )


def test_a_relative_place_of_the_environment_in_a_working_directory_that_has_been_deleted(tmp_path: Path) -> None:
    before = (
        "os.environ['PYTHONPATH'] = os.pathsep.join(['lib', sys.path[0]])\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
    )
    _, errors = run(tmp_path, before=before)
    assert "Fatal" not in errors


def test_with_all_warnings_there_is_none_of_ours_and_children_have_the_flag(tmp_path: Path) -> None:
    said, errors = run(tmp_path, ["-X", "dev"])
    assert "Warning" not in errors
    assert [child["flags"]["dev_mode"] for child in said.values()] == [True, True]


def test_relative_places_are_made_absolute_and_left_out_where_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", "lib", "/usr/lib", tmp_path, b"bytes", None])
    assert import_path() == [f"{folder}/", f"{folder}/lib", "/usr/lib", str(tmp_path)]
    folder.rmdir()
    assert import_path() == ["/usr/lib", str(tmp_path)]


# ------------------------------------------------------------------------------------------------------ the same Python


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (
            ["-OO", "-I"],  # one level of optimization: each compiles all that is imported
            {"optimize": 2, "isolated": 1, "safe_path": True, "no_user_site": 1, "ignore_environment": 1},
        ),
        (
            ["-s", "-E", "-B", "-X", "utf8", "-X", "int_max_str_digits=5000", "-bb"],
            {
                "optimize": 0,
                "isolated": 0,
                "no_user_site": 1,
                "ignore_environment": 1,
                "dont_write_bytecode": 1,
                "utf8_mode": 1,
                "bytes_warning": 2,
            },
        ),
    ],
)
def test_a_child_has_the_flags_of_its_spawner(tmp_path: Path, options: list[str], flags: dict[str, object]) -> None:
    said, _ = run(tmp_path, options)
    for child in said.values():
        assert {name: child["flags"][name] for name in flags} == flags
        assert child["asserts"] == ("-OO" in options)


def test_warnings_options_and_unbuffered_output_are_passed_on_too(tmp_path: Path) -> None:
    options = ["-u", "-W", "ignore::UserWarning", "-X", "int_max_str_digits=5000", "-X", "mine=7", "-X", "alone"]
    said = run(tmp_path, options, launchers=["subprocess"])[0]["subprocess"]
    assert said["warnings"] == ["ignore::UserWarning"]
    assert said["options"] == {"int_max_str_digits": "5000", "mine": "7", "alone": True}
    assert said["unbuffered"]


def test_no_flag_is_passed_on_that_was_not_given(tmp_path: Path) -> None:
    said = run(tmp_path, launchers=["subprocess"])[0]["subprocess"]
    assert (said["warnings"], said["options"], said["unbuffered"]) == ([], {}, False)


async def test_a_python_that_does_not_know_its_program_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            for launcher in LAUNCHERS:
                with pytest.raises(SpawnError, match=r"sys\.executable is empty"):
                    await node.local.status.spawn(NodeConfig(launcher=launcher))


# -------------------------------------------------------------------------------------------------- what may be missing


@pytest.mark.parametrize(
    "redirect",
    [
        "<&- >&- 2>&-",
        ">/dev/full 2>/dev/full",
        *(pytest.param(one, marks=pytest.mark.soak) for one in ("2>&-", ">&-", "<&-")),
    ],
)
def test_streams_that_are_closed_or_full_do_not_keep_a_child_from_printing(tmp_path: Path, redirect: str) -> None:
    run(tmp_path, redirect=redirect)


def test_a_child_prints_on_when_nobody_reads_its_spawners_streams_any_more(tmp_path: Path) -> None:
    run(tmp_path, after="end, other = os.pipe(); os.close(end); os.dup2(other, 1); os.dup2(other, 2)")


@pytest.fixture
def no_descriptors() -> Generator[ExitStack]:
    """Let this process take no more descriptors than it has, as soon as the stack's ``exhaust`` is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        yield stack


def exhaust(stack: ExitStack, left: int) -> None:
    """Take all descriptors but `left`."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    while True:
        try:
            taken.append(stack.enter_context(socket.socket()))
        except OSError:
            break
    for sock in taken[:left]:
        sock.close()


@each_launcher
async def test_without_free_descriptors_there_is_a_reason_and_later_spawns_work(
    no_descriptors: ExitStack, launcher: str
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            reasons = set()
            for left in range(8):
                with ExitStack() as stack:
                    exhaust(stack, left)
                    try:
                        await node.local.status.spawn(NodeConfig(launcher=launcher))
                    except SpawnError as error:
                        reasons.add(error.text)
            no_descriptors.close()
            assert reasons
            assert all("Too many open files" in reason for reason in reasons), reasons
            address = await node.local.status.spawn(NodeConfig(launcher=launcher, services=SERVICES))
            assert await ask(node, address, "pid")


async def test_a_fork_server_without_free_descriptors_says_so_and_goes_on() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            first = await node.local.status.spawn(NodeConfig(services=SERVICES))
            server = await ask(node, first, "parent")
            before = resource.prlimit(server, resource.RLIMIT_NOFILE)
            resource.prlimit(server, resource.RLIMIT_NOFILE, (4, before[1]))
            with pytest.raises(SpawnError, match="did not boot: can't fork: Too many open files"):
                await node.local.status.spawn(NodeConfig())
            resource.prlimit(server, resource.RLIMIT_NOFILE, before)
            second = await node.local.status.spawn(NodeConfig(services=SERVICES))
            assert await ask(node, second, "parent") == server


@each_launcher
async def test_without_threads_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, launcher: str) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            with monkeypatch.context() as patch:
                patch.setattr(trio.to_thread, "run_sync", fail)
                with pytest.raises(SpawnError, match=r"can't start .*: can't start new thread"):
                    await node.local.status.spawn(NodeConfig(launcher=launcher))
            assert await node.local.status.spawn(NodeConfig(launcher=launcher))


def no_threads() -> None:
    threading.Thread.start = _no_thread  # type: ignore[assignment, method-assign]


def _no_thread(_: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


async def test_a_child_that_can_start_no_thread_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"import tests.launchers.test_surroundings as it; it.no_threads(); {interpreter_program()}"
    monkeypatch.setattr("trionet.launchers.subprocess._MAIN", program)
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            with pytest.raises(SpawnError, match=r"did not boot: RuntimeError: can't start new thread$"):
                await node.local.status.spawn(NodeConfig(launcher="subprocess"))


def interpreter_program() -> str:
    from trionet.launchers.subprocess import _MAIN

    return _MAIN


async def test_a_configuration_that_cannot_travel_is_the_callers_mistake_and_leaves_nothing() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            for launcher in LAUNCHERS:
                with pytest.raises(TrionetError):
                    await node.local.status.spawn(NodeConfig(launcher=launcher, tags={"name": "caf\udce9"}))


def fail_far_away(node: object) -> NoReturn:
    raise LookupError("caf\udce9")


@each_launcher
async def test_a_reason_that_cannot_travel_is_told_in_other_letters(launcher: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            with pytest.raises(SpawnError, match=r"did not boot: .*LookupError: caf\\udce9"):
                await node.local.status.spawn(NodeConfig(launcher=launcher, on_start=fail_far_away))


def test_a_socket_that_has_the_number_of_a_closed_stream_is_no_stream_for_a_child() -> None:
    program = (
        "import os, socket, sys; from trionet.launchers.children import missing_streams\n"
        "before = missing_streams(); taken = [socket.socket() for _ in range(3)]\n"
        "os.write(int(sys.argv[1]), f'{sorted(before)} {sorted(missing_streams())}'.encode())"
    )
    reading, writing = os.pipe()
    words = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, "-c", program, str(writing)]
    subprocess.run(words, pass_fds=[writing], cwd=ROOT, check=True)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == "['stderr', 'stdout'] ['stderr', 'stdout']"
