"""The data of pictures: faults and runs, views, spreads, rates, arrows, and the model of an epidemic."""

from __future__ import annotations

import math
from random import Random

import pytest

from tests.simulation.traces import delivered, ended, fault_events, joined, rumor, sent, state, trace_of
from trionet.simulation import Crash, Degrade, Isolate, Leave, OneWay, Partition, Pause, Ring, TraceEvent
from trionet.simulation.latencies import exponential
from trionet.simulation.pictures.arrows import MOST_ARROWS, MOST_NODES, arrows_of, part_of
from trionet.simulation.pictures.epidemic import growth_rate, push_reach, si_share
from trionet.simulation.pictures.rate import rates_of
from trionet.simulation.pictures.spans import fault_spans, nodes_of, runs_of
from trionet.simulation.pictures.spreads import median_curve, rate_of, si_curve, spreads_of
from trionet.simulation.pictures.views import View, opinions_of, views_of

# ---- faults and runs


def test_a_fault_spans_the_time_from_its_beginning_to_its_end() -> None:
    cut = Partition(at_s=1, duration_s=2, sides=[[0], [1, 2]])
    crash = Crash(at_s=5, node=1)
    spans = fault_spans(trace_of(joined(3), fault_events(cut, 1.5, 3.5), fault_events(crash, 5.5), ended(9)))
    assert [(span.begin, span.end, span.label) for span in spans] == [
        (1.5, 3.5, "partition n0 | n1 n2"),
        (5.5, 9, "crash n1"),
    ]
    assert [span.nodes for span in spans] == [("n0", "n1", "n2"), ("n1",)]


def test_a_fault_ends_with_the_trace_and_one_without_effect_has_no_span() -> None:
    pause = Pause(at_s=1, duration_s=5, node=0)
    assert [span.end for span in fault_spans(trace_of(fault_events(pause, 1), ended(4)))] == [4]
    assert fault_spans(trace_of(fault_events(pause, 1), ended(7))) == []


def test_each_crash_has_one_span_inside_and_outside_of_a_schedule() -> None:
    alone = [TraceEvent(1, "fault", "n0", what="crash"), TraceEvent(3, "fault", "n0", what="restart")]
    scheduled = fault_events(Crash(at_s=4, duration_s=1, node=0), 4, 5)
    spans = fault_spans(trace_of(joined(2), alone, scheduled, ended(9)))
    assert [(span.begin, span.end, span.label) for span in spans] == [(1, 3, "crash n0"), (4, 5, "crash n0")]


def test_an_undecodable_fault_keeps_its_name() -> None:
    event = TraceEvent(1, "fault", "", what="Flood begins", detail="{}")
    assert [span.label for span in fault_spans(trace_of(event, ended(2)))] == ["flood"]
    unreadable = TraceEvent(1, "fault", "", what="Leave begins", detail="{}")
    assert runs_of(trace_of(joined(2), unreadable, ended(2)))["n0"] == [(0, 2)]


@pytest.mark.parametrize(
    ("fault", "label"),
    [
        (Partition(at_s=0, sides=[[0, 1, 2, 3, 4], [5]]), "partition 5 nodes | n5"),
        (OneWay(at_s=0, sources=[0], targets=[1, 2]), "one-way cut n0 to n1 n2"),
        (Degrade(at_s=0, loss=0.3, reordered=0.1), "degrade 30% loss, disorder"),
        (Degrade(at_s=0, latency_s=0.2, bytes_per_s=20_000), "degrade 200 ms, 20 kB/s"),
        (Crash(at_s=0, node=3, is_silent=True), "crash n3, silent"),
        (Isolate(at_s=0, node=3), "isolate n3"),
        (Ring(at_s=0), "ring"),
    ],
)
def test_a_fault_is_named_in_a_few_words(fault: Degrade, label: str) -> None:
    assert fault.label == label


def test_nodes_are_in_natural_order_and_live_between_crashes_and_leaves() -> None:
    trace = trace_of(
        joined(12),
        fault_events(Crash(at_s=1, duration_s=2, node=2), 1, 3),
        fault_events(Leave(at_s=5, node=10), 5),
        state(6, "n10", "n0", "MemberFailed"),
        ended(9),
    )
    assert nodes_of(trace)[1:4] == ["n1", "n2", "n3"]
    assert nodes_of(trace)[-1] == "n11"
    assert runs_of(trace)["n2"] == [(0, 1), (3, 9)]
    assert runs_of(trace)["n10"] == [(0, 5)]
    assert runs_of(trace)["n0"] == [(0, 9)]


# ---- views


def test_views_follow_the_changes_and_end_with_their_observer() -> None:
    trace = trace_of(
        joined(2),
        state(0.5, "n0", "n1", "MemberJoined"),
        state(1, "n0", "n1", "MemberSuspected"),
        state(1.5, "n0", "n1", "MemberUpdated"),
        state(2, "n0", "n1", "MemberFailed"),
        state(4, "n0", "n1", "MemberJoined"),
        fault_events(Crash(at_s=5, duration_s=2, node=0), 5, 7),
        state(8, "n0", "n1", "MemberJoined"),
        state(9, "n0", "n1", "MemberLeft"),
        ended(10),
    )
    assert [view for view in views_of(trace) if view.observer == "n0"] == [
        View("n0", "n1", 0, 1, "alive"),
        View("n0", "n1", 1, 2, "suspected"),
        View("n0", "n1", 2, 4, "failed"),
        View("n0", "n1", 4, 5, "alive"),
        View("n0", "n1", 8, 9, "alive"),
        View("n0", "n1", 9, 10, "left"),
    ]


def test_opinions_are_shares_of_the_others_that_run() -> None:
    trace = trace_of(
        joined(5),
        state(1, "n0", "n4", "MemberFailed"),
        state(2, "n1", "n4", "MemberFailed"),
        fault_events(Crash(at_s=3, node=3), 3),
        ended(4),
    )
    opinions = opinions_of(trace)["n4"]
    assert [(each.begin, each.end, each.share("failed")) for each in opinions] == [
        (0, 1, 0),
        (1, 2, 1 / 4),
        (2, 3, 2 / 4),
        (3, 4, 2 / 3),
    ]
    assert opinions[0].held == {"alive": 4}


# ---- spreads


def test_a_spread_counts_each_node_once_and_only_those_that_ran_when_it_began() -> None:
    trace = trace_of(
        joined(4),
        rumor(1, "n0", "n0"),
        rumor(1.5, "n1", "n0"),
        fault_events(Crash(at_s=2, duration_s=1, node=1), 2, 3),
        rumor(3.5, "n1", "n0"),
        rumor(4, "n2", "n0"),
        rumor(5, "n9", "n0"),  # has started since
        ended(6),
    )
    (spread,) = spreads_of(trace)
    assert (spread.begun_at, spread.delays, spread.members) == (1, [0, 0.5, 3], 4)
    assert spread.delay_of(0.75) == 3
    assert spread.delay_of(1.0) == math.inf


def test_the_median_curve_has_the_median_time_to_each_share() -> None:
    rumors = [
        rumor(at + delay, f"n{node}", "n0", id_)
        for id_, at, delays in (("a", 1, (0, 1, 2)), ("b", 2, (0, 2, 5)), ("c", 3, (0, 4)))
        for node, delay in enumerate(delays)
    ]
    times, shares = median_curve(spreads_of(trace_of(joined(3), rumors, ended(9))))
    assert times == [0, 2, 5]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("fan_out", [2, 3, 5])
def test_the_rate_of_growth_is_that_of_the_euler_lotka_equation(fan_out: int) -> None:
    assert growth_rate(fan_out, [0.02] * 7) == pytest.approx(math.log(fan_out) / 0.02)
    random, latency = Random(1), exponential(0.02)
    latencies_s = [latency(random) for _ in range(4000)]
    assert growth_rate(fan_out, latencies_s) == pytest.approx((fan_out - 1) / 0.02, rel=0.1)


def test_loss_slows_growth_and_may_stop_it() -> None:
    assert growth_rate(3, [0.02, 0.02, math.inf]) == pytest.approx(math.log(2) / 0.02)
    assert growth_rate(2, [0.02, math.inf]) == 0
    assert growth_rate(1, [0.02]) == growth_rate(3, []) == growth_rate(3, [math.inf]) == 0


def test_the_si_curve_is_logistic_and_push_alone_reaches_less() -> None:
    assert si_share(0, 5, 0.1) == pytest.approx(0.1)
    assert si_share(math.log(9) / 5, 5, 0.1) == pytest.approx(0.5)
    assert si_share(10, 5, 0.1) == pytest.approx(1)
    assert [push_reach(fan_out) for fan_out in (1, 2, 3)] == pytest.approx([0, 0.797, 0.940], abs=0.001)


def test_the_rate_follows_from_the_datagrams_that_were_sent_while_the_rumor_spread() -> None:
    slow = [(number, number / 10, 0.5) for number in range(50)]
    fast = [(100 + number, 10 + number / 100, 0.02) for number in range(50)]
    messages = [
        event
        for number, at, latency in slow + fast
        for event in (sent(at, "n0", "n1", number), delivered(at + latency, "n0", "n1", number))
    ]
    trace = trace_of(joined(2), messages, rumor(10, "n0", "n0"), rumor(10.4, "n1", "n0"), ended(20))
    assert rate_of(trace, spreads_of(trace), 2) == pytest.approx(math.log(2) / 0.02)


def test_the_model_begins_with_the_first_hop_and_needs_many_nodes() -> None:
    def curve(n: int) -> tuple[list[float], list[float]]:
        rumors = [rumor(1 + index / 10, f"n{index}", "n0") for index in range(n)]
        return si_curve(spreads_of(trace_of(joined(n), rumors, ended(9))), 2, 3.0, 2.0)

    times, shares = curve(20)
    assert times[0] == pytest.approx(0.2)
    assert times[-1] == pytest.approx(2.0)
    assert shares[0] == pytest.approx(3 / 20)
    assert shares == sorted(shares)
    assert curve(6) == ([], [])


# ---- rates


def test_rates_add_up_to_the_messages_sent_delivered_and_dropped() -> None:
    random = Random(2)
    events = []
    for number in range(500):
        at, what = random.uniform(0, 7), random.choice(["datagram", "call", "reply", "ping", "gold"])
        events.append(sent(at, "n0", "n1", number, what))
        if number % 5:
            events.append(delivered(at + 0.1, "n0", "n1", number, what))
        else:
            events.append(TraceEvent(at, "drop", "n0", "n1", what, number, 10))
    trace = trace_of(events, ended(7.77))
    rates = rates_of(trace)
    lengths = [end - begin for begin, end in zip(rates.edges, rates.edges[1:], strict=False)]

    def count(rate: list[float]) -> float:
        return sum(each * length for each, length in zip(rate, lengths, strict=True))

    assert rates.edges[-1] == 7.77
    assert count(rates.sent) == pytest.approx(500)
    assert sum(map(count, rates.delivered.values())) == pytest.approx(400)
    assert sum(map(count, rates.dropped.values())) == pytest.approx(100)
    assert count(rates.delivered["calls"]) == pytest.approx(len(trace.select("deliver", what="call")))
    assert count(rates.dropped["other"]) == pytest.approx(len(trace.select("drop", what="gold")))
    assert set(rates.delivered) == {"datagrams", "calls", "replies", "connections", "other"}


# ---- arrows


def test_a_message_is_an_arrow_a_duplicate_two_and_a_dropped_one_has_no_end() -> None:
    trace = trace_of(
        sent(1, "n0", "n1", 1),
        delivered(1.2, "n0", "n1", 1),
        delivered(1.4, "n0", "n1", 1),
        sent(2, "n1", "n0", 2, "call"),
        TraceEvent(2, "drop", "n1", "n0", "call", 2),
        ended(3),
    )
    assert [(each.source, each.sent_at, each.arrived_at, each.dropped_at) for each in arrows_of(trace)] == [
        ("n0", 1, 1.2, None),
        ("n0", 1, 1.4, None),
        ("n1", 2, None, 2),
    ]


def test_the_visible_part_begins_with_the_first_fault_and_fills_the_room() -> None:
    chatter = [
        event
        for number in range(400)
        for event in (
            sent(number / 10, f"n{number % 5}", f"n{(number + 1) % 5}", number),
            delivered(number / 10 + 0.05, f"n{number % 5}", f"n{(number + 1) % 5}", number),
        )
    ]
    trace = trace_of(chatter, fault_events(Crash(at_s=20, node=1), 20), ended(50))
    part = part_of(trace)
    assert 19 < part.since <= 20
    assert len(part.arrows) == MOST_ARROWS
    assert part.arrows[0].sent_at == 20
    assert part.nodes == [f"n{index}" for index in range(5)]
    asked = part_of(trace, 3.0, 4.0)
    assert (asked.since, asked.until, len(asked.arrows)) == (3.0, 4.0, 11)
    assert asked.messages == 11


def test_the_visible_nodes_are_those_of_the_call() -> None:
    chatter = [sent(number / 100, f"n{number % 40}", f"n{(number * 7) % 40}", number) for number in range(1, 400)]
    call = [TraceEvent(2.0, "call", "n30", f"n{peer}", "local/shop/sell", 0, 0, "c1") for peer in (3, 31)]
    internal = TraceEvent(1.0, "call", "n5", "n6", "local/membership/packet", 0, 0, "c0")
    part = part_of(trace_of(chatter, call, internal, ended(9)))
    assert {"n30", "n3", "n31"} <= set(part.nodes)
    assert len(part.nodes) <= MOST_NODES
    assert part.since == pytest.approx(2.0, abs=0.01)
    assert all({arrow.source, arrow.target} <= set(part.nodes) for arrow in part.arrows)
