"""The events of a trace, and the speed of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio

from tests.simulation.services import CONFIG, COUNT
from trionet import NodeAddress
from trionet.simulation import Trace, TraceEvent, first_difference, open_cluster, run
from trionet.simulation.latencies import constant, exponential, heavy_tail, uniform
from trionet.transports.memory import Message
from trionet.transports.memory.randomness import LinkRandom

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


async def one_fan_out_and_one_rumor() -> Trace:
    async with open_cluster(3, seed=4, config=CONFIG) as sim:
        sim.note("now", 1, detail="here")
        await sim.nodes[0].all.comm.send([], COUNT)
        await sim.nodes[0].all.gossip.send([], COUNT)
        await trio.sleep(1)
    assert sim.trace is not None
    return sim.trace


def test_a_trace_has_the_calls_the_messages_the_states_and_the_rumors() -> None:
    trace = run(one_fan_out_and_one_rumor)
    (note,) = trace.select("note")
    assert (note.node, note.what, note.detail) == ("n1", "now", "here")
    calls = trace.select("call", node="n0", what="local/counter/count", since=note.at)
    assert sorted(call.peer for call in calls) == ["n1", "n2"]
    assert len({call.detail for call in calls}) == 1
    answers = trace.select("answer", node="n0", detail=calls[0].detail)
    assert sorted(answer.peer for answer in answers) == ["n1", "n2"]
    assert all(trace.select("deliver", node=name, what="call", since=note.at) for name in ("n1", "n2"))
    assert {event.node for event in trace.select("rumor", peer="n0")} == {"n0", "n1", "n2"}
    joined = {(event.node, event.peer) for event in trace.select("state", what="MemberJoined")}
    assert joined == {(f"n{one}", f"n{other}") for one in range(3) for other in range(3) if one != other}
    assert [event.at for event in trace] == sorted(event.at for event in trace)


def test_a_saved_trace_is_the_same_when_it_is_loaded(tmp_path: Path) -> None:
    trace = run(one_fan_out_and_one_rumor)
    trace.save(tmp_path / "trace.jsonl")
    loaded = Trace.load(tmp_path / "trace.jsonl")
    assert loaded.hash() == trace.hash()
    assert first_difference(trace, loaded) is None
    del loaded.events[5]
    difference = first_difference(trace, loaded)
    assert difference is not None
    assert difference[0] == 5
    loaded.events[:] = trace.events[:-1]
    assert first_difference(trace, loaded) == (len(trace) - 1, trace.events[-1], None)


@pytest.mark.slow
def test_twenty_nodes_run_many_times_faster_than_in_reality() -> None:
    async def main() -> tuple[float, int]:
        async with open_cluster(20, is_traced=False) as sim:
            sent, begun = sim.fabric.messages, time.process_time()
            await trio.sleep(60)
            return time.process_time() - begun, sim.fabric.messages - sent
        raise AssertionError

    spent_s, messages = run(main)
    assert messages > 60 * 20 * 2
    assert spent_s < 2.0  # 0.1 s on an idle machine


def test_latencies_have_the_documented_distribution() -> None:
    random = LinkRandom("latencies")

    def drawn(latency: object) -> list[float]:
        assert callable(latency)
        return sorted(latency(random) for _ in range(20_000))

    assert set(drawn(constant(0.5))) == {0.5}
    flat = drawn(uniform(1.0, 2.0))
    assert [flat[0], flat[10_000], flat[-1]] == pytest.approx([1.0, 1.5, 2.0], abs=0.02)
    assert sum(drawn(exponential(1.0, least_s=1.0))) / 20_000 == pytest.approx(2.0, abs=0.05)
    tail = drawn(heavy_tail(1.0))
    assert tail[10_000] == pytest.approx(1.0, abs=0.03)
    assert tail[19_800] == pytest.approx(0.02 ** (-1 / 1.5), rel=0.2)


def test_a_name_applies_to_later_events_only() -> None:
    trace, one, other = Trace(), NodeAddress("127.0.0.1", 1), NodeAddress("127.0.0.1", 2)
    trace.introduce(one, "n0")
    trace.sent(Message(one, other, "datagram", b"abc", 1.0, 7), 1.0)
    trace.introduce(other, "n1")
    trace.delivered(Message(one, other, "datagram", b"abc", 1.0, 7), 2.0)
    assert len(trace) == 2
    assert trace.events == [
        TraceEvent(1.0, "send", "n0", "127.0.0.1:2", "datagram", 7, 3),
        TraceEvent(2.0, "deliver", "n1", "n0", "datagram", 7, 3),
    ]


def test_reading_a_trace_does_not_change_it() -> None:
    async def looked_at() -> Trace:
        async with open_cluster(3, seed=4) as sim:
            assert sim.trace is not None
            for _ in range(10):
                await trio.sleep(0.3)
                assert len(sim.trace) == len(sim.trace.events) == sum(1 for _ in sim.trace)
            return sim.trace
        raise AssertionError

    async def not_looked_at() -> Trace:
        async with open_cluster(3, seed=4) as sim:
            for _ in range(10):
                await trio.sleep(0.3)
            assert sim.trace is not None
            return sim.trace
        raise AssertionError

    assert run(looked_at).hash() == run(not_looked_at).hash()


async def test_two_clusters_in_one_run_do_not_disturb_each_other(autojump_clock: MockClock) -> None:
    async with open_cluster(3, seed=1) as one, open_cluster(3, seed=2) as other:
        await trio.sleep(30)
        for sim in (one, other):
            assert sim.trace is not None
            sent_at = {event.number: event.at for event in sim.trace.select("send")}
            assert max(event.at - sent_at[event.number] for event in sim.trace.select("deliver")) < 0.1
            assert {event.what for event in sim.trace.select("state")} == {"NodeOpened", "MemberJoined"}


def test_the_random_numbers_of_a_link_follow_from_its_text_alone() -> None:
    one, other, third = LinkRandom("a"), LinkRandom("a"), LinkRandom("b")
    numbers = [one.random() for _ in range(100)]
    assert [other.random() for _ in range(100)] == numbers
    assert len({*numbers, *(third.random() for _ in range(100))}) == 200
    assert all(0 <= number < 1 for number in numbers)
