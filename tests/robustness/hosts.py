"""Two hosts on this machine: network namespaces, joined by a veth pair, and what passes between them.

Source: network_namespaces(7), veth(4), packet(7).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.node_processes import ROOT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

__all__ = ["HERE", "THERE", "Host", "Hosts", "open_hosts", "why_not"]

HERE, THERE = "10.77.0.1", "10.77.0.2"

_CAPTURE = """\
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
wire.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
wire.bind((sys.argv[1], 0))
with open(sys.argv[2], "wb", buffering=0) as file:
    print(flush=True)
    while True:
        file.write(wire.recv(1 << 18))
"""


class Host(NamedTuple):
    """One host.

    Attributes:
        ip: its address.
        enter: the command that runs another command on it.
    """

    ip: str
    enter: list[str]

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*self.enter, *command],
            cwd=ROOT,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start this Python."""
        return self.start(sys.executable, *arguments, **environment)


class Hosts(NamedTuple):
    """Two hosts that reach each other, and no other."""

    here: Host
    there: Host

    @contextmanager
    def capture(self, file: Path) -> Generator[None]:
        """Write all that passes between them to a file."""
        process = self.here.python("-c", _CAPTURE, "veth0", str(file))
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "\n", process.communicate()
            yield
        finally:
            process.kill()
            process.communicate()


def why_not() -> str | None:
    """Return why there can't be two hosts on this machine; None if there can."""
    missing = [name for name in ("unshare", "nsenter", "ip") if _found(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    with ExitStack() as stack:
        try:
            _open(stack)
        except (OSError, AssertionError, subprocess.CalledProcessError) as exc:
            return f"no network namespaces: {exc}"
    return None


@contextmanager
def open_hosts() -> Generator[Hosts]:
    """Make the hosts; they end with the block, unless a process on them still runs."""
    with ExitStack() as stack:
        yield _open(stack)


def _open(stack: ExitStack) -> Hosts:
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    first = _namespace(stack, ["unshare", *as_root, "--net"])
    enter_first = ["nsenter", "-t", str(first), *(["-U", "--preserve-credentials"] if as_root else []), "--net"]
    second = _namespace(stack, [*enter_first, "unshare", "--net"])
    enter_second = [*enter_first[:2], str(second), *enter_first[3:]]
    _run(enter_first, "ip link add veth0 type veth peer name veth1")
    _run(enter_first, f"ip link set veth1 netns {second}")
    for enter, link, ip in ((enter_first, "veth0", HERE), (enter_second, "veth1", THERE)):
        _run(enter, f"ip addr add {ip}/24 dev {link}")
        _run(enter, f"ip link set {link} up")
        _run(enter, "ip link set lo up")
    return Hosts(Host(HERE, enter_first), Host(THERE, enter_second))


def _namespace(stack: ExitStack, command: Sequence[str]) -> int:
    """Make a namespace that lasts as long as a process; return its id."""
    process = stack.enter_context(
        subprocess.Popen(
            [*command, "sh", "-c", "echo $$; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return int(line)


def _run(enter: Sequence[str], command: str) -> None:
    subprocess.run([*enter, *command.split()], check=True, capture_output=True)


def _found(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
