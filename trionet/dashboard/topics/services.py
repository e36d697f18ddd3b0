"""The topic ``services``: the methods of a node and of its groups, with what a form needs to call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from trionet.message import LOCAL

from .asking import Turns, ask, cut, present
from .base import Topic

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID

__all__ = ["ServicesTopic"]

_EVERY_S: Final = 5.0
_MOST_NODES: Final = 8
_MOST_METHODS: Final = 1000
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

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        members = present(self.subject)
        wanted = dict.fromkeys((*looked_at.nodes, self.subject.sid))
        self._known = {sid: known for sid, known in self._known.items() if sid in wanted}
        chosen = {
            sid: members[sid]
            for sid in self._turns.next([sid for sid in wanted if sid in members], self.subject.current_time())
        }
        if chosen:
            local = await ask(self.subject, chosen, "inspection", "methods", LOCAL)
            group = await ask(self.subject, chosen, "inspection", "methods", _GROUP)
            for sid in chosen:
                found: dict[str, Any] = {"node": sid}
                error = local.errors.get(sid) or group.errors.get(sid)
                if error is not None:
                    found["error"] = cut(error)
                found["local"] = _services(local.values.get(sid, {}))
                found["group"] = _services(group.values.get(sid, {}))
                self._known[sid] = found
        for sid in wanted:
            if sid not in members:
                self._known[sid] = {"node": sid, "error": "it is no present member", "local": {}, "group": {}}
        return dict(self._known)

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return the methods of the node that a viewer looks at, or of the serving node."""
        found: dict[str, Any] | None = document.get(looked_at.nodes[0] if looked_at.nodes else self.subject.sid)
        return found


def _services(answer: Any) -> dict[str, Any]:
    """Return the methods that a node names, bounded in number."""
    found: dict[str, Any] = {}
    left = _MOST_METHODS
    for service, methods in answer.items() if isinstance(answer, dict) else ():
        if isinstance(methods, dict) and left > 0:
            few = dict(list(methods.items())[:left])
            left -= len(few)
            found[cut(service)] = {cut(name): form for name, form in few.items() if isinstance(form, dict)}
    return found
