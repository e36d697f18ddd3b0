"""A link whose peer has long been silent: no call is put on it before the peer has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.link.cores import IDLE_S, call_frame, encoded, frames_in, open_core
from trionet.protocols.link.calls import IncomingCall, OutgoingCall
from trionet.protocols.link.events import Closed, PeerSilent, RoomFreed
from trionet.protocols.link.frames import Bye, CallFrame, Ping, Pong, Reply
from trionet.protocols.link.liveness import DOUBT_S, TICK_S
from trionet.protocols.link.outgoing import LinkResting, LinkRetired

if TYPE_CHECKING:
    from trionet.protocols.link.core import LinkCore

SILENCE_S = 30.0


def at_rest(now: float = 2.0) -> LinkCore:
    """Return a link whose peer was heard a second ago, and on which nothing happens."""
    core = open_core()
    core.advance(now - 1)
    assert frames_in(core.data_to_send()) == [Ping(1)]
    assert not list(core.receive(encoded(Pong(1)), now - 1))
    core.advance(now)
    return core


def call(core: LinkCore) -> OutgoingCall:
    made = OutgoingCall()
    core.outgoing.call(made, call_frame(core.outgoing.next_number))
    return made


def asked() -> LinkCore:
    """Return a link whose peer was asked for a call at 10 s."""
    core = at_rest()
    assert not core.wake(10.0)
    assert frames_in(core.data_to_send()) == [Ping(2)]
    return core


def test_a_call_wakes_a_link_whose_peer_was_heard_a_moment_ago() -> None:
    core = at_rest()
    with pytest.raises(LinkResting):
        call(core)
    assert core.wake(1.0 + DOUBT_S - 0.01)
    call(core)
    assert [type(frame) for frame in frames_in(core.data_to_send())] == [CallFrame]


def test_no_call_is_sent_after_a_silence_until_a_ping_is_answered() -> None:
    core = at_rest()
    assert not core.wake(1.0 + DOUBT_S)
    with pytest.raises(LinkResting):
        call(core)
    assert frames_in(core.data_to_send()) == [Ping(2)]
    assert not core.wake(6.1)
    assert frames_in(core.data_to_send()) == []  # one ping for all callers
    assert list(core.receive(encoded(Pong(2)), 6.2)) == [RoomFreed()]
    assert core.wake(6.2)
    call(core)


def test_whatever_the_peer_sends_shows_that_it_is_there() -> None:
    core = asked()
    (event,) = core.receive(encoded(call_frame(1)), 10.5)
    assert isinstance(event, IncomingCall)
    core.incoming.accept(event)
    assert core.wake(10.6)
    call(core)
    assert list(core.receive(encoded(Pong(2)), 10.7)) == [RoomFreed()]  # for callers who wait


def test_of_a_link_that_is_awake_nothing_more_is_asked() -> None:
    core = at_rest()
    assert core.wake(2.0)
    call(core)
    core.data_to_send()
    assert core.wake(20.0)
    call(core)
    assert [type(frame) for frame in frames_in(core.data_to_send())] == [CallFrame]


def test_a_peer_that_does_not_answer_is_reported_once_a_second_and_then_given_up_without_a_lost_call() -> None:
    core, reports, now = asked(), 0, 10.0
    while not core.is_closed:
        assert core.liveness.deadline == now + TICK_S
        now += TICK_S
        core.advance(now)
        with pytest.raises(LinkRetired if core.is_closed else LinkResting):
            call(core)
        reports += core.events.count(PeerSilent())
        closed = [event for event in core.events if isinstance(event, Closed)]
        core.events.clear()
    assert (now, reports) == (10.0 + SILENCE_S, SILENCE_S - 1)
    assert [event.outgoing for event in closed] == [[]]


def test_the_pong_of_an_asked_peer_counts_also_when_it_is_late() -> None:
    core = asked()
    for now in range(11, 38):
        core.advance(now)
    core.events.clear()
    assert list(core.receive(encoded(Pong(2)), 38.0)) == [RoomFreed()]
    assert core.wake(38.0)
    call(core)


def test_after_a_stall_of_this_node_the_peer_is_asked_although_the_stall_does_not_count_as_silence() -> None:
    core = at_rest()
    core.advance(IDLE_S + 500)  # 500 s too late
    core.events.clear()
    assert IDLE_S + 500 - core.liveness.heard_at > DOUBT_S
    busy = open_core()
    busy.advance(1.0)
    list(busy.receive(encoded(Pong(1)), 1.0))
    busy.advance(400.0)  # nobody had a chance to see the silence
    assert busy.liveness.is_resting
    assert 400.0 - busy.liveness.heard_at < DOUBT_S
    assert not busy.wake(400.1)
    assert list(busy.receive(encoded(Pong(2)), 400.2)) == [RoomFreed()]
    assert busy.wake(400.3)


def test_a_link_that_was_asked_and_not_used_becomes_idle_as_others_do() -> None:
    core = asked()
    list(core.receive(encoded(Pong(2)), 10.1))
    for now in range(11, 80):
        core.advance(now)
    assert core.is_retired
    assert Bye("idle") in frames_in(core.data_to_send())


@given(st.lists(st.tuples(st.sampled_from(["call", "pong", "reply", "advance"]), st.floats(0, 20)), max_size=60))
def test_no_call_is_ever_sent_to_a_peer_that_has_been_silent_while_the_link_was_idle(
    steps: list[tuple[str, float]],
) -> None:
    core, now, heard_at = at_rest(), 2.0, 1.0
    pings, calls = 1, list[OutgoingCall]()
    for what, pause_s in steps:
        for _ in range(int(pause_s / TICK_S)):
            now += TICK_S
            core.advance(now)
        if core.is_closed:
            return
        is_idle = core.is_idle
        if what == "call" and core.outgoing.is_open and core.outgoing.free_places[0] and core.wake(now):
            calls.append(call(core))
            assert not is_idle or now - heard_at < DOUBT_S + 2 * TICK_S
        frames = frames_in(core.data_to_send())
        pings = max([pings, *(frame.token for frame in frames if isinstance(frame, Ping))])
        if what == "pong":
            heard_at = now
            list(core.receive(encoded(Pong(pings)), now))
        elif what == "reply" and calls:
            heard_at = now
            list(core.receive(encoded(Reply(calls.pop().number, 1)), now))
        core.sent(len(core.data_to_send()))
        core.events.clear()
