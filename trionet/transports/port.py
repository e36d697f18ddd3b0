"""The port of a node: one number for connections and for datagrams.

Its sockets are the node's own, or were opened for this process by a service manager, which keeps copies of them.

Invariant: whatever was opened is closed when the rest can't be.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

from trionet.errors import AddressInUse
from trionet.log_limits import about, limited_log

from .datagrams import UDPDatagrams
from .listener import Listener, open_listener, shared_listener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.config import NodeConfig

__all__ = ["open_port"]

_log = limited_log(__name__)

_NUMBERS_TRIED: Final = 16


async def open_port(
    config: NodeConfig, passed: Sequence[socket.socket] = (), *, has_datagrams: bool
) -> tuple[Listener, UDPDatagrams | None]:
    """Listen on one port number for connections and for datagrams.

    Args:
        config: has the address.
        passed: listening sockets to use instead, and perhaps some for datagrams, of one port number.
        has_datagrams: whether datagrams are wanted.

    Raises:
        AddressInUse: another program listens there.
        ConfigError: the address is not this machine's, or its port needs privileges.
    """
    if passed:
        return await _on_passed(config, passed, has_datagrams=has_datagrams)
    for _ in range(0 if config.port else _NUMBERS_TRIED - 1):
        with contextlib.suppress(AddressInUse):  # a number that is free for TCP may be in use for UDP
            return _with_datagrams(await open_listener(config), has_datagrams=has_datagrams)
    return _with_datagrams(await open_listener(config), has_datagrams=has_datagrams)


async def _on_passed(
    config: NodeConfig, passed: Sequence[socket.socket], *, has_datagrams: bool
) -> tuple[Listener, UDPDatagrams | None]:
    for_datagrams = [sock for sock in passed if sock.type == socket.SOCK_DGRAM]
    with contextlib.ExitStack() as opened:
        for sock in for_datagrams:
            opened.enter_context(sock)
        listener = await shared_listener(config, [sock for sock in passed if sock.type == socket.SOCK_STREAM])
        if has_datagrams and for_datagrams:
            opened.pop_all()
            return listener, UDPDatagrams(for_datagrams)
    return _with_datagrams(listener, has_datagrams=has_datagrams)


def _with_datagrams(listener: Listener, *, has_datagrams: bool) -> tuple[Listener, UDPDatagrams | None]:
    if not has_datagrams:
        return listener, None
    try:
        return listener, UDPDatagrams.bound(listener.ips, listener.port)
    except AddressInUse:
        listener.close()
        raise
    except OSError as exc:
        text = "no datagrams on %s: %s; all goes over connections"
        _log.warning(text, listener.address, exc, extra=about(listener.address))
        return listener, None
