"""A key file makes a cluster of two hosts, beyond loopback; what passes between them shows nothing."""

from __future__ import annotations

import functools
import getpass
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.keyed_nodes import new_file
from tests.launchers.ssh_server import SSHD, open_sshd
from tests.robustness.far import EAR, MARK
from tests.robustness.hosts import HERE, THERE, Hosts, open_hosts, why_not
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator, Iterator

pytestmark = pytest.mark.slow

PORT = 7977
FAR = f"{THERE}:{PORT}"


@functools.cache
def obstacle() -> str | None:
    return why_not()


@pytest.fixture(scope="module")
def hosts() -> Generator[Hosts]:
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    with open_hosts() as found:
        yield found


@pytest.fixture
def running() -> Generator[list[subprocess.Popen[str]]]:
    """The processes of a test; they are killed in the end."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def settings_of(ip: str, **settings: Any) -> str:
    return json.dumps({"ip": ip, "services": EAR, "log_level": "warning", **settings})


def wait_ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the line that a command prints when its nodes accept calls."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    ready: dict[str, Any] = json.loads(line)
    return ready


def work(hosts: Hosts, settings: str, *ssh: str) -> None:
    """Use the far node by all ways, from here."""
    process = hosts.here.python("-m", "tests.robustness.far", settings, FAR, *ssh)
    output, errors = process.communicate(timeout=2 * DEADLINE_S)
    assert (process.returncode, output) == (0, "done\n"), errors


def packets_in(captured: bytes) -> Iterator[str]:
    """Return the ways of which there is traffic."""
    port = PORT.to_bytes(2, "big")
    for name, protocol in (("TCP", b"\x06"), ("UDP", b"\x11")):
        head = captured.find(protocol)
        while head >= 0 and port not in captured[head : head + 20]:
            head = captured.find(protocol, head + 1)
        if head >= 0:
            yield name


PROTECTIONS: dict[str, dict[str, Any]] = {
    "a key": {},
    "a key without datagrams": {"datagrams": False},
    "nothing": {"insecure": True},
}


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_capture_between_two_hosts_shows_what_they_say_only_without_a_key(
    hosts: Hosts, running: list[subprocess.Popen[str]], tmp_path: Path, protection: str
) -> None:
    extra = dict(PROTECTIONS[protection])
    if not extra.get("insecure"):
        extra["key_file"] = new_file(tmp_path)
    capture = tmp_path / "capture"
    with hosts.capture(capture):
        far = hosts.there.python(
            "-m", "trionet.cli.node", "--json", "--config", settings_of(THERE, port=PORT, join=[], **extra)
        )
        running.append(far)
        assert wait_ready(far)["ip"] == THERE
        work(hosts, settings_of(HERE, join=[FAR], **extra))
    captured = capture.read_bytes()
    assert b"trionet\r\n\r\n" in captured  # the clear preface of a link: the capture works
    assert len(captured) > 10_000 * len(MARK)
    assert set(packets_in(captured)) >= ({"TCP"} if extra.get("datagrams") is False else {"TCP", "UDP"})
    assert (MARK.encode() in captured) is (protection == "nothing")


def test_up_and_ssh_work_between_two_hosts_with_a_key_file_alone(
    hosts: Hosts, running: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    key_file = new_file(tmp_path)
    capture, folder = tmp_path / "capture", tmp_path / "sshd"
    folder.mkdir()
    with ExitStack() as stack:
        stack.enter_context(hosts.capture(capture))
        settings = settings_of(THERE, join=[])
        up = hosts.there.python(
            *("-m", "trionet", "up", "2", "--json", "--port-from", str(PORT)),
            *("--key-file", key_file, "--config", settings),
        )
        running.append(up)
        assert [node["ip"] for node in wait_ready(up)["nodes"]] == [THERE, THERE]
        ssh = []
        if SSHD is not None and os.geteuid() == 0:  # in a namespace of users, sshd can't become another one
            server = stack.enter_context(open_sshd(folder, THERE, hosts.there.enter))
            ssh = [f"{getpass.getuser()}@{THERE}", *server.options]
        work(hosts, settings_of(HERE, join=[FAR], key_file=key_file), *ssh)
    captured = capture.read_bytes()
    assert MARK.encode() not in captured
    assert Path(key_file).read_bytes().strip().rpartition(b":")[2] not in captured


STRANGER = """
import json, sys, trio, trionet

async def main():
    async with trionet.open_node(trionet.NodeConfig(**json.loads(sys.argv[1]))) as node:
        try:
            far = trionet.Remote(node=sys.argv[2], service="status", method="get")
            print("answered", await node.local.comm.send(["port"], far))
        except trionet.NodeUnreachable as exc:
            print("refused", exc)

trio.run(main)
"""


@pytest.mark.parametrize("protection", ["another key", "nothing"])
def test_a_host_without_the_key_is_refused_and_told_why(
    hosts: Hosts, running: list[subprocess.Popen[str]], tmp_path: Path, protection: str
) -> None:
    key_file = new_file(tmp_path)
    settings = settings_of(THERE, port=PORT, join=[], key_file=key_file)
    far = hosts.there.python("-m", "trionet.cli.node", "--json", "--config", settings)
    running.append(far)
    wait_ready(far)
    extra = {"insecure": True} if protection == "nothing" else {"key_file": new_file(tmp_path, 2)}
    stranger = hosts.here.python("-c", STRANGER, settings_of(HERE, **extra), FAR)
    output, errors = stranger.communicate(timeout=DEADLINE_S)
    assert output.startswith("refused"), (output, errors)
    assert "key" in output
