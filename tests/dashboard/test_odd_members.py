"""Whatever members answer, and however slowly: each topic is gathered, sent and bounded, and the node goes on."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
import trio

from tests.clusters import Cluster, open_cluster
from tests.waiting import DEADLINE_S
from trionet import Node, NodeConfig, Remote, open_node
from trionet.dashboard import call_rows as rows_of
from trionet.dashboard.channel import Channel
from trionet.dashboard.glances import Glances, answer_of
from trionet.dashboard.looked_at import LookedAt
from trionet.dashboard.method_rows import FiguresOverTime, figures_of
from trionet.dashboard.topics import TOPICS
from trionet.dashboard.topics.tasks import TasksTopic
from trionet.errors import DecodeError
from trionet.identity import NodeAddress
from trionet.nesting import PACKETS
from trionet.protocols.call_reports import CallReport, NodeReport, decode_report, encode_report
from trionet.services.log_ring import LogRing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trionet.transports.base import Request

BIG = 10**5000
NAMES = ("__proto__", "constructor", "", "\u202e</script>\u2028", "x" * 100_000)
DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]


def reported(name: str, age_s: float) -> CallReport:
    return CallReport(name, "", "", name, name, name, "", age_s=age_s, left_s=-age_s)


ANSWERS: dict[str, Any] = {
    "nothing": None,
    "a text": NAMES[-1],
    "a huge number": BIG,
    "no number": math.nan,
    "bytes": b"\xff" * 1000,
    "a deep list": DEEP,
    "odd names": {name: dict.fromkeys(NAMES, BIG) for name in NAMES},
    "keys that are no texts": {1: 2, (1, 2): 3, b"x": math.inf, None: DEEP, BIG: BIG, "\ud800": "\udcff"},
    "a wild glance": {
        "version": NAMES[3] * 1000, "uptime_s": math.nan, "served": BIG, "running": -BIG, "health": BIG,
        "late": [BIG, math.inf], "view": BIG, "seen": dict.fromkeys(map(str, range(100_000)), "suspect"),
    },
    "a wild portrait": {
        "status": {"state": BIG}, "config": DEEP, "tags": dict.fromkeys(NAMES, DEEP),
        "log": {"1": {"time": math.nan}},
        "tasks": {"a": {"parent": "a"}}, "statistics": dict.fromkeys(map(str, range(100_000)), BIG), "log_note": BIG,
    },
    "a wild group": {"members": {BIG: BIG, (1,): DEEP, "x": NAMES[-1]}, "where": {"a": BIG}, "subset": BIG},
    "wild methods": {"version": BIG, "services": dict.fromkeys(NAMES, dict.fromkeys(NAMES, NAMES[-1]))},
    "a wild arrival": {"way": ["sent"], "age_s": BIG, "copies": math.nan, "source": BIG},
    "a wild arrival that came": {"way": "push", "age_s": BIG, "copies": -BIG, "source": "x", "origin": DEEP},
    "a report of one id": encode_report(
        NodeReport(tuple(reported(NAMES[0], math.nan) for _ in range(9000)))
    ),
}  # fmt: skip


@pytest.fixture
async def cluster() -> AsyncGenerator[Cluster]:
    async with open_cluster() as found:
        yield found


class OddTransport:
    """Answers for all members; a slow one never does."""

    def __init__(self, answer: Any = None, *, is_slow: bool = False) -> None:
        self.answer, self.is_slow = answer, is_slow
        self.depths: set[int] = set()

    async def call(self, node: NodeAddress, request: Request) -> Any:
        del node
        self.depths.add(request.depth)
        await trio.sleep(math.inf if self.is_slow else 0)
        return self.answer


def channels_of(node: Node, other: Node) -> dict[str, tuple[Channel, LookedAt]]:
    """Return a channel of each topic, with a viewer of the other node."""
    glances = Glances(node)
    looked_at = LookedAt(of=(other.sid,), nodes=(other.sid,), rumors=("all:" + "ab" * 12, "all:" + "cd" * 12))
    return {
        name: (Channel(kind.begin(node, glances), lambda: None, node.address), looked_at)
        for name, kind in TOPICS.items()
    }


async def run_for(node: Node, other: Node, seconds: float) -> dict[str, str]:
    """Gather each topic for some seconds, send each to a viewer, and return the errors."""
    channels = channels_of(node, other)
    async with trio.open_nursery() as nursery:
        glances = next(channel.topic._glances for channel, _ in channels.values() if channel.topic.needs_glances)  # type: ignore[attr-defined]  # noqa: SLF001
        nursery.start_soon(glances.run, lambda: (other.sid,), lambda: None)
        for channel, looked_at in channels.values():
            channel.add(looked_at)
            nursery.start_soon(channel.run)
        await trio.sleep(seconds)
        for channel, looked_at in channels.values():
            data, _ = channel.piece(looked_at, None)
            assert len(data) < 1_500_000, channel.topic.name
            assert data, channel.topic.name
        nursery.cancel_scope.cancel()
    return {name: channel.error for name, (channel, _) in channels.items() if channel.error}


@pytest.mark.parametrize("what", ANSWERS)
async def test_odd_answers_break_no_topic(
    autojump_clock: MockClock, cluster: Cluster, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other, *_ = await cluster.start_many(3)
    odd = OddTransport(ANSWERS[what])
    monkeypatch.setattr(here.local.comm, "transport", odd)
    assert await run_for(here, other, 3.5) == {}
    assert odd.depths == {PACKETS}  # questions that are cancelled are no orphans


async def test_members_that_do_not_answer_break_no_topic(
    autojump_clock: MockClock, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other, *_ = await cluster.start_many(3)
    await other.local.groups.put("kitchen", [other.address])
    channels = channels_of(here, other)
    groups, _ = channels["groups"]
    await groups.topic.gather(LookedAt())  # it knows that they differ
    monkeypatch.setattr(here.local.comm, "transport", OddTransport(is_slow=True))
    with trio.fail_after(1):
        await groups.topic.gather(LookedAt())
    assert await run_for(here, other, 3.5) == {}
    services, looked_at = channels["services"]
    await services.topic.gather(looked_at)
    found = services.topic.view(await services.topic.gather(looked_at), looked_at)
    assert found is not None
    assert "no answer" in found["error"]


def test_counts_that_jump_have_bounded_rates() -> None:
    answer = answer_of({"served": BIG, "late": (BIG, math.inf), "uptime_s": math.nan, "seen": {"x" * 1000: "y" * 1000}})
    assert msgspec.json.decode(msgspec.json.encode(answer))["served"] == 2**53
    assert (answer.uptime_s, answer.late[1]) == (0.0, 2.0**53)
    with pytest.raises(DecodeError, match="no glance"):
        answer_of({"late": "often"})


@pytest.mark.parametrize(
    "durations",
    [
        {"count": BIG, "sum_s": 1.0, "buckets": []},
        {"count": -1, "sum_s": 1.0, "buckets": []},
        {"count": 1, "sum_s": math.nan, "buckets": []},
        {"count": 1, "sum_s": 1.0, "buckets": [BIG]},
        {"count": 1, "sum_s": 1.0, "buckets": [0] * 100_000},
    ],
)
async def test_figures_out_of_all_bounds_are_refused(durations: dict[str, Any], cluster: Cluster) -> None:
    node = await cluster.start()
    plain = msgspec.to_builtins(node.figures())
    assert figures_of(plain).at_s == plain["at_s"]
    with pytest.raises(DecodeError, match="bounds"):
        figures_of({**plain, "calls_made": [{"service": "a", "method": "b", "outcome": "ok", "durations": durations}]})
    with pytest.raises(DecodeError, match="bounds"):
        figures_of({**plain, "gossip": {**plain["gossip"], "delivered": BIG}})


async def test_figures_of_times_that_hardly_pass_are_not_kept(cluster: Cluster) -> None:
    plain, figures = (await cluster.start()).figures(), FiguresOverTime()
    for number in range(100):
        figures.add(msgspec.structs.replace(plain, at_s=number * 1e-9))
    assert len(figures._kept) < 20  # noqa: SLF001


def test_a_report_of_many_calls_with_one_id_costs_no_more_than_others() -> None:
    asked: list[str] = []

    class Rows(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            asked.append(str(key))
            return super().__contains__(key)

    found = rows_of._Found({})  # noqa: SLF001
    found._rows = Rows()  # noqa: SLF001
    for number in range(1000):
        found._rows[found._free("a")] = {"number": number}  # noqa: SLF001
    assert len(found._rows) == 1000  # noqa: SLF001
    assert len(asked) < 3000


def test_of_a_report_no_more_is_read_than_was_asked_for() -> None:
    report = NodeReport(tuple(reported(str(number), 1.0) for number in range(100)))
    read = decode_report(encode_report(report), 10)
    assert (len(read.calls), read.omitted) == (10, 90)


async def test_what_cannot_be_sent_is_told_and_sent_once_it_can() -> None:
    class Odd(TasksTopic):
        document: ClassVar[dict[str, Any]] = {"a": 1}

        async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return self.document

    topic = Odd(None)  # type: ignore[arg-type]  # it asks nothing of it
    channel, looked_at = Channel(topic, lambda: None, NodeAddress("127.0.0.1", 1)), LookedAt()
    await channel._gather()  # noqa: SLF001
    data, sent = channel.piece(looked_at, None)
    assert b'{"a":1}' in data
    Odd.document = {"a": 1, "b": {(1, 2): 3}}
    await channel._gather()  # noqa: SLF001
    assert channel.piece(looked_at, sent) == channel.piece(looked_at, sent) == (b"", sent)
    assert "can't be sent" in channel.error
    Odd.document = {"a": 1, "b": 2, "\ud800": "\udcff"}
    await channel._gather()  # noqa: SLF001
    data, sent = channel.piece(looked_at, sent)
    assert b'"b":2' in data
    assert b'"?":"?"' in data
    assert channel.error == ""


async def test_a_node_with_lone_surrogates_in_its_texts_is_shown() -> None:
    async with open_node(NodeConfig(port=0)) as node, trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="task \ud800")
        node.local.inspection.portrait()
        ring = LogRing.of_process()
        assert ring is not None
        ring.emit(logging.makeLogRecord({"msg": "a file \udcff"}))  # and no other handler, which pytest would report
        with trio.fail_after(DEADLINE_S):
            found = await node.local.comm.send([], Remote(service="inspection", method="portrait", node=node.address))
            logs = await node.local.comm.send([], Remote(service="inspection", method="logs", node=node.address))
        assert any(task["name"] == "task ?" for task in found["tasks"].values())
        assert logs[-1]["text"] == "a file ?"
        nursery.cancel_scope.cancel()
