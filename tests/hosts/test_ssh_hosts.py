"""A hundred nodes on four hosts that each have an sshd: one login a host, and nothing is left, whatever dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.hosts.fleet import Plan, Row
from tests.hosts.hosts import Host, open_hosts, require_hosts
from tests.launchers.ssh_server import SSHD, Server, open_sshd
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh-server isn't installed"),
]

GONE_S = 5.0
POWER_CUT_S = 75.0


class Fleet:
    """Four hosts with an sshd each, and one from which nodes are started."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        *self.far, self.near = stack.enter_context(open_hosts(5))
        self.servers: dict[str, Server] = {}
        for host in self.far:
            host.check(["mkdir", "-p", "/run/sshd"])
            own = folder / host.name
            own.mkdir()
            self.servers[host.ip] = stack.enter_context(open_sshd(own, host.ip, run=host.run))
        self.quiet = {host.name: set(host.pids) for host in [*self.far, self.near]}

    def start(self, stack: ExitStack, count: int, rounds: int = 1) -> subprocess.Popen[bytes]:
        hosts = {ip: server.options for ip, server in self.servers.items()}
        plan = msgspec.json.encode(Plan(self.near.ip, hosts, count, rounds)).decode()
        process = self.near.run([sys.executable, "-m", "tests.hosts.fleet", plan], stdout=subprocess.PIPE)
        stack.callback(process.kill)
        return process

    def left(self, host: Host) -> set[int]:
        """Return what runs on a host beside its sshd."""
        return set(host.pids) - self.quiet[host.name]

    def wait_gone(self, hosts: list[Host]) -> float:
        """Return how long it takes until nothing is left on `hosts`."""
        begun = time.monotonic()
        while any(map(self.left, hosts)):
            assert time.monotonic() - begun < DEADLINE_S, {host.name: self.left(host) for host in hosts}
            time.sleep(0.02)
        return time.monotonic() - begun

    def logins(self) -> list[int]:
        return [
            (server.folder / "log").read_text(encoding="utf-8").count("Accepted publickey")
            for server in self.servers.values()
        ]


def read(process: subprocess.Popen[bytes], what: str) -> Row:
    """Return the next line of that kind."""
    assert process.stdout is not None
    for line in process.stdout:
        row = msgspec.json.decode(line, type=Row)
        print(row)
        if row.what == what:
            return row
    raise AssertionError("the program has ended")


def is_ours(pid: int) -> bool:
    """Whether a process is a helper or a node: an sshd keeps a connection that is dead for longer."""
    with suppress(OSError):
        return b"trionet" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.fixture
def stack() -> Generator[ExitStack]:
    require_hosts()
    with ExitStack() as opened:
        yield opened


@pytest.mark.soak
def test_figures_of_a_hundred_nodes_on_four_hosts(stack: ExitStack, tmp_path: Path) -> None:
    fleet = Fleet(stack, tmp_path)
    near = fleet.start(stack, 25, rounds := 2)
    rows: dict[str, list[Row]] = {}
    for _ in range(rounds):
        for what in ("local cold", "local warm", "ssh cold", "ssh warm"):
            rows.setdefault(what, []).append(read(near, what))
    assert fleet.logins() == [rounds] * 4
    for what, found in rows.items():
        print(f"{what}: {median(row.last_s for row in found):.3f} s to the last of 100 nodes")


@pytest.mark.soak
def test_a_hundred_nodes_on_four_hosts_take_four_logins_and_leave_nothing(stack: ExitStack, tmp_path: Path) -> None:
    fleet = Fleet(stack, tmp_path)
    near = fleet.start(stack, 25)
    read(near, "ssh cold")
    assert [len(fleet.left(host)) >= 25 for host in fleet.far] == [True] * 4
    print("logins", fleet.logins())

    victim = fleet.far[0]
    for pid in victim.pids:
        os.kill(pid, signal.SIGKILL)
    print("gone from a host that is killed after", fleet.wait_gone([victim]))
    while read(near, "lost").lost != {victim.ip: 25}:
        pass
    near.kill()
    seconds = fleet.wait_gone([*fleet.far, fleet.near])
    print("gone from all hosts after", seconds)
    assert seconds < GONE_S


@pytest.mark.soak
def test_a_power_cut_is_noticed_within_some_seventy_seconds_by_both_sides(stack: ExitStack, tmp_path: Path) -> None:
    fleet = Fleet(stack, tmp_path)
    near = fleet.start(stack, 2)
    read(near, "ssh cold")
    victim, *others = fleet.far
    begun = time.monotonic()
    victim.kill()
    while read(near, "lost").lost != {victim.ip: 2}:
        pass
    print(f"the near side has noticed after {time.monotonic() - begun:.1f} s")
    assert time.monotonic() - begun < POWER_CUT_S

    begun = time.monotonic()
    fleet.near.kill()
    while nodes := [pid for host in others for pid in fleet.left(host) if is_ours(pid)]:
        assert time.monotonic() - begun < POWER_CUT_S, nodes
        time.sleep(0.1)
    print(f"gone from all hosts after {time.monotonic() - begun:.1f} s")
