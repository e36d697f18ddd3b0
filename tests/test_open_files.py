"""The limit of open files: raised where the process is the library's, and explained where it isn't."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from trionet.cli.serving import run_reporting
from trionet.launchers.children import explain_failure
from trionet.open_files import is_full

_FEW = 64
_ROOT = Path(__file__).resolve().parent.parent


def _run(program: str) -> str:
    """Run a program that may have few open files at first, and return its output."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({_FEW}, {hard}))\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_trionet_run_may_have_as_many_files_open_as_the_system_permits() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    program = """
import trionet

async def main(node):
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

trionet.run(main)
"""
    assert _run(program).split() == [str(hard)]


def test_a_program_that_opens_a_node_itself_keeps_its_limit_and_is_told_what_to_do() -> None:
    program = """
import os, trio, trionet

async def main():
    async with trionet.open_node() as node:
        await node.prewarm()
        files = []
        try:
            while True:
                files.append(os.dup(0))
        except OSError:
            pass
        try:
            await node.spawn(trionet.NodeConfig())
        except trionet.SpawnError as error:
            print(error.text)
        for file in files:
            os.close(file)

trio.run(main)
"""
    text = _run(program)
    assert "can't connect with a child: Too many open files" in text
    assert f"this process may have {_FEW} files open" in text
    assert "ulimit -n" in text


@pytest.mark.parametrize(("number", "expected"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.EACCES, False)])
def test_only_a_lack_of_descriptors_is_explained_as_one(number: int, expected: bool) -> None:
    failure = OSError(number, os.strerror(number))
    assert is_full(failure) == expected
    assert (explain_failure(failure) != os.strerror(number)) == expected


def test_a_command_that_lacks_descriptors_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    def start() -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    assert run_reporting("trionet up", start) == 1
    line, *others = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"trionet up: Too many open files: this process may have .* raise the limit .*", line)
    assert not others


async def test_a_node_without_free_descriptors_holds_no_other_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    import trionet
    from trionet.transports import network

    async def full(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async def refused(_: object) -> None:
        raise OSError(errno.ECONNREFUSED, "Connection refused")

    async with trionet.open_node() as node:
        endpoint = node._endpoint  # noqa: SLF001
        other = trionet.NodeAddress("127.0.0.1", 1)
        monkeypatch.setattr(network, "connect", full)
        assert await endpoint.can_connect(other)
        monkeypatch.setattr(network, "connect", refused)
        assert not await endpoint.can_connect(other)
