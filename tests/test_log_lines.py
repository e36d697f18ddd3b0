"""What an operator reads: few lines of a node's normal life, and one for each thing worth waking up for."""

from __future__ import annotations

import ast
import json
import logging
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.clusters import open_cluster
from tests.node_processes import ROOT, clean_environment
from tests.source_trees import PACKAGE, parse_package
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeConfig, Remote, open_node, rpc
from trionet.events import ChildEnded, ChildGivenUp, OrphanedCall
from trionet.services.member_news import PAUSE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio.testing import MockClock

    from trionet import Node

MOST_LINES = 10


# ---------------------------------------------------------------------------------------------------- a node's own life


def _launch(stack: ExitStack, folder: Path, number: int, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a node whose log goes to a file; return its process and its address."""
    error = stack.enter_context((folder / f"{number}.log").open("wb"))
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "trionet.cli.node", "--json", "--log-format", "json", *options],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=error,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    return process, f"{ready['ip']}:{ready['port']}"


async def _ask(address: str, path: str, *args: Any) -> Any:
    async with httpx.AsyncClient() as client:
        return (await client.put(f"http://{address}/{path}", json=list(args))).json()


async def _wait_for_members(address: str, count: int) -> None:
    with trio.fail_after(DEADLINE_S):
        while len((await _ask(address, "local/membership/members"))["value"]) != count:  # noqa: ASYNC110  another process
            await trio.sleep(0.05)


@pytest.mark.slow
async def test_the_normal_life_of_a_node_in_a_cluster_of_five_is_ten_lines_at_most(tmp_path: Path) -> None:
    with ExitStack() as stack:
        config = '{"services": {"probe": "tests.samples:Probe"}, "join": [], "profile": "local"}'
        nodes = [_launch(stack, tmp_path, 0, "--config", config)]
        first = nodes[0][1]
        nodes += [_launch(stack, tmp_path, number, "--config", config, "--join", first) for number in range(1, 5)]
        for _, address in nodes:
            await _wait_for_members(address, 5)
        for _, address in nodes:
            assert "errors" in await _ask(address, "all/status/get", "nid")
            await _ask(address, "all/gossip/send", ["sid"], {"service": "status", "method": "get"})
        for process, _ in reversed(nodes):
            process.send_signal(signal.SIGTERM)
            assert await trio.to_thread.run_sync(process.wait) == 0
    for number, (_, address) in enumerate(nodes):
        lines = [json.loads(line) for line in (tmp_path / f"{number}.log").read_text(encoding="utf-8").splitlines()]
        texts = [line["message"] for line in lines]
        assert len(lines) <= MOST_LINES, texts
        assert {line["level"] for line in lines} == {"info"}, texts
        assert {line["node"] for line in lines} == {address}
        expected = ["is ready on", "members? ha(s|ve) joined", "is stopping", "has stopped"]
        expected += ["has joined the cluster"] if number else []
        for text in expected:
            assert sum(bool(re.search(text, each)) for each in texts) >= 1, (text, texts)


_SPAWN = """
import logging, sys
import trionet

async def main(node):
    await node.local.status.spawn(trionet.NodeConfig(launcher=sys.argv[1]))

if __name__ == "__main__":
    if len(sys.argv) > 2:
        logging.basicConfig(level=sys.argv[2])
    trionet.run(main)
"""


@pytest.mark.parametrize("launcher", ["subprocess", "forkserver"])
@pytest.mark.parametrize(("levels", "is_told"), [([], False), (["INFO"], True), (["ERROR"], False)])
def test_a_spawned_node_logs_no_more_than_its_spawner(
    levels: list[str], is_told: bool, launcher: str, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(_SPAWN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, launcher, *levels],
        capture_output=True,
        check=False,
        env=clean_environment(),
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0
    assert (b" is ready on " in done.stderr) is is_told
    assert is_told or not done.stderr


@pytest.mark.slow
def test_all_nodes_of_a_command_log_json_without_a_prefix() -> None:
    options = ["--log-format", "json", "--log-level", "info", "--launcher", "subprocess", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "trionet", "up", "2", *options],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        nodes = json.loads(process.stdout.readline())["nodes"]
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=DEADLINE_S)
    lines = [json.loads(line) for line in error.splitlines()]
    assert {node["sid"] for node in nodes} <= {line["sid"] for line in lines if "is ready on" in line["message"]}


async def test_members_that_come_and_go_are_told_in_bulk(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster() as cluster:
        with caplog.at_level(logging.INFO, "trionet.services.member_news"):
            nodes = await cluster.start_many(20)
            await trio.sleep(3 * PAUSE_S)
        own = [record for record in caplog.records if getattr(record, "node", "") == str(nodes[0].address)]
        assert sum(record.count for record in own) == 19  # type: ignore[attr-defined]
        assert len(own) <= 4


# ------------------------------------------------------------------------------------------------ worth waking up for


class Bad:
    """Fails in several ways."""

    @rpc
    def fail(self) -> None:
        raise ValueError("it is broken")


async def _publish(node: Node, *events: Any) -> None:
    for event in events:
        node._bus.publish(event)  # noqa: SLF001  what publishes them takes minutes


async def _child_ends(node: Node) -> None:
    await _publish(node, ChildEnded(node=node.address, status=-9))


async def _child_is_given_up(node: Node) -> None:
    await _publish(node, ChildGivenUp(node=node.address, restarts=5))


async def _call_is_orphaned(node: Node) -> None:
    await _publish(node, OrphanedCall(node=node.address, gid="local", service="a", method="b", id="c"))


async def _listener_fails(node: Node) -> None:
    def listen(event: object) -> None:
        if isinstance(event, ChildEnded):
            raise ValueError("a bad listener")

    node.listen(listen)
    await _publish(node, ChildEnded(node=node.address, status=0))


async def _rumor_fails(node: Node) -> None:
    await node.local.routes.put(Bad(), "bad")
    await node.all.gossip.send([], Remote(service="bad", method="fail"))


async def _task_fails(node: Node) -> None:
    def fail() -> None:
        raise ValueError("a bad task")

    await node.all.gossip.at(0.01, fail)


async def _stranger_breaks_the_protocol(node: Node) -> None:
    stream = await trio.open_tcp_stream(node.address.ip, node.address.port)
    await stream.send_all(b"\xf5" + b"\xff" * 64)
    with trio.move_on_after(1):
        await stream.receive_some(100)
    await stream.aclose()


async def _foreign_page_calls(node: Node) -> None:
    async with httpx.AsyncClient() as client:
        await client.put(f"http://{node.address}/local/status/get", json=["nid"], headers={"Origin": "http://evil.org"})


async def _service_of_a_group_cannot_be_put(node: Node) -> None:
    await node.all.routes.put("tests.nowhere:Missing", "missing", keep=True)


WAKING: dict[str, tuple[Callable[[Node], Awaitable[None]], str, int]] = {
    "a spawned node is killed": (_child_ends, "spawned node .* ended: .*(SIGKILL|signal 9)", logging.WARNING),
    "a spawned node is given up": (_child_is_given_up, "is not started again after 5 restarts", logging.ERROR),
    "a call is orphaned": (_call_is_orphaned, "may still be running there", logging.WARNING),
    "a listener fails": (_listener_fails, "a listener failed at ChildEnded", logging.ERROR),
    "a rumor's call fails": (_rumor_fails, "the rumor .* failed here: .*it is broken", logging.WARNING),
    "a periodic task fails": (_task_fails, "of the periodic task .* failed: .*a bad task", logging.WARNING),
    "a stranger breaks the protocol": (_stranger_breaks_the_protocol, "began as a link was closed", logging.WARNING),
    "a foreign page calls": (_foreign_page_calls, "over HTTP was refused with status 403", logging.WARNING),
}


@pytest.mark.parametrize("what", WAKING)
async def test_each_thing_worth_waking_up_for_is_a_line(what: str, caplog: pytest.LogCaptureFixture) -> None:
    provoke, text, level = WAKING[what]
    with caplog.at_level(logging.INFO, "trionet"):
        async with open_node(NodeConfig(join=[])) as node:
            await provoke(node)
            await wait_until(lambda: any(re.search(text, line) for line in caplog.messages))
    found = [record for record in caplog.records if re.search(text, record.getMessage())]
    assert {record.levelno for record in found} == {level}
    others = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(others) == len(found) or what == "a periodic task fails"


async def test_a_cluster_that_can_not_be_joined_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    config = NodeConfig(join=["127.0.0.1:1"], connect_timeout_s=0.1)
    with caplog.at_level(logging.INFO, "trionet"):
        async with open_node(config) as node:
            pass
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "can be joined so far; this node goes on trying" in record.getMessage()
    assert record.node == str(node.address)  # type: ignore[attr-defined]


async def test_a_failed_member_is_a_line_of_its_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster() as cluster:
        nodes = await cluster.start_many(3)
        with caplog.at_level(logging.WARNING, "trionet"):
            cluster.kill(nodes[2])
            await cluster.wait_members(nodes[:2])
    assert sorted(caplog.messages) == sorted(
        f"node {node.address}: the member {nodes[2].address} has failed" for node in nodes[:2]
    )


# ------------------------------------------------------------------------------------------------------------- fields


def test_each_field_of_a_line_is_in_the_documentation() -> None:
    table = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8").partition("## Fields")[2]
    documented = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    used = {
        "peer",
        "call_id",
        "caller",
        "trace_id",
        "span_id",
        "sid",
        "time",
        "level",
        "logger",
        "message",
        "exception",
    }
    for path, tree in parse_package("about(").items():
        if "workbench" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name("about") | ast.Attribute(attr="_about")):
                    used |= {keyword.arg for keyword in node.keywords if keyword.arg not in {None, "kind"}}
    assert used == documented
