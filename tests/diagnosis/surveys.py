"""Surveys of made-up clusters."""

from __future__ import annotations

from typing import Any

import msgspec

from trionet.diagnosis.facts import Examination, Fault, GroupFacts, NodeFacts, Survey, digest_of

__all__ = ["NAMES", "faulty", "survey", "with_facts"]

NAMES = ("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.4:8080")
_AT = 1_800_000_000.0


def _facts(names: tuple[str, ...]) -> NodeFacts:
    group = GroupFacts(len(names), digest_of(list(names)), list(names))
    return NodeFacts(
        version="0.2.0",
        python="3.12.1",
        profile="lan",
        datagrams=True,
        received_at=_AT,
        sent_at=_AT + 1,
        lag_s=0.002,
        members=list(names),
        members_digest=digest_of(list(names)),
        groups={"all": group, "workers": group},
        files_open=40,
        files_limit=1024,
        files_most=4096,
        is_protected=False,
    )


def survey(names: tuple[str, ...] = NAMES, **more: Any) -> Survey:
    """Return that of a healthy cluster."""
    answer = Examination(_facts(names), asked_at=_AT - 0.001, answered_at=_AT + 1.001)
    return Survey(names[0], dict.fromkeys(names, answer), **more)


def with_facts(of: Survey, name: str, **facts: Any) -> Survey:
    """Return a survey in which one node tells something else."""
    own = of.members[name].facts
    assert own is not None
    changed = msgspec.structs.replace(of.members[name], facts=msgspec.structs.replace(own, **facts))
    return msgspec.structs.replace(of, members={**of.members, name: changed})


def faulty(of: Survey, *faults: tuple[str, str, str]) -> Survey:
    """Return a survey with faults: who, to whom, and what."""
    members = dict(of.members)
    for source, target, kind in faults:
        one = members[source]
        members[source] = msgspec.structs.replace(one, faults=[*one.faults, Fault(target, kind)])
    return msgspec.structs.replace(of, members=members)
