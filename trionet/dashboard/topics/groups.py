"""The topic ``groups``: the groups of the node, and where other members hold something else under the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.bounded import bounded
from trionet.message import BUILT_IN
from trionet.nurseries import open_plain_nursery

from .asking import MOST_CHARS, Turns, ask, cut, present
from .base import Topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID, NodeAddress

__all__ = ["GroupsTopic", "differences"]

_MOST_ASKED: Final = 32
_EVERY_S: Final = 2.0
_MOST_GROUPS: Final = 100
_MOST_MEMBERS: Final = 64
_MOST_NAMED: Final = 8
_MOST_FETCHED: Final = 8
_MOST_KEPT: Final = 64
_MOST_VALUES: Final = 11_000
_SAME_EVERYWHERE: Final = "local"
"""The group that is the node alone, and so another on each."""


class GroupsTopic(Topic):
    """``{GID: {here, size, same, members: {SID: address}, where?, subset?, templates, views: {SID: differences}}}``.

    ``here`` tells whether this node has it, ``same`` how many nodes are known to hold the same. Groups are compared by
    digests; the members are asked for where these differ.
    """

    name: ClassVar[str] = "groups"

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._turns = Turns(_MOST_ASKED, _EVERY_S)
        self._fetches = Turns(_MOST_FETCHED, _EVERY_S)
        self._digests: dict[SID, dict[str, str]] = {}
        self._own: dict[str, tuple[str, dict[str, Any]]] = {}
        self._held: dict[tuple[SID, str], tuple[str, dict[str, Any]]] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        await trio.lowlevel.checkpoint()
        inspection, members = self.subject.local.inspection, present(self.subject)
        digests = inspection.group_digests()
        digests.pop(_SAME_EVERYWHERE, None)
        own = self._own = {
            gid: kept if (kept := self._own.get(gid)) and kept[0] == digest else (digest, inspection.group(gid))
            for gid, digest in list(digests.items())[:_MOST_GROUPS]
        }
        await self._ask(members)
        await self._fetch(members, digests)
        gids = sorted({*own, *(gid for held in self._digests.values() for gid in held)})
        return {gid: self._shown(gid, own.get(gid, (None, None))[1], digests.get(gid)) for gid in gids[:_MOST_GROUPS]}

    async def _ask(self, members: Mapping[SID, Any]) -> None:
        """Ask the members whose turn it is for their digests."""
        self._digests = {sid: held for sid, held in self._digests.items() if sid in members}
        others = [sid for sid in members if sid != self.subject.sid]
        chosen = self._turns.next(others, self.subject.current_time())
        if not chosen:
            return
        answers = await ask(self.subject, {sid: members[sid] for sid in chosen}, "inspection", "group_digests")
        for sid, held in answers.values.items():
            if isinstance(held, dict):
                plain = {cut(gid, 128): cut(digest, 32) for gid, digest in list(held.items())[:_MOST_GROUPS]}
                plain.pop(_SAME_EVERYWHERE, None)
                self._digests[sid] = plain

    async def _fetch(self, members: Mapping[SID, Any], digests: Mapping[str, str]) -> None:
        """Ask for the members of groups that differ, a few at a time."""
        wanted = [
            (sid, gid)
            for sid, held in self._digests.items()
            for gid, digest in held.items()
            if digest != digests.get(gid) and self._held.get((sid, gid), ("",))[0] != digest
        ]
        due = dict(zip((f"{sid} {gid}" for sid, gid in wanted), wanted, strict=True))
        async with open_plain_nursery() as nursery:
            for key in self._fetches.next(due, self.subject.current_time()):  # some may not answer
                sid, gid = due[key]
                nursery.start_soon(self._fetch_one, sid, members[sid], gid)
        while len(self._held) > _MOST_KEPT:
            del self._held[next(iter(self._held))]

    async def _fetch_one(self, sid: SID, node: NodeAddress, gid: str) -> None:
        answers = await ask(self.subject, {sid: node}, "inspection", "group", gid, convert=_bounded)
        answer = answers.values.get(sid)
        if isinstance(answer, dict) and isinstance(answer.get("members"), dict):
            self._held.pop((sid, gid), None)
            self._held[sid, gid] = self._digests[sid][gid], answer

    def _shown(self, gid: str, own: dict[str, Any] | None, digest: str | None) -> dict[str, Any]:
        shown = own if own is not None else self._of_another(gid)
        members = shown.get("members", {})
        found: dict[str, Any] = {
            "here": own is not None,
            "size": len(members),
            "same": (own is not None) + sum(held.get(gid) == digest for held in self._digests.values() if own),
            "members": dict(list(members.items())[:_MOST_MEMBERS]),
            "views": {
                sid: difference
                for sid, held in self._digests.items()
                if (difference := self._difference(sid, gid, held.get(gid), own, digest))
            },
        }
        if own is not None and (templates := self._templates(gid)):
            found["templates"] = templates
        if shown.get("where") is not None:
            found["where"] = _words(shown["where"])
        if shown.get("subset") is not None:
            found["subset"] = cut(shown["subset"])
        return found

    def _templates(self, gid: str) -> list[str]:
        """Return the names of the user's group-wide services in a group of this node."""
        methods = self.subject.local.inspection.services_of(gid)
        return [name for name in methods if name not in BUILT_IN][:_MOST_NAMED]

    def _of_another(self, gid: str) -> dict[str, Any]:
        """Return a group that this node lacks, as one of those holds it that have it."""
        return next((group for (_, one), (_, group) in self._held.items() if one == gid), {})

    def _difference(
        self, sid: SID, gid: str, theirs: str | None, own: dict[str, Any] | None, digest: str | None
    ) -> dict[str, Any] | None:
        if theirs == digest:
            return None
        if theirs is None:
            return {"kind": "absent"}
        kept = self._held.get((sid, gid))
        if kept is None or kept[0] != theirs:
            return {"kind": "differs"}
        return differences(own, kept[1]) or None


def differences(own: Mapping[str, Any] | None, other: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a group at another node differs from this node's; an empty dict if it doesn't.

    ``kind`` is ``extra`` for a group that this node lacks, else ``differs``; ``lacks`` and ``has`` are numbers of
    members that only this node, or only the other one has, with the first of them in ``lacking`` and ``having``.
    """
    if own is None:
        return {"kind": "extra", "size": len(other["members"])}
    mine, theirs = own["members"], other["members"]
    lacking = [sid for sid in mine if sid not in theirs]
    having = [sid for sid in theirs if sid not in mine]
    found: dict[str, Any] = {}
    if lacking:
        found |= {"lacks": len(lacking), "lacking": [cut(sid, 16) for sid in lacking[:_MOST_NAMED]]}
    if having:
        found |= {"has": len(having), "having": [cut(sid, 16) for sid in having[:_MOST_NAMED]]}
    if other.get("where") != own.get("where"):
        found["where"] = "no rule" if other.get("where") is None else _words(other["where"])
    if other.get("subset") != own.get("subset"):
        found["subset"] = "the default" if other.get("subset") is None else cut(other["subset"])
    return {"kind": "differs", **found} if found else {}


def _bounded(answer: object) -> Any:
    return bounded(answer, _MOST_VALUES, MOST_CHARS)


def _words(where: object) -> str:
    """Return a rule in words: its tags, or its function."""
    if isinstance(where, dict):
        return cut(", ".join(f"{name}={value}" for name, value in where.items()) or "every member")
    return cut(where)
