"""Deadlines and cancellation over several processes, with frozen and killed ones among them."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.crowd import PATIENT, Counts, Member, open_crowd
from tests.transports.link.ends import events_of
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    ConnectionLost,
    IndefiniteError,
    Node,
    NodeAddress,
    NodeUnreachable,
    OrphanedCall,
    Remote,
)
from trionet.protocols.link.round_trip import RoundTrip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    StartNode = Callable[..., Awaitable[Node]]

NODES = 20
ROUNDS = 100
SLACK_S = 5
"""How long this machine may keep a process that is ready from running."""

GROUP = "crowd"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crowd() -> Generator[list[Member]]:
    """Twenty node processes for all tests of this file; use your own keys."""
    with open_crowd(NODES, PATIENT) as members:
        yield members


@pytest.fixture
def victims() -> Generator[list[Member]]:
    """Node processes of a test's own."""
    with open_crowd(3) as members:
        yield members


@pytest.fixture
async def caller(start_node: StartNode) -> Node:
    return await start_node()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grace that outlasts any stall of this machine: else a slow confirmation counts as none."""
    monkeypatch.setattr(RoundTrip, "GRACE_MIN_S", DEADLINE_S / 2)
    monkeypatch.setattr(RoundTrip, "GRACE_MAX_S", DEADLINE_S / 2)


async def _call(node: Node, to: Member, method: str, *args: Any) -> Any:
    return await node.local.comm.send(list(args), Remote(node=to.address, service="tally", method=method))


async def _counts(node: Node, member: Member, key: str) -> Counts:
    counts: Counts = await _call(node, member, "counts", key)
    return counts


async def _wait_counts(node: Node, member: Member, key: str, **expected: int) -> None:
    """Return once the counts are what is expected."""
    with trio.fail_after(DEADLINE_S):
        while True:
            counts = await _counts(node, member, key)
            if all(counts[name] == value for name, value in expected.items()):  # type: ignore[literal-required]
                return


def _addresses(members: list[Member]) -> list[NodeAddress]:
    return [member.address for member in members]


# ---- deadlines


async def test_each_of_three_hops_sees_less_time_and_the_innermost_is_cancelled_when_it_is_over(
    caller: Node, crowd: list[Member]
) -> None:
    used_s = 0.02
    first, second, third = crowd[:3]
    for attempt, timeout_s in enumerate((1, 5, 30)):  # a machine that stalls may need all of the time to get there
        key, begun = f"hops {attempt}", trio.current_time()
        with pytest.raises(trio.TooSlowError), trio.fail_after(timeout_s):
            await _call(caller, first, "pass_on", key, _addresses([second, third]), used_s)
        assert trio.current_time() - begun >= timeout_s
        for member in (first, second, third):
            await _wait_counts(caller, member, key, running=0)
        hops = [await _counts(caller, member, key) for member in (first, second, third)]
        if hops[-1]["started"]:
            break
    assert [hop["cancelled"] for hop in hops] == [1, 1, 1]
    left_s = [timeout_s, *(hop["left_s"][0] for hop in hops)]
    assert left_s[1] < left_s[0]
    assert left_s[2] <= left_s[1] - used_s
    assert left_s[3] <= left_s[2] - used_s
    assert left_s[3] > 0


async def _make(caller: Node, way: str, key: str, first: Member, second: Member) -> None:
    """Make a call without an end."""
    comm, remote = caller.local.comm, Remote(node=first.address, service="tally", method="wait_for_items")
    match way:
        case "a call":
            await _call(caller, first, "hold", key)
        case "by way of another node":
            await _call(caller, first, "pass_on", key, _addresses([second]))
        case "a stream":
            async with comm.stream([key], remote) as items:
                await anext(items)
        case _:
            everywhere = Remote(service="tally", method="hold")
            await caller.group("late").comm.send([key], everywhere, tree=way == "a tree")


async def _stall(until: float) -> None:
    """Let others begin; then keep this process from running until some time after `until`, on Trio's clock."""
    await trio.sleep(0.1)
    while trio.current_time() < until:
        time.sleep(0.3)  # noqa: ASYNC251  its purpose


@pytest.mark.parametrize("way", ["a call", "by way of another node", "a stream", "a fan-out", "a tree"])
async def test_at_the_deadline_its_scope_ends_the_call_however_late_this_process_is(
    caller: Node, crowd: list[Member], way: str
) -> None:
    first, second = crowd[:2]
    await caller.local.groups.put("late", _addresses([first, second]))
    for attempt in range(5):
        key = f"late {way} {attempt}"
        await _wait_counts(caller, first, key, running=0)  # a link is there
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stall, trio.current_time() + 0.2)
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
                await _make(caller, way, key, first, second)
        for member in (first, second):
            await _wait_counts(caller, member, key, running=0)
        if (await _counts(caller, first, key))["cancelled"]:
            return
    pytest.fail("the node was never reached in time")


async def test_without_a_deadline_no_hop_has_one(caller: Node, crowd: list[Member]) -> None:
    first, second, third = crowd[:3]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_call, caller, first, "pass_on", "endless", _addresses([second, third]))
        await _wait_counts(caller, third, "endless", running=1)
        nursery.cancel_scope.cancel()
    hops = [await _counts(caller, member, "endless") for member in (first, second, third)]
    assert [hop["left_s"] for hop in hops] == [[float("inf")]] * 3


async def test_a_call_is_never_started_when_a_hop_before_it_has_used_up_the_time(
    caller: Node, crowd: list[Member]
) -> None:
    first, second = crowd[:2]
    for attempt, timeout_s in enumerate((0.2, 2, 10)):
        key = f"waste {attempt}"
        with trio.move_on_after(timeout_s):
            await _call(caller, first, "waste", key, second.address, 1.5 * timeout_s)
        await _wait_counts(caller, first, key, running=0)
        assert (await _counts(caller, second, key))["started"] == 0
        if (await _counts(caller, first, key))["started"]:
            return
    pytest.fail("the first hop was never reached in time")


# ---- cancellation


async def _cancelled_fan_out(caller: Node, crowd: list[Member], key: str, rng: random.Random) -> dict[str, Counts]:
    """Cancel a fan-out at some moment after it has reached a node; return the counts when its scope has exited."""
    scope, group = trio.CancelScope(), caller.group(GROUP)

    async def run() -> None:
        with scope:
            await group.comm.send([key], Remote(service="tally", method="hold"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await _wait_counts(caller, rng.choice(crowd), key, started=1)
        await trio.sleep(rng.choice((0, 0, 0.001, 0.005, 0.02)))  # any moment will do
        scope.cancel()
    assert scope.cancelled_caught
    replies = await group.comm.send([key], Remote(service="tally", method="counts"))
    assert not replies.errors
    return replies.values


async def test_a_cancelled_fan_out_over_20_nodes_leaves_no_handler_running_a_hundred_times_over(
    caller: Node, crowd: list[Member], patience: None
) -> None:
    rng = random.Random(seed := random.randrange(2**32))
    await caller.local.groups.put(GROUP, _addresses(crowd))
    async with events_of(caller) as events:
        for number in range(ROUNDS):
            counts = await _cancelled_fan_out(caller, crowd, f"fan-out {number}", rng)
            assert len(counts) == NODES
            assert sum(each["running"] for each in counts.values()) == 0, f"round {number} with seed {seed}"
            assert sum(each["started"] for each in counts.values()) >= 1
            assert all(each["cancelled"] == each["started"] <= 1 for each in counts.values())
    assert events == []
    assert caller.statistics().calls_orphaned == 0


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_with_the_grace_as_it_is_what_may_be_running_has_been_reported(caller: Node, crowd: list[Member]) -> None:
    rng = random.Random(seed := random.randrange(2**32))
    await caller.local.groups.put(GROUP, _addresses(crowd))
    async with events_of(caller) as events:
        for number in range(10 * ROUNDS):
            counts = await _cancelled_fan_out(caller, crowd, f"soak {number}", rng)
            running = sum(each["running"] for each in counts.values())
            assert running <= len(events), f"round {number} with seed {seed}"
            events.clear()


async def test_cancellation_goes_through_three_hops_and_back_before_the_scope_exits(
    caller: Node, crowd: list[Member], patience: None
) -> None:
    hops = crowd[:3]
    async with events_of(caller) as events:
        for number in range(20):
            key = f"three hops {number}"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_call, caller, hops[0], "pass_on", key, _addresses(hops[1:]))
                await _wait_counts(caller, hops[-1], key, running=1)
                nursery.cancel_scope.cancel()
            counts = [await _counts(caller, member, key) for member in reversed(hops)]
            assert [(each["running"], each["cancelled"]) for each in counts] == [(0, 1)] * 3
    assert events == []


# ---- frozen


@contextmanager
def _frozen(member: Member) -> Generator[None]:
    os.kill(member.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(member.pid, signal.SIGCONT)


async def _wait_frozen(member: Member) -> None:
    stat = Path(f"/proc/{member.pid}/stat")
    await wait_until(lambda: not stat.exists() or stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T")


@pytest.mark.parametrize("is_known", [True, False], ids=["with a link", "without a link yet"])
async def test_moving_on_from_a_frozen_peer_takes_the_time_plus_the_grace_and_raises_nothing(
    caller: Node, victims: list[Member], is_known: bool
) -> None:
    peer, other = victims[:2]
    if is_known:
        await _counts(caller, peer, "before")
    with _frozen(peer):
        await _wait_frozen(peer)
        async with events_of(caller) as events:
            begun = trio.current_time()
            with trio.move_on_after(0.5) as scope:
                await _call(caller, peer, "hold", "frozen")
            took_s = trio.current_time() - begun
            assert scope.cancelled_caught
            # The one bound of time here: 0.5 s, the grace of a second at most, and what a busy machine adds.
            assert 0.5 <= took_s <= 0.5 + 1 + SLACK_S
        orphans = [str(event.node) for event in events if isinstance(event, OrphanedCall)]
        assert orphans == ([str(peer.address)] if is_known else [])  # without a link nothing has been sent
        assert caller.statistics().calls_orphaned == len(orphans)
        await _counts(caller, other, "meanwhile")
    # Thawed, it finds call and cancel together, and can be called again.
    await _wait_counts(caller, peer, "frozen", running=0)
    assert (await _counts(caller, peer, "frozen"))["started"] <= 1


async def test_of_a_fan_out_only_the_frozen_member_is_reported(caller: Node, victims: list[Member]) -> None:
    await caller.local.groups.put(GROUP, _addresses(victims))
    group, frozen = caller.group(GROUP), victims[1]
    await group.comm.send(["before"], Remote(service="tally", method="counts"))
    with _frozen(frozen):
        await _wait_frozen(frozen)
        async with events_of(caller) as events:
            with trio.move_on_after(0.5) as scope:
                await group.comm.send(["some"], Remote(service="tally", method="hold"))
            assert scope.cancelled_caught
        reported = {str(event.node) for event in events if isinstance(event, OrphanedCall)}
        assert str(frozen.address) in reported
        for member in victims:
            if str(member.address) not in reported:  # a stalled one may have been, with good reason
                assert (await _counts(caller, member, "some"))["running"] == 0
    await _wait_counts(caller, frozen, "some", running=0)


# ---- killed


async def test_the_call_of_a_killed_peer_is_lost_at_once(caller: Node, victims: list[Member]) -> None:
    lost: list[IndefiniteError] = []

    async def hold() -> None:
        with pytest.raises(ConnectionLost) as caught:
            await _call(caller, victims[0], "hold", "killed")
        lost.append(caught.value)

    with trio.fail_after(25):  # well below the 30 s after which silence would be taken for the end
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            await _wait_counts(caller, victims[0], "killed", running=1)
            os.kill(victims[0].pid, signal.SIGKILL)
    assert lost[0].node == str(victims[0].address)
    with pytest.raises(NodeUnreachable):
        await _counts(caller, victims[0], "killed")
    assert caller.statistics().calls_orphaned == 0


async def test_a_killed_member_is_an_error_and_the_others_answer(caller: Node, victims: list[Member]) -> None:
    await caller.local.groups.put(GROUP, _addresses(victims))
    killed, *others = victims
    replies: list[Any] = []

    async def ask() -> None:
        remote = Remote(service="tally", method="hold_for")
        replies.append(await caller.group(GROUP).comm.send(["some", str(killed.address)], remote))

    with trio.fail_after(25):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await _wait_counts(caller, killed, "some", running=1)
            os.kill(killed.pid, signal.SIGKILL)
    assert {sid: type(error) for sid, error in replies[0].errors.items()} == {killed.address.sid: ConnectionLost}
    assert set(replies[0].values) == {member.address.sid for member in others}


async def test_the_handlers_of_a_killed_caller_are_cancelled(caller: Node, victims: list[Member]) -> None:
    middle, last, _ = victims

    async def relay() -> None:
        with pytest.raises(ConnectionLost):
            await _call(caller, middle, "pass_on", "relayed", [last.address])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay)
        await _wait_counts(caller, last, "relayed", running=1)
        os.kill(middle.pid, signal.SIGKILL)
        await _wait_counts(caller, last, "relayed", running=0, cancelled=1)
