"""Namespaces of the kernel that a process of ours holds: they end with it, and with this process, whatever ends it.

Invariant: nothing has a name outside of the namespaces. A holder reads a pipe of this process until its end; after a
SIGKILL here it ends too, and the kernel kills each process of its PID namespace and removes each of its interfaces.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

__all__ = ["SURROUNDINGS", "Namespaces", "checked"]

SURROUNDINGS: Final = os.environ | {"PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])}
"""The environment in which the machine's commands are found."""

_CLONE_NEWPID: Final = 0x20000000
_WAIT_S: Final = 20.0
_SET_UP: Final = "set -e\nip link set lo up\n"
_HOLD: Final = 'trap "" CHLD\necho ready\nexec cat >&2\n'  # an ignored SIGCHLD: orphans leave no zombies


def checked(command: Sequence[str], text: str | None = None) -> str:
    """Run a command of the machine to its end; return what it printed.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=_WAIT_S, check=False, env=SURROUNDINGS
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


class Namespaces:
    """A network of its own, and with `is_host` also processes, mounts, a name, of its own."""

    def __init__(self, set_up: str = "", *, is_host: bool) -> None:
        self._is_host = is_host
        self._started: list[subprocess.Popen[Any]] = []
        kinds = ["--net"]
        if is_host:
            kinds += ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen(
            ["unshare", *kinds, "sh", "-c", _SET_UP + set_up + _HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=SURROUNDINGS,
            start_new_session=True,  # Ctrl-C is for the test
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            trouble = self._holder.communicate()[1].decode(errors="replace")
            raise OSError(f"no namespaces: {trouble.strip()}")

    @property
    def pid(self) -> int:
        """The process that holds the network."""
        return self._holder.pid

    def _file(self, kind: str) -> str:
        return f"/proc/{self._holder.pid}/ns/{kind}"

    def network(self, *command: str, text: str | None = None) -> str:
        """Run a command of the machine in this network, with this process's files; return what it printed."""
        return checked(["nsenter", f"--net={self._file('net')}", *command], text)

    def network_process(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process of the machine in this network; it ends with its standard input."""
        inside = ["nsenter", f"--net={self._file('net')}", *command]
        pipe = subprocess.PIPE
        return subprocess.Popen(inside, stdin=pipe, stdout=pipe, env=SURROUNDINGS, start_new_session=True)

    def start(
        self, command: Sequence[str], *, cwd: str, environment: Mapping[str, str], files: Mapping[str, Any]
    ) -> subprocess.Popen[Any]:
        """Start a process of this host. Its `pid` is that of this process's namespace, so signals reach it.

        Args:
            command: the program and its arguments.
            cwd: the working directory, by its path in the host.
            environment: the whole environment.
            files: further arguments of `subprocess.Popen`.
        """
        enter = ["nsenter", *(f"--{kind}={self._file(kind)}" for kind in ("net", "mnt", "uts", "ipc"))]
        enter[2] = enter[2].replace("--mnt=", "--mount=")
        directed = ["sh", "-c", 'cd "$0" && exec "$@"', cwd, *command]
        with self._children_inside():
            process = subprocess.Popen([*enter, *directed], env=dict(environment), **files)
        self._started.append(process)
        return process

    @contextmanager
    def _children_inside(self) -> Generator[None]:
        """Let the children of this thread be born in the PID namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/pid_for_children") as outside, open(self._file("pid_for_children")) as inside:
            _set_namespace(libc, inside)
            try:
                yield
            finally:
                _set_namespace(libc, outside)

    def processes(self) -> list[int]:
        """Return the processes of this host but its holder's, as this process's namespace numbers them; no zombies."""
        try:
            own = os.readlink(self._file("pid_for_children"))
        except FileNotFoundError:
            return []
        found = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal() and _is_in(each, own)]
        init = _child(self._holder.pid)
        return sorted(pid for pid in found if pid != init)

    def end(self) -> None:
        """End all processes at once; returns when there are none."""
        init = _child(self._holder.pid) if self._is_host else None
        if init is None:
            self._holder.kill()
        else:
            os.kill(init, signal.SIGKILL)
        for process in self._started:  # the kernel keeps the namespace until its last process is reaped
            process.wait(_WAIT_S)
        _close_pipes(self._holder)
        self._holder.wait(_WAIT_S)

    def close_pipes(self) -> None:
        """Close what has not been read of the processes that have been started here."""
        for process in self._started:
            _close_pipes(process)


def _close_pipes(process: subprocess.Popen[Any]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # what was still to be written
                pipe.close()


def _set_namespace(libc: ctypes.CDLL, file: IO[str]) -> None:
    if libc.setns(file.fileno(), _CLONE_NEWPID) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _is_in(process: Path, namespace: str) -> bool:
    try:
        is_there = os.readlink(process / "ns" / "pid") == namespace
        return is_there and (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it has ended
        return False


def _child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None
