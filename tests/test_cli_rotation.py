"""``trionet keys``: an operator rotates the keys of a running cluster."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.node_processes import ROOT, clean_environment
from tests.security.keys import key_of
from tests.waiting import wait_until
from trionet import NodeConfig, open_node
from trionet.security.key_file import new_key_file, read_key_file

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = key_of(1), key_of(2)


async def keys(*arguments: str) -> tuple[int, str, str]:
    """Run the command; return its status, output and errors."""
    command = [sys.executable, "-m", "trionet", "keys", *arguments]
    done = await trio.run_process(
        command,
        cwd=ROOT,
        env=clean_environment(),
        capture_stdout=True,
        capture_stderr=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.slow
async def test_an_operator_rotates_with_a_copy_of_the_old_key(tmp_path: Path) -> None:
    for name, key in (("node", OLD), ("operator", OLD), ("new", NEW)):
        new_key_file(str(tmp_path / name), key)
    operator, new = ["--key-file", str(tmp_path / "operator")], str(tmp_path / "new")
    async with open_node(NodeConfig(key_file=str(tmp_path / "node"), join=[])) as node:
        address = str(node.address)
        status, _, text = await keys("use", address, NEW.name, *operator)
        assert (status, "install it first" in text) == (1, True)
        assert await keys("install", address, "--new", new, *operator) == (0, f"{NEW.name}\n", "")
        assert await keys("use", address, NEW.name, *operator) == (0, "", "")
        # The operator's copy still has only the old key, which is not retired.
        status, shown, text = await keys("status", address, *operator)
        assert (status, text) == (0, "")
        assert f"key {OLD.name}: used, to be retired: ready" in shown
        assert shown.count("member ") == 1
        assert await keys("retire", address, OLD.name, *operator) == (0, "", "")
        await wait_until(lambda: [one.key for one in read_key_file(str(tmp_path / "node")).entries if one.key] == [NEW])
        status, _, text = await keys("status", address, *operator)
        assert (status, "give both nodes the same key" in text) == (1, True)
    assert [one.key for one in read_key_file(str(tmp_path / "operator")).entries] == [OLD]


@pytest.mark.slow
async def test_by_file_a_key_goes_into_a_file_of_this_machine(tmp_path: Path) -> None:
    new_key_file(str(tmp_path / "node"), OLD)
    new_key_file(str(tmp_path / "new"), NEW)
    own, new = ["--key-file", str(tmp_path / "node")], str(tmp_path / "new")
    async with open_node(NodeConfig(key_file=str(tmp_path / "node"), join=[])) as node:
        assert (await keys("install", "--by-file", "--new", new, *own))[0] == 0
        assert (await keys("install", str(node.address), "--by-file", "--new", new, *own))[0] == 2
        assert (await keys("reload", str(node.address), *own))[0] == 0
        assert {one.id: one.by_file for one in (await node.keys.status()).keys} == {OLD.name: False, NEW.name: True}


@pytest.mark.slow
async def test_a_node_is_reloaded_before_its_first_key_with_that_key(tmp_path: Path) -> None:
    for name, key in (("right", OLD), ("wrong", NEW)):
        new_key_file(str(tmp_path / name), key)
    path = tmp_path / "node"
    async with open_node(NodeConfig(key_file=str(path), accept="plain", send="plain", join=[])) as node:
        new_key_file(str(path), OLD)

        async def reload(name: str) -> int:
            command = [sys.executable, "-m", "trionet", "reload", str(node.address), "--key-file", str(tmp_path / name)]
            done = await trio.run_process(
                command, check=False, capture_stdout=True, capture_stderr=True, cwd=ROOT, env=clean_environment()
            )
            return done.returncode

        assert await reload("right") == 0
        assert (await node.keys.status()).rollout == "accept=both send=plain"
        assert await reload("wrong") == 1
