"""Connections without a proof: which one goes at a bound, and who is none."""

from __future__ import annotations

import gc
import weakref
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.security.attacked import read_to_end
from tests.transports.keyed_nodes import open_keyed, token
from trionet.transports import network
from trionet.transports.strangers import Strangers

if TYPE_CHECKING:
    import pytest

MOST, MOST_PER_ADDRESS = 6, 3


class One:
    def __init__(self, number: int) -> None:
        self.number = number
        self.is_waiting = True

    def __repr__(self) -> str:
        return str(self.number)


def test_the_oldest_of_an_address_goes_first() -> None:
    strangers = Strangers(MOST, MOST_PER_ADDRESS)
    ones = [One(number) for number in range(5)]
    assert [strangers.add(one, "a") for one in ones] == [None, None, None, ones[0], ones[1]]
    assert (len(strangers), strangers.refused) == (3, 2)


def test_the_remover_of_a_connection_does_not_keep_it_alive() -> None:
    strangers, one = Strangers(MOST, MOST_PER_ADDRESS), One(1)
    strangers.add(one, "a")
    remove, known = strangers.remover(one), weakref.ref(one)
    remove()
    assert len(strangers) == 0
    del one
    gc.collect()
    assert known() is None
    remove()


def test_at_the_bound_in_all_the_oldest_of_any_address_goes() -> None:
    strangers = Strangers(MOST, MOST_PER_ADDRESS)
    ones = [One(number) for number in range(8)]
    assert [strangers.add(one, str(one.number)) for one in ones] == [None] * 6 + ones[:2]


def test_a_connection_whose_request_is_being_answered_stays() -> None:
    strangers = Strangers(MOST, MOST_PER_ADDRESS)
    ones = [One(number) for number in range(5)]
    ones[0].is_waiting = False
    assert [strangers.add(one, "a") for one in ones] == [None, None, None, ones[1], ones[2]]


def test_who_is_proven_counts_no_more_and_may_be_removed_twice() -> None:
    strangers = Strangers(MOST, MOST_PER_ADDRESS)
    ones = [One(number) for number in range(20)]
    for one in ones:
        assert strangers.add(one, "a") is None
        strangers.remove(one)
        strangers.remove(one)
    assert (len(strangers), strangers.refused) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["waits", "is answered", "leaves"])), max_size=60))
def test_the_bounds_hold_and_each_that_goes_is_counted(steps: list[tuple[str, str]]) -> None:
    strangers, present, gone = Strangers(MOST, MOST_PER_ADDRESS), dict[One, str](), 0
    for number, (ip, what) in enumerate(steps):
        if what == "leaves":
            of_ip = [one for one, other in present.items() if other == ip]
            for one in of_ip[:1]:
                strangers.remove(one)
                del present[one]
            continue
        one = One(number)
        one.is_waiting = what == "waits"
        leaving = strangers.add(one, ip)
        if leaving is not None:
            assert isinstance(leaving, One)
            assert leaving.is_waiting
            assert leaving.number < number
            gone += 1
            del present[leaving]
        present[one] = ip
        waiting = [ip for one, ip in present.items() if one.is_waiting]
        assert all(waiting.count(each) <= MOST_PER_ADDRESS for each in "abcd")
        assert len(waiting) <= MOST
    assert len(strangers) == len(present)
    assert strangers.refused == gone


# ---- on a node


def _request(bearer: str) -> bytes:
    head = f"PUT /local/status/get HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bearer}\r\n"
    return f'{head}Content-Length: 7\r\n\r\n["nid"]'.encode()


async def _answer(stream: trio.SocketStream) -> dict[str, Any]:
    got = b""
    while not got.endswith(b"}"):
        got += await stream.receive_some()
    answer: dict[str, Any] = msgspec.json.decode(got.partition(b"\r\n\r\n")[2])
    return answer


async def test_a_client_with_a_valid_token_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that keeps many connections open does not lose the oldest one."""
    monkeypatch.setattr(network, "Strangers", lambda: Strangers(8, 4))
    async with open_keyed() as node, AsyncExitStack() as stack:
        streams = []
        for number in range(10):
            stream = await trio.open_tcp_stream(node.address.ip, node.address.port)
            streams.append(await stack.enter_async_context(stream))
            await stream.send_all(_request(token() if number < 5 else "nonsense"))
            assert set(await _answer(stream)) == {"value" if number < 5 else "error"}
        assert node.statistics().connections_refused == 1
        await read_to_end(streams[5])  # the oldest of those without a valid token has gone
        for stream in streams[:5]:
            await stream.send_all(_request(token()).replace(b"nid", b"sid"))
            assert await _answer(stream) == {"value": node.sid}
