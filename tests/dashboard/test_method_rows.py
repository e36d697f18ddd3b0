"""The rows of methods: rates over the last seconds, at one node and over several; what peers say is bounded."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import trionet.dashboard
from tests.top.made_up import call_figures, figures
from trionet.dashboard.method_rows import MOST_METHODS, WINDOW_S, FiguresOverTime, figures_of, method_rows
from trionet.errors import DecodeError
from trionet.figures import CallFigures, NodeFigures

DASHBOARD = Path(trionet.dashboard.__file__).parent
ASKED = re.compile(r"""(?:\bask\([^"]*|service=)"(\w+)", (?:method=)?"(\w+)\"""")


def over_time(*looks: NodeFigures) -> FiguresOverTime:
    found = FiguresOverTime()
    for one in looks:
        found.add(one)
    return found


def test_rates_of_nodes_are_added_and_their_latencies_merged() -> None:
    slow = over_time(figures(0.0), figures(2.0, [call_figures("till/add", *[0.1] * 4)]))
    fast = over_time(
        figures(9.0, [call_figures("till/add", *[0.001] * 5)]),
        figures(
            10.0,
            [call_figures("till/add", *[0.001] * 401), call_figures("till/add", 0.1, 0.1, outcome="error")],
            calls_made=[call_figures("shop/buy", 0.001)],
        ),
    )
    rows = method_rows([slow, fast])
    assert list(rows) == ["till/add", "shop/buy"]
    served = rows["till/add"]["served"]
    assert (served["total"], served["per_s"], served["errors"]) == (407, 400.0, {"error": 2.0})
    assert 0.8 < served["p50_ms"] < 1.7
    assert served["p99_ms"] > 50
    assert rows["shop/buy"]["made"]["per_s"] == 1.0
    assert "served" not in rows["shop/buy"]


def test_before_there_are_two_looks_there_are_totals_alone() -> None:
    rows = method_rows([over_time(figures(1.0, [call_figures("till/add", 0.1, 0.1)]))])
    assert rows == {"till/add": {"served": {"total": 2}}}


def test_rates_are_those_of_the_last_seconds() -> None:
    node = FiguresOverTime()
    for second in range(30):
        calls = [0.001] * min(second, 10)  # one a second, and none after ten
        node.add(figures(float(second), [call_figures("till/add", *calls)] if calls else []))
        served = method_rows([node]).get("till/add", {}).get("served", {})
        if second in (5, 9):
            assert served["per_s"] == 1.0
        if second > 10 + WINDOW_S:
            assert served == {"total": 10}


def test_a_node_that_has_restarted_begins_anew() -> None:
    node = over_time(
        figures(5.0, [call_figures("till/add", *[0.1] * 9)]), figures(6.0, [call_figures("till/add", 0.1)])
    )
    assert node.rates is None
    node.add(figures(7.0, [call_figures("till/add", 0.1, 0.1)]))
    assert method_rows([node])["till/add"]["served"]["per_s"] == 1.0


def test_what_the_dashboard_itself_asks_is_left_out() -> None:
    names = [found for file in DASHBOARD.rglob("*.py") for found in ASKED.findall(file.read_text(encoding="utf-8"))]
    assert {("inspection", "methods"), ("diagnosis", "figures"), ("gossip", "tasks")} <= set(names)
    asked = figures(1.0, [call_figures("/".join(name), 0.1) for name in names])
    assert method_rows([over_time(figures_of(msgspec.to_builtins(asked)))]) == {}


@pytest.mark.parametrize("answer", [None, [], {}, {"at_s": 1}, "figures", {"at_s": "soon"}])
def test_an_answer_that_is_no_figures_is_an_error(answer: Any) -> None:
    with pytest.raises(DecodeError):
        figures_of(answer)


def test_an_answer_without_a_time_is_an_error() -> None:
    with pytest.raises(DecodeError):
        figures_of(msgspec.to_builtins(figures(0.0)) | {"at_s": math.nan})


def test_what_a_peer_says_is_bounded() -> None:
    durations = call_figures("a/b", 0.1).durations
    many = [CallFigures("s" * 9_999, f"m{number}", "ok", durations) for number in range(3_000)]
    found = figures_of(msgspec.to_builtins(figures(1.0, many)))
    assert len(found.calls_served) == MOST_METHODS
    assert max(len(one.service) for one in found.calls_served) < 200
