"""Accepting of connections: what fails with one ends nothing else."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.waiting import DEADLINE_S, wait_until
from trionet import trio_waits
from trionet.transports import accepting
from trionet.transports.link.sockets import close_now
from trionet.trio_waits import Inputs, InputsInTask, InputsInWait

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(params=[InputsInWait, InputsInTask], autouse=True)
def inputs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the run watch its sockets by one of the two ways."""
    monkeypatch.setattr(trio_waits, "_can_wait_here", lambda: request.param is InputsInWait)


@contextmanager
def listening() -> Generator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


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
    with listening() as sock:
        nursery.start_soon(accepting.accept_all, sock, lambda sock, _: accepted.send_nowait(sock))
        place = sock.getsockname()
        with socket.create_connection(place), socket.create_connection(place), trio.fail_after(DEADLINE_S):
            with await handle.receive() as second:
                assert second is seen[1]
            assert seen[0].fileno() == -1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.ECONNABORTED])
async def test_a_lack_of_descriptors_and_a_peer_that_gave_up_end_nothing(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, number: int
) -> None:
    accept, failed, seen = accepting._accept, list[int](), list[socket.socket]()  # noqa: SLF001

    def fail_twice(*args: object) -> None:
        if len(failed) < 2:
            failed.append(number)
            raise OSError(number, "not now")
        accept(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(accepting, "_accept", fail_twice)
    with listening() as sock:
        nursery.start_soon(accepting.accept_all, sock, lambda sock, _: seen.append(sock))
        with socket.create_connection(sock.getsockname()):
            await wait_until(lambda: len(seen) == 1)
            seen[0].close()
        assert len(failed) == 2
        nursery.cancel_scope.cancel()


async def test_accepting_ends_when_its_socket_is_closed_and_nothing_stays_watched(nursery: trio.Nursery) -> None:
    seen = list[socket.socket]()
    with listening() as sock:
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as accepts:
                accepts.start_soon(accepting.accept_all, sock, lambda sock, _: seen.append(sock))
                await trio.testing.wait_all_tasks_blocked()
                close_now(sock)
        assert not Inputs.of_this_run().watched
        await accepting.accept_all(sock, lambda sock, _: seen.append(sock))  # it has been closed before
    assert seen == []


async def test_a_cancelled_one_watches_nothing(nursery: trio.Nursery) -> None:
    with listening() as sock:
        nursery.start_soon(accepting.accept_all, sock, lambda *_: None)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()
        assert not Inputs.of_this_run().watched


async def test_an_error_in_what_takes_the_connections_ends_accepting() -> None:
    def fail(sock: socket.socket, _: str) -> None:
        sock.close()
        raise RuntimeError("a bug")

    with listening() as sock, socket.create_connection(sock.getsockname()), pytest.raises(RuntimeError):
        await accepting.accept_all(sock, fail)


async def test_where_trio_waits_no_step_is_needed_to_accept(
    nursery: trio.Nursery, request: pytest.FixtureRequest
) -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += "accept_all" in task.name

    seen, steps = list[socket.socket](), Steps()
    with listening() as sock:
        nursery.start_soon(accepting.accept_all, sock, lambda sock, _: seen.append(sock))
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        for number in range(3):
            with socket.create_connection(sock.getsockname()):
                await wait_until(lambda number=number: len(seen) == number + 1)  # type: ignore[misc]
                seen[-1].close()
        trio.lowlevel.remove_instrument(steps)
        assert (steps.count == 0) == isinstance(Inputs.of_this_run(), InputsInWait)
        nursery.cancel_scope.cancel()


async def test_what_takes_the_connections_may_close_the_listening_socket_and_fail() -> None:
    def close_and_fail(sock: socket.socket, _: str) -> None:
        sock.close()
        close_now(listening_sock)
        raise RuntimeError("a bug")

    with (
        listening() as listening_sock,
        socket.create_connection(listening_sock.getsockname()),
        trio.fail_after(DEADLINE_S),
        pytest.raises(RuntimeError, match="a bug"),
    ):
        await accepting.accept_all(listening_sock, close_and_fail)
    assert not Inputs.of_this_run().watched
