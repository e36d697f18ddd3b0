"""Hosts for tests keep what they promise: apart from each other, reachable, faulty as asked, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.hosts.hosts import Host, Hosts, open_hosts, require_hosts
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S, is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

ECHOES = [sys.executable, "-S", str(ROOT / "tests/hosts/echoes.py")]


class Answers(NamedTuple):
    answers: int
    median_ms: float
    errors: int


def ask(host: Host, ip: str, count: int = 20, patience_s: float = 10.0) -> Answers:
    """Send datagrams from `host` to those that `serve` echoes."""
    answered, median_ms, errors = host.check([*ECHOES, "ask", ip, str(count), str(patience_s)]).split()
    return Answers(int(answered), float(median_ms), int(errors))


def is_silent(host: Host, ip: str) -> bool:
    """Whether nothing comes back, and no error either."""
    found = ask(host, ip, 5, 0.2)
    return found.answers == found.errors == 0


def serve_echoes(host: Host) -> subprocess.Popen[bytes]:
    process: subprocess.Popen[bytes] = host.run([*ECHOES, "serve"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


@pytest.fixture(scope="module")
def hosts() -> Generator[Hosts]:
    require_hosts()
    with open_hosts(3) as opened:
        for each in opened:
            serve_echoes(each)
        yield opened


@pytest.fixture(autouse=True)
def _healed(hosts: Hosts) -> Generator[None]:
    yield
    hosts.heal()


def test_hosts_reach_each_other_by_both_addresses_and_by_name(hosts: Hosts) -> None:
    for source in hosts:
        for target in hosts:
            assert ask(source, target.ip, 2).answers == 2
            assert ask(source, target.ip6, 2).answers == 2
    assert hosts[0].check(["getent", "hosts", "host2"]).split() == [hosts[1].ip6, "host2"]
    assert hosts[1].check(["hostname"]) == "host2\n"


def test_a_host_sees_its_own_processes_alone(hosts: Hosts) -> None:
    seen = [each for each in hosts[0].check(["ls", "/proc"]).split() if each.isdecimal()]
    assert 3 <= len(seen) <= 4  # its first, the echoes, ls, and maybe the shell
    assert "1" in seen


def test_a_cut_is_silent_and_heals(hosts: Hosts) -> None:
    a, b, c = hosts
    undo = hosts.block(a, b)
    assert is_silent(a, b.ip)
    assert is_silent(a, b.ip6)
    assert ask(a, c.ip).answers == 20
    undo()
    assert ask(a, b.ip).answers == 20


def test_a_block_of_one_way_lets_the_other_way_pass(hosts: Hosts) -> None:
    a, b, _ = hosts
    heard = b.run([sys.executable, "-S", "-c", LISTEN], stdout=subprocess.PIPE, text=True)
    assert heard.stdout is not None
    assert heard.stdout.readline() == "ready\n"
    hosts.block(b, a, one_way=True)
    a.check([sys.executable, "-S", "-c", SAY, b.ip])
    assert heard.stdout.readline() == "heard\n"
    heard.stdout.close()
    assert heard.wait(DEADLINE_S) == 0
    assert is_silent(a, b.ip)  # the answers are lost


LISTEN = """
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("", 9001))
print("ready", flush=True)
print(heard.recv(100).decode(), flush=True)
"""

SAY = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"heard", (sys.argv[1], 9001))
"""


def test_of_lossy_ways_a_share_arrives(hosts: Hosts) -> None:
    a, b, c = hosts
    hosts.loss(0.2)
    count = ask(a, b.ip, 1000, 2.0).answers
    assert 540 < count < 740  # 64 % are answered; six standard deviations are 91
    hosts.heal()
    hosts.loss(0.2, b)
    assert ask(a, c.ip, 100).answers == 100
    assert 10 < ask(a, b.ip6, 100, 2.0).answers < 100


def test_a_partition_parts_groups_and_leaves_each_whole(hosts: Hosts) -> None:
    a, b, c = hosts
    hosts.partition([a, b])
    assert ask(a, b.ip).answers == 20
    assert is_silent(a, c.ip)
    assert is_silent(c, b.ip)
    hosts.heal()
    assert ask(a, c.ip).answers == 20


def test_a_partition_by_route_fails_at_once(hosts: Hosts) -> None:
    a, b, c = hosts
    hosts.partition([a], by_route=True)
    assert ask(a, b.ip).errors == 20
    assert ask(c, a.ip6).errors == 20
    assert ask(b, c.ip).answers == 20
    hosts.heal()
    assert ask(a, b.ip).answers == ask(c, a.ip6).answers == 20


def test_a_delay_is_added_to_each_way(hosts: Hosts) -> None:
    a, b, _ = hosts
    hosts.delay(0.01)
    for ip in (b.ip, b.ip6):
        found = ask(a, ip, 100)
        assert found.answers == 100
        assert found.median_ms >= 20
    hosts.delay(0.03, a)
    assert ask(a, b.ip).median_ms >= 30


def test_bulk_passes_a_delayed_way_whole(hosts: Hosts) -> None:
    a, b, _ = hosts
    hosts.delay(0.002)
    receiver = b.run([sys.executable, "-S", "-c", RECEIVE], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    a.check([sys.executable, "-S", "-c", SEND, b.ip])
    assert receiver.stdout.readline() == "3000000 intact\n"
    receiver.stdout.close()
    receiver.wait(DEADLINE_S)


RECEIVE = """
import socket
served = socket.create_server(("", 9002))
print("ready", flush=True)
taken, _ = served.accept()
data = b"".join(iter(lambda: taken.recv(65536), b""))
print(len(data), "intact" if data == bytes(range(250)) * 12_000 else "changed", flush=True)
"""

SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 9002)) as sent:
    sent.sendall(bytes(range(250)) * 12_000)
"""


def test_a_rate_holds_packets_back(hosts: Hosts) -> None:
    a, b, _ = hosts
    hosts.rate(1_000_000, a)  # 125 packets of 1 kB a second, after a burst of 16
    found = ask(a, b.ip, 40)
    assert found.answers == 40
    assert found.median_ms > 10
    hosts.heal()
    assert ask(a, b.ip).answers == 20


def test_a_killed_host_is_silent_has_no_process_and_starts_again(hosts: Hosts) -> None:
    a, b, _ = hosts
    process = b.run(["sleep", "1000"])
    grandchild = b.run(["sh", "-c", "sleep 1000 >&2 & echo started"], stdout=subprocess.PIPE)
    grandchild.communicate(timeout=DEADLINE_S)
    pids = b.pids
    assert process.pid in pids
    assert len(pids) == 3  # and the echoes
    b.kill()
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    assert b.pids == []
    assert not any(is_running(pid) for pid in pids)
    assert is_silent(a, b.ip)
    hosts.delay(0.005)
    b.start()
    serve_echoes(b)
    found = ask(a, b.ip)
    assert found.answers == 20
    assert found.median_ms >= 10
    hosts.heal()
    assert ask(a, b.ip).answers == 20


def test_private_directories_are_each_hosts_own() -> None:
    require_hosts()
    with open_hosts(2, private=["/srv"]) as hosts:
        hosts[0].check(["sh", "-c", "echo one > /srv/file; echo one > /run/file"])
        assert "file" not in hosts[1].check(["ls", "/srv", "/run"])
    assert not os.path.exists("/srv/file")
    assert not os.path.exists("/run/file")


async def test_after_a_kill_of_the_test_nothing_of_its_hosts_is_left() -> None:
    require_hosts()
    command = [sys.executable, "-m", "tests.hosts.left_behind"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220  a moment
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 4 + 2  # the switch, its relay, two hosts' holders; a process on each
        assert all(is_running(pid) for pid in pids)
        process.kill()
    await wait_until(lambda: not any(is_running(pid) for pid in pids))
