"""``trionet doctor`` at a cluster of processes, with real faults: each is found, and a healthy cluster has none."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio

from tests.node_processes import ROOT, NodeProcess, clean_environment, launch, wait_ready
from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeAddress, NodeConfig, Remote, open_node

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="its faults are Linux's")]

COUNT = 4


class Report(NamedTuple):
    """What the doctor says."""

    status: int
    document: dict[str, Any]

    @property
    def all_findings(self) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(one["check"], one["severity"], tuple(one["nodes"])) for one in self.document["findings"]]

    @property
    def findings(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Those that don't tell how busy the machine of the tests is."""
        return [one for one in self.all_findings if one[0] not in ("lag", "suspects")]

    @property
    def is_consistent(self) -> bool:
        """Whether the exit status is that of the findings."""
        has_findings = any(severity != "note" for _, severity, _ in self.all_findings)
        return (self.status, self.document["healthy"]) == (int(has_findings), not has_findings)


async def doctor(node: NodeAddress, *arguments: str) -> Report:
    """Run the command."""
    done = await trio.run_process(
        [sys.executable, "-m", "trionet", "doctor", str(node), "--json", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    return Report(done.returncode, json.loads(done.stdout))


def config(join: list[str], **more: Any) -> NodeConfig:
    return NodeConfig(join=join, on_start="tests.doctored:expose", log_level="error", **more)


@pytest.fixture(scope="module")
def processes() -> Generator[list[NodeProcess]]:
    """A cluster of nodes in processes of their own."""
    with ExitStack() as stack:
        first = wait_ready(launch(stack, config([]), {}))
        others = [launch(stack, config([str(first.address)]), {}) for _ in range(COUNT - 1)]
        yield [first, *map(wait_ready, others)]


@pytest.fixture
async def cluster(processes: list[NodeProcess]) -> list[NodeAddress]:
    """The addresses of its nodes, once all know each other."""
    addresses = [process.address for process in processes]
    await until_complete(addresses)
    return addresses


async def until_complete(addresses: list[NodeAddress]) -> None:
    """Wait until each knows all as alive."""
    with trio.fail_after(2 * DEADLINE_S):
        async with open_node(NodeConfig(datagrams=False)) as node:
            for address in addresses:
                while True:
                    members = await node.local.comm.send(
                        [], Remote(node=address, service="membership", method="members")
                    )
                    if [one.status for one in members] == ["alive"] * len(addresses):
                        break
                    await trio.sleep(0.1)


async def act(address: NodeAddress, method: str, *args: Any) -> None:
    """Call a node's service of faults."""
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(datagrams=False)) as node:
            await node.local.comm.send(list(args), Remote(node=address, service="faults", method=method))


async def test_a_healthy_cluster_has_no_findings_from_each_of_its_nodes(cluster: list[NodeAddress]) -> None:
    for address in cluster[:2]:
        report = await doctor(address)
        assert report.findings == []
        assert report.is_consistent
        assert report.document["members"] == sorted(map(str, cluster))


FAULTS: dict[str, tuple[list[Any], str, str, str]] = {
    # the method of `Faults` and its arguments; the check, the severity, and what is said
    "deaf": ([], "datagrams", "warning", "datagrams to {} don't arrive, though those from it do: UDP is blocked one"),
    "mute": ([], "datagrams", "warning", "datagrams from {} don't arrive, though those to it do: UDP is blocked one"),
    "skew": ([-7.0], "clocks", "warning", "the clock of {} is "),
    "age": (["0.0.9"], "versions", "warning", "0.0.9 on {}"),
    "limit_files": ([70], "files", "warning", "{} may have 70 open files"),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[] if fault in ("deaf", "skew") else pytest.mark.soak) for fault in FAULTS]
)
async def test_a_fault_is_found_and_no_other_and_is_gone_when_it_is_healed(
    cluster: list[NodeAddress], fault: str
) -> None:
    args, check, severity, text = FAULTS[fault]
    ill = cluster[2]
    await act(ill, fault, *args)
    try:
        report = await doctor(cluster[0])
        assert report.findings == [(check, severity, (str(ill),))]
        assert report.is_consistent
        (found,) = [one for one in report.document["findings"] if one["check"] == check]
        assert text.format(ill) in found["what"]
    finally:
        await act(ill, "heal")
    await until_complete(cluster)
    assert (await doctor(cluster[0])).findings == []


async def test_a_stopped_process_is_found(processes: list[NodeProcess], cluster: list[NodeAddress]) -> None:
    os.kill(processes[3].pid, signal.SIGSTOP)
    try:
        report = await doctor(cluster[0])
    finally:
        os.kill(processes[3].pid, signal.SIGCONT)
    assert report.status == 1
    checks = {check for check, _, nodes in report.all_findings if nodes == (str(cluster[3]),)}
    assert checks & {"answers", "suspects", "failed"}, report.document["findings"]
    assert {nodes for _, _, nodes in report.findings} <= {(str(cluster[3]),)}
    await until_complete(cluster)


async def test_a_blocked_event_loop_is_found(cluster: list[NodeAddress]) -> None:
    async def block(address: NodeAddress) -> None:
        async with open_node(NodeConfig(datagrams=False)) as node:
            while True:
                await node.local.comm.send([0.4], Remote(node=address, service="faults", method="block"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(block, cluster[1])
        report = await doctor(cluster[0])
        nursery.cancel_scope.cancel()
    assert ("lag", "warning", (str(cluster[1]),)) in report.all_findings
    assert report.status == 1
    await until_complete(cluster)


@pytest.mark.parametrize(
    ("advertised", "check", "text"),
    [
        ("127.0.0.9", "addresses", "can't connect to {}, the address that this node advertises"),
        ("10.255.255.9", "loopback", "refuses {} as a member"),
    ],
)
async def test_an_address_that_others_can_t_use_is_found(advertised: str, check: str, text: str) -> None:
    with ExitStack() as stack:
        well = wait_ready(launch(stack, config([]), {})).address
        settings = config([str(well)], advertise_ip=advertised, insecure=True, connect_timeout_s=1.0)
        ready = wait_ready(launch(stack, settings, {}))
        ill = str(NodeAddress(advertised, ready.address.port))
        found: list[Report] = []

        async def look() -> None:
            while not any(c == check for report in found for c, _, _ in report.findings):
                found.append(await doctor(well))

        with trio.fail_after(DEADLINE_S):
            await look()
        one = next(each for each in found[-1].document["findings"] if each["check"] == check)
        assert text.format(ill) in one["what"]
        assert "advertise_ip" in one["advice"]
        assert found[-1].status == 1
        ready.process.terminate()
        await wait_until(lambda: ready.process.poll() is not None)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_cluster_under_load_has_no_findings(cluster: list[NodeAddress]) -> None:
    calls = 0

    async def call(node: Node, address: NodeAddress) -> None:
        nonlocal calls
        while True:
            await node.local.comm.send(["sid"], Remote(node=address, service="status", method="get"))
            calls += 1

    async with open_node(NodeConfig(datagrams=False)) as node, trio.open_nursery() as nursery:
        for address in cluster * 4:
            nursery.start_soon(call, node, address)
        for number in range(20):
            report = await doctor(cluster[number % COUNT])
            assert (report.status, report.all_findings) == (0, []), number
        nursery.cancel_scope.cancel()
    assert calls > 1000


async def test_a_person_reads_what_is_wrong_and_what_to_do(cluster: list[NodeAddress]) -> None:
    await act(cluster[1], "skew", 90)
    try:
        done = await trio.run_process(
            [sys.executable, "-m", "trionet", "doctor", str(cluster[0])],
            cwd=ROOT,
            env=clean_environment(),
            capture_stdout=True,
            check=False,
        )
    finally:
        await act(cluster[1], "heal")
    first, advice, *_, verdict = done.stdout.decode().splitlines()
    # A busy machine delays the question or the answer.
    text = rf"error: the clock of {re.escape(str(cluster[1]))} is (89|90|91)\.\d s ahead of that of most members"
    assert re.fullmatch(text, first), first
    assert advice.startswith("  -> set it, and keep it with NTP")
    assert re.fullmatch(r"4 members, 16 checks: \d findings?", verdict)
    assert done.returncode == 1


def test_nobody_at_the_address_is_an_error_and_no_finding() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trionet", "doctor", "127.0.0.1:1", "--json"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no connection to 127.0.0.1:1" in done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "NodeUnreachable"
