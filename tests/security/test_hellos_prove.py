"""The hello of a sealed link as a proof of life: what it states, when it is asked for, and what it spares."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from msgspec.structs import replace

from tests.protocols.link.cores import hello
from tests.security.keys import node_keys
from tests.security.sealed import key
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeAddress, NodeConfig, Remote, open_node
from trionet.protocols.link.decoding import decode_frame
from trionet.protocols.link.frames import FrameError, encode_frame
from trionet.protocols.link.handshake import Greeted, Handshake
from trionet.services.sealed_traffic import SealedTraffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.security.noise_key import NoiseKey

A: Final = NodeAddress("10.0.0.1", 8080)
B: Final = NodeAddress("10.0.0.2", 8080)


def greeted(
    keys: list[NoiseKey], one: Callable[[], tuple[int, int] | None], other: Callable[[], tuple[int, int] | None]
) -> tuple[Greeted, Greeted]:
    """Return the outcomes of a handshake, for its initiator and for its acceptor."""
    initiator = Handshake(replace(hello(), address=A), is_initiator=True, keys=keys, life=one)
    acceptor = Handshake(replace(hello(), address=B), is_initiator=False, keys=keys, life=other)
    found: list[Greeted | None] = [None, None]
    for _ in range(3):
        if data := initiator.data_to_send():
            found[1] = acceptor.receive(data) or found[1]
        answers = acceptor.data_to_send()
        if found[1] is not None and found[0] is None:
            first = found[1].first
            answers += first if found[1].channel is None else found[1].channel.send(first)
        if answers:
            found[0] = initiator.receive(answers) or found[0]
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


def _asked(times: list[bool]) -> tuple[int, int]:
    times.append(True)
    return 1, 1


def test_both_hellos_of_a_sealed_link_state_the_lives() -> None:
    at_initiator, at_acceptor = greeted([key()], lambda: (2**64 - 1, -1), lambda: (7, 41))
    assert at_initiator.peer.life == (7, 41)
    assert at_acceptor.peer.life == (2**64 - 1, -1)


def test_a_plain_link_states_no_life_and_believes_none() -> None:
    asked: list[bool] = []
    at_initiator, at_acceptor = greeted([], partial(_asked, asked), partial(_asked, asked))
    assert at_initiator.peer.life is at_acceptor.peer.life is None
    assert not asked
    liar = Handshake(replace(hello(), address=A, life=(1, 1)), is_initiator=True)
    found = Handshake(replace(hello(), address=B), is_initiator=False).receive(liar.data_to_send())
    assert found is not None
    assert found.peer.life is None


def test_the_initiator_states_its_counter_only_once_the_acceptor_has_answered() -> None:
    asked: list[bool] = []
    initiator = Handshake(hello(), is_initiator=True, keys=[key()], life=partial(_asked, asked))
    acceptor = Handshake(replace(hello(), address=B), is_initiator=False, keys=[key()])
    acceptor.receive(initiator.data_to_send())
    assert not asked
    initiator.receive(acceptor.data_to_send())
    assert asked == [True]


@pytest.mark.parametrize("life", [(-1, 0), (0, -2), (0,), ("a", 0), (0, 0, 0), 5, (0, 1.5)])
def test_an_invalid_life_is_a_malformed_hello(life: object) -> None:
    encoded = encode_frame(replace(hello(), life=life))
    with pytest.raises(FrameError):
        decode_frame(encoded)


async def test_a_call_over_a_link_proves_both_so_that_their_datagrams_are_not_challenged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traffic: dict[str, SealedTraffic] = {}
    received: dict[str, list[bytes]] = {}
    begin = SealedTraffic.serve

    async def serve(self: SealedTraffic, handle: Callable[[bytes], None]) -> None:
        traffic[self._own] = self
        await begin(self, received.setdefault(self._own, []).append)

    monkeypatch.setattr(SealedTraffic, "serve", serve)
    async with open_node(NodeConfig(), keys=node_keys()) as one, open_node(NodeConfig(), keys=node_keys()) as other:
        pair = [(one, other), (other, one)]
        traffic[str(one.address)].send_nowait(NodeAddress("127.0.0.1", 9), b"a counter that the hello states")
        with trio.fail_after(DEADLINE_S):
            await one.local.comm.send(["nid"], Remote(node=other.address, service="status", method="get"))
            for source, to in pair:
                packet = b"\x93\x01%c%b\x90" % (0xA0 + len(str(source.address)), str(source.address).encode())
                traffic[str(source.address)].send_nowait(to.address, packet)
                heard = received[str(to.address)]
                await wait_until(partial(heard.__contains__, packet))
        refusals = [traffic[str(node.address)].refusals for node in (one, other)]
        assert [each and each.unproven for each in refusals] == [0, 0]
