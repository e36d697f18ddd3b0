"""The topics about calls, over nodes: the tree as it changes, cancels as they travel, and rates by method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from tests.test_running_calls import Desk, calling, open_nodes
from tests.waiting import DEADLINE_S
from trionet import MalformedRequest
from trionet.dashboard.looked_at import LookedAt
from trionet.dashboard.topics import calls as calls_topic
from trionet.dashboard.topics.calls import CallsTopic
from trionet.dashboard.topics.methods import MethodsTopic
from trionet.protocols.call_reports import MOST_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from trionet.dashboard.topics import Topic

NOBODY = LookedAt()

Document = dict[str, Any]


async def document_when(topic: Topic, holds: Callable[[Document], Any], looked_at: LookedAt = NOBODY) -> Document:
    """Gather until a condition holds for the document."""
    with trio.fail_after(DEADLINE_S):
        while True:
            document = await topic.gather(looked_at)
            if holds(document):
                return document
            await trio.sleep(0.05)


def states(document: Document) -> list[str]:
    return [row.get("state", "running") for row in document["calls"].values() if "ended" not in row]


def ask(desk: Desk, other: Desk, **more: Any) -> Callable[[], Any]:
    """Return a call of `ask` at `desk`, which holds a call at `other`."""
    remote = desk.remote(desk.node.address, "ask")
    return lambda: desk.node.local.comm.send([[str(other.node.address)]], remote, kwargs=more)


async def test_the_tree_goes_over_nodes_and_a_call_that_goes_on_changes_nothing() -> None:
    async with open_nodes(3) as (a, b, c), calling(ask(a, b, seconds=60.0)):
        topic = CallsTopic(c.node)
        document = await document_when(topic, lambda found: len(found["calls"]) == 2)
        (root, outer), (key, inner) = sorted(document["calls"].items(), key=lambda one: "parent" in one[1])
        assert (outer["node"], inner["node"]) == (a.node.sid, b.node.sid)
        assert (outer["method"], inner["method"], inner["parent"]) == ("ask", "hold", root)
        assert "deadline" in inner
        assert document["nodes"] == {a.node.sid: str(a.node.address), b.node.sid: str(b.node.address)}
        assert (document["total"], document["unseen"], document["errors"]) == (2, 0, {})
        with trio.fail_after(DEADLINE_S):
            while True:  # on a busy machine, the first times may be corrected
                before = document
                await trio.sleep(1)  # then they are asked again
                document = await topic.gather(NOBODY)
                if document == before:
                    break
        assert key == f"{b.node.sid}:{key.partition(':')[2]}"


async def test_a_cancel_is_seen_at_each_node_until_the_calls_have_ended_and_then_how() -> None:
    async with open_nodes(2) as (a, b):
        topic = CallsTopic(a.node)
        async with calling(ask(a, b, method="insist")):
            document = await document_when(topic, lambda found: len(states(found)) == 2)
            root = next(key for key, row in document["calls"].items() if "parent" not in row)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.node.calls.cancel, root.partition(":")[2])
                await document_when(topic, lambda found: states(found) == ["cancelled", "cancelled"])
                b.release.set()
            document = await document_when(topic, lambda found: not states(found))
            assert {row["ended"] for row in document["calls"].values()} == {"cancelled"}
            assert document["total"] == 0


async def test_the_last_report_of_a_silent_member_stays_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_nodes(2) as (a, b), calling(ask(b, b)):
        topic = CallsTopic(a.node)
        await document_when(topic, lambda found: len(states(found)) == 2)

        def refuse(most: int, *, with_ends: bool) -> bytes:
            raise MalformedRequest(f"no report, of {most} calls or others, {with_ends}")

        monkeypatch.setattr(b.node.calls, "encoded_report", refuse)
        document = await document_when(topic, lambda found: found["errors"])
        assert "no report" in document["errors"][b.node.sid]
        assert [row["silent"] for row in document["calls"].values()] == [True, True]


async def test_a_member_of_an_earlier_version_is_asked_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_nodes(2) as (a, b), calling(ask(b, b)):
        plain = b.node.calls.encoded_report

        def older(most: int = MOST_CALLS, *, with_ends: bool = False) -> bytes:
            if most != MOST_CALLS or with_ends:
                raise MalformedRequest("report_calls() takes no arguments")
            return plain()

        monkeypatch.setattr(b.node.calls, "encoded_report", older)
        document = await document_when(CallsTopic(a.node), lambda found: len(states(found)) == 2)
        assert document["errors"] == {}


async def test_of_too_many_calls_the_oldest_are_shown_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_topic, "_LEAST_READ", 3)
    monkeypatch.setattr(calls_topic, "MOST_READ", 3)
    async with open_nodes(1) as (a,), calling(*[ask(a, a)] * 4):
        document = await document_when(CallsTopic(a.node), lambda found: found["total"] == 8)
        assert (len(document["calls"]), document["cut"], document["unseen"]) == (3, {a.node.sid: 5}, 5)


async def test_methods_have_rates_over_the_cluster_and_at_one_node() -> None:
    async with open_nodes(2) as (a, b):
        for desk in (a, b):
            desk.release.set()
        topic = MethodsTopic(a.node)
        looked_at = LookedAt(nodes=(b.node.sid,))
        document = await document_when(topic, lambda found: len(found["nodes"]) == 2, looked_at)
        assert not document["methods"].get("desk/hold")
        for desk in (a, b, b):
            await desk.node.local.comm.send([], desk.remote(desk.node.address, "hold"))

        def is_known(found: Document) -> bool:
            served = found["methods"].get("desk/hold", {}).get("served", {})
            return served.get("total") == 3 and "per_s" in served

        document = await document_when(topic, is_known, looked_at)
        assert document["methods"]["desk/hold"]["made"]["total"] == 3
        assert document["has_rates"]
        view = topic.view(document, looked_at)
        assert view is not None
        assert view["node"]["sid"] == b.node.sid
        assert view["node"]["methods"]["desk/hold"]["served"]["total"] == 2
        other = topic.view(document, NOBODY)
        assert other is not None
        assert other["node"] == {}
