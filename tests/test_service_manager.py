"""The state of a process as systemd is notified of it: by real processes, to a socket that stands for systemd's."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.node_processes import PROBE, ROOT, NodeProcess, clean_environment, launch, wait_ready
from tests.waiting import DEADLINE_S
from trionet import NodeConfig, Remote, open_node
from trionet.cli.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

UNIT = ROOT / "deploy/trionet@.service"
MOST_EXPOSED = 20
"""Of systemd-analyze's scale from 0 to 100; below 20 it says OK."""
ANOTHER = f"{2**22 + 1}"
"""Of a process that Linux never has."""


class Manager:
    """systemd's end."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.address = address
        self._sock = trio.socket.from_stdlib_socket(sock)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    async def until(self, field: str) -> list[dict[str, str]]:
        """Return the notifications up to one with `field`, as ``READY``."""
        seen: list[dict[str, str]] = []
        with trio.fail_after(DEADLINE_S):
            while not seen or field not in seen[-1]:
                seen.append(_fields(await self._sock.recv(4096)))
        return seen

    async def until_status(self, text: str) -> dict[str, str]:
        """Return the first notification whose status contains `text`."""
        with trio.fail_after(DEADLINE_S):
            while text not in (found := (await self.until("STATUS"))[-1])["STATUS"]:
                pass
        return found

    def arrived(self) -> list[dict[str, str]]:
        """Return what has arrived until now."""
        seen = []
        sock = socket.socket(fileno=os.dup(self._sock.fileno()))
        with sock:
            sock.setblocking(False)
            while True:
                try:
                    seen.append(_fields(sock.recv(4096)))
                except BlockingIOError:
                    return seen


def _fields(data: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in data.decode().splitlines())


@contextmanager
def manager(address: str) -> Generator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        yield Manager(sock, address)


@asynccontextmanager
async def notified_node(
    path: Path, config: NodeConfig | None = None, **variables: str
) -> AsyncGenerator[tuple[Manager, NodeProcess]]:
    """Run a node that notifies a manager."""
    with manager(str(path / "notify")) as systemd, ExitStack() as stack:
        process = launch(stack, config or NodeConfig(services=PROBE), systemd.environment | variables)
        yield systemd, await trio.to_thread.run_sync(wait_ready, process)  # its seed may be in this thread


async def test_a_node_is_ready_when_it_has_joined_and_tells_how_many_members_there_are(tmp_path: Path) -> None:
    async with (
        open_node(NodeConfig(join=[])) as seed,
        notified_node(tmp_path, NodeConfig(join=[str(seed.address)])) as (systemd, node),
    ):
        ready = (await systemd.until("READY"))[-1]
        assert ready["READY"] == "1"
        if "2 members" not in ready["STATUS"]:
            await systemd.until_status("2 members in cluster trionet")
        assert f"{node.address.sid} on {node.address}" in ready["STATUS"]
        async with open_node(NodeConfig(join=[str(seed.address)])):
            await systemd.until_status("3 members")
        await systemd.until_status("2 members")


async def test_a_node_whose_seeds_do_not_answer_is_not_ready_and_says_so(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        config = NodeConfig(join=[f"127.0.0.1:{port}"], connect_timeout_s=0.2)
        async with notified_node(tmp_path, config) as (systemd, _):
            seen = await systemd.until("STATUS")
            assert "no seed has answered" in seen[-1]["STATUS"]
            assert not any("READY" in each for each in [*seen, *systemd.arrived()])
            reserved.close()
            async with open_node(NodeConfig(port=port, join=[])):
                await systemd.until("READY")


async def test_the_watchdog_is_pinged_only_while_the_event_loop_turns(tmp_path: Path) -> None:
    config = NodeConfig(services={"sleeper": "tests.samples:Sleeper"})
    async with notified_node(tmp_path, config, WATCHDOG_USEC="300000") as (systemd, node), open_node() as caller:
        for _ in range(3):
            await systemd.until("WATCHDOG")
        systemd.arrived()
        block = Remote(node=node.address, service="sleeper", method="block")
        assert await caller.local.comm.send([3.0], block) == "rested"
        assert len(systemd.arrived()) < 15, "a loop that turns would have pinged 30 times"
        await systemd.until("WATCHDOG")  # and then it goes on


async def test_a_reload_ends_no_node_without_files_and_is_reported(tmp_path: Path) -> None:
    async with notified_node(tmp_path) as (systemd, node):
        await systemd.until("READY")
        node.process.send_signal(signal.SIGHUP)
        assert int((await systemd.until("RELOADING"))[-1]["MONOTONIC_USEC"]) > 0
        await systemd.until("READY")
        node.process.send_signal(signal.SIGTERM)
        await systemd.until("STOPPING")
        assert await trio.to_thread.run_sync(node.process.wait) == 0


async def test_a_stop_by_a_call_is_reported_before_the_calls_in_progress_have_ended(tmp_path: Path) -> None:
    async with notified_node(tmp_path) as (systemd, node):
        await systemd.until("READY")
        async with open_node() as caller:
            await caller.local.comm.send([], Remote(node=node.address, service="status", method="stop"))
        await systemd.until("STOPPING")


def started(stack: ExitStack, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL))
    stack.callback(process.kill)
    return process


async def test_only_the_process_itself_reports_and_not_the_nodes_that_it_starts() -> None:
    address = f"@trionet-test-{secrets.token_hex(8)}"
    command = [sys.executable, "-m", "trionet", "up", "2"]
    with manager(address) as systemd, ExitStack() as stack:
        environment = clean_environment() | systemd.environment
        process = started(stack, command, environment)
        assert (await systemd.until("READY"))[-1]["STATUS"] == "2 nodes are up"
        process.terminate()
        assert not any("READY" in each for each in await systemd.until("STOPPING"))
        assert await trio.to_thread.run_sync(process.wait) == 0


async def test_a_manager_that_is_gone_harms_no_node(tmp_path: Path) -> None:
    with ExitStack() as stack:
        process = launch(stack, NodeConfig(), {"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "1000"})
        node = wait_ready(process)
        async with open_node() as caller:
            remote = Remote(node=node.address, service="status", method="get")
            assert await caller.local.comm.send(["sid"], remote) == node.address.sid


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1000"}, None),
        ({"NOTIFY_SOCKET": "/run/notify"}, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "2500000"}, 2.5),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": ANOTHER}, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "-5"}, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "\u0665"}, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "9" * 400}, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_the_environment_says_whom_to_notify_and_is_passed_on_to_nobody(
    variables: dict[str, str], watchdog_s: float | None
) -> None:
    environment = {"PATH": "/bin"} | variables
    found = ServiceManager.of_environment(environment)
    assert environment == {"PATH": "/bin"}
    assert bool(found) == (variables.get("NOTIFY_SOCKET") == "/run/notify")
    assert found.watchdog_s == watchdog_s


def test_what_names_process_1_is_for_its_child_that_is_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert ServiceManager.of_environment(dict(variables)).watchdog_s == 2.5
    monkeypatch.setattr(os, "getppid", lambda: 2)
    assert ServiceManager.of_environment(dict(variables)).watchdog_s is None


def _analyzed(*command: str) -> subprocess.CompletedProcess[Any]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *command], capture_output=True, text=True, check=False)


def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "trionet@shop.service"
    unit.write_text(UNIT.read_text().replace("/opt/trionet/bin/trionet-node", shutil.which("true") or sys.executable))
    checked = _analyzed("verify", str(unit))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    secured = _analyzed("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(unit))
    assert secured.returncode == 0, secured.stdout


def test_the_unit_sets_only_what_the_command_has() -> None:
    """A unit that names an option or a signal that isn't there would fail only on the machine."""
    line = next(line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    options = [word for word in line.split() if word.startswith("--")]
    helped = subprocess.run(
        [sys.executable, "-m", "trionet.cli.node", "--help"], capture_output=True, text=True, check=True
    )
    assert options
    assert all(option in helped.stdout for option in options)
