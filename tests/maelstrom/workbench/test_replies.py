"""Each field of each workload's replies, spoilt: accepted, or reported."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.maelstrom.workbench.simulated import results_of
from trionet.maelstrom.workbench import render

pytestmark = pytest.mark.slow

GONE = "<remove>"

MALFORMED: list[tuple[str, str, dict[str, Any]]] = [
    ("echo", "echo_ok", {"echo": GONE}),
    ("echo", "echo_ok", {"color": "blue"}),
    ("echo", "echo_ok", {"type": "echo"}),
    ("echo", "echo_ok", {"type": GONE}),
    ("echo", "echo_ok", {"msg_id": "1"}),
    ("echo", "echo_ok", {"type": "error", "code": "abort", "text": "no"}),
    ("echo", "echo_ok", {"type": "error", "code": GONE}),
    ("unique-ids", "generate_ok", {"id": GONE}),
    ("broadcast", "read_ok", {"messages": GONE}),
    ("broadcast", "read_ok", {"messages": {"1": 2}}),
    ("broadcast", "read_ok", {"messages": "12"}),
    ("broadcast", "broadcast_ok", {"message": 1}),
    ("g-set", "read_ok", {"value": 3}),
    ("g-set", "add_ok", {"element": 1}),
    ("pn-counter", "read_ok", {"value": "3"}),
    ("pn-counter", "read_ok", {"value": 3.0}),
    ("g-counter", "read_ok", {"value": None}),
    ("g-counter", "read_ok", {"value": True}),
    ("kafka", "send_ok", {"offset": "0"}),
    ("kafka", "send_ok", {"offset": GONE}),
    ("kafka", "poll_ok", {"msgs": None}),
    ("kafka", "poll_ok", {"msgs": [[0, 1]]}),
    ("kafka", "poll_ok", {"msgs": {"0": [[0]]}}),
    ("kafka", "poll_ok", {"msgs": {"0": [["0", 1]]}}),
    ("kafka", "poll_ok", {"msgs": {"nobody's": []}}),
    ("kafka", "commit_offsets_ok", {"offsets": {}}),
    ("kafka", "list_committed_offsets_ok", {"offsets": {"0": "1"}}),
    ("kafka", "list_committed_offsets_ok", {"offsets": {"nobody's": 1}}),
    ("lin-kv", "read_ok", {"value": GONE}),
    ("lin-kv", "write_ok", {"value": 1}),
    ("txn-rw-register", "txn_ok", {"txn": GONE}),
    ("txn-rw-register", "txn_ok", {"txn": {}}),
    ("txn-rw-register", "txn_ok", {"txn": [["r", 1]]}),
    ("txn-rw-register", "txn_ok", {"txn": [["append", 1, 1]]}),
    ("txn-list-append", "txn_ok", {"txn": [["r", 1, 5]]}),
    ("txn-list-append", "txn_ok", {"txn": [["w", 1, 1]]}),
]


def spoilt(workload: str, reply: str, changes: dict[str, Any], how: str | None = None) -> dict[str, Any]:
    fault = {"workload": workload, "reply": reply, "changes": changes, "how": how}
    rate = 400.0 if workload == "kafka" else 50.0  # assignments are rare
    settings = {"concurrency": 2, "rate": rate, "time_limit_s": 1.0, "consistency_models": ("read-uncommitted",)}
    return results_of(workload, "replies", json.dumps(fault), **settings)


@pytest.mark.parametrize(("workload", "reply", "changes"), MALFORMED)
def test_a_malformed_reply_is_named_and_makes_the_test_invalid(
    workload: str, reply: str, changes: dict[str, Any]
) -> None:
    results = spoilt(workload, reply, changes)
    assert results["valid?"] is False
    assert results["replies"]["malformed-count"] > 0
    assert results["replies"]["maelstrom-valid?"] is True
    (finding,) = [each for each in results["only-ours"] if each["part"] == "replies"]
    assert finding["name"] == "malformed-reply"
    assert finding["text"].startswith("n0 answers ")
    assert f"beyond Maelstrom           replies, malformed-reply: {finding['text'][:100]}" in render(results)


def test_a_reply_whose_number_is_no_integer_is_no_reply_and_named() -> None:
    results = spoilt("echo", "echo_ok", {}, "in_reply_to is a float")
    assert "in 'in_reply_to', which is no integer" in results["replies"]["malformed"][0]["flaw"]
    assert {each["error"] for each in results["exceptions"]["errors"]} == {"no reply within 5 s"}
    assert results["maelstrom-valid?"] is True


@pytest.mark.parametrize(
    ("workload", "changes", "how"),
    [
        ("txn-rw-register", {}, "keys are texts"),
        ("txn-rw-register", {}, "a micro-operation is missing"),
        ("txn-rw-register", {"txn": [["r", 99, None]]}, None),
        ("txn-rw-register", {"txn": None}, None),
        ("txn-list-append", {}, "keys are texts"),
        ("txn-list-append", {}, "a micro-operation is missing"),
        ("txn-list-append", {"txn": [["r", 99, None]]}, None),
        ("txn-list-append", {"txn": []}, None),
    ],
)
def test_a_transaction_that_was_not_requested_is_named_and_makes_the_test_invalid(
    workload: str, changes: dict[str, Any], how: str | None
) -> None:
    results = spoilt(workload, "txn_ok", changes, how)
    assert results["valid?"] is False
    assert "reply-differs" in results["workload"]["anomaly-types"]
    (finding,) = [each for each in results["only-ours"] if each["name"] == "reply-differs"]
    assert finding["text"].startswith("n0 received T")


@pytest.mark.parametrize(
    ("workload", "reply", "changes"),
    [
        ("broadcast", "read_ok", {"messages": None}),
        ("g-set", "read_ok", {"value": None}),
        ("kafka", "poll_ok", {"msgs": {"0": None}}),
    ],
)
def test_null_counts_as_a_list_with_a_warning(workload: str, reply: str, changes: dict[str, Any]) -> None:
    results = spoilt(workload, reply, changes)
    assert results["stats"]["info-count"] == results["stats"]["by-f"].get("crash", {}).get("count", 0)
    (key,) = changes
    assert results["nodes"]["warnings"] == [
        f"n0 replies {reply} with null for a list in {key!r}: it counts as an empty one"
    ]


@pytest.mark.parametrize(
    "workload", ["broadcast", "g-set", "g-counter", "kafka", "txn-rw-register", "txn-list-append", "unique-ids"]
)
def test_replies_that_are_right_are_no_findings(workload: str) -> None:
    results = spoilt(workload, "none", {})
    assert results["valid?"] is True
    assert results["maelstrom-valid?"] is True
    assert results["only-ours"] == []
    assert results["replies"]["malformed-count"] == 0


def test_an_echo_that_does_not_come_is_a_finding_of_ours() -> None:
    results = results_of("echo", "values", "silent", node_count=3, concurrency=3)
    assert results["valid?"] is False
    assert results["maelstrom-valid?"] is True
    assert [(each["part"], each["name"]) for each in results["only-ours"]] == [("workload", "no-echo")]
    text = render(results)
    assert "Maelstrom's verdict        valid" in text
    assert "beyond Maelstrom           workload, no-echo: " in text
