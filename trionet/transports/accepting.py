"""Accepting of connections, as sockets of the standard library.

Trio's own listener makes a stream for each, in some sixty calls of functions, of which a link would take the socket.

Invariant: a connection that its peer has given up, and a lack of descriptors, end nothing.

Source: accept(2), "Error handling"; Trio 0.35, ``_highlevel_socket.py`` and ``_highlevel_serve_listeners.py``.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trionet.log_limits import limited_log
from trionet.trio_waits import Inputs

from .link.sockets import set_options
from .readiness import check_open, wait_readable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["accept_all"]

_log = limited_log(__name__)

_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC})
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
    accept = partial(_accept, listening, handle)
    while True:
        try:
            await _watched(listening, accept)
            while True:
                accept()
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


async def _watched(listening: socket.socket, accept: Callable[[], None]) -> None:
    """Have connections accepted where Trio waits, one before each pass of its tasks, until that fails.

    Where that is not possible, wait for the next connection.

    Raises:
        trio.ClosedResourceError: `listening` is closed meanwhile.
    """
    check_open(listening)
    inputs = Inputs.of_this_run()

    def accept_next() -> bool:
        try:
            accept()
        except BlockingIOError:
            return False
        except OSError:  # the task looks again
            return True
        return False

    if inputs.is_worth_it and inputs.begin():
        await inputs.receive(listening.fileno(), accept_next)
    else:
        await wait_readable(listening)


def _accept(listening: socket.socket, handle: Callable[[socket.socket, str], None]) -> None:
    sock, place = listening.accept()
    if _is_usable(sock):
        handle(sock, str(place[0]) if place else "")


def _is_usable(sock: socket.socket) -> bool:
    """Make a connection ready, or close it: on some systems that fails once its peer has gone, even as invalid."""
    try:
        set_options(sock)
    except OSError:
        sock.close()
        return False
    return True
