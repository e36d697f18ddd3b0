"""Each violation is caught end to end: nodes that have one fault, run in virtual time."""

from __future__ import annotations

import pytest

from tests.maelstrom.workbench.simulated import results_of

pytestmark = pytest.mark.slow

KAFKA = [
    "G1a",
    "duplicate",
    "inconsistent-offsets",
    "int-nonmonotonic-poll",
    "int-poll-skip",
    "lost-write",
    "nonmonotonic-poll",
    "nonmonotonic-send",
    "poll-skip",
    "unseen",
]


def test_a_sound_log_server_is_valid() -> None:
    results = results_of("kafka", "kafka")
    assert results["workload"]["bad-error-types"] == []
    assert results["valid?"] is True
    assert results["stats"]["by-f"]["crash"]["ok-count"] == 0


@pytest.mark.parametrize("fault", KAFKA)
def test_a_broken_log_server_is_caught(fault: str) -> None:
    results = results_of("kafka", "kafka", fault, time_limit_s=2.0)
    assert results["valid?"] is False
    assert fault in results["workload"]["bad-error-types"]
    assert results["workload"]["errors"][fault]["count"] >= 1


def test_a_log_server_that_foretells_messages_is_caught() -> None:
    results = results_of("kafka", "kafka", "G1c")
    assert "G1c-realtime" in results["workload"]["bad-error-types"]


@pytest.mark.parametrize("workload", ["txn-rw-register", "txn-list-append"])
def test_serial_transactions_are_strictly_serializable(workload: str) -> None:
    results = results_of(workload, "txn")
    assert results["valid?"] is True
    assert results["workload"]["not"] == []


ISOLATION = [
    ("txn-rw-register", "aborted", "read-committed", ["G1a"]),
    ("txn-rw-register", "dirty", "read-committed", ["G1b", "G1c"]),
    ("txn-rw-register", "cyclic-versions", "read-uncommitted", ["cyclic-versions"]),
    ("txn-rw-register", "internal", "strict-serializable", ["internal"]),
    ("txn-rw-register", "lost-update", "snapshot-isolation", ["lost-update"]),
    ("txn-rw-register", "stale", "strict-serializable", ["G-single-realtime"]),
    ("txn-list-append", "aborted", "read-committed", ["G1a", "dirty-update"]),
    ("txn-list-append", "dirty", "read-uncommitted", ["G0"]),
    ("txn-list-append", "dirty", "read-committed", ["G1b", "G1c"]),
    ("txn-list-append", "internal", "serializable", ["internal"]),
    ("txn-list-append", "incompatible-order", "read-committed", ["incompatible-order"]),
    ("txn-list-append", "duplicate-elements", "read-uncommitted", ["duplicate-elements"]),
    ("txn-list-append", "future-read", "read-committed", ["future-read"]),
    ("txn-list-append", "lost-update", "snapshot-isolation", ["lost-update"]),
    ("txn-list-append", "read-skew", "snapshot-isolation", ["G-single"]),
    ("txn-list-append", "write-skew", "serializable", ["G2"]),
    ("txn-list-append", "stale", "strict-serializable", ["G-single-realtime"]),
]


@pytest.mark.parametrize(("workload", "fault", "model", "anomalies"), ISOLATION)
def test_transactions_that_are_isolated_badly_are_caught(
    workload: str, fault: str, model: str, anomalies: list[str]
) -> None:
    load = {"concurrency": 16, "rate": 500.0} if fault == "dirty" else {}
    results = results_of(workload, "txn", fault, consistency_models=(model,), **load)
    assert results["workload"]["valid?"] is False
    for anomaly in anomalies:
        assert anomaly in results["workload"]["anomaly-types"]
        case = results["workload"]["anomalies"][anomaly][0]
        if anomaly.startswith("G") and anomaly not in {"G1a", "G1b"}:
            assert case["cycle"].split()[0] == case["cycle"].split()[-1]
            assert len(case["steps"]) == len(case["txns"])


@pytest.mark.parametrize(
    ("fault", "model"),
    [("write-skew", "snapshot-isolation"), ("stale", "serializable"), ("read-skew", "read-committed")],
)
def test_a_weaker_model_allows_anomalies_that_a_stronger_one_forbids(fault: str, model: str) -> None:
    assert results_of("txn-list-append", "txn", fault, consistency_models=(model,))["workload"]["valid?"] is True


def test_two_registers_that_do_not_talk_are_not_one() -> None:
    assert results_of("lin-kv", "lin_kv", node_count=2)["workload"]["valid?"] is False


def test_a_single_abort_breaks_total_availability() -> None:
    results = results_of("txn-list-append", "txn", "write-skew", availability="total", consistency_models=("PL-SI",))
    assert results["workload"]["valid?"] is True
    assert results["availability"]["valid?"] is False
    assert results["valid?"] is False


@pytest.mark.parametrize("fault", ["none", "stale", "forgets", "careless"])
def test_a_register_that_is_not_linearizable_is_caught(fault: str) -> None:
    results = results_of("lin-kv", "lin_kv", fault)
    assert results["workload"]["valid?"] is (fault == "none")
    for failure in results["workload"]["failures"].values():
        assert failure["op"].startswith("process")
        assert failure["possible-values"]


@pytest.mark.parametrize(
    ("fault", "maelstroms", "kind"),
    [
        ("none", True, None),
        ("loses", False, "missing"),
        ("forgets", False, "missing"),
        ("local", False, "missing"),
        ("invents", True, "invented"),
        ("repeats", True, "duplicated"),
    ],
)
def test_values_that_are_not_everywhere_are_caught(fault: str, maelstroms: bool, kind: str | None) -> None:
    results = results_of("broadcast", "values", fault, node_count=3, concurrency=3)
    assert results["maelstrom-valid?"] is maelstroms
    assert results["valid?"] is (kind is None)
    assert kind is None or results["final-reads"][kind]


def test_a_value_that_one_node_lacks_is_caught_though_maelstrom_may_overlook_it() -> None:
    verdicts = set()
    for seed in range(6):
        results = results_of("broadcast", "values", "forsakes-n0", node_count=3, concurrency=3, seed=seed)
        assert set(results["final-reads"]["missing"]) == {"n0"}
        assert results["valid?"] is False
        verdicts.add(results["maelstrom-valid?"])
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    ("workload", "fault", "is_valid"),
    [
        ("pn-counter", "counts", True),
        ("g-counter", "counts", True),
        ("pn-counter", "miscounts", False),
        ("g-counter", "miscounts", False),
        ("unique-ids", "none", True),
        ("unique-ids", "repeats", False),
        ("unique-ids", "mixed-types", "unknown"),
        ("echo", "none", True),
        ("echo", "silent", False),
        ("echo", "wrong-echo", False),
    ],
)
def test_wrong_answers_are_caught(workload: str, fault: str, is_valid: bool | str) -> None:
    results = results_of(workload, "values", fault, node_count=3, concurrency=3)
    assert results["workload"]["valid?"] == is_valid
    assert results["valid?"] == is_valid


def test_a_reply_with_a_key_too_many_is_malformed_and_its_outcome_unknown() -> None:
    results = results_of("broadcast", "values", "extra-key", node_count=3, concurrency=3)
    assert results["stats"]["by-f"]["broadcast"]["ok-count"] == 0
    assert results["stats"]["valid?"] is False
    assert "'message' is not allowed" in results["exceptions"]["errors"][0]["error"]


def test_every_kind_of_operation_must_succeed_once() -> None:
    results = results_of("broadcast", "values", "no-reads", node_count=3, concurrency=3)
    assert results["stats"]["by-f"]["read"]["fail-count"] > 0
    assert results["stats"]["valid?"] is False


def test_availability_is_a_lower_bound_or_total() -> None:
    settings = {"node_count": 3, "concurrency": 3, "rate": 1000.0}
    some = results_of("unique-ids", "values", "unavailable", availability=0.95, **settings)
    assert some["availability"]["valid?"] is True
    assert 0.98 < some["availability"]["ok-fraction"] < 1
    total = results_of("unique-ids", "values", "unavailable", availability="total", **settings)
    assert total["availability"]["valid?"] is False
