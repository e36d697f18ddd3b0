"""Nodes on another machine, started by the system's OpenSSH client."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from trionet.errors import MalformedRequest, SpawnError

from .connections import open_connections
from .detached_ssh import start_detached
from .ssh_connection import SSHPlace
from .ssh_login import check_options, remote_line

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SSHLauncher"]

# No prompts, which would hang; a time limit for the connection; and a dead network is detected within a minute.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=3")


class SSHLauncher:
    """Starts nodes on another machine, where ``trionet-node`` is installed.

    A spawner logs in there once: all its nodes with equal arguments share one connection, which the first start opens.
    When the connection ends, for any reason, the nodes stop, and the next start opens another one. Configurations go
    through the connection. A detached node has a login of its own.

    Args:
        host: a name of ``ssh``'s configuration, or ``user@host``.
        command: the remote command of ``trionet-node``; a ``~/`` that begins it is the home over there.
        options: further arguments of ``ssh``, such as ``["-i", "key"]``.
        cwd: the working directory of the nodes, and the first place that they import from; ``~`` is the home over
            there. None: that of the login, from which nothing is imported.
        env: environment variables of the nodes, on top of those of the login. They go through the connection.

    Raises:
        MalformedRequest: an argument is invalid.
    """

    def __init__(
        self,
        host: str,
        *,
        command: Sequence[str] = ("trionet-node",),
        options: Sequence[str] = (),
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(host, str) or not host:
            raise MalformedRequest(f"host is a name of ssh's configuration or user@host, not {host!r:.80}")
        command, options = _words("command", command), _words("options", options)
        if not command or not command[0]:
            raise MalformedRequest("command is the remote command line of trionet-node; it is empty")
        try:
            check_options(options)
        except MalformedRequest as exc:
            raise MalformedRequest(f"options: {exc.text}") from exc
        # The first one of a name has priority, so the user's precede ours; of terminals, the last.
        ours = [word for option in _OPTIONS for word in ("-o", option)]
        self._login = SSHPlace(
            host=host,
            ssh=("ssh", *options, "-T", *ours),
            command=tuple(command),
            there=("--", host, remote_line([*command, "--supervised-many"])),
            cwd=_directory(cwd),
            env=_variables(env),
        )

    @property
    def command_line(self) -> list[str]:
        """The command that logs in, for display."""
        return [*self._login.ssh, *self._login.there]

    async def connect(self) -> None:
        """Log in, unless that is done already; for launchers that wrap this one, within their `start`.

        Raises:
            SpawnError: there is no connection, or nodes can't be started there; the text is the reason.
        """
        async with open_connections() as connections:
            await connections.get(self._login)

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        if config.detach:
            return await start_detached(self._login, config, task_status)
        async with open_connections() as connections:
            connection = await connections.get(self._login)
            connection.check_code()
            async with connection.pace.turn(task_status) as turn:
                try:
                    node = await connection.fork()
                except SpawnError:  # it has broken, unnoticed
                    connection = await connections.get(self._login)
                    node = await connection.fork()
                return await connection.boot(node, config, turn)
        raise AssertionError


def _words(name: str, words: object) -> list[str]:
    """Return `words` as a list; refuse a text, whose letters would be words."""
    if not isinstance(words, Sequence) or isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise MalformedRequest(f"{name} is a list of words, not {words!r:.80}")
    return list(words)


def _directory(cwd: object) -> str | None:
    if cwd is None:
        return None
    text = os.fspath(cwd) if isinstance(cwd, str | os.PathLike) else cwd
    if not isinstance(text, str) or not text or "\0" in text:
        raise MalformedRequest(f"cwd is the path of a directory on the other machine, not {cwd!r:.80}")
    return text


def _variables(env: object) -> tuple[tuple[str, str], ...]:
    if env is None:
        return ()
    if not isinstance(env, Mapping):
        raise MalformedRequest(f"env maps the names of environment variables to texts; it is {env!r:.80}")
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise MalformedRequest(f"env: {name!r:.80} is no name of an environment variable")
        if not isinstance(value, str) or "\0" in value:  # perhaps a secret
            raise MalformedRequest(f"env: the value of {name!r:.80} is no text, but of type {type(value).__name__}")
    return tuple(sorted(env.items()))
