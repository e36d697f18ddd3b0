"""Two links on a simulated connection: whatever the commands, and however their bytes are cut and delayed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.link.cores import IDLE_S, KIB, encoded, frames_in, greeted, hello, open_core, start_call
from tests.protocols.link.ends import LinkEnd
from tests.protocols.link.test_conformance import FRAMES, OPEN
from tests.security.sealed import WatchedKey
from trionet.errors import DefiniteError
from trionet.protocols.link.calls import IncomingCall, OutgoingCall
from trionet.protocols.link.events import Closed, Event
from trionet.protocols.link.frames import CallFrame, Cancelled, Chunk, End, Reply, Window
from trionet.protocols.link.outgoing import LinkRetired

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.link.channel import LinkKey
    from trionet.protocols.link.core import LinkCore


HELLO = hello(max_calls=3, window_bytes=150 * KIB, max_message_bytes=100 * KIB)
_MOST_ROUNDS = 2_000


class Simulation:
    """Two ends, and the bytes on their way between them.

    Attributes:
        refused: how many calls found that their link was retired.
    """

    def __init__(self, *, is_prompt: bool = False, make_key: Callable[[], LinkKey | None] = lambda: None) -> None:
        self.ends = [
            LinkEnd(is_initiator=not number, own=HELLO, is_prompt=is_prompt, key=make_key()) for number in range(2)
        ]
        self.now = 0.0
        self.refused = 0
        self._on_the_way = [b"", b""]

    # ---- commands

    def write(self, number: int) -> None:
        """Have an end write once."""
        end = self.ends[number]
        data = end.data_to_send()
        end.sent(len(data))
        self._on_the_way[number] += data

    def deliver(self, number: int, count: int) -> None:
        """Deliver so many of the bytes that an end has written."""
        data = self._on_the_way[number]
        if data and count:
            self._on_the_way[number] = data[count:]
            self.ends[1 - number].receive(data[:count], self.now)

    def call(self, number: int, reply_bytes: int, request_bytes: int) -> bool:
        """Make a call, if there is a place; return False if it must wait."""
        return self._start(number, lambda end: end.call(reply_bytes, request_bytes))

    def stream(self, number: int, item_bytes: list[int]) -> None:
        """Start a stream, if there is a place."""
        self._start(number, lambda end: end.stream(item_bytes))

    def _start(self, number: int, start: Callable[[LinkEnd], object]) -> bool:
        """Start it; return False if it must wait."""
        end = self.ends[number]
        if end.core is None:
            return False
        if end.core.is_retired:
            with pytest.raises(LinkRetired):
                start(end)
            self.refused += 1
        elif end.may_call and end.link.wake(self.now):
            start(end)
        else:
            return False
        return True

    def cancel(self, number: int, which: int) -> None:
        """Cancel a call that may have ended."""
        end = self.ends[number]
        calls = [call for call in end.made.values() if call not in end.dropped]
        if calls:
            end.cancel(calls[which % len(calls)])

    def answer(self, number: int, which: int) -> None:
        """Answer one of the calls that an end has been asked."""
        end = self.ends[number]
        calls = [call for call in end.running.values() if call.handler is None]
        if calls:
            end.answer(calls[which % len(calls)])

    def confirm(self, number: int) -> None:
        """End the handlers that have been cancelled."""
        end = self.ends[number]
        for each in end.cancels:
            if each in end.running:
                end.confirm(end.running[each])

    def read(self, number: int) -> None:
        """Read what has come of streams."""
        if self.ends[number].core is not None:
            self.ends[number].read_items()

    def retire(self, number: int) -> None:
        """Make no more calls."""
        end = self.ends[number]
        if end.core is not None:
            end.core.retire("any")
            end.handle_events()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for end in self.ends:
            end.advance(self.now)

    # ---- to the end

    def settle(self) -> None:
        """Carry all bytes, read and answer everything, until nothing is left to be done."""
        for _ in range(_MOST_ROUNDS):
            for number in range(2):
                self.confirm(number)
                while any(call.handler is None for call in self.ends[number].running.values()):
                    self.answer(number, 0)
                self.read(number)
                self.write(number)
            if not any(self._on_the_way):
                return
            for number in range(2):
                self.deliver(number, len(self._on_the_way[number]))
        raise AssertionError("the links do not come to an end")

    def check(self) -> None:
        """Check what holds at any moment."""
        for end in self.ends:
            assert end.failure is None
            assert end.closed is None, end.closed
            if end.core is not None:
                in_progress = end.core.outgoing.in_progress
                for number, call in end.made.items():
                    assert (end.answered.count(call), end.dropped.count(call), number in in_progress).count(1) == 1
                assert end.retired == end.core.is_retired
                assert end.core.outbox.sent_bytes <= end.core.outbox.put_bytes

    def check_settled(self) -> None:
        """Check that all calls have their answers, and nothing is held any more."""
        self.check()
        for end, peer in (self.ends, self.ends[::-1]):
            assert end.link.is_idle
            assert not end.link.outbox.is_pending
            assert end.account.partial_bytes + end.account.whole_bytes == 0
            end.check_values()
            assert all(isinstance(call.answer, Reply | Cancelled | End) for call in end.answered)
            assert sorted(peer.arrived) == sorted(set(end.made) - {call.number for call in end.dropped})


_ENDS = st.integers(0, 1)
_BYTES = st.sampled_from([0, 1, 100, 5_000, 70_000, 99_000])
_COMMANDS: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
    "call": (_ENDS, _BYTES, _BYTES),
    "stream": (_ENDS, st.lists(st.sampled_from([1, 100, 30_000, 70_000]), max_size=8)),
    "cancel": (_ENDS, st.integers(0, 10)),
    "answer": (_ENDS, st.integers(0, 10)),
    "confirm": (_ENDS,),
    "read": (_ENDS,),
    "write": (_ENDS,),
    "deliver": (_ENDS, st.sampled_from([1, 10, 1_000, 100_000, 1_000_000])),
    "wait": (st.sampled_from([0.1, 1.0, 5.0]),),
}
_STEPS = st.lists(
    st.one_of(
        *(
            st.tuples(st.just(name), *arguments)
            for name, arguments in _COMMANDS.items()
            for _ in range(3 if name in ("call", "write", "deliver") else 1)
        )
    ),
    min_size=10,
    max_size=60,
)


def _opened(*, is_prompt: bool = False, make_key: Callable[[], LinkKey | None] = lambda: None) -> Simulation:
    simulation = Simulation(is_prompt=is_prompt, make_key=make_key)
    simulation.settle()
    return simulation


def _run(simulation: Simulation, steps: list[tuple[Any, ...]]) -> None:
    for name, *arguments in steps:
        getattr(simulation, name)(*arguments)
        simulation.check()


@pytest.mark.slow
@pytest.mark.parametrize("make_key", [lambda: None, WatchedKey], ids=["plain", "sealed"])
@given(steps=_STEPS, is_open=st.booleans())
def test_each_call_is_answered_once_and_completely_whatever_happens(
    make_key: Callable[[], LinkKey | None], steps: list[tuple[Any, ...]], is_open: bool
) -> None:
    """Neither side ever breaks the rules: the windows, the credits, the places."""
    simulation = _opened(make_key=make_key) if is_open else Simulation(make_key=make_key)
    _run(simulation, steps)
    simulation.settle()
    simulation.check_settled()


@pytest.mark.slow
@given(steps=_STEPS, retirements=st.lists(st.tuples(st.integers(0, 60), _ENDS), min_size=1, max_size=3))
def test_a_link_that_is_retired_at_any_moment_answers_its_calls_and_finishes(
    steps: list[tuple[Any, ...]], retirements: list[tuple[int, int]]
) -> None:
    simulation = _opened()
    for place, number in retirements:
        steps = [*steps[:place], ("retire", number), *steps[place:]]
    _run(simulation, steps)
    simulation.settle()
    simulation.check_settled()
    assert all(end.link.is_finished for end in simulation.ends)
    assert all(end.is_over for end in simulation.ends)
    for number in range(2):
        before = simulation.refused
        simulation.call(number, 1, 1)
        assert simulation.refused == before + 1


@pytest.mark.slow
@pytest.mark.parametrize("make_key", [lambda: None, WatchedKey], ids=["plain", "sealed"])
@given(steps=_STEPS, breaks_at=st.integers(0, 60), lost=st.integers(0, 1_000))
def test_after_a_break_at_any_moment_each_call_has_an_answer_and_definite_ones_never_arrived(
    make_key: Callable[[], LinkKey | None], steps: list[tuple[Any, ...]], breaks_at: int, lost: int
) -> None:
    simulation = _opened(make_key=make_key)
    _run(simulation, steps[:breaks_at])
    for number in range(2):
        simulation.write(number)
        simulation.deliver(number, lost)
    for end in simulation.ends:
        end.break_off()
    for end, peer in (simulation.ends, simulation.ends[::-1]):
        assert end.account.partial_bytes + end.account.whole_bytes == 0
        assert len(end.answered) + len(end.dropped) == len(end.made)
        for number, call in end.made.items():
            assert not (isinstance(call.answer, DefiniteError) and number in peer.arrived)
        end.check_values()


# ---- cuts


def _outcome(
    state: Callable[[], LinkCore], pieces: list[bytes]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], bytes]:
    """Return the events that come out of `receive` for some input, the other events, and what is sent."""
    core, events = state(), list[tuple[Any, ...]]()
    core.events.clear()
    for piece in pieces:
        for event in core.receive(piece, 1.0):
            if isinstance(event, IncomingCall):
                core.incoming.accept(event)
            events.append(_described(event))
    sent = b""
    while data := core.data_to_send():
        sent += data
    return events, list(map(_described, core.events)), sent


def _described(event: Event) -> tuple[Any, ...]:
    match event:
        case OutgoingCall():
            return ("answered", event.number, event.answer)
        case IncomingCall():
            return ("call", event.frame, event.size)
        case Closed():
            return ("closed", event.reason, event.is_fault, len(event.outgoing), len(event.incoming))
        case _:
            return (type(event).__name__,)


@given(
    state=st.sampled_from(list(OPEN.values())),
    names=st.lists(st.sampled_from(list(FRAMES)), min_size=1, max_size=8),
    places=st.lists(st.integers(min_value=0), max_size=12),
)
def test_what_follows_is_the_same_however_the_bytes_are_cut(
    state: Callable[[], LinkCore], names: list[str], places: list[int]
) -> None:
    data = encoded(*(FRAMES[name] for name in names))
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(edges)]
    assert _outcome(state, pieces) == _outcome(state, [data])


# ---- idleness


@pytest.mark.slow
@given(
    calls=st.lists(st.tuples(st.integers(0, 8), _ENDS), max_size=3),
    latencies=st.lists(st.integers(0, 3), min_size=1, max_size=4),
)
def test_a_call_that_meets_an_idle_link_is_answered_or_finds_it_retired(
    calls: list[tuple[int, int]], latencies: list[int]
) -> None:
    simulation = _opened(is_prompt=True)
    for _ in range(2):  # the round trip is measured at first
        simulation.wait(1.0)
        simulation.settle()
    simulation.wait(IDLE_S - 2.0 - 1.0)
    latency = itertools.cycle(latencies)
    waiting = calls
    for second in range(9):
        waiting = [(when, number) for when, number in waiting if when > second or not simulation.call(number, 1, 1)]
        simulation.wait(0.5)
        for number in range(2):
            simulation.write(number)
            if not next(latency):
                simulation.deliver(number, 1_000)
        simulation.check()
    simulation.settle()
    assert all(simulation.call(number, 1, 1) for _, number in waiting)
    simulation.settle()
    simulation.check_settled()
    made = sum(len(end.made) for end in simulation.ends)
    assert made + simulation.refused == len(calls)
    if not made:
        assert all(end.link.is_finished for end in simulation.ends)


# ---- turns


def test_long_calls_are_sent_in_turn_and_short_ones_between_their_chunks() -> None:
    core = open_core(greeted(peer=hello(window_bytes=1024 * KIB, max_message_bytes=512 * KIB, max_calls=100)))
    long = [start_call(core, bytes(300 * KIB)) for _ in range(3)]
    transfers = list[int]()
    writes = 0
    while any(call.transfer is not None and not call.transfer.is_over for call in long):
        short = [start_call(core).number for _ in range(4)]
        *before, chunk = frames_in(core.data_to_send())
        assert [each.msg_id for each in before if isinstance(each, CallFrame)] == short
        assert isinstance(chunk, Chunk)
        transfers.append(chunk.transfer)
        writes += 1
        core.outgoing.free_places[0] = 100  # they needn't be answered here
    assert writes == 3 * 5  # 300 KiB are five chunks
    assert transfers == [1, 2, 3] * 5


def test_frame_by_frame_every_second_is_a_chunk() -> None:
    core = open_core(greeted(peer=hello(window_bytes=1024 * KIB, max_message_bytes=512 * KIB, max_calls=100)))
    start_call(core, bytes(300 * KIB))
    for _ in range(20):
        start_call(core)
    kinds = list[str]()
    while (found := core.frame_to_send()) is not None:
        kinds.append(found[0])
    assert kinds == ["call", "chunk"] * 5 + ["call"] * 15


def test_a_large_call_is_not_starved_by_smaller_ones_that_come_later() -> None:
    core = open_core(greeted(peer=hello(window_bytes=300 * KIB, max_message_bytes=300 * KIB, max_calls=100)))
    first, large = start_call(core, bytes(100 * KIB)), start_call(core, bytes(290 * KIB))
    small = [start_call(core, bytes(70 * KIB)) for _ in range(3)]
    transfers = [call.transfer for call in (first, large, *small)]
    assert [transfer is not None and bool(transfer.number) for transfer in transfers] == [True] + [False] * 4
    while core.outbox.is_pending:
        core.data_to_send()
    assert first.transfer is not None
    assert list(core.receive(encoded(Window(0, first.transfer.size)), 0)) == []
    assert [transfer is not None and bool(transfer.number) for transfer in transfers] == [True] * 2 + [False] * 3
