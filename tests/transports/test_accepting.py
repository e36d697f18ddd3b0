"""Accepting of connections: what fails with one ends nothing else."""

from __future__ import annotations

import errno
import socket

import pytest
import trio

from tests.waiting import DEADLINE_S
from trionet.transports import accepting


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOPROTOOPT, errno.ECONNRESET])
async def test_a_connection_that_is_gone_when_it_is_made_ready_ends_only_itself(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, number: int
) -> None:
    seen = list[socket.socket]()
    accepted, handle = trio.open_memory_channel[socket.socket](10)

    def fail_once(sock: socket.socket) -> None:
        seen.append(sock)
        if len(seen) == 1:
            raise OSError(number, "the first peer has gone")

    monkeypatch.setattr(accepting, "set_options", fail_once)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        nursery.start_soon(accepting.accept_all, listening, lambda sock, _: accepted.send_nowait(sock))
        place = listening.getsockname()
        with socket.create_connection(place), socket.create_connection(place), trio.fail_after(DEADLINE_S):
            with await handle.receive() as second:
                assert second is seen[1]
            assert seen[0].fileno() == -1
        nursery.cancel_scope.cancel()
