"""The part of ``inspection`` that the dashboards of other nodes ask for: a row of a table, and a portrait.

Invariant: an answer is small: each list, and each text of it, is cut.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.histograms import durations
from trionet.protocols.statements import State
from trionet.surrogates import without_surrogates
from trionet.version import __version__

from .base import rpc
from .heap import heap_bytes
from .log_ring import LogRing

if TYPE_CHECKING:
    from typing import Protocol

    from trionet.child_nodes import ChildNodes
    from trionet.router import Router
    from trionet.transports.base import Endpoint

    from .cluster_agent import ClusterAgent

    class _Described(Protocol):
        def status(self) -> dict[str, Any]: ...
        def config(self) -> list[dict[str, Any]]: ...
        def tags(self) -> dict[str, str]: ...
        def statistics(self) -> dict[str, Any]: ...


__all__ = ["MOST_VIEWED", "SightInspection"]

MOST_VIEWED: Final = 256
"""The members in a view: all if there are no more, or those that are doubted."""
_MOST_LINKS: Final = 200
_MOST_CHILDREN: Final = 200
_MOST_TASKS: Final = 300
_MOST_RECORDS: Final = 100
_MOST_CHARS: Final = 400

_STATES: Final = {State.ALIVE: "alive", State.SUSPECT: "suspect", State.DEAD: "failed", State.LEFT: "left"}


class SightInspection:
    """The methods of ``inspection`` for dashboards."""

    _router: Router
    _agent: ClusterAgent
    _endpoint: Endpoint
    _children: ChildNodes
    _begun_at: float

    @rpc(read=True)
    def glance(self, view: int = 0) -> dict[str, Any]:
        """Return the node's figures for a row of a table; and how it sees the members, if another sees them otherwise.

        Args:
            view: the digest of the other's view; see `Swim.view`.

        Returns:
            ``version``, ``uptime_s``, ``heap_used`` in bytes, ``links``; ``served`` and ``running``, the calls so far
            and now; ``health``; ``late``, how often a timer ran, and how late in sum, in seconds; ``view``, the digest.
            With another digest than `view` also ``seen``, the states of members by address: of all if they are few,
            else of those that are not alive; and ``is_whole``, whether it is all.
        """
        links, agent = self._endpoint.links, self._agent
        found: dict[str, Any] = {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._begun_at),
            "heap_used": heap_bytes().used,
            "links": 0 if links is None else links.traffic.open,
            "served": self._router.served,
            "running": len(self._router.running),
        }
        if agent.has_begun:
            lag = durations(agent.driver.lag)
            found |= {"health": agent.swim.health, "late": [lag.count, lag.sum_s], "view": agent.swim.view}
            if agent.swim.view != view:
                found |= self._seen()
        return found

    def _seen(self) -> dict[str, Any]:
        members = list(self._agent.swim.members())
        is_whole = len(members) <= MOST_VIEWED
        shown = members if is_whole else [one for one in members if one.state is not State.ALIVE]
        shown.sort(key=lambda one: (one.state is not State.SUSPECT, -one.since))
        return {"seen": {one.name: _STATES[one.state] for one in shown[:MOST_VIEWED]}, "is_whole": is_whole}

    @rpc(read=True)
    def portrait(self) -> dict[str, Any]:
        """Return all that a dashboard shows of the node: objects by name or number, without secrets."""
        described: _Described = self  # type: ignore[assignment]  # of `Inspection`, which this is a part of
        links = self._endpoint.links
        log, note = _log_tail()
        found = {
            "status": described.status(),
            "config": {
                one["setting"]: {"value": _cut(one["value"]), "default": _cut(one["default"])}
                for one in described.config()
            },
            "tags": described.tags() if self._agent.has_begun else {},
            "statistics": described.statistics(),
            "links": {} if links is None else links.traffic.described(_MOST_LINKS),
            "children": self._children.described(_MOST_CHILDREN),
            "log": log,
            "log_note": note,
            "tasks": _task_tree(),
        }
        whole: dict[str, Any] = without_surrogates(found)  # in the names of tasks, and of files
        return whole


def _cut(value: Any) -> Any:
    """Return a setting's value with short texts."""
    match value:
        case str():
            return value[:_MOST_CHARS]
        case list():
            return [_cut(item) for item in value[:_MOST_RECORDS]]
        case dict():
            return {name[:_MOST_CHARS]: _cut(item) for name, item in islice(value.items(), _MOST_RECORDS)}
    return value


def _log_tail() -> tuple[dict[str, Any], str]:
    """Return the latest log records of the process by number, and why there are none."""
    ring = LogRing.of_process()
    if ring is None:
        return {}, "the program has not set up logging, so that no records are kept: call logging.basicConfig()"
    latest = ring.numbered(_MOST_RECORDS)
    return {str(number): {**shown, "text": shown["text"][:_MOST_CHARS]} for number, shown in latest}, ""


def _task_tree() -> dict[str, Any]:
    """Return the tasks of this Trio run by id, each after its parent."""
    found: dict[str, Any] = {}
    root = trio.lowlevel.current_root_task()
    pending = [] if root is None else [(root, "", 0)]
    while pending and len(found) < _MOST_TASKS:
        task, parent, depth = pending.pop()
        key = f"{id(task):x}"
        found[key] = {"name": task.name[:_MOST_CHARS], "depth": depth, "at": _place(task)}
        if parent:
            found[key]["parent"] = parent
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        pending += [(child, key, depth + 1) for child in sorted(children, key=lambda one: one.name, reverse=True)]
    return found


def _place(task: trio.lowlevel.Task) -> str:
    """Return where a task waits: in its innermost function that is not Trio's own."""
    place = ""
    for frame, line in task.iter_await_frames():
        if not str(frame.f_globals.get("__name__", "")).startswith("trio."):
            place = f"{frame.f_code.co_qualname} ({Path(frame.f_code.co_filename).name}:{line})"
    return place[:_MOST_CHARS]
