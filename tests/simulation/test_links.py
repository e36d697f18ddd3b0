"""Links under stress, in virtual time: long values, windows that run out, slow readers, and the ends of links."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio

from tests.simulation.links import KIB, MIB, held_by, on, open_peers
from trionet import (
    ConnectionLost,
    DefiniteError,
    IndefiniteError,
    NodeUnreachable,
    TrionetError,
)
from trionet.nesting import DEEPEST
from trionet.protocols.link.calls import STREAM_CREDIT_BYTES
from trionet.protocols.link.frames import Ping, encode_frame, with_length
from trionet.protocols.link.liveness import DOUBT_S
from trionet.simulation import run
from trionet.simulation.latencies import constant, exponential
from trionet.simulation.rules import cut, delay, throttle

if TYPE_CHECKING:
    from tests.simulation.links import Peer

_LATENCY_S = 0.01
_BYTES_PER_S = 50.0 * MIB
_QUEUE_BYTES = MIB + 64 * KIB
"""The bytes that a link queues at most, besides transfers, where callers wait for room."""
_LANE_BYTES = 320 * KIB
"""The bytes in flight at most: a socket's buffers, and the last frame."""


def network(latency_s: float = _LATENCY_S, bytes_per_s: float = _BYTES_PER_S) -> list[Any]:
    return [throttle(bytes_per_s), delay(constant(latency_s))]


def in_flight_bytes(link: Any) -> int:
    found: int = link._lane._in_flight_bytes  # noqa: SLF001  a look inside
    return found


def queued_bytes(link: Any) -> int:
    found: int = link.core.outbox._queued_bytes  # noqa: SLF001  a look inside
    return found


async def is_at_rest(*peers: Peer) -> None:
    """Wait until confirmations have arrived, and check that nothing is held then, and that no handler runs."""
    await trio.sleep(1)
    for peer in peers:
        assert held_by(peer.endpoint) == []
        assert peer.probe.running == 0


# ---- a link that breaks

Break = Literal["crash", "silent crash", "partition", "short partition", "reset here", "reset there"]
_BREAKS: list[Break] = ["crash", "silent crash", "partition", "short partition", "reset here", "reset there"]
_VALUE_BYTES = 5 * MIB


def break_link(how: Break, here: Peer, there: Peer) -> None:
    """Break the link between two nodes."""
    both = [here.node.address, there.node.address]
    match how:
        case "crash" | "silent crash":
            here.fabric.crash(there.node.address, is_silent=how == "silent crash")
        case "partition" | "short partition":
            rule = cut(both, both)
            here.fabric.add_rules(rule)
            if how == "short partition":
                here.fabric.pump.at(trio.current_time() + 2, here.fabric.remove_rules, rule)
        case "reset here" | "reset there":
            for link in (here if how == "reset here" else there).links:
                link.abort("the test has broken it")


async def outcomes_of_broken_calls(method: str, how: Break, after_s: float) -> list[str]:
    """Break a link amid three calls, of which it has windows for two; return how each of them ended."""
    ends = {}
    async with open_peers(2, 1, *network(), max_message_bytes=_VALUE_BYTES + 64 * KIB) as (here, there):
        await here.call(there, "ping")

        async def call(size: int) -> None:
            try:
                value = await here.call(there, method, bytes(size) if method == "store" else size)
            except TrionetError as exc:
                ends[size] = exc
            else:
                assert value == (size if method == "store" else bytes(size))

        sizes = [_VALUE_BYTES + number for number in range(3)]
        here.fabric.pump.at(trio.current_time() + after_s, break_link, how, here, there)
        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                for size in sizes:
                    nursery.start_soon(call, size)
        await trio.sleep(100)  # a handler that still runs afterwards would be seen
        for size in sizes:
            times = there.probe.begun.count((method, size))
            assert times == (0 if isinstance(ends.get(size), DefiniteError) else min(times, 1))
            assert times == 1 or size in ends
        assert not held_by(here.endpoint)
        assert not held_by(there.endpoint)
        if how.startswith(("reset", "short")):
            await here.call(there, "ping")
        return [kind_of(ends.get(size)) for size in sizes]
    raise AssertionError


def kind_of(end: TrionetError | None) -> str:
    if end is None:
        return "value"
    assert isinstance(end, DefiniteError) != isinstance(end, IndefiniteError)
    return "definite" if isinstance(end, DefiniteError) else "indefinite"


@pytest.mark.slow
@pytest.mark.parametrize("how", _BREAKS)
@pytest.mark.parametrize("method", ["store", "fetch"])
def test_when_a_link_breaks_amid_long_values_each_call_has_a_value_or_the_right_kind_of_error(
    method: str, how: Break
) -> None:
    ends = [run(outcomes_of_broken_calls, method, how, 0.018 * step) for step in range(23)]
    seen = {kind for one in ends for kind in one}
    if how == "short partition":
        assert seen == {"value"}
    else:
        assert seen >= {"value", "indefinite"}
        assert ("definite" in seen) == (method == "store")  # one of three waited for the window


# ---- windows and places that run out


async def call_through_chains(hops: list[int], max_calls: int) -> tuple[list[str], list[float]]:
    """Send long values back and forth between two nodes, `hops` times each, and short calls beside them.

    Return how the former ended, and how long the latter took.
    """
    ends, took_s = [], []
    settings = {"max_message_bytes": 600 * KIB, "max_calls_per_peer": max_calls}
    async with open_peers(2, 1, *network(), **settings) as (one, other):
        await one.call(other, "ping")

        async def send(here: Peer, there: Peer, count: int) -> None:
            chain = [(there, here)[hop % 2].node.address for hop in range(1, count)]
            data = bytes([count]) * 500 * KIB
            try:
                assert await here.call(there, "relay", chain, data) == data
            except TrionetError as exc:
                ends.append(str(exc))
            else:
                ends.append("")

        async def keep_pinging(here: Peer, there: Peer) -> None:
            while True:
                began = trio.current_time()
                await here.call(there, "ping")
                took_s.append(trio.current_time() - began)

        with trio.fail_after(60):
            async with trio.open_nursery() as pings:
                for here, there in ((one, other), (other, one)):
                    pings.start_soon(keep_pinging, here, there)
                async with trio.open_nursery() as nursery:
                    for count in hops:
                        nursery.start_soon(send, one, other, count)
                        nursery.start_soon(send, other, one, count)
                pings.cancel_scope.cancel()
        await is_at_rest(one, other)
    return ends, took_s


@pytest.mark.slow
def test_long_calls_at_all_depths_share_small_windows_and_short_ones_overtake_them() -> None:
    ends, took_s = run(call_through_chains, [count for count in range(1, DEEPEST + 1) for _ in range(3)], 64)
    assert ends == [""] * 2 * 3 * DEEPEST
    in_all_s = 2 * _LATENCY_S + 2 * _LANE_BYTES / _BYTES_PER_S  # what is in flight is not overtaken
    assert max(took_s) < in_all_s + 0.01
    assert len(took_s) > 50


@pytest.mark.slow
def test_calls_at_all_depths_share_two_places_and_all_are_answered() -> None:
    ends, _ = run(call_through_chains, [count for count in range(1, DEEPEST + 1) for _ in range(4)], 2)
    assert ends == [""] * 2 * 4 * DEEPEST


@pytest.mark.slow
def test_of_calls_that_are_nested_too_deeply_some_are_refused_and_none_waits_for_ever() -> None:
    ends, _ = run(call_through_chains, [DEEPEST + 4] * 6, 2)
    assert len(ends) == 12
    assert "" in ends
    assert any("accepts no further call that is nested 8 deep" in end for end in ends)
    assert all(not end or "nested 8 deep" in end for end in ends)


# ---- a reader that stops


async def stop_reading(for_s: float) -> dict[str, Any]:
    """Hold a node for a time, while another one calls it and a third one; return what was seen."""
    ends: dict[str, list[TrionetError | None]] = {"long": [], "short": []}
    most_queued = most_in_flight = 0
    async with open_peers(3, 1, *network()) as (here, held, other):
        await here.call(held, "ping")
        await here.call(other, "ping")
        link, others_s = here.link_with(held), []

        async def call(kind: str) -> None:
            try:
                await here.call(held, "store", bytes(MIB if kind == "long" else 50 * KIB))
            except TrionetError as exc:
                ends[kind].append(exc)
            else:
                ends[kind].append(None)

        async def look() -> None:
            nonlocal most_queued, most_in_flight
            while True:
                began = trio.current_time()
                await here.call(other, "store", bytes(10 * KIB))
                others_s.append(trio.current_time() - began)
                most_queued = max(most_queued, queued_bytes(link))
                most_in_flight = max(most_in_flight, in_flight_bytes(link))

        held.endpoint.hold()
        began = trio.current_time()
        here.fabric.pump.at(began + for_s, held.endpoint.release)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            async with trio.open_nursery() as calls:
                for _ in range(100):
                    calls.start_soon(call, "short")
                for _ in range(5):
                    calls.start_soon(call, "long")
            took_s = trio.current_time() - began
            nursery.cancel_scope.cancel()
        held.endpoint.release()
        await is_at_rest(here, held, other)
        await here.call(held, "ping")
    return {
        "ends": ends,
        "queued": most_queued,
        "in flight": most_in_flight,
        "took_s": took_s,
        "others_s": others_s,
        "begun": len(held.probe.begun) - 2,
    }


@pytest.mark.slow
def test_a_reader_that_stops_and_goes_on_holds_up_its_callers_and_nobody_else() -> None:
    seen = run(stop_reading, 20.0)
    assert seen["ends"] == {"long": [None] * 5, "short": [None] * 100}
    assert 20 < seen["took_s"] < 21
    assert MIB < seen["queued"] <= _QUEUE_BYTES
    assert 256 * KIB <= seen["in flight"] <= _LANE_BYTES
    assert max(seen["others_s"]) < 2 * _LATENCY_S + 0.001


@pytest.mark.slow
def test_a_reader_that_never_goes_on_is_given_up_after_thirty_seconds() -> None:
    seen = run(stop_reading, 1000.0)
    ends = seen["ends"]["long"] + seen["ends"]["short"]
    assert len(ends) == 105
    assert {type(end) for end in ends} == {ConnectionLost, NodeUnreachable}
    lost = [str(end) for end in ends if isinstance(end, ConnectionLost)]
    assert all("no sign of life for 30 s" in text for text in lost)
    assert 30 <= seen["took_s"] < 30 + 3 + 5  # those that waited for room have tried to connect anew
    assert seen["begun"] <= sum(isinstance(end, ConnectionLost) for end in ends)
    assert max(seen["others_s"]) < 2 * _LATENCY_S + 0.001


@pytest.mark.slow
def test_a_peer_that_asks_and_never_reads_is_cut_off_when_eight_mebibytes_are_queued(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with open_peers(3, 1, *network()) as (here, asking, other):
            await asking.call(here, "ping")
            await here.call(other, "ping")
            link = here.links[0]
            pings = with_length(encode_frame(Ping(2**30))) * 10_000
            with asking.fabric.rule(cut([here.node.address], [asking.node.address])):
                while not link.core.is_closed:
                    assert queued_bytes(link) <= 8 * MIB
                    asking.link_with(here)._lane.send("ping", pings)  # type: ignore[attr-defined]  # noqa: SLF001
                    await trio.sleep(0.1)
                await here.call(other, "ping")
            assert held_by(here.endpoint) == []

    run(main)
    assert "it does not read its input" in caplog.text


async def cancel_long_answers() -> list[int]:
    """Have so many long answers wait that no further one is made, and cancel them; return the others' sizes."""
    sizes = []
    async with open_peers(2, 1, *network(bytes_per_s=MIB), max_message_bytes=600 * KIB) as (here, there):
        await here.call(there, "ping")

        async def fetch(size: int) -> None:
            sizes.append(len(await here.call(there, "fetch", size)))

        with trio.fail_after(30):
            async with trio.open_nursery() as patient, trio.open_nursery() as impatient:
                for _ in range(12):
                    impatient.start_soon(here.call, there, "fetch", 500 * KIB)
                await trio.sleep(0.1)
                for size in range(3):
                    patient.start_soon(fetch, size)
                await trio.sleep(0.1)
                assert len(there.probe.begun) < 1 + 12
                impatient.cancel_scope.cancel()
        await is_at_rest(here, there)
    return sorted(sizes)


def test_calls_that_wait_behind_long_answers_go_on_when_those_are_cancelled() -> None:
    assert run(cancel_long_answers) == [0, 1, 2]


# ---- hosts that stand still and lag


async def hold_and_slow_down(seed: int) -> None:
    """Hold two nodes, and slow them down, at random and at the same time, while they call each other."""
    async with open_peers(2, seed, *network()) as peers:
        random, answered = peers[0].node.random, 0

        async def trouble(peer: Peer) -> None:
            lag = partial(random.expovariate, 10)
            for _ in range(10):
                await trio.sleep(random.uniform(0, 0.3))
                peer.endpoint.add_lag(lag)
                await trio.sleep(random.uniform(0, 0.3))
                peer.endpoint.hold()
                if random.random() < 1 / 2:
                    await trio.sleep(random.uniform(0, 0.3))
                    peer.endpoint.remove_lag(lag)
                    await trio.sleep(random.uniform(0, 0.3))
                    peer.endpoint.release()
                else:
                    await trio.sleep(random.uniform(0, 0.3))
                    peer.endpoint.release()
                    peer.endpoint.remove_lag(lag)

        async def call(here: Peer, there: Peer, number: int) -> None:
            nonlocal answered
            await trio.sleep(random.uniform(0, 6))
            size = random.choice([10, 5 * KIB, 200 * KIB])
            assert await here.call(there, "echo", bytes([number]) * size, 0.01) == bytes([number]) * size
            answered += 1

        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                for here, there in (peers, reversed(peers)):
                    nursery.start_soon(trouble, here)
                    for number in range(60):
                        nursery.start_soon(call, here, there, number)
        assert answered == 120
        await trio.sleep(5)
        await is_at_rest(*peers)


@pytest.mark.slow
def test_no_byte_overtakes_another_one_where_hosts_stand_still_and_lag() -> None:
    for seed in range(30):
        run(hold_and_slow_down, seed, seed=seed)


# ---- both sides dial


async def dial_at_once(seed: int, mean_s: float) -> None:
    """Have both sides call each other from the start, until there is one link for both."""
    async with open_peers(2, seed, delay(exponential(mean_s))) as peers:
        random, answered = peers[0].node.random, 0

        async def call(here: Peer, there: Peer, after_s: float) -> None:
            nonlocal answered
            await trio.sleep(after_s)
            await here.call(there, "ping")
            answered += 1

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for here, there in (peers, reversed(peers)):
                    for number in range(8):
                        nursery.start_soon(call, here, there, number and random.uniform(0, 3 * mean_s))
        assert answered == 16
        assert [len(peer.probe.begun) for peer in peers] == [8, 8]
        one, other = peers
        await trio.sleep(1)
        assert one.link_with(other).number == other.link_with(one).number  # type: ignore[attr-defined]
        for _ in range(30):  # the other link becomes idle, and is closed
            await one.call(other, "ping")
            await other.call(one, "ping")
            await trio.sleep(DOUBT_S - 1)
        assert [len(peer.links) for peer in peers] == [1, 1]
        await is_at_rest(*peers)


@pytest.mark.slow
@pytest.mark.parametrize("mean_s", [0.001, 0.05, 0.2])
@pytest.mark.parametrize("seeds", [20, pytest.param(1_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_when_both_sides_dial_no_call_is_lost_and_both_prefer_the_same_link(mean_s: float, seeds: int) -> None:
    for seed in range(seeds):
        run(dial_at_once, seed, mean_s, seed=seed)


# ---- idle links

_IDLE_S = 40.0


async def call_when_idle(after_s: float, who: str, call: str) -> bool:
    """Let a link become idle, and call after a time: from the side that has made it, the other one, or both.

    Return whether the call was made on the old link.
    """
    async with open_peers(2, 1, *network(), idle_timeout_s=_IDLE_S) as (one, other):
        await one.call(other, "ping")
        calls: dict[str, tuple[Any, ...]] = {
            "short": ("ping",),
            "long argument": ("store", bytes(MIB)),
            "long answer": ("fetch", MIB),
            "sleeping": ("echo", b"x", 3.0),
        }
        old = one.link_with(other)
        await trio.sleep(after_s)
        callers = {"initiator": [(one, other)], "acceptor": [(other, one)], "both": [(one, other), (other, one)]}[who]
        begun = {peer: len(peer.probe.begun) for _, peer in callers}
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for here, there in callers:
                    nursery.start_soon(partial(here.call, there, *calls[call]))
        is_old = one.links == [old]
        assert all(len(peer.probe.begun) == count + 1 for peer, count in begun.items())
        await is_at_rest(one, other)
        await trio.sleep(4 * _IDLE_S)
        assert one.links == other.links == []
        return is_old
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("who", ["initiator", "acceptor", "both"])
@pytest.mark.parametrize("call", ["short", "long argument", "long answer", "sleeping"])
def test_a_call_at_any_moment_around_the_retirement_of_its_link_is_answered(who: str, call: str) -> None:
    asked_s = 2 * _LATENCY_S  # a ping and its answer come before the call
    times_s = [_IDLE_S - asked_s + step * _LATENCY_S / 10 + step % 3 * 1e-4 for step in range(-25, 25, 2)]
    are_old = [run(call_when_idle, after_s, who, call) for after_s in times_s]
    assert are_old == sorted(are_old, reverse=True)
    assert any(are_old)
    assert not all(are_old)


# ---- streams and cancels


@pytest.mark.slow
@pytest.mark.parametrize("item_bytes", [1000, 20 * KIB, 150 * KIB])
def test_a_stream_runs_ahead_of_its_slow_reader_by_its_credit_and_one_item(item_bytes: int) -> None:
    count = max(60, 3 * STREAM_CREDIT_BYTES // item_bytes)

    async def main() -> int:
        ahead_bytes = 0
        async with open_peers(2, 1, *network()) as (here, there):
            async with here.node.local.comm.stream([count, item_bytes], on(there.node, "items")) as items:
                number = 0
                async for item in items:
                    assert item == bytes(item_bytes)
                    number += 1
                    ahead_bytes = max(ahead_bytes, there.probe.bytes_made - number * item_bytes)
                    await trio.sleep(0.03)
                    await here.call(there, "ping")
            assert number == count
            await is_at_rest(here, there)
            return ahead_bytes
        raise AssertionError

    ahead_bytes = run(main)
    assert STREAM_CREDIT_BYTES / 2 < ahead_bytes <= STREAM_CREDIT_BYTES + 3 * item_bytes


async def give_up(method: str, after_s: float, how: Literal["cancel", "deadline"]) -> str:
    """Give up on a call or a stream after a time; return how it ended. Then nothing of it is left on either side."""
    async with open_peers(2, 1, *network(bytes_per_s=20.0 * MIB)) as (here, there):
        await here.call(there, "ping")

        async def use() -> None:
            match method:
                case "store" | "fetch":
                    await here.call(there, method, bytes(MIB) if method == "store" else MIB)
                case "echo":
                    await here.call(there, "echo", bytes(MIB), 0.05)
                case "items":
                    async with here.node.local.comm.stream([3, MIB], on(there.node, "items")) as items:
                        async for _ in items:
                            pass

        until = trio.current_time() + after_s
        with trio.CancelScope() as scope:
            if how == "deadline":  # which the handler has, too
                scope.deadline = until
            else:
                here.fabric.pump.at(until, scope.cancel)
            await use()
        end = "cancelled" if scope.cancelled_caught else "ended"
        assert there.probe.running == 0  # the confirmation has come, and not before that
        assert here.orphans == there.orphans == []
        await is_at_rest(here, there)
        begun = len(there.probe.begun)
        await here.call(there, "ping")
        await trio.sleep(100)
        assert len(there.probe.begun) == begun + 1
        return end
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancel", "deadline"])
@pytest.mark.parametrize(("method", "lasts_s"), [("store", 0.07), ("fetch", 0.07), ("echo", 0.18), ("items", 0.23)])
def test_who_gives_up_at_any_moment_leaves_nothing_behind(
    method: str, lasts_s: float, how: Literal["cancel", "deadline"]
) -> None:
    ends = [run(give_up, method, step * lasts_s / 24, how) for step in range(27)]
    assert ends == sorted(ends)
    assert set(ends) == {"cancelled", "ended"}
