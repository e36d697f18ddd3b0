"""Forged statements from outside, by the thousand, at a node in a process of its own: none is believed."""

from __future__ import annotations

import random
import statistics
import sys
import time
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.keyed_nodes import new_file
from tests.node_processes import ROOT, launch, wait_ready
from tests.security.attacked import CLUSTER, KeyedSocket
from tests.security.flooding import Orders, lie
from tests.security.keys import node_keys
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeConfig, Remote, open_node

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trionet import Node, NodeAddress

KEYS = node_keys(cluster=CLUSTER)
LIVES = 50
WINDOWS, WINDOW_S, PER_SECOND = 10, 10, 10_000
"""Of the long test: in all, a million datagrams."""


class Flooded:
    """A node process under a flood, and a member of its cluster in this process."""

    def __init__(self, address: NodeAddress, bystander: Node) -> None:
        self.address = address
        self.bystander = bystander

    async def ask(self, method: str) -> Any:
        remote = Remote(node=self.address, service="watched", method=method)
        with trio.fail_after(DEADLINE_S):
            return await self.bystander.local.comm.send([], remote)

    async def recorded(self) -> list[bytes]:
        """Return authentic datagrams of lives that have ended, and of one that is proven."""
        async with KeyedSocket(KEYS, to=self.address) as sock:
            await sock.send(sock.sealed())
            await sock.answer()
            data = [sock.sealed()]
            for _ in range(LIVES):
                sock.begin_life()
                data.append(sock.sealed())
        return data

    async def flood(self, count: int, per_second: int, recorded: list[bytes]) -> float:
        """Have another process send so many datagrams; return the seconds it took."""
        target = (self.address.ip, self.address.port)
        member = str(self.bystander.address)
        seed = random.SystemRandom().randrange(2**32)
        orders = Orders(target, member, KEYS.sealing.key_id, recorded, count, per_second, seed)
        done = await trio.run_process(
            [sys.executable, "-m", "tests.security.flooding"],
            stdin=msgspec.json.encode(orders),
            capture_stdout=True,
            cwd=ROOT,
        )
        return float(done.stdout)


@asynccontextmanager
async def open_flooded(folder: Path) -> AsyncGenerator[Flooded]:
    """Run both nodes."""
    config = NodeConfig(
        port=0,
        key_file=new_file(folder),
        cluster=CLUSTER,
        on_start="tests.security.attacked:watch",
        log_level="error",
    )
    with ExitStack() as stack:
        node = wait_ready(launch(stack, config, {}))
        async with open_node(NodeConfig(join=[str(node.address)]), keys=KEYS) as bystander:
            await wait_until(lambda: len(bystander.all.members()) == 2)
            yield Flooded(node.address, bystander)


async def _check(flooded: Flooded, before: dict[str, int]) -> dict[str, int]:
    """Check that the node believes nothing of all that; return its figures."""
    found: dict[str, int] = await flooded.ask("figures")
    assert (found["members"], found["told"]) == (2, 0)
    assert len(flooded.bystander.members()) == 2
    assert found["datagrams_refused"] > before["datagrams_refused"]
    return found


@pytest.mark.slow
async def test_of_20_000_forged_datagrams_none_is_believed(tmp_path: Path) -> None:
    async with open_flooded(tmp_path) as flooded:
        before = await flooded.ask("figures")
        recorded = await flooded.recorded()
        await flooded.flood(20_000, PER_SECOND, recorded)
        found = await _check(flooded, before)
        assert found["datagrams_refused"] + found["datagrams_replayed"] > 2_000, "a socket's buffer has an end"
        async with KeyedSocket(KEYS, to=flooded.address) as sock:  # the same lie of a holder of the key is believed
            await sock.send(sock.sealed(packet=lie(random.Random(1), sock.name, invented=sock.name)))
            await sock.answer()
            with trio.fail_after(DEADLINE_S):
                while (await flooded.ask("figures"))["members"] == 2:  # noqa: ASYNC110  it is in another process
                    await trio.sleep(0.01)


async def _p99_ms(flooded: Flooded, until: trio.Event) -> float:
    """Make calls every 5 ms until then; return the 99th percentile of their times."""
    took = []
    while not until.is_set():
        begun = time.perf_counter()
        await flooded.ask("tell")
        took.append(time.perf_counter() - begun)
        await trio.sleep(0.005)
    return 1000 * statistics.quantiles(took, n=100)[98]


async def _measured(flooded: Flooded, recorded: list[bytes] | None) -> float:
    """Return the 99th percentile in a window: a quiet one, or one with a flood."""
    over = trio.Event()

    async def end() -> None:
        if recorded is None:
            await trio.sleep(WINDOW_S)
        else:
            took_s = await flooded.flood(WINDOW_S * PER_SECOND, PER_SECOND, recorded)
            assert took_s < 1.5 * WINDOW_S, "the flood was slower than it was to be"
        over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        return await _p99_ms(flooded, over)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_of_a_million_forged_datagrams_none_is_believed_and_calls_go_on(tmp_path: Path) -> None:
    async with open_flooded(tmp_path) as flooded:
        before = await flooded.ask("figures")
        recorded = await flooded.recorded()
        quiet, loud = list[float](), list[float]()
        for _ in range(WINDOWS):
            quiet.append(await _measured(flooded, None))
            loud.append(await _measured(flooded, recorded))
        found: dict[str, int] = await flooded.ask("figures")
        assert (found["members"], len(flooded.bystander.members())) == (2, 2)
        ratio = statistics.median(one / other for one, other in zip(loud, quiet, strict=True))
        # The figures are what this test is run for.
        print(  # noqa: T201
            f"p99 of a bystander's calls: {statistics.median(quiet):.2f} ms quiet, {statistics.median(loud):.2f} ms in "
            f"the flood, ratio {ratio:.2f}; refused {found['datagrams_refused'] - before['datagrams_refused']:,}, "
            f"as replays {found['datagrams_replayed'] - before['datagrams_replayed']:,}"
        )
