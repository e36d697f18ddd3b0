"""An sshd for tests, with keys and configuration made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.ports import free_port
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["SSHD", "Server", "open_sshd"]

SSHD = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
GREETING = r"printf 'Welcome!\n{ $ '; exec sh -c \"$SSH_ORIGINAL_COMMAND\""
"""What is run over there for the key ``greeted``: it prints, and not whole lines, before the command that is wanted."""

_POLL_S = 0.02


class Server(NamedTuple):
    """A running sshd.

    Attributes:
        pid: of the process that listens.
        port: where.
        options: what a client needs to get in.
        folder: holds keys.
    """

    pid: int
    port: int
    options: list[str]
    folder: Path

    def options_with(self, key: str) -> list[str]:
        """Return the options of a client that has another key."""
        return _client_options(self.port, self.folder / key)


@contextmanager
def open_sshd(
    folder: Path,
    ip: str = "127.0.0.1",
    enter: Sequence[str] = (),
    run: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> Generator[Server]:
    """Run an sshd that lets this user in with a key made for it.

    Args:
        folder: an empty one, for its files.
        ip: the address that it listens on.
        enter: the command that runs another one where that address is.
        run: starts it there.
    """
    folder.chmod(0o700)
    for name in ("host", "user", "greeted", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    greeted = (folder / "greeted.pub").read_text(encoding="ascii")
    (folder / "authorized").write_text(
        (folder / "user.pub").read_text(encoding="ascii") + f'command="{GREETING}" {greeted}', encoding="ascii"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it refuses to start without
    config = folder / "config"
    config.write_text(
        f"HostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized'}\nPidFile none\n"
        f"ListenAddress {ip}\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nMaxStartups 100\n",
        encoding="utf-8",
    )
    port = free_port()
    command = [*enter, str(SSHD), "-D", "-e", "-f", str(config), "-p", f"{port}"]
    lenient = ["-o", "PerSourcePenalties=no"]  # newer ones would punish this host for the stranger
    if subprocess.run([*command, *lenient, "-t"], capture_output=True, check=False).returncode == 0:
        command += lenient
    log = folder / "log"
    with log.open("wb") as file, run(command, stderr=file) as server:
        try:
            _wait_ready(log, server)
            yield Server(server.pid, port, _client_options(port, folder / "user"), folder)
        finally:
            server.terminate()


def _client_options(port: int, key: Path) -> list[str]:
    settings = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "IdentityAgent=none"]
    words = [word for setting in settings for word in ("-o", setting)]
    return ["-F", "none", *words, "-o", f"IdentityFile={key}", "-p", f"{port}"]


def _wait_ready(log: Path, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + DEADLINE_S
    while b"Server listening on" not in log.read_bytes():
        assert server.poll() is None, f"sshd has ended: {log.read_text(encoding='utf-8')}"
        assert time.monotonic() < until, "sshd does not listen"
        time.sleep(_POLL_S)
