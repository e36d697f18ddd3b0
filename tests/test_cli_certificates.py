"""Commands and certificates: `trionet up`, and the clients of nodes that have them, with a key and without."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.certificates import CertificateAuthority
from tests.node_processes import ROOT, clean_environment
from tests.security.keys import key_of
from tests.waiting import DEADLINE_S
from trionet import NodeAddress, NodeConfig, Remote, open_node
from trionet.security.key_file import new_key_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Any]:
    return CertificateAuthority(tmp_path).issue()


@pytest.fixture(params=["certificate", "certificate and key"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, certificate: dict[str, Any]) -> dict[str, Any]:
    """The settings of a node with a certificate, and with a key, too."""
    if request.param == "certificate":
        return certificate
    new_key_file(str(tmp_path / "key"), key_of(1))
    return certificate | {"key_file": str(tmp_path / "key")}


def options(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]


async def run(*arguments: str) -> tuple[int, str]:
    """Run a command; return its status, and its output and errors."""
    command = [sys.executable, "-m", "trionet", *arguments]
    with trio.fail_after(DEADLINE_S):
        done = await trio.run_process(
            command,
            cwd=ROOT,
            env=clean_environment(),
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    return done.returncode, done.stdout.decode()


async def test_up_runs_nodes_with_certificates_and_passes_the_signal_to_reload_on(settings: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "trionet", "up", "2", "--json", *options(settings)]
    process = subprocess.Popen(  # noqa: ASYNC220  its output is read by lines, in threads
        [*command, "--config", '{"log_level": "info"}'],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = await trio.to_thread.run_sync(process.stdout.readline)
        first, _ = [NodeAddress(node["ip"], node["port"]) for node in json.loads(line)["nodes"]]
        with trio.fail_after(DEADLINE_S):
            async with open_node(NodeConfig(**settings)) as node:
                get = Remote(node=first, gid="all", service="status", method="get")
                assert len((await node.local.comm.send(["port"], get)).value) == 2
        process.send_signal(signal.SIGHUP)
        reloaded = 0
        with trio.fail_after(DEADLINE_S):
            while reloaded < 2:
                reloaded += "reloaded: certificate" in await trio.to_thread.run_sync(process.stderr.readline)
        process.terminate()
        assert await trio.to_thread.run_sync(process.wait) == 0
    finally:
        process.kill()
        process.communicate()


async def test_a_node_is_reloaded_by_command(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with open_node(NodeConfig(**settings)) as node:
        assert await run("reload", str(node.address), *options(settings)) == (0, "")
        assert "reloaded: " in caplog.text
        assert "certificate" in caplog.text.partition("reloaded: ")[2]


async def test_a_node_without_files_says_so(tmp_path: Path) -> None:
    async with open_node() as node:
        status, text = await run("reload", str(node.address))
    assert (status, "has no files to read again" in text) == (1, True)


async def test_keys_of_nodes_with_certificates_are_operated_by_command(
    tmp_path: Path, certificate: dict[str, Any]
) -> None:
    new_key_file(str(tmp_path / "key"), key_of(1))
    settings = certificate | {"key_file": str(tmp_path / "key")}
    async with open_node(NodeConfig(**settings, join=[])) as node:
        status, text = await run("keys", "status", str(node.address), *options(settings))
        assert (status, f"key {key_of(1).name}: used, seals" in text) == (0, True)
        status, text = await run("keys", "status", str(node.address), "--key-file", settings["key_file"])
        assert (status, "certificate" in text) == (1, True)
