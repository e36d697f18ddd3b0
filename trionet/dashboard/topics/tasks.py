"""The topic ``tasks``: the periodic tasks of all members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from trionet.services.periodic import PeriodicTask

from .asking import Turns, ask, cut, present
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
        answers = await ask(self.subject, {sid: members[sid] for sid in chosen}, "gossip", "tasks")
        for sid, tasks in answers.values.items():
            plain = [task for task in tasks if isinstance(task, PeriodicTask)] if isinstance(tasks, list) else []
            self._known[sid] = {cut(task.id): _shown(task, sid) for task in plain[:_MOST_OF_ONE]}
        found = [item for sid in sorted(self._known) for item in self._known[sid].items()]
        return dict(found[:_MOST_TASKS])


def _shown(task: PeriodicTask, sid: SID) -> dict[str, Any]:
    return {
        "node": sid,
        "gid": cut(task.gid),
        "what": cut(task.what),
        "interval_s": task.interval_s,
        "jitter_s": task.jitter_s,
        "runs": task.runs,
        "failures": task.failures,
        "is_running": task.is_running,
    }
