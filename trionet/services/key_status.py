"""What a node tells of the keys of its cluster. No key material is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trionet.codec import register_type

if TYPE_CHECKING:
    from collections.abc import Collection

    from trionet.security.key_reports import KeyReport
    from trionet.security.key_ring import KeyRing

__all__ = ["KeyInfo", "KeysStatus", "MemberKeys", "status_of"]


@register_type
class KeyInfo(msgspec.Struct, frozen=True):
    """A key of the cluster.

    Attributes:
        id: its key id, 8 hex digits.
        state: ``installed``, ``used`` or ``retired``.
        seals: whether this node seals with it.
        is_held: whether this node holds it; a retired key is forgotten in the end.
        by_file: whether it never travels.
        waits_for: what its next step, use or retirement, waits for, and who; ``ready`` if nothing; empty without one.
    """

    id: str
    state: str
    seals: bool
    is_held: bool
    by_file: bool
    waits_for: str = ""


@register_type
class MemberKeys(msgspec.Struct, frozen=True):
    """The keys of one member, by its last report.

    Attributes:
        name: its address.
        is_present: whether it is a present member.
        seals_with: the id of the key with which it seals; empty if it has not reported.
        holds: how it holds each key, by key id: ``written`` to its key file; ``volatile``, lost at its restart; or
            ``closing``, retired and not yet forgotten.
        rollout: what it accepts and sends; empty if it has not reported.
    """

    name: str
    is_present: bool
    seals_with: str = ""
    holds: dict[str, str] = {}
    rollout: str = ""


@register_type
class KeysStatus(msgspec.Struct, frozen=True):
    """The keys of a cluster, as one node knows them.

    Attributes:
        node: the address of that node.
        keys: the keys, those that are retired and forgotten included.
        members: the members, absent ones included, by name.
        fault: why that node can't keep its keys, so that a restart would lose them; empty if it can.
        rollout: what that node accepts and sends.
        is_protected: whether it refuses plain peers; until then the cluster is unprotected.
        waits_for: what the next step of a rollout waits for, and who; ``ready`` if nothing; empty after the last one.
    """

    node: str
    keys: list[KeyInfo]
    members: list[MemberKeys]
    fault: str = ""
    rollout: str = "accept=sealed send=sealed"
    is_protected: bool = True
    waits_for: str = ""


def status_of(ring: KeyRing, present: Collection[str], fault: str) -> KeysStatus:
    """Return the status of a ring, where these members are present."""
    ring.report()
    names = sorted({*present, ring.name, *ring.records().members})
    return KeysStatus(
        node=ring.name,
        keys=[_key(ring, key_id, present) for key_id in sorted(one.key_id for one in ring.keys.statements())],
        members=[_member(name, ring.reports.get(name), name in present or name == ring.name) for name in names],
        fault=fault,
        rollout=str(ring.rollout),
        is_protected=ring.rollout.is_protected,
        waits_for=_next_step(ring, present),
    )


def _next_step(ring: KeyRing, present: Collection[str]) -> str:
    from trionet.security.rollout import STEPS

    return "" if ring.rollout.is_protected else str(ring.may_step(STEPS[ring.rollout.number + 1], present))


def _key(ring: KeyRing, key_id: bytes, present: Collection[str]) -> KeyInfo:
    from trionet.security.key_statements import KeyState

    statement = ring.keys.statement(key_id)
    assert statement is not None
    state, seals, is_held = KeyState(statement.state), ring.keys.sealing == key_id, key_id in ring.keys
    waits_for = ""
    if state is KeyState.INSTALLED:
        waits_for = str(ring.may_use(key_id, present))
    elif state is KeyState.USED and not seals:
        waits_for = str(ring.may_retire(key_id, present))
    elif state is KeyState.RETIRED and is_held:
        waits_for = ring.closing_text(key_id, present)
    return KeyInfo(key_id.hex(), state.name.lower(), seals, is_held, statement.by_file, waits_for)


def _member(name: str, report: KeyReport | None, is_present: bool) -> MemberKeys:
    if report is None:
        return MemberKeys(name, is_present)
    from trionet.security.key_reports import Holding

    holds = {key_id.hex(): Holding(one).name.lower() for key_id, one in report.holdings.items()}
    return MemberKeys(name, is_present, report.sealing.hex(), holds, str(report.rollout))
