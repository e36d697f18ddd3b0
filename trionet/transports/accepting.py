"""Accepting of connections, as sockets of the standard library.

Trio's own listener makes a stream for each, in some sixty calls of functions, of which a link would take the socket.

Invariant: a connection that its peer has given up, and a lack of descriptors, end nothing.

Source: accept(2), "Error handling"; Trio 0.35, ``_highlevel_socket.py`` and ``_highlevel_serve_listeners.py``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import trio

from trionet.log_limits import limited_log

from .link.sockets import set_options
from .readiness import wait_readable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["accept_all"]

_log = limited_log(__name__)

_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_FULL_S: Final = 0.1
_GIVEN_UP: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EPERM",  # by a firewall
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "ENOSR",
        "ESOCKTNOSUPPORT",
        "EPROTONOSUPPORT",
        "ETIMEDOUT",
        "ECONNRESET",
    )
    if hasattr(errno, name)
)


async def accept_all(listening: socket.socket, handle: Callable[[socket.socket, str], None]) -> None:
    """Accept connections until `listening` is closed; ``handle(sock, ip)`` takes each, with the peer's address.

    Raises:
        OSError: accepting fails for another reason than the peer, or a lack of resources.
    """
    while True:
        try:
            await wait_readable(listening)
            while True:
                sock, place = listening.accept()
                if _is_usable(sock):
                    handle(sock, str(place[0]) if place else "")
                await trio.lowlevel.checkpoint()  # what has come is read before more connections could displace it
        except BlockingIOError:
            continue
        except trio.ClosedResourceError:
            return
        except OSError as exc:
            if listening.fileno() < 0 or exc.errno == errno.EINVAL:  # it is being closed
                return
            if exc.errno in _FULL:
                _log.error("no connection can be accepted: %s; trying again in %g s", exc.strerror, _FULL_S)
                await trio.sleep(_FULL_S)
            elif exc.errno not in _GIVEN_UP:
                raise


def _is_usable(sock: socket.socket) -> bool:
    """Make a connection ready, or close it: on some systems that fails once its peer has gone, even as invalid."""
    try:
        set_options(sock)
    except OSError:
        sock.close()
        return False
    return True
