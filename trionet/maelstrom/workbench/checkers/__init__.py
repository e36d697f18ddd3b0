"""Checkers: each judges a history by the guarantees of its workload, and lists the violations."""

from .base import UNKNOWN, Finding, Maelstrom, judged, quantiles, worst
from .kafka import check_kafka
from .linearizable import check_linearizable
from .list_append import check_list_append
from .rw_register import check_rw_register
from .set_full import check_final_reads, check_set_full
from .simple import (
    check_availability,
    check_counter,
    check_echo,
    check_exceptions,
    check_performance,
    check_replies,
    check_stats,
    check_unique_ids,
)

__all__ = [
    "UNKNOWN",
    "Finding",
    "Maelstrom",
    "check_availability",
    "check_counter",
    "check_echo",
    "check_exceptions",
    "check_final_reads",
    "check_kafka",
    "check_linearizable",
    "check_list_append",
    "check_performance",
    "check_replies",
    "check_rw_register",
    "check_set_full",
    "check_stats",
    "check_unique_ids",
    "judged",
    "quantiles",
    "worst",
]
