"""A core at its edges: the link closes in the midst of things."""

from __future__ import annotations

import pytest

from tests.protocols.link.cores import KIB, call_frame, encoded, greeted, hello, open_core, start_call
from trionet.errors import ConnectionLost, NodeUnreachable
from trionet.protocols.link.calls import IncomingCall
from trionet.protocols.link.core import Closed, LinkCore
from trionet.protocols.link.frames import Item, encode_frame
from trionet.protocols.link.holdings import Account


@pytest.mark.parametrize(("sent_of_second", "error"), [(0, NodeUnreachable), (1, ConnectionLost)])
def test_one_byte_of_a_call_that_has_gone_out_makes_its_error_indefinite(
    sent_of_second: int, error: type[Exception]
) -> None:
    core = open_core()
    first, second = start_call(core), start_call(core)
    core.data_to_send()
    core.sent(second.start_offset + sent_of_second)
    core.close("any reason")
    assert isinstance(first.answer, ConnectionLost)
    assert isinstance(second.answer, error)


def test_a_long_call_that_waits_for_its_window_has_a_definite_error_and_one_that_has_begun_has_not() -> None:
    core = open_core(greeted(peer=hello(window_bytes=150 * KIB)))
    first, second = (start_call(core, bytes(100 * KIB)) for _ in range(2))
    while not core.outbox.is_empty:
        core.sent(len(core.data_to_send()))
    core.close("any reason")
    assert isinstance(first.answer, ConnectionLost)
    assert isinstance(second.answer, NodeUnreachable)


def test_a_call_whose_own_frame_is_too_much_to_hold_is_answered_with_the_others() -> None:
    account, cores = Account(100 * KIB), list[LinkCore]()
    core = open_core(holding=account.open(lambda reason: cores[0].close(reason, is_fault=True)))
    cores.append(core)
    calls = [start_call(core, bytes(40 * KIB)) for _ in range(2)]
    assert not core.is_closed
    calls.append(start_call(core, bytes(40 * KIB)))
    (closed,) = core.events
    assert isinstance(closed, Closed)
    assert closed.outgoing == calls
    assert [type(call.answer) for call in calls] == [NodeUnreachable] * 3
    assert core.outgoing.in_progress == {}
    assert account.partial_bytes + account.whole_bytes == 0


def test_a_long_item_of_a_link_that_has_closed_is_over() -> None:
    core = open_core(greeted(peer=hello(window_bytes=150 * KIB)))
    (call,) = core.receive(encoded(call_frame(1, credit=1_000_000)), 0)
    assert isinstance(call, IncomingCall)
    core.incoming.accept(call)
    transfers = [core.incoming.send_item(call, encode_frame(Item(1, bytes(100 * KIB)))) for _ in range(2)]
    core.data_to_send()
    core.close("any reason")
    (closed,) = core.events
    assert isinstance(closed, Closed)
    assert closed.transfers == transfers  # one of them has begun
    assert all(transfer is not None and transfer.is_over for transfer in transfers)
