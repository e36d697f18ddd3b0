"""``trionet up --hosts`` over hosts with an sshd each, of which one is down, and from one that has nothing but ssh."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.hosts.hosts import Host, open_hosts, require_hosts
from tests.keyed_nodes import new_file
from tests.launchers.ssh_server import SSHD, Server, open_sshd
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="openssh-server isn't installed"),
]


class Machines:
    """Hosts with an sshd each, and one from which a cluster is started."""

    def __init__(self, stack: ExitStack, folder: Path, count: int) -> None:
        *self.far, self.near = stack.enter_context(open_hosts(count + 1))
        self.folder = folder
        self.servers: dict[str, Server] = {}
        for host in self.far:
            host.check(["mkdir", "-p", "/run/sshd"])
            own = folder / host.name
            own.mkdir()
            self.servers[host.name] = stack.enter_context(open_sshd(own, host.ip, run=host.run))
        self._quiet = {host.name: set(host.pids) for host in [*self.far, self.near]}
        self._stack = stack

    def up(self, before: str, *words: str) -> subprocess.Popen[str]:
        """Start ``trionet up`` with a file of the far hosts."""
        lines = [
            before,
            f'python = "{sys.executable}"',
            f'environment = {{PYTHONPATH = "{ROOT}"}}',
            f'key_file = "{new_file(self.folder)}"',
        ]
        for host in self.far:
            options = [*self.servers[host.name].options, "-o", "ConnectTimeout=1"]
            lines += [f"[hosts.{host.name}]", f'address = "root@{host.ip}"', f"options = {json.dumps(options)}"]
        file = self.folder / "cluster.toml"
        file.write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "trionet", "up", "--json", "--hosts", str(file), *words]
        process = self.near.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._stack.callback(process.kill)
        return process

    def tags(self, node: str) -> dict[str, str]:
        """Return the hosts of the members of the node at an address, asked from its own host."""
        host = next(host for host in self.far if host.ip == node.partition(":")[0])
        words = ["members", node, "--json", "--key-file", str(self.folder / "1.key")]
        printed = host.check([sys.executable, "-m", "trionet", *words])
        members = json.loads(printed)
        return {member["address"]: member["tags"]["host"] for member in members if member["status"] == "alive"}

    def logins(self) -> list[int]:
        logs = [(server.folder / "log").read_text(encoding="utf-8") for server in self.servers.values()]
        return [log.count("Accepted publickey") for log in logs]

    def left(self, host: Host) -> set[int]:
        """Return what runs on a host beside its sshd."""
        return set(host.pids) - self._quiet[host.name]


def wait_until(condition: Callable[[], bool]) -> float:
    """Return how long it took until a condition held."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < DEADLINE_S
        time.sleep(0.02)
    return time.monotonic() - begun


def read_nodes(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the host of each node, by its address, when they are up."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return {f"{node['ip']}:{node['port']}": node["host"] for node in json.loads(line)["nodes"]}


@pytest.fixture
def stack() -> Generator[ExitStack]:
    require_hosts()
    with ExitStack() as opened:
        yield opened


def test_a_host_that_is_down_is_reported_and_the_others_are_a_cluster_that_one_host_needs_only_ssh_to_start(
    stack: ExitStack, tmp_path: Path
) -> None:
    machines = Machines(stack, tmp_path, 3)
    first, second, down = machines.far
    down.kill()
    # The near host reaches the ports of sshd, and no others.
    rule = "type filter hook output priority 0; meta l4proto { tcp, udp } th dport 7000-7999 drop;"
    machines.near.check(["nft", f"table inet only {{\nchain out {{\n{rule}\n}}\n}}\n"])
    process = machines.up("port = 7950\nslots = 2\nnodes = 5\nprofile = 'local'", "--min", "3")
    nodes = read_nodes(process)
    assert nodes == {
        f"{first.ip}:7950": "host1",
        f"{first.ip}:7951": "host1",
        f"{second.ip}:7950": "host2",
        f"{second.ip}:7951": "host2",
    }
    assert machines.logins() == [1, 1, 0]
    assert machines.tags(f"{second.ip}:7951") == nodes
    process.kill()
    wait_until(lambda: not any(map(machines.left, [first, second, machines.near])))
    said = process.communicate()[1]
    assert "trionet up: host3: " in said
    assert "timed out" in said or "No route to host" in said, said
    assert "none of the nodes can be reached from this machine" in said


@pytest.mark.soak
def test_a_hundred_nodes_on_four_hosts_are_one_cluster_after_four_logins(stack: ExitStack, tmp_path: Path) -> None:
    machines = Machines(stack, tmp_path, 4)
    begun = time.monotonic()
    process = machines.up("slots = 25\nnodes = 100\n")
    nodes = read_nodes(process)
    print("up after", time.monotonic() - begun, "logins", machines.logins())
    assert len(nodes) == 100
    assert machines.logins() == [1] * 4
    process.kill()
    print("gone after", wait_until(lambda: not any(map(machines.left, [*machines.far, machines.near]))))
