"""What a node shows about itself to the commands of ``trionet``.

Invariant: each answer is plain data without secrets, and changes nothing.
"""

from __future__ import annotations

import os
import platform
import reprlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import MalformedRequest, PreconditionFailed
from trionet.events import MemberEvent, MemberFailed, MemberSuspected
from trionet.identity import NodeAddress
from trionet.message import BUILT_IN, LOCAL
from trionet.protocols.statements import State
from trionet.user_code import attempt
from trionet.version import __version__

from .base import rpc
from .call_inspection import CallInspection
from .group_inspection import GroupInspection
from .group_rules import description_of
from .heap import heap_bytes
from .log_ring import LogRing
from .member import member_of
from .method_inspection import MethodInspection
from .rumor_inspection import RumorInspection
from .sight import SightInspection

if TYPE_CHECKING:
    from typing import Protocol

    from trionet.child_nodes import ChildNodes
    from trionet.config import NodeConfig
    from trionet.events import Event, Events
    from trionet.identity import SID
    from trionet.protocols.swim_events import MemberInfo
    from trionet.router import Router
    from trionet.transports.base import Endpoint

    from . import LocalServices
    from .call_inspection import InspectedCalls
    from .cluster_agent import ClusterAgent
    from .groups import Groups
    from .member import Member
    from .service_table import ServiceTable

    class Inspected(Protocol):
        """The node of an `Inspection`."""

        @property
        def address(self) -> NodeAddress:
            """Its address."""

        @property
        def config(self) -> NodeConfig:
            """Its configuration."""

        @property
        def local(self) -> LocalServices:
            """Its services."""

        @property
        def is_stopping(self) -> bool:
            """Whether it is stopping."""

        def members(self) -> list[Member]:
            """Return the present members of its cluster."""

        def statistics(self) -> msgspec.Struct:
            """Return its figures; see `NodeStatistics`."""

        @property
        def calls(self) -> InspectedCalls:
            """Its running calls."""

        def events(self) -> Events:
            """Return an iterator over its events from now on."""


__all__ = ["Inspection"]

_EVENTS_KEPT: Final = 256
_MOST_SHOWN: Final = 10_000
_MOST_CHARS: Final = 512


class Inspection(CallInspection, GroupInspection, MethodInspection, RumorInspection, SightInspection):
    """The local service ``inspection``."""

    _node: Inspected

    def __init__(
        self,
        node: Inspected,
        router: Router,
        agent: ClusterAgent,
        table: ServiceTable,
        endpoint: Endpoint,
        children: ChildNodes,
    ) -> None:
        """Show `node`, with its parts: its methods, protocols, table of services, endpoint and spawned nodes."""
        self._node, self._router, self._agent, self._table = node, router, agent, table
        self._endpoint, self._children = endpoint, children
        self._begun_at = time.monotonic()
        self._events: deque[_KeptEvent] = deque(maxlen=_EVENTS_KEPT)
        self._accusers: deque[tuple[str, ...]] = deque(maxlen=_EVENTS_KEPT)
        self._count = 0

    def handle_event(self, event: Event) -> None:
        """Keep an event for those who ask later."""
        self._events.append(_KeptEvent(event))
        self._accusers.append(self._accusers_of(event))
        self._count += 1

    def _accusers_of(self, event: Event) -> tuple[str, ...]:
        is_accused = isinstance(event, MemberSuspected | MemberFailed)
        info = self._agent.swim.member(str(event.node)) if is_accused else None
        return () if info is None else info.suspected_by

    def numbered_events(self) -> list[tuple[int, dict[str, Any], tuple[str, ...]]]:
        """Return the events that are kept, each after its number, and with the accusers of a member, oldest first."""
        numbers = range(self._count - len(self._events) + 1, self._count + 1)
        return list(zip(numbers, self._shown_events(), self._accusers, strict=True))

    def _shown_events(self) -> list[dict[str, Any]]:
        return [kept.shown() for kept in self._events]

    @property
    def view(self) -> int:
        """The digest of the present members, as this node sees them."""
        return self._agent.swim.view

    def infos(self) -> list[MemberInfo]:
        """Return what the protocol knows of all members, those that are gone included; alone, of this node."""
        members = self._agent.swim.members()
        return list(members) if self._is_active() else [one for one in members if one.name == str(self._node.address)]

    def wall_offset_s(self) -> float:
        """Return what is added to the clock of `infos` for seconds since 1970."""
        return time.time() - self._agent.driver.now()

    @rpc(read=True)
    def status(self) -> dict[str, Any]:
        """Return what identifies the node, and how it is."""
        node, heap = self._node, heap_bytes()
        has_cluster = self._is_active()
        return {
            "address": str(node.address),
            "sid": node.address.sid,
            "nid": node.address.nid,
            "cluster": node.config.cluster,
            "state": "stopping" if node.is_stopping else "running",
            "protection": self._protection(),
            "members": len(node.members()) if has_cluster else 1,
            "health": self._agent.swim.health if has_cluster else 0,
            "groups": len(self._groups.gids()),
            "services": sum(name not in BUILT_IN for name in self._services(LOCAL)),
            "uptime_s": round(time.monotonic() - self._begun_at, 3),
            "host": platform.node(),
            "pid": os.getpid(),
            "version": __version__,
            "python": platform.python_version(),
            "heap_used": heap.used,
            "heap_total": heap.total,
        }

    def _protection(self) -> str:
        access = self._router.access
        if access is None or not access.is_protected:
            return "none"
        return "certificate" if self._node.config.certificate_file is not None else "key"

    @rpc(read=True)
    def members(self) -> list[dict[str, Any]]:
        """Return the members of the node's cluster, itself included, in SID order; those that are gone come last.

        The protocol forgets failed ones after three days, and left ones after an hour.
        """
        now = self._agent.driver.now()
        since = {info.name: info.since for info in self._agent.swim.members()}
        shown = [_shown_member(member, now - since[str(member.node)]) for member in self._node.members()]
        if not self._is_active():
            return shown
        gone = [info for info in self._agent.swim.members() if info.state > State.SUSPECT]
        absent = [(member, info.since) for info in gone if (member := member_of(info)) is not None]
        absent = [(member, at) for member, at in absent if member.node != self._node.address]
        return shown + [_shown_member(member, now - at) for member, at in sorted(absent, key=lambda one: one[0].sid)]

    @property
    def _groups(self) -> Groups:
        return self._node.local.groups

    def _is_active(self) -> bool:
        return self._node.local.membership.is_active

    @rpc(read=True)
    def statistics(self) -> dict[str, Any]:
        """Return the node's figures; see `NodeStatistics`."""
        return msgspec.structs.asdict(self._node.statistics())

    @rpc(read=True)
    def config(self) -> list[dict[str, Any]]:
        """Return the settings of the node: value and default of each. Keys are no settings; their files' paths are."""
        return [
            {
                "setting": field.name,
                "value": _plain(getattr(self._node.config, field.name)),
                "default": _plain(field.default_factory() if callable(field.default_factory) else field.default),
            }
            for field in msgspec.structs.fields(self._node.config)
        ]

    @rpc(read=True)
    def tags(self) -> dict[str, str]:
        """Return the node's own tags in its cluster."""
        return dict(self._agent.swim.own.tags)

    @rpc(read=True)
    def events(self, last: int = _EVENTS_KEPT) -> list[dict[str, Any]]:
        """Return the latest events of the node, the oldest first; at most 256 are kept."""
        return [kept.shown() for kept in _latest(self._events, last)]

    @rpc(read=True)
    async def watch_events(self, last: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Yield the latest events, and then each as it comes; see `events`."""
        coming = self._node.events()
        for kept in _latest(self._events, last):
            yield kept.shown()
        async for event in coming:
            yield _shown_event(event, time.time())

    @rpc(read=True)
    def logs(self, last: int = 100) -> list[dict[str, Any]]:
        """Return the latest log records of the node's process, the oldest first; at most 1,000 are kept.

        Raises:
            PreconditionFailed: the program has not set up logging.
        """
        return _ring().latest(_count(last))

    @rpc(read=True)
    async def watch_logs(self, last: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Yield the latest log records, and then each as it comes; see `logs`."""
        async with aclosing(_ring().watch(_count(last))) as records:
            async for record in records:
                yield record


def _shown_member(member: Member, seconds: float) -> dict[str, Any]:
    return {
        "sid": member.sid,
        "address": str(member.node),
        "status": member.status,
        "since_s": round(max(0.0, seconds), 3),
        "incarnation": member.incarnation,
        "tags": member.tags,
    }


class _KeptEvent:
    """An event that is kept for those who ask later.

    What members did is small, frequent and mostly never asked for, so it is shown on demand.
    """

    __slots__ = ("_at", "_event", "_shown")

    def __init__(self, event: Event) -> None:
        self._at = time.time()
        self._event: Event | None = event
        self._shown: dict[str, Any] = {}
        if isinstance(event, MemberEvent):
            self._event = msgspec.structs.replace(event, tags=dict(event.tags))  # whoever is told may change the dict
        else:
            self.shown()

    def shown(self) -> dict[str, Any]:
        """Return it as plain data."""
        if self._event is not None:
            self._shown = _shown_event(self._event, self._at)
            self._event = None  # it may refer to something large
        return self._shown


def _shown_event(event: Event, at: float) -> dict[str, Any]:
    sid: SID = event.sid
    fields = {name: _brief(value) for name, value in msgspec.structs.asdict(event).items() if name != "node"}
    return {"time": at, "event": type(event).__name__, "node": str(event.node), "sid": sid, **fields}


def _brief(value: Any) -> Any:
    """Return a part of an event as small plain data: it is kept, and the value of a setting may be long."""
    if isinstance(value, str):
        return value[:_MOST_CHARS]
    plain = _plain(value)
    size = len(attempt(msgspec.json.encode, plain, default=bytes(_MOST_CHARS + 1)))
    return plain if size <= _MOST_CHARS else attempt(reprlib.repr, plain, default=f"a {type(value).__name__}")


def _plain(value: Any) -> Any:
    """Return a value as plain data; what is none as a text."""
    match value:
        case NodeAddress():
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
    return description_of(value) if callable(value) else str(value)


def _latest(kept: deque[_KeptEvent], last: int) -> list[_KeptEvent]:
    count = _count(last)
    return list(kept)[-count:] if count else []


def _count(last: int) -> int:
    if not 0 <= last <= _MOST_SHOWN:
        raise MalformedRequest(f"last is a number from 0 to {_MOST_SHOWN}, not {last!r:.40}")
    return last


def _ring() -> LogRing:
    ring = LogRing.of_process()
    if ring is None:
        raise PreconditionFailed(
            "this program has not set up logging, so that no records are kept: call logging.basicConfig()"
        )
    return ring
