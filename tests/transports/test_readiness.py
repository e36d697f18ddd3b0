"""Nobody waits for a socket that is closed: Trio would keep that wait, under the number -1."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet.transports import readiness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAITS: list[Callable[[socket.socket], Awaitable[None]]] = [readiness.wait_readable, readiness.wait_writable]


@pytest.mark.parametrize("wait", WAITS)
async def test_a_closed_socket_is_not_waited_for_however_often(
    wait: Callable[[socket.socket], Awaitable[None]],
) -> None:
    sock = socket.socket()
    sock.close()
    for _ in range(3):
        with pytest.raises(trio.ClosedResourceError):
            await wait(sock)


@pytest.mark.parametrize("wait", WAITS)
async def test_the_wait_for_an_open_one_ends_when_it_is_ready(wait: Callable[[socket.socket], Awaitable[None]]) -> None:
    one, other = socket.socketpair()
    with one, other, trio.fail_after(DEADLINE_S):
        other.send(b"input")
        await wait(one)
