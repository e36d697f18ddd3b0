"""A node on another machine, started by the system's OpenSSH client."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import trio

from trionet.errors import MalformedRequest, SpawnError
from trionet.log_limits import about, limited_log

from .base import explain_status
from .output import is_output_named
from .subprocess import supervise
from .supervised import Boot

if TYPE_CHECKING:
    from collections.abc import Generator

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SSHLauncher"]

_log = limited_log(__name__)

_BROKEN = 255
"""The exit status of ``ssh`` for its own failures."""

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""The exit statuses of a shell that can't run a command (POSIX, "Exit Status for Commands")."""

# No prompts, which would hang; a time limit for the connection; and a dead network is detected within a minute.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=3")


class SSHLauncher:
    """Starts ``trionet-node`` on another machine, and sends the configuration through the connection.

    When the connection ends, for any reason, the node stops.

    Args:
        host: a name of ``ssh``'s configuration, or ``user@host``.
        command: the remote command of ``trionet-node``.
        options: further arguments of ``ssh``, such as ``["-i", "key"]``.

    Raises:
        MalformedRequest: an argument is invalid.
    """

    def __init__(self, host: str, *, command: Sequence[str] = ("trionet-node",), options: Sequence[str] = ()) -> None:
        if not isinstance(host, str) or not host:
            raise MalformedRequest(f"host is a name of ssh's configuration or user@host, not {host!r:.80}")
        command, options = _words("command", command), _words("options", options)
        if not command:
            raise MalformedRequest("command is the remote command line of trionet-node; it is empty")
        # The first one of a name has priority, so the user's precede ours.
        ours = [word for option in _OPTIONS for word in ("-o", option)]
        remote = shlex.join([*command, "--supervised"])
        self._host = host
        self._hints = {
            _NOT_FOUND: f"{command[0]} isn't on the PATH that a login without terminal has on {host}",
            _NOT_EXECUTABLE: f"{command[0]} can't be executed on {host}",
        }
        self._ssh = ["ssh", "-T", *options, *ours]
        self._there = ["--", host, remote]

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        with _open_log() as (log, name):
            ours = ["-E", name] if name else []
            boot = Boot(config, is_output_named=is_output_named())
            try:
                status = await supervise([*self._ssh, *ours, *self._there], boot, task_status)
            except SpawnError as exc:
                if exc.__cause__ is not None:  # the node's own reason
                    raise
                hints = [text for status, text in self._hints.items() if exc.text.endswith(explain_status(status))]
                raise SpawnError("; ".join([exc.text, *hints, *_lines(log)])) from None
            if status == _BROKEN:
                _log.warning(
                    "the connection to %s broke: %s",
                    self._host,
                    "; ".join(_lines(log)),
                    extra=about(self._host, host=self._host),
                )
            return status


def _words(name: str, words: object) -> list[str]:
    """Return `words` as a list; refuse a text, whose letters would be words."""
    if not isinstance(words, Sequence) or isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise MalformedRequest(f"{name} is a list of words, not {words!r:.80}")
    return list(words)


@contextmanager
def _open_log() -> Generator[tuple[IO[bytes] | None, str]]:
    """Open a file for ssh's own messages, apart from the node's output; yield it and its name, or None and no name."""
    try:
        log: IO[bytes] = tempfile.NamedTemporaryFile(prefix="trionet-ssh-")  # noqa: SIM115  closed below
        name = log.name
    except OSError:  # no folder is writable
        try:
            log = os.fdopen(os.memfd_create("trionet-ssh"), "rb")
            name = f"/proc/{os.getpid()}/fd/{log.fileno()}"
        except (OSError, AttributeError):  # not on Linux: the messages go to standard error
            yield None, ""
            return
    with log:
        yield log, name


def _lines(log: IO[bytes] | None) -> list[str]:
    text = b"" if log is None else log.read()
    lines = (line.strip() for line in text.decode(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("Warning:")]
