"""The sockets that systemd, or another service manager, opened for this process: socket activation.

A node needs one listening TCP socket, or several of one port number, and may get UDP sockets of that number. systemd
keeps its own copies: connections that come during a restart wait for the next process.

Invariant: the variables are removed, and the descriptors are not inherited further.

Source: sd_listen_fds(3), systemd.socket(5).
"""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import ConfigError

from .first_process import own_pids

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from trionet.config import NodeConfig

__all__ = ["on_passed", "passed_sockets", "usable_sockets"]

_FIRST: Final = 3
_MOST: Final = 64
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


def passed_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that `environment` announces for this process, and remove its variables.

    Raises:
        ConfigError: a descriptor is no socket that a node can use; the text says which.
    """
    pid, count, *_ = (environment.pop(name, "") for name in _VARIABLES)
    if pid not in own_pids() or not _NUMBER.fullmatch(count) or int(count) > _MOST:
        return []
    return usable_sockets(range(_FIRST, _FIRST + int(count)))


def usable_sockets(descriptors: Iterable[int]) -> list[socket.socket]:
    """Return the sockets of `descriptors`, for one node.

    Raises:
        ConfigError: one is no socket that a node can use, they have several port numbers, or none is for connections.
    """
    with ExitStack() as opened:
        sockets = [opened.enter_context(_socket_of(descriptor)) for descriptor in descriptors]
        numbers = {sock.getsockname()[1] for sock in sockets}
        if len(numbers) > 1:
            found = ", ".join(map(str, sorted(numbers)))
            raise ConfigError(f"the sockets that were passed have the ports {found}: a node has one, for TCP and UDP")
        if sockets and not any(sock.type == socket.SOCK_STREAM for sock in sockets):
            raise ConfigError("no TCP socket was passed: a node needs ListenStream= in its socket unit")
        opened.pop_all()
    return sockets


def on_passed(config: NodeConfig, sockets: Sequence[socket.socket]) -> list[NodeConfig]:
    """Return `config` with the addresses of the passed TCP sockets, one for each; `config` itself without any."""
    places = [sock.getsockname()[:2] for sock in sockets if sock.type == socket.SOCK_STREAM]
    return [msgspec.structs.replace(config, ip=ip, port=port) for ip, port in places] or [config]


def _socket_of(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as exc:
        raise ConfigError(f"the passed descriptor {descriptor} is no socket: {exc.strerror}") from exc
    fault = ""
    if sock.family not in _INTERNET or sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        fault = "is no TCP or UDP socket"
    elif sock.type == socket.SOCK_STREAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        fault = "is not listening: Accept=yes can't start a node"
    if fault:
        sock.close()
        raise ConfigError(f"the passed descriptor {descriptor} {fault}")
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock
