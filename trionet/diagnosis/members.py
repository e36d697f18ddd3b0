"""Checks of the members: who answers, who is suspected or has failed, who sees whom, and who runs what."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from .findings import Finding, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .facts import NodeFacts, Survey

__all__ = [
    "check_answers",
    "check_gone",
    "check_groups",
    "check_joined",
    "check_profiles",
    "check_versions",
    "check_views",
]

_FORGET_H: Final = 72


def check_answers(survey: Survey) -> list[Finding]:
    """Members that count as present and don't answer."""
    silent = {name: found.error for name, found in survey.members.items() if found.error and not found.is_older}
    found = []
    for name, error in sorted(silent.items()):
        found.append(
            Finding(
                "answers",
                "error",
                (name,),
                f"{name} is a member and doesn't answer: {error}",
                "look at its process: it may be stopped (SIGSTOP, a debugger), blocked, or swapping; the log of the "
                "node has the place of code that blocks it",
            )
        )
    return found


def check_gone(survey: Survey) -> list[Finding]:
    """Members that are suspected, or have failed and not returned."""
    found = []
    entry = survey.facts.get(survey.entry)
    for gone in () if entry is None else entry.gone:
        since = f"{gone.since_s:.0f} s"
        if gone.status == "suspect":
            what = f"{gone.node} is suspected since {since}: it doesn't answer the pings of others"
            advice = "look at its process, its load and its network; if it goes on, the others remove it"
            found.append(Finding("suspects", "warning", (gone.node,), what, advice))
        else:
            what = f"{gone.node} has failed {since} ago, and has not returned"
            advice = (
                f"start it again; or, if it is gone for good, forget it: trionet forget {survey.entry} {gone.node} "
                f"(members do so by themselves after {_FORGET_H} hours)"
            )
            found.append(Finding("failed", "error", (gone.node,), what, advice))
    return found


def check_joined(survey: Survey) -> list[Finding]:
    """Nodes that have not joined the cluster of their configuration yet."""
    found = []
    for name, own in sorted(survey.facts.items()):
        if own.seeks:
            what = f"{name} has joined none of {listed(own.seeks)} so far, and goes on trying"
            advice = "start one of them, or correct its setting join; its log says whether they refuse it, and why"
            found.append(Finding("joined", "error", (name,), what, advice))
    return found


def check_views(survey: Survey) -> list[Finding]:
    """Members that don't know each other, though others know both."""
    facts, found = survey.facts, []
    everyone = set(survey.members)
    entry = facts.get(survey.entry)
    for name, own in sorted(facts.items()):
        if entry is None or own.members_digest == entry.members_digest or not (own.members and entry.members):
            continue
        missing, more = everyone - set(own.members), set(own.members) - everyone
        if missing:
            what = f"{name} doesn't know {listed(missing)}, which {survey.entry} knows"
            advice = (
                f"they can't reach each other, or are two clusters that were split: see the findings about addresses "
                f"and datagrams, and join them again: trionet join {name} {min(missing)}"
            )
            found.append(Finding("views", "error", (name,), what, advice))
        if more:
            what = f"{name} knows {listed(more)}, which {survey.entry} doesn't know"
            advice = f"run the doctor at {name}, too, and join them again: trionet join {survey.entry} {min(more)}"
            found.append(Finding("views", "error", (survey.entry, name), what, advice))
    return found


def check_groups(survey: Survey) -> list[Finding]:
    """Groups that differ among their members."""
    facts = survey.facts
    gids = sorted({gid for own in facts.values() for gid in own.groups} - {"all", "local"})
    found = []
    for gid in gids:
        held = {name: own.groups[gid] for name, own in facts.items() if gid in own.groups}
        counts = Counter(group.digest for group in held.values())
        if len(counts) < 2:  # noqa: PLR2004  two differ
            continue
        most = counts.most_common(1)[0][0]
        others = sorted(name for name, group in held.items() if group.digest != most)
        example = next(group for group in held.values() if group.digest == most)
        sizes = ", ".join(f"{name} has {held[name].count}" for name in others[:3])
        what = f"the group {gid!r} is not the same everywhere: most nodes have {example.count} members in it, {sizes}"
        advice = f"put it again from one node, or as a rule that follows the cluster: groups.put({gid!r}, where=...)"
        found.append(Finding("groups", "warning", (gid,), what, advice))
    return found


def check_versions(survey: Survey) -> list[Finding]:
    """Members of different versions."""
    by_version = _by(lambda own: own.version, survey.facts)
    older = [name for name, found in survey.members.items() if found.is_older]
    if older:
        by_version["an earlier version"] = older
    if len(by_version) < 2:  # noqa: PLR2004  two differ
        return []
    parts = (f"{version} on {listed(nodes, 3)}" for version, nodes in sorted(by_version.items()))
    newest = max(by_version, key=_number)
    behind = sorted(name for version, nodes in by_version.items() if version != newest for name in nodes)
    what = f"the members run different versions: {'; '.join(parts)}"
    advice = f"versions work together while you upgrade, and no longer: bring all to {newest}"
    return [Finding("versions", "warning", tuple(behind), what, advice)]


def check_profiles(survey: Survey) -> list[Finding]:
    """Members of different timing."""
    by_profile = _by(lambda own: own.profile, survey.facts)
    if len(by_profile) < 2:  # noqa: PLR2004  two differ
        return []
    parts = "; ".join(f"{profile} on {listed(nodes, 3)}" for profile, nodes in sorted(by_profile.items()))
    what = f"the members have different profiles, and so different ideas of what is late: {parts}"
    return [Finding("profiles", "warning", (), what, "set the same profile (lan, local or wan) for all nodes")]


def _by(get: Callable[[NodeFacts], str], facts: dict[str, NodeFacts]) -> dict[str, list[str]]:
    """Return the addresses of nodes by one of their facts, where it is known."""
    found: dict[str, list[str]] = {}
    for name, own in facts.items():
        if value := get(own):
            found.setdefault(value, []).append(name)
    return found


def _number(version: str) -> tuple[int, ...]:
    """Return what orders versions."""
    digits = "".join(char if char.isdigit() else " " for char in version)
    return tuple(map(int, digits.split()))
