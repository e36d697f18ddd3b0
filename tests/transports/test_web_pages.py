"""The pages of the HTTP face that are no calls: health and metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

import trionet
from tests.source_trees import PACKAGE
from tests.transports.keyed_nodes import open_keyed, request, token
from tests.waiting import wait_until
from trionet.metric_families import FAMILIES
from trionet.security.token_scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import httpx

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

OPEN_METRICS = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"
DOCS = PACKAGE.parent / "docs"


async def page(node: Node, path: str, **headers: str) -> httpx.Response:
    return await request(node, path, "", method="GET", **headers)


async def add(one: int, other: int) -> int:
    return one + other


@asynccontextmanager
async def busy_node() -> AsyncGenerator[Node]:
    """Run a node with figures of all kinds."""
    config = trionet.NodeConfig(join=[], profile="local")
    async with trionet.open_node(config) as node, trionet.open_node(config) as other:
        await other.join([node.address])
        await other.local.routes.put({"add": add}, "calculator")
        remote = trionet.Remote(node=other.address, service="calculator", method="add")
        for arguments in ([1, 2], [1]):
            try:
                await node.local.comm.send(arguments, remote)
            except trionet.MalformedRequest:
                continue
        await wait_until(lambda: node.figures().cluster.probe_round_trips.count > 0)
        yield other


async def test_the_metrics_are_those_of_prometheus_and_of_open_metrics() -> None:
    async with busy_node() as node:
        plain = await page(node, "/metrics")
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in plain_metrics(plain.text)}
        structured = await page(node, "/metrics", Accept=OPEN_METRICS)
        assert structured.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert {family.name: family.type for family in open_metrics(structured.text)} == {  # type: ignore[no-untyped-call]  # theirs
            name: family.type for name, family in families.items()
        }
    assert set(families) == {family.name.removesuffix("_total") for family in FAMILIES}
    served = {tuple(sample.labels.values()): sample.value for sample in families["trionet_calls_served"].samples}
    assert served["add", "ok", "calculator"] == 1
    assert served["add", "refused", "calculator"] == 1
    durations = [one for one in families["trionet_call_served_seconds"].samples if one.labels["outcome"] == "ok"]
    (count,) = [one.value for one in durations if one.name.endswith("_count") and one.labels["method"] == "add"]
    assert count == 1
    limits = [one.labels["le"] for one in durations if one.labels["method"] == "add" and "le" in one.labels]
    assert (limits[0], limits[-1]) == ("5e-05", "+Inf")


async def test_promtool_accepts_the_metrics() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool: it is in the Debian package prometheus")
    async with busy_node() as node:
        text = (await page(node, "/metrics")).content
    checked = await trio.run_process([promtool, "check", "metrics"], stdin=text, capture_stdout=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, b"")


async def test_no_label_holds_a_sid_or_an_address() -> None:
    async with busy_node() as node:
        text = (await page(node, "/metrics")).text
        for known in node.all.members().values():
            assert known.sid not in text
            assert str(known) not in text


async def test_unknown_names_and_many_services_make_few_labels(start_node: StartNode) -> None:
    node = await start_node()
    for number in range(520):
        await node.local.routes.put({"get": lambda: 1}, f"service{number}")
        await node.local.comm.send([], trionet.Remote(node=node.address, service=f"service{number}", method="get"))
    for number in range(20):
        assert (await request(node, f"/local/nothing{number}/get")).status_code == 404
    families = {family.name: family for family in plain_metrics((await page(node, "/metrics")).text)}
    for name in ("trionet_calls_served", "trionet_calls_made"):
        samples = families[name].samples
        assert len(samples) <= 500
        assert sum(sample.value for sample in samples if sample.labels["outcome"] == "ok") == 520
        assert not [sample for sample in samples if sample.labels["service"].startswith("nothing")]
    others = [one for one in families["trionet_calls_served"].samples if one.labels["service"] == "_OTHER"]
    assert {one.labels["outcome"]: one.value for one in others}["refused"] == 20


async def test_without_the_extra_the_answer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trionet.open_node() as node:
        monkeypatch.setitem(sys.modules, "trionet.exposition", None)
        answer = await page(node, "/metrics")
        assert answer.status_code == 501
        assert 'pip install "trionet[metrics]"' in answer.json()["error"]["text"]
        monkeypatch.undo()
        assert (await page(node, "/metrics")).status_code == 200


def test_a_node_does_not_import_the_client_of_prometheus() -> None:
    program = (
        "import sys, trio, trionet\n"
        "async def main():\n"
        "    async with trionet.open_node() as node:\n"
        "        node.figures()\n"
        "trio.run(main)\n"
        "print('prometheus_client' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
async def test_a_flood_of_questions_takes_one_thread_and_a_document_is_made_once(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most, times = 0, 0, 0

    def slow(*_: object) -> Any:
        nonlocal running, most, times
        running, times = running + 1, times + 1
        most = max(most, running)
        trio.from_thread.run(trio.sleep, 0.01)
        running -= 1
        return (b"", "text/plain") if path == "/metrics" else b"{}"

    monkeypatch.setattr("trionet.transports.web_plain_pages._exposition", slow)
    monkeypatch.setattr("trionet.node_pages._document", slow)
    async with trionet.open_node(trionet.NodeConfig(join=[])) as node, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(page, node, path)
    assert (most, times) == (1, 5 if path == "/metrics" else 1)


async def test_metrics_need_the_scope_read_and_health_needs_nothing() -> None:
    async with open_keyed() as node:
        assert (await page(node, "/metrics")).status_code == 401
        bearer = f"Bearer {token(Scope.READ)}"
        assert (await page(node, "/metrics", Authorization=bearer)).status_code == 200
        for path in ("/live", "/ready", "/healthz"):
            answer = await page(node, path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert node.statistics().requests_refused == 1


async def test_a_node_is_ready_between_its_start_and_its_stop() -> None:
    seen: list[tuple[int, Any]] = []

    async def note(node: Node) -> None:
        answer = await page(node, "/ready")
        seen.append((answer.status_code, answer.json()))
        assert (await page(node, "/live")).status_code == 200

    async with trionet.open_node(trionet.NodeConfig(on_start=note)) as node:
        await note(node)
        held = trio.Event()
        await node.local.routes.put({"hold": held.wait}, "door")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request, node, "/local/door/hold")
            await wait_until(lambda: len(node.running_calls()) == 1)
            assert (await page(node, "/ready")).status_code == 200
            held.set()
    assert seen == [(503, {"status": "not ready"}), (200, {"status": "ok"})]


async def test_a_node_is_not_ready_before_it_has_joined() -> None:
    config = trionet.NodeConfig(profile="local", connect_timeout_s=0.2)
    async with trionet.open_node(config) as later:
        seed = later.address
    async with trionet.open_node(trionet.NodeConfig(profile="local", connect_timeout_s=0.2, join=[str(seed)])) as node:
        assert (await page(node, "/ready")).status_code == 503
        async with trionet.open_node(trionet.NodeConfig(profile="local", port=seed.port, join=[])):
            await wait_until(lambda: len(node.members()) == 2)
            assert (await page(node, "/ready")).status_code == 200
            await node.leave()
            assert (await page(node, "/ready")).status_code == 200


def test_the_page_of_metrics_lists_them_all_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(trionet_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    expected = [(f.name, f.kind, ", ".join(f"`{label}`" for label in f.labels), f.text) for f in FAMILIES]
    assert rows == [(name, kind, labels, text.removesuffix(".")) for name, kind, labels, text in expected]


def test_the_alert_rules_name_metrics_that_there_are() -> None:
    text = (DOCS / "metrics.md").read_text()
    kinds = {family.name: family.kind for family in FAMILIES}
    kinds |= {
        f"{name}_{part}": kind
        for name, kind in kinds.items()
        if kind == "histogram"
        for part in ("bucket", "count", "sum")
    }
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        assert set(re.findall(r"\btrionet_\w+", block)) <= set(kinds)
    assert isinstance(DOCS, Path)
