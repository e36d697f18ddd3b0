"""The topic ``tasks``: the periodic tasks of all members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from trionet.dashboard.bounded import bounded
from trionet.services.periodic import PeriodicTask

from .asking import MOST_CHARS, Turns, ask, cut, present
from .base import Topic

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID

__all__ = ["TasksTopic"]

_MOST_ASKED: Final = 32
_EVERY_S: Final = 2.0
_MOST_TASKS: Final = 500
_MOST_OF_ONE: Final = 100
_MOST_PARTS: Final = 32


class TasksTopic(Topic):
    """``{ID: {gid, what, interval_s, jitter_s, runs, failures, is_running, node}}``."""

    name: ClassVar[str] = "tasks"

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._turns = Turns(_MOST_ASKED, _EVERY_S)
        self._known: dict[SID, dict[str, dict[str, Any]]] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        members = present(self.subject)
        self._known = {sid: tasks for sid, tasks in self._known.items() if sid in members}
        chosen = self._turns.next(members, self.subject.current_time())
        nodes = {sid: members[sid] for sid in chosen}
        for sid, tasks in (await ask(self.subject, nodes, "gossip", "tasks", convert=_bounded)).values.items():
            self._known[sid] = {cut(task["id"]): _shown(task, sid) for task in tasks}
        found = [item for sid in sorted(self._known) for item in self._known[sid].items()]
        return dict(found[:_MOST_TASKS])


def _bounded(answer: object) -> list[dict[str, Any]]:
    """Return the tasks in the answer of a member, as plain data."""
    tasks = [task for task in answer if isinstance(task, PeriodicTask)] if isinstance(answer, list) else []
    return [bounded(msgspec.structs.asdict(task), _MOST_PARTS, MOST_CHARS) for task in tasks[:_MOST_OF_ONE]]


def _shown(task: dict[str, Any], sid: SID) -> dict[str, Any]:
    return {
        "node": sid,
        **{
            name: task.get(name) for name in ("gid", "what", "interval_s", "jitter_s", "runs", "failures", "is_running")
        },
    }
