"""A log that survives every kill: one order on all nodes, and nothing that was acknowledged is lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.maelstrom.network import Network, Refused
from trionet.maelstrom import DurableLog, Envelope, MaelstromNode
from trionet.maelstrom.workbench import Options, Run, judge, run

if TYPE_CHECKING:
    from trio.testing import MockClock


class Notes:
    """Builds nodes that keep notes in a durable log."""

    def __init__(self, *, period_s: float = 0.1) -> None:
        self.applied: dict[str, list[str]] = {}
        self._period_s = period_s

    def build(self) -> MaelstromNode:
        node, notes = MaelstromNode(), list[str]()

        def apply(note: str) -> int:
            self.applied[node.id] = notes
            if note.startswith("bad"):
                raise ValueError(note)
            notes.append(note)
            return len(notes) - 1

        log = DurableLog(node, apply, period_s=self._period_s)

        @node.on("write")
        async def write(message: Envelope) -> dict[str, Any]:
            return {"place": await log.append(message["note"])}

        @node.on("read")
        def read(message: Envelope) -> dict[str, Any]:
            return {"notes": notes}

        return node


async def read(network: Network, name: str) -> list[str]:
    notes: list[str] = (await network.call(name, {"type": "read"}))["notes"]
    return notes


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 5))])
async def test_acknowledged_operations_are_on_every_node_in_one_order_after_any_kills(
    autojump_clock: MockClock, nursery: trio.Nursery, seed: int
) -> None:
    network = Network(Notes().build, 3, seed=seed, latency_s=0.01)
    await nursery.start(network.run)
    chance, acknowledged = random.Random(seed), dict[str, int]()

    async def write(name: str, note: str) -> None:
        with trio.move_on_after(2):  # its node may be killed meanwhile
            acknowledged[note] = (await network.call(name, {"type": "write", "note": note}, f"c-{note}"))["place"]

    async def write_some(name: str) -> None:
        for number in range(40):
            await write(name, f"{name}-{number}")
            await trio.sleep(chance.uniform(0, 0.1))

    async def kill_some() -> None:
        for _ in range(6):
            await trio.sleep(chance.uniform(0, 0.5))
            killed = chance.sample(network.names, chance.choice([1, 2, 3]))
            for name in killed:
                network.kill(name)
            await trio.sleep(chance.uniform(0, 0.5))
            for name in killed:
                await network.start(name)

    async with trio.open_nursery() as working:
        for name in network.names:
            working.start_soon(write_some, name)
        working.start_soon(kill_some)
    await trio.sleep(1)
    views = [await read(network, name) for name in network.names]
    assert len(acknowledged) > 30
    assert all({note: view.index(note) for note in acknowledged} == acknowledged for view in views)
    assert views[0] == views[1] == views[2]
    assert len(set(views[0])) == len(views[0])


async def test_a_node_is_ready_once_it_has_applied_all_earlier_operations(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = Network(Notes().build, 2, latency_s=0.05)
    await nursery.start(network.run)
    for number in range(200):
        await network.call("n0", {"type": "write", "note": str(number)})
    network.kill("n1")
    began = trio.current_time()
    await network.start("n1")
    assert await read(network, "n1") == [str(number) for number in range(200)]
    assert trio.current_time() - began < 2  # one by one would be 20 s


async def test_operations_that_gather_while_a_slot_is_claimed_share_the_next_one(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = Network(Notes(period_s=1000).build, 1, latency_s=0.05)
    await nursery.start(network.run)
    before = network.sent
    async with trio.open_nursery() as writing:
        for number in range(100):
            writing.start_soon(network.call, "n0", {"type": "write", "note": str(number)}, f"c{number}")
    assert sorted(await read(network, "n0"), key=int) == [str(number) for number in range(100)]
    assert network.sent - before <= 4  # two requests and their answers


async def test_an_operation_that_fails_fails_for_its_append_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    network = Network(Notes().build, 2)
    await nursery.start(network.run)
    await network.call("n0", {"type": "write", "note": "a"})
    with pytest.raises(Refused) as refused:
        await network.call("n0", {"type": "write", "note": "bad"})
    assert refused.value.code == 13
    assert (await network.call("n1", {"type": "write", "note": "b"}))["place"] == 1
    await trio.sleep(1)
    assert await read(network, "n0") == await read(network, "n1") == ["a", "b"]


def run_kafka(seed: int, *arguments: str, **settings: Any) -> Run:
    options: dict[str, Any] = {"rate": 200.0, "time_limit_s": 10.0, "nemesis": ("kill",), "nemesis_interval_s": 1.5}
    return run(
        Options(
            workload="kafka",
            bin="kafka",
            arguments=arguments,
            nodes=("n0", "n1"),
            concurrency=4,
            seed=seed,
            is_simulated=True,
            **options | settings,
        )
    )


def kafka(seed: int, *arguments: str, **settings: Any) -> dict[str, Any]:
    done = run_kafka(seed, *arguments, **settings)
    assert [op.f for op in done.history.faults if op.f == "kill"] or settings["nemesis"] == ()
    return judge(done)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 6))])
def test_durable_kafka_is_valid_though_nodes_are_killed(seed: int) -> None:
    assert kafka(seed, "--durable")["valid?"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"nemesis": ("kill", "partition")},
        {"nemesis": ("kill", "pause")},
        {"p_loss": 0.05},
        {"latency_ms": 20},
        {"nemesis": ()},
    ],
    ids=str,
)
def test_durable_kafka_is_valid_under_further_faults(settings: dict[str, Any]) -> None:
    assert kafka(7, "--durable", **settings)["valid?"] is True


@pytest.mark.slow
def test_the_fast_kafka_may_lose_messages_by_the_kill_of_a_node() -> None:
    assert any(kafka(seed)["workload"]["valid?"] is False for seed in range(1, 6))  # the first that does is enough


@pytest.mark.slow
def test_the_end_of_a_test_waits_for_nodes_that_are_being_started() -> None:
    for seed in range(10):  # a node starts in 0.6 s, and most tests end amid a start
        done = run_kafka(
            seed, "--durable", latency_ms=300, nemesis_interval_s=0.4, time_limit_s=3.0, init_timeout_s=30.0
        )
        assert not [text for text in done.warnings if "init_ok" in text]
