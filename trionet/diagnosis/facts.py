"""The facts that a diagnosis is made from.

Invariant: each fact has a default, which means that it is not known, and readers ignore facts that they don't know: the
members of a cluster may be of other versions than the one that asks.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

__all__ = ["Examination", "Fault", "Gone", "GroupFacts", "KeyFacts", "NodeFacts", "Survey", "digest_of", "survey_from"]


class GroupFacts(msgspec.Struct, frozen=True):
    """A group at one node.

    Attributes:
        count: the number of its members.
        digest: equal members have equal digests.
        sids: the members, if they are few.
        has_rule: whether it follows the cluster by a rule.
    """

    count: int = 0
    digest: str = ""
    sids: list[str] = []
    has_rule: bool = False


class Gone(msgspec.Struct, frozen=True):
    """A member that is suspected or has failed.

    Attributes:
        node: its address.
        status: ``suspect`` or ``failed``.
        since_s: for how long.
    """

    node: str
    status: str
    since_s: float = 0.0


class NodeFacts(msgspec.Struct, frozen=True):
    """What a node tells of itself.

    Attributes:
        version, python: the versions of trionet and Python.
        profile: the timing of the cluster: ``lan``, ``local`` or ``wan``.
        datagrams: whether it sends datagrams.
        received_at, sent_at: when the question came and the answer went, on its own clock, in seconds since 1970.
        lag_s: the longest delay of its event loop while it was asked.
        stalls: how often its event loop was late by much since it began.
        members: the present members that it knows, if they are few.
        members_digest: equal members have equal digests.
        gone: the members that are suspected or have failed.
        groups: its groups, by gid.
        files_open, files_limit, files_most: its open files, their present limit, and the one to which it may be raised.
        seals_with: the id of the key with which it seals; empty without one.
        has_key: whether it has the key of a cluster, or a certificate.
        is_protected: whether it refuses plain peers.
        certificate_ends_at: when its certificate ends, in seconds since 1970; 0 without one.
        barred: nodes that it has refused as members lately, because one of the two advertises a loopback address.
        unreachable: addresses that were reported lately to be out of reach: the address, and who can't reach it.
        seeks: whom it is to join by its configuration, while it has joined none of them.
    """

    version: str = ""
    python: str = ""
    profile: str = ""
    datagrams: bool = False
    received_at: float = 0.0
    sent_at: float = 0.0
    lag_s: float = 0.0
    stalls: int = 0
    members: list[str] = []
    members_digest: str = ""
    gone: list[Gone] = []
    groups: dict[str, GroupFacts] = {}
    files_open: int = 0
    files_limit: int = 0
    files_most: int = 0
    seals_with: str = ""
    has_key: bool = False
    is_protected: bool = True
    certificate_ends_at: float = 0.0
    barred: list[str] = []
    unreachable: list[tuple[str, str]] = []
    seeks: list[str] = []


class Fault(msgspec.Struct, frozen=True):
    """Something that a node could not do with another one.

    Attributes:
        to: the address of the other one.
        kind: ``connect``; ``out``, ``back`` or ``both``: datagrams that did not arrive there, here, or by either way.
    """

    to: str
    kind: str


class Examination(msgspec.Struct, frozen=True):
    """A member's answer, or its absence.

    Attributes:
        facts: what it tells; None if it didn't answer.
        error: why it didn't; empty if it did.
        is_older: whether it is of a version without the question.
        asked_at, answered_at: when it was asked and its answer came, on the clock of the node that asks.
        faults: what it could not do with others.
    """

    facts: NodeFacts | None = None
    error: str = ""
    is_older: bool = False
    asked_at: float = 0.0
    answered_at: float = 0.0
    faults: list[Fault] = []


class KeyFacts(msgspec.Struct, frozen=True):
    """A key of the cluster, as the node that asks knows it; see `KeyInfo`.

    Attributes:
        id: its key id.
        state: ``installed``, ``used`` or ``retired``.
        seals: whether that node seals with it.
        waits_for: what its next step waits for.
        lacking: present members that don't hold it.
        volatile: present members that would lose it with a restart.
    """

    id: str
    state: str
    seals: bool = False
    waits_for: str = ""
    lacking: list[str] = []
    volatile: list[str] = []


class Survey(msgspec.Struct, frozen=True):
    """All facts.

    Attributes:
        entry: the address of the node that has asked the others.
        members: the answers of all present members, by address.
        keys: the keys of the cluster.
        keys_fault: why the entry can't keep its keys; empty if it can.
        asked_as: the address by which the entry was reached; empty if that is not known.
    """

    entry: str
    members: dict[str, Examination] = {}
    keys: list[KeyFacts] = []
    keys_fault: str = ""
    asked_as: str = ""

    @property
    def facts(self) -> dict[str, NodeFacts]:
        """The facts of all members that have answered, by address."""
        return {name: found.facts for name, found in self.members.items() if found.facts is not None}


def survey_from(value: Any) -> Survey:
    """Return the survey that a node has answered.

    Raises:
        msgspec.ValidationError: it is none.
    """
    return msgspec.convert(value, Survey, strict=False)


def digest_of(names: list[str]) -> str:
    """Return the digest of sorted names."""
    return blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
