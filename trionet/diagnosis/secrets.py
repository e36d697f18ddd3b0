"""Checks of keys and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .findings import Finding, Severity, listed

if TYPE_CHECKING:
    from .facts import KeyFacts, Survey

__all__ = ["check_certificates", "check_keys", "check_protection"]

_DAY_S: Final = 86_400.0
_WARNED_S: Final = 14 * _DAY_S
_FAILS_S: Final = 2 * _DAY_S


def check_keys(survey: Survey) -> list[Finding]:
    """Keys that differ, that some don't hold, and those that are about to go."""
    found = []
    sealing: dict[str, list[str]] = {}
    for name, own in survey.facts.items():
        if own.seals_with:
            sealing.setdefault(own.seals_with, []).append(name)
    if len(sealing) > 1:
        parts = "; ".join(f"{key} on {listed(nodes, 3)}" for key, nodes in sorted(sealing.items()))
        what = f"the members seal with different keys: {parts}"
        advice = f"a rotation is under way, or has stopped: trionet keys status {survey.entry} says what it waits for"
        found.append(Finding("keys", "warning", tuple(sorted(sealing)), what, advice))
    for key in survey.keys:
        found += _of_key(survey, key)
    if survey.keys_fault:
        what = f"{survey.entry} can't keep its keys: {survey.keys_fault}"
        advice = "mend the file, or its folder's mode: a restart would lose the keys"
        found.append(Finding("keys", "error", (survey.entry,), what, advice))
    return found


def _of_key(survey: Survey, key: KeyFacts) -> list[Finding]:
    found = []
    if key.state != "retired" and key.lacking:
        severity: Severity = "error" if key.state == "used" else "warning"
        what = f"{listed(key.lacking)} don't hold key {key.id}, which is {key.state}"
        advice = (
            f"give it to them: trionet keys install {survey.entry} FILE; if it was installed by file, do that at each "
            f"node; without it they are cut off once it seals"
        )
        found.append(Finding("keys", severity, (key.id, *sorted(key.lacking)), what, advice))
    if key.state != "retired" and key.volatile:
        what = f"{listed(key.volatile)} hold key {key.id} in memory only: a restart loses it"
        advice = "start them with a key file of their own, of mode 0600, in a folder that they can write"
        found.append(Finding("volatile-keys", "warning", (key.id, *sorted(key.volatile)), what, advice))
    if key.state == "used" and not key.seals and key.waits_for == "ready":
        what = f"key {key.id} seals no more, and can be retired"
        advice = (
            f"replace it in the key files of clients and the tokens made from it, which end with it; then: trionet "
            f"keys retire {survey.entry} {key.id}"
        )
        found.append(Finding("old-keys", "note", (key.id,), what, advice))
    return found


def check_protection(survey: Survey) -> list[Finding]:
    """Nodes without a key among others, and those that still accept plain peers."""
    facts = survey.facts
    plain = sorted(name for name, own in facts.items() if not own.has_key and own.version)
    sealed = [name for name, own in facts.items() if own.has_key]
    found = []
    if plain and sealed:
        what = f"{listed(plain)} have no key, and the others do"
        advice = "give them the key file (--key-file), and go on with: trionet keys rollout"
        found.append(Finding("protection", "error", tuple(plain), what, advice))
    open_ = sorted(name for name, own in facts.items() if own.has_key and not own.is_protected)
    if open_:
        what = f"{listed(open_)} have a key, and still accept peers without one: the cluster is unprotected"
        advice = f"finish the rollout: trionet keys rollout {survey.entry} accept=sealed"
        found.append(Finding("protection", "warning", tuple(open_), what, advice))
    return found


def check_certificates(survey: Survey) -> list[Finding]:
    """Certificates that end soon."""
    found = []
    for name, own in sorted(survey.facts.items()):
        left_s = own.certificate_ends_at - own.sent_at
        if not own.certificate_ends_at or left_s > _WARNED_S:
            continue
        severity: Severity = "error" if left_s < _FAILS_S else "warning"
        left = f"ends in {left_s / _DAY_S:.1f} days" if left_s > 0 else "has ended"
        what = f"the certificate of {name} {left}"
        advice = f"renew certificate_file, and have the node read it: trionet reload {name}; links end with it"
        found.append(Finding("certificates", severity, (name,), what, advice))
    return found
