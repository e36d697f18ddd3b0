"""The solutions of Gossip Glomers, on a network in virtual time: their replies, and their costs."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.maelstrom.network import Network, Refused
from trionet import ConfigError
from trionet.maelstrom import build_challenge, challenge_names, load_challenge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from pathlib import Path

    from trio.testing import MockClock

    OpenNetwork = Callable[..., Awaitable[Network]]

REPLICATED = ["g-counter", "pn-counter", "g-set"]


@pytest.fixture
async def open_network(nursery: trio.Nursery) -> AsyncGenerator[OpenNetwork]:
    """Start a challenge's nodes: ``await open_network("echo", 3)``."""

    async def start(name: str, count: int, *, arguments: Sequence[str] = (), **settings: Any) -> Network:
        network = Network(lambda: build_challenge(name, arguments), count, **settings)
        await nursery.start(network.run)
        return network

    with trio.fail_after(10_000):
        yield start


async def load(network: Network, rate: float, time_s: float, operation: Callable[[str, int], Awaitable[None]]) -> int:
    """Have each node's client do operations, `rate` a second in all, as Maelstrom does; return how many there were."""
    numbers = itertools.count()
    done = 0

    async def work(name: str, seed: int) -> None:
        nonlocal done
        gaps = random.Random(seed)
        end = trio.current_time() + time_s
        while trio.current_time() < end:
            await trio.sleep(gaps.uniform(0, 2 * len(network.names) / rate))
            await operation(name, next(numbers))
            done += 1

    async with trio.open_nursery() as nursery:
        for number, name in enumerate(network.names):
            nursery.start_soon(work, name, number)
    return done


async def partitions(network: Network) -> None:
    """Cut the network and heal it again, until it is over; begin at once."""
    chance = random.Random(5)
    while not network.is_over:
        names = chance.sample(network.names, len(network.names))
        if len(names) == 3 and chance.random() < 0.5:  # a ring: each receives from one of the two others
            network.cut = {(names[at], names[(at + 1) % 3]) for at in range(3)}
        else:
            network.partition(names[:1], names[1:])
        await trio.sleep(chance.uniform(0, 10))
        network.cut = set()
        await trio.sleep(chance.uniform(0, 10))


# --------------------------------------------------------------------------------------------------- echo, unique-ids


async def test_echo_returns_the_text_of_the_request(autojump_clock: MockClock, open_network: OpenNetwork) -> None:
    network = await open_network("echo", 1)
    for said in ("Please echo 35", None, {"a": [1, 2.5]}, 2**70):
        assert await network.call("n0", {"type": "echo", "echo": said}) == {"echo": said}
    with pytest.raises(Refused) as caught:
        await network.call("n0", {"type": "echo"})
    assert caught.value.code == 12


async def test_ids_are_unique_across_nodes_and_across_restarts(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("unique-ids", 3)
    ids = []
    for _ in range(3):
        for name in network.names:
            ids += [(await network.call(name, {"type": "generate"}))["id"] for _ in range(20)]
        network.kill("n1")
        await network.start("n1")
    assert len(set(ids)) == len(ids) == 180
    assert all(type(one) is str for one in ids)
    assert network.sent == 0


# ---------------------------------------------------------------------------------------------------------- broadcast


async def run_broadcast(network: Network, *, rate: float = 100, time_s: float = 12) -> tuple[float, list[float], int]:
    """Load as for 3d; return messages per operation, stable latencies (sorted, ms), and how much is missing at last."""
    added: dict[int, tuple[float, float]] = {}
    reads: list[tuple[float, set[int]]] = []
    chance = random.Random(7)

    async def operate(name: str, number: int) -> None:
        begin = trio.current_time()
        if chance.random() < 0.5:
            assert await network.call(name, {"type": "broadcast", "message": number}) == {}
            added[number] = begin, trio.current_time()
        else:
            reads.append((begin, set((await network.call(name, {"type": "read"}))["messages"])))

    operations = await load(network, rate, time_s, operate)
    network.heal()
    await trio.sleep(10)
    finals = [set((await network.call(name, {"type": "read"}))["messages"]) for name in network.names]
    latencies = []
    for number, (begin, known) in added.items():
        absent = [at for at, seen in reads if at > begin and number not in seen]
        latencies.append(max(0.0, 1000 * (max(absent) - known)) if absent else 0.0)
    missing = sum(len(added.keys() - final) for final in finals)
    return network.sent / (operations + len(finals)), sorted(latencies), missing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "most_messages", "median_ms", "most_ms"),
    [
        (["--fast"], 13, 100, 110),
        (["--frugal", "--up-wait", "0", "--down-wait", "0.32"], 1.6, 400, 600),
        (["--frugal"], 1.1, 800, 1200),
    ],
    ids=["fast", "fewest", "frugal"],
)
async def test_a_profile_keeps_within_its_marks(
    autojump_clock: MockClock,
    open_network: OpenNetwork,
    arguments: list[str],
    most_messages: float,
    median_ms: float,
    most_ms: float,
) -> None:
    network = await open_network("broadcast", 25, arguments=arguments, latency_s=0.1)
    messages, latencies, missing = await run_broadcast(network)
    assert missing == 0
    assert messages <= most_messages
    assert latencies[len(latencies) // 2] <= median_ms
    assert latencies[-1] <= most_ms


COSTLY = [
    *(("fast", 25, trouble) for trouble in ("partitions", "loss", "dead hub", "crashed hub")),
    *(("frugal", 25, trouble) for trouble in ("partitions", "loss", "dead hub")),
]
"""Those that take three seconds of a processor and more; the other one of each kind and profile is no different."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "count", "trouble"),
    [
        pytest.param(*case, id="-".join(map(str, case)), marks=[pytest.mark.soak] if case in COSTLY else [])
        for case in itertools.product(["fast", "frugal"], [5, 25], ["partitions", "loss", "dead hub", "crashed hub"])
    ],
)
async def test_trouble_loses_no_value(
    autojump_clock: MockClock,
    open_network: OpenNetwork,
    nursery: trio.Nursery,
    profile: str,
    count: int,
    trouble: str,
) -> None:
    network = await open_network("broadcast", count, arguments=[f"--{profile}"], latency_s=0.1)
    if trouble == "partitions":
        nursery.start_soon(partitions, network)
    elif trouble == "loss":
        network.loss = 0.5
    else:
        await network.call("n1", {"type": "broadcast", "message": -1})
        await trio.sleep(5)
        network.kill("n0")
        if trouble == "crashed hub":
            await network.start("n0")
        else:
            network.names.remove("n0")
    _, _, missing = await run_broadcast(network, rate=4 * count, time_s=10)
    assert missing == 0
    if "hub" in trouble:
        assert -1 in (await network.call("n2", {"type": "read"}))["messages"]


async def test_a_value_is_any_json_and_is_delivered_once(autojump_clock: MockClock, open_network: OpenNetwork) -> None:
    network = await open_network("broadcast", 1)
    for value in (1, [2], {"a": None}, 1):
        await network.call("n0", {"type": "broadcast", "message": value})
    await network.call("n0", {"type": "topology", "topology": {"n0": []}})
    assert await network.call("n0", {"type": "read"}) == {"messages": [1, [2], {"a": None}]}


# ------------------------------------------------------------------------------------------------- counters and g-set


async def run_replicated(network: Network, kind: str, *, heal_s: float = 10.0) -> tuple[int, Any, list[Any]]:
    """Load as for 20 s, and then as Maelstrom does: heal, wait, read; return operations, the truth, and the reads."""
    truth: list[int] = []
    chance = random.Random(11)

    async def operate(name: str, number: int) -> None:
        if chance.random() < (0.67 if kind == "g-counter" else 0.5):
            await network.call(name, {"type": "read"})
        elif kind == "g-set":
            truth.append(number)
            assert await network.call(name, {"type": "add", "element": number}) == {}
        else:
            truth.append(chance.randrange(-5 if kind == "pn-counter" else 0, 5))
            assert await network.call(name, {"type": "add", "delta": truth[-1]}) == {}

    operations = await load(network, 100, 20, operate)
    network.heal()
    await trio.sleep(heal_s)
    reads = [(await network.call(name, {"type": "read"}))["value"] for name in network.names]
    if kind == "g-set":
        return operations + len(reads), sorted(truth), [sorted(read) for read in reads]
    return operations + len(reads), sum(truth), reads


@pytest.mark.slow
@pytest.mark.parametrize("kind", REPLICATED)
async def test_all_nodes_agree_on_the_truth_at_the_end_for_a_tenth_of_a_message_per_operation(
    autojump_clock: MockClock, open_network: OpenNetwork, kind: str
) -> None:
    network = await open_network(kind, 3)
    operations, truth, reads = await run_replicated(network, kind)
    assert reads == [truth] * 3
    assert 1800 < operations < 2200
    assert network.sent / operations < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", REPLICATED)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 5))])
async def test_partitions_lose_nothing(
    autojump_clock: MockClock, open_network: OpenNetwork, nursery: trio.Nursery, kind: str, seed: int
) -> None:
    network = await open_network(kind, 3, seed=seed)
    nursery.start_soon(partitions, network)
    operations, truth, reads = await run_replicated(network, kind)
    assert reads == [truth] * 3
    assert network.sent / operations < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "count"),
    [
        (0, 3),
        (0, 5),
        (0, 25),
        *(pytest.param(seed, count, marks=pytest.mark.soak) for seed in (1, 2) for count in (3, 5)),
    ],
)
async def test_half_of_all_messages_lost_loses_nothing(
    autojump_clock: MockClock, open_network: OpenNetwork, count: int, seed: int
) -> None:
    network = await open_network("g-set", count, seed=seed, latency_s=0.1)
    network.loss = 0.5
    _, truth, reads = await run_replicated(network, "g-set")
    assert reads == [truth] * count


async def test_nothing_is_sent_once_all_nodes_agree(autojump_clock: MockClock, open_network: OpenNetwork) -> None:
    network = await open_network("g-set", 5)
    for number, name in enumerate(network.names):
        await network.call(name, {"type": "add", "element": number})
    await trio.sleep(30)
    before = network.sent
    await trio.sleep(1000)
    assert network.sent == before
    assert before < 100


async def test_a_killed_node_receives_again_the_values_of_the_others(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("pn-counter", 3)
    for name in network.names:
        await network.call(name, {"type": "add", "delta": 5})
    await trio.sleep(10)
    network.kill("n1")
    await network.call("n0", {"type": "add", "delta": 1})
    await network.start("n1")
    await network.call("n1", {"type": "add", "delta": -3})
    await trio.sleep(10)
    assert [(await network.call(name, {"type": "read"}))["value"] for name in network.names] == [13] * 3


async def test_a_peer_that_stays_silent_is_tried_less_and_less_often(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("g-set", 2)
    await trio.sleep(10)
    network.partition(["n0"], ["n1"])
    before = network.sent
    await network.call("n0", {"type": "add", "element": 1})
    await trio.sleep(100)
    assert network.sent - before < 60


async def test_a_delta_that_does_not_fit_is_refused_and_changes_nothing(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    for kind, delta in (("g-counter", -1), ("g-counter", "1"), ("pn-counter", 1.5), ("pn-counter", None)):
        network = await open_network(kind, 1)
        with pytest.raises(Refused) as caught:
            await network.call("n0", {"type": "add", "delta": delta})
        assert caught.value.code == 12
        assert await network.call("n0", {"type": "read"}) == {"value": 0}


# -------------------------------------------------------------------------------------------------------------- kafka


class KafkaClient:
    """A client as Maelstrom's: its positions, and the entries that it has polled from each log."""

    def __init__(self, network: Network, name: str) -> None:
        self.positions: dict[str, int] = {}
        self.seen: dict[str, list[tuple[int, Any]]] = {}
        self._network = network
        self._name = name

    async def send(self, key: str, message: Any) -> int:
        reply = await self._network.call(self._name, {"type": "send", "key": key, "msg": message})
        assert set(reply) == {"offset"}
        offset: int = reply["offset"]
        return offset

    async def assign(self, keys: list[str]) -> None:
        reply = await self._network.call(self._name, {"type": "list_committed_offsets", "keys": keys})
        assert set(reply) == {"offsets"}
        self.positions = {key: self.positions.get(key, 0) for key in keys}

    async def poll(self) -> None:
        reply = await self._network.call(self._name, {"type": "poll", "offsets": self.positions})
        assert set(reply) == {"msgs"}
        committed = {}
        for key, messages in reply["msgs"].items():
            for offset, message in messages:
                assert offset >= self.positions[key]
                self.positions[key] = offset + 1
                committed[key] = offset
                self.seen.setdefault(key, []).append((offset, message))
        if committed:
            assert await self._network.call(self._name, {"type": "commit_offsets", "offsets": committed}) == {}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, pytest.param(3, marks=pytest.mark.soak), 5])
@pytest.mark.parametrize("trouble", ["none", "partitions", "loss"])
async def test_every_message_is_read_once_at_its_offset_and_none_is_skipped(
    autojump_clock: MockClock, open_network: OpenNetwork, nursery: trio.Nursery, count: int, trouble: str
) -> None:
    network = await open_network("kafka", count)
    if trouble == "partitions":
        nursery.start_soon(partitions, network)
    network.loss = 0.5 if trouble == "loss" else 0
    clients = {name: KafkaClient(network, name) for name in network.names}
    sent: dict[str, dict[int, Any]] = {}
    last: dict[tuple[str, str], int] = {}
    chance = random.Random(3)

    async def operate(name: str, number: int) -> None:
        key = str(min(chance.randrange(10), chance.randrange(10)) + number // 160)
        if chance.random() < 0.5:
            offset = await clients[name].send(key, number)
            assert offset > last.get((name, key), -1)
            last[name, key] = offset
            assert offset not in sent.setdefault(key, {})
            sent[key][offset] = number
        else:
            if chance.random() < 0.05:
                await clients[name].assign(sorted({*clients[name].positions, key}))
            await clients[name].poll()

    operations = await load(network, 400, 5, operate)
    assert network.sent / operations < 0.2 * count
    network.heal()
    await trio.sleep(10)
    for name in network.names:
        fresh = KafkaClient(network, name)
        await fresh.assign(sorted(sent))
        await fresh.poll()
        assert {key: dict(seen) for key, seen in fresh.seen.items()} == sent
        for key, seen in clients[name].seen.items():
            assert fresh.seen[key][: len(seen)] == seen  # the earlier polls had no gaps


@pytest.mark.slow
async def test_two_nodes_send_a_fiftieth_of_a_message_per_operation(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("kafka", 2)

    async def operate(name: str, number: int) -> None:
        kind: dict[str, Any] = {"type": "poll", "offsets": {}}
        if number % 2:
            kind = {"type": "send", "key": str(number % 7), "msg": number}
        await network.call(name, kind)

    operations = await load(network, 1000, 5, operate)
    assert network.sent / operations < 0.025


async def test_a_message_can_be_read_at_once_where_it_is_the_first_or_the_node_is_alone(
    autojump_clock: MockClock,
    open_network: OpenNetwork,
) -> None:
    network = await open_network("kafka", 1)
    client = KafkaClient(network, "n0")
    assert [await client.send("k", number) for number in range(3)] == [0, 1, 2]
    await client.assign(["k", "none"])
    await client.poll()
    assert client.seen == {"k": [(0, 0), (1, 1), (2, 2)]}


async def test_committed_offsets_are_returned_by_every_node(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("kafka", 2)
    await network.call("n0", {"type": "commit_offsets", "offsets": {"a": 3, "b": 0}})
    await network.call("n1", {"type": "commit_offsets", "offsets": {"a": 2}})
    await trio.sleep(5)
    for name in network.names:
        reply = await network.call(name, {"type": "list_committed_offsets", "keys": ["a", "b", "c"]})
        assert reply == {"offsets": {"a": 3, "b": 0}}


# ------------------------------------------------------------------------------------------------------- transactions


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_transactions_never_abort_and_see_each_other_whole_and_in_order(
    autojump_clock: MockClock, open_network: OpenNetwork, nursery: trio.Nursery, count: int
) -> None:
    network = await open_network("txn-rw-register", count)
    if count > 1:
        nursery.start_soon(partitions, network)
    history: dict[tuple[str, int], list[Any]] = {}

    async def operate(name: str, number: int) -> None:
        key = number % 5
        if number % 3 == 0:
            pair = [["w", key, -1], ["w", key, number], ["w", f"twin of {key}", number]]
            assert await network.call(name, {"type": "txn", "txn": pair}) == {"txn": pair}
        else:
            body = {"type": "txn", "txn": [["r", key, None], ["r", f"twin of {key}", None]]}
            (_, _, value), (_, _, twin) = (await network.call(name, body))["txn"]
            assert value == twin != -1  # never half of a transaction, never a value that it overwrote itself
            history.setdefault((name, key), []).append(value)

    await load(network, 200, 20, operate)
    network.heal()
    await trio.sleep(10)
    body = {"type": "txn", "txn": [["r", key, None] for key in range(5)]}
    assert len({str(await network.call(name, body)) for name in network.names}) == 1
    for values in history.values():  # once another value has come, the earlier one doesn't come back
        changes = [value for value, _ in itertools.groupby(values)]
        assert len(set(changes)) == len(changes)
    assert history.keys() == set(itertools.product(network.names, range(5)))


async def test_a_transaction_reads_its_own_writes_and_null_for_unwritten_keys(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("txn-rw-register", 1)
    body = {"type": "txn", "txn": [["r", 1, None], ["w", 1, 5], ["r", 1, None], ["r", "1", None], ["w", 1, [6]]]}
    assert (await network.call("n0", body))["txn"] == [
        ["r", 1, None],
        ["w", 1, 5],
        ["r", 1, 5],
        ["r", "1", None],
        ["w", 1, [6]],
    ]
    assert (await network.call("n0", {"type": "txn", "txn": [["r", 1, None]]}))["txn"] == [["r", 1, [6]]]


@pytest.mark.parametrize("name", ["txn-rw-register", "txn-list-append"])
async def test_a_transaction_of_unknown_operations_is_refused_and_does_nothing(
    autojump_clock: MockClock, open_network: OpenNetwork, name: str
) -> None:
    network = await open_network(name, 1)
    with pytest.raises(Refused) as caught:
        await network.call("n0", {"type": "txn", "txn": [["w", 1, 1], ["append", 2, 1], ["increment", 1, 1]]})
    assert caught.value.code == 12
    reads = [["r", 1, None], ["r", 2, None]]
    assert await network.call("n0", {"type": "txn", "txn": reads}) == {"txn": reads}


@pytest.mark.slow
async def test_list_appends_are_seen_in_one_order_and_none_is_lost(
    autojump_clock: MockClock, open_network: OpenNetwork
) -> None:
    network = await open_network("txn-list-append", 3, latency_s=0.001)
    network.partition(["n0"], ["n1"], ["n2"])
    appended: dict[int, list[int]] = {}
    reads: dict[int, list[list[int]]] = {}

    async def operate(name: str, number: int) -> None:
        key = number % 4
        body = {"type": "txn", "txn": [["r", key, None], ["append", key, number], ["r", key, None]]}
        (_, _, before), _, (_, _, after) = (await network.call(name, body))["txn"]
        assert after == [*(before or []), number]
        appended.setdefault(key, []).append(number)
        reads.setdefault(key, []).append(after)

    await load(network, 100, 5, operate)
    for key, values in appended.items():
        longest = max(reads[key], key=len)
        assert sorted(longest) == sorted(values)
        assert all(read == longest[: len(read)] for read in reads[key])


# ------------------------------------------------------------------------------------------------------------- lin-kv


async def test_the_store_answers_as_the_service_does(autojump_clock: MockClock, open_network: OpenNetwork) -> None:
    network = await open_network("lin-kv", 2)

    async def refused(body: dict[str, Any]) -> int:
        with pytest.raises(Refused) as caught:
            await network.call("n1", body)
        return caught.value.code

    assert await refused({"type": "read", "key": 1}) == 20
    assert await refused({"type": "cas", "key": 1, "from": 0, "to": 1}) == 20
    assert await network.call("n0", {"type": "write", "key": 1, "value": [3]}) == {}
    assert await network.call("n1", {"type": "read", "key": 1}) == {"value": [3]}
    assert await refused({"type": "cas", "key": 1, "from": 0, "to": 1}) == 22
    assert await network.call("n1", {"type": "cas", "key": 1, "from": [3], "to": None}) == {}
    assert await network.call("n0", {"type": "read", "key": 1}) == {"value": None}


# ------------------------------------------------------------------------------------------------------- the programs


@pytest.mark.parametrize("name", challenge_names())
def test_a_program_is_under_a_hundred_lines(name: str) -> None:
    build = load_challenge(name)
    with open(build.__code__.co_filename, encoding="utf-8") as file:
        assert len(file.readlines()) < 100


def test_an_unknown_challenge_or_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unique-ids"):
        load_challenge("../echo")
    with pytest.raises(ConfigError, match="--loud"):
        build_challenge("echo", ["--loud"])
    with pytest.raises(ConfigError, match="period"):
        build_challenge("g-set", ["--period", "often"])


INIT = b'{"src": "c0", "dest": "n0", "body": {"type": "init", "msg_id": 1, "node_id": "n0", "node_ids": ["n0"]}}\n'
IN_FORKS = """
import os, sys
from trionet.cli.glomers import main

for name in sys.argv[1:]:
    if os.fork():
        if os.wait()[1]:
            sys.exit(f"{name} has failed")
        continue
    for number, place in enumerate(["init", f"{name}.out", f"{name}.err"]):
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT), number)
    try:
        main([name])
        sys.stdout.flush()
        os.write(2, "\\n".join(sys.modules).encode())
        os._exit(0)
    finally:
        os._exit(1)
"""


@pytest.fixture(scope="module")
def challenges_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each challenge has written when its input ended after the `init`, and the modules that it had imported."""
    folder = tmp_path_factory.mktemp("challenges")
    (folder / "init").write_bytes(INIT)
    subprocess.run([sys.executable, "-c", IN_FORKS, *challenge_names()], cwd=folder, timeout=60, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", challenge_names())
def test_the_command_runs_a_challenge_from_any_directory_without_the_web_stack(
    challenges_folder: Path, name: str
) -> None:
    said = b'{"src":"n0","dest":"c0","body":{"type":"init_ok","in_reply_to":1}}\n'
    if name == "kafka-durable":  # it first reads the log
        said = b'{"src":"n0","dest":"lin-kv","body":{"type":"read","key":"log/0","msg_id":1}}\n'
    assert (challenges_folder / f"{name}.out").read_bytes().splitlines(keepends=True)[0] == said
    imported = set((challenges_folder / f"{name}.err").read_text(encoding="utf-8").splitlines())
    assert "trionet.maelstrom" in imported
    assert not imported & {"quart", "hypercorn", "httpx", "h2", "asyncio", "trionet.transports.http"}


@pytest.mark.slow
def test_so_does_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trionet.cli.glomers", "echo"]
    done = subprocess.run(command, input=INIT, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b'{"src":"n0","dest":"c0","body":{"type":"init_ok","in_reply_to":1}}\n'
