"""The topic ``services``: the methods of a node and of its groups, with what a form needs to call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from trionet.dashboard.bounded import bounded
from trionet.message import LOCAL
from trionet.nurseries import open_plain_nursery

from .asking import Turns, ask, cut, present
from .base import Topic
from .told_forms import services_told

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID, NodeAddress

__all__ = ["ServicesTopic"]

_EVERY_S: Final = 3.0
_MOST_NODES: Final = 8
_MOST_VALUES: Final = 60_000
_MOST_CHARS: Final = 400
_GROUP: Final = "all"
"""Stands for all groups: each has the same services on one node."""


class ServicesTopic(Topic):
    """``{SID: {node, local: SERVICES, group: SERVICES, error?}}``; a viewer sees one of them.

    SERVICES are ``{SERVICE: {METHOD: form}}``, as `trionet.openapi.forms.form_of` has it.
    """

    name: ClassVar[str] = "services"

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._turns = Turns(_MOST_NODES, _EVERY_S)
        self._known: dict[SID, dict[str, Any]] = {}
        self._versions: dict[tuple[SID, str], str] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        members = present(self.subject)
        wanted = dict.fromkeys((*looked_at.nodes, self.subject.sid))
        self._known = {sid: known for sid, known in self._known.items() if sid in wanted}
        self._versions = {key: version for key, version in self._versions.items() if key[0] in self._known}
        chosen = {
            sid: members[sid]
            for sid in self._turns.next([sid for sid in wanted if sid in members], self.subject.current_time())
        }
        async with open_plain_nursery() as nursery:
            for sid, node in chosen.items():
                self._known.setdefault(sid, {"node": sid, "local": {}, "group": {}})
                nursery.start_soon(self._ask, sid, node)
        for sid in wanted:
            if sid not in members:
                self._known[sid] = {"node": sid, "error": "it is no present member", "local": {}, "group": {}}
        return dict(self._known)

    async def _ask(self, sid: SID, node: NodeAddress) -> None:
        """Ask a node for its methods; it tells its version alone as long as that holds."""
        found: dict[str, Any] = {name: part for name, part in self._known[sid].items() if name != "error"}

        async def ask_for(name: str, gid: str) -> None:
            known = self._versions.get((sid, name), "")
            answers = await ask(self.subject, {sid: node}, "inspection", "methods", gid, known, convert=_bounded)
            answer = answers.values.get(sid)
            if isinstance(answer, dict) and "services" in answer:
                found[name] = services_told(answer["services"])
                self._versions[sid, name] = cut(answer.get("version", ""))
            elif sid in answers.errors:
                found["error"] = cut(answers.errors[sid])

        async with open_plain_nursery() as nursery:
            nursery.start_soon(ask_for, "local", LOCAL)
            nursery.start_soon(ask_for, "group", _GROUP)
        self._known[sid] = found

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return the methods of the node that a viewer looks at, or of the serving node."""
        found: dict[str, Any] | None = document.get(looked_at.nodes[0] if looked_at.nodes else self.subject.sid)
        return found


def _bounded(answer: object) -> Any:
    return bounded(answer, _MOST_VALUES, _MOST_CHARS)
