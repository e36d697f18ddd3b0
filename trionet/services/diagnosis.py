"""What a node tells of itself and of its way to others, for ``trionet doctor``.

A survey asks each present member for its facts, and has it try to reach others: all, or in a large cluster the next
`_MOST_TRIED` in a circle, so that each is tried by as many.

Invariant: a node tries to reach nodes that it knows already, and no others; it has one survey at a time, and at rest
this service costs nothing. Answers are plain dicts, so that members of other versions can read them.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.diagnosis.facts import Examination, Fault, Gone, GroupFacts, KeyFacts, NodeFacts, Survey, digest_of
from trionet.errors import MalformedRequest, MethodNotFound, ServiceNotFound, TrionetError
from trionet.identity import NodeAddress
from trionet.message import Remote
from trionet.nurseries import open_plain_nursery
from trionet.profiles import PROFILES
from trionet.protocols.statements import State
from trionet.transports.clock import time_us
from trionet.version import __version__

from .base import rpc
from .pinging import Pinging, Way

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from typing import Protocol

    from trionet.transports.base import Endpoint

    from .address_reports import AddressReports
    from .cluster_agent import ClusterAgent
    from .comm import Comm
    from .groups import Groups
    from .keys import Keys

    class Diagnosed(Protocol):
        """The node of a `Diagnosis`."""

        @property
        def keys(self) -> Keys:
            """The keys of its cluster."""

        def figures(self) -> msgspec.Struct:
            """Return its figures; see `NodeFigures`."""


__all__ = ["Diagnosis", "next_ones"]

_EXAMINE: Final = Remote(service="diagnosis", method="examine")
_FIGURES: Final = Remote(service="diagnosis", method="figures")
_MOST_TRIED: Final = 16
_MOST_WITHIN_S: Final = 60.0
_MOST_ASKED_AT_ONCE: Final = 64
_MOST_EXAMINATIONS: Final = 16
"""So many at once, for several that ask; others wait."""
_MOST_LISTED: Final = 256
_KEYS_S: Final = 5.0
_CONNECT_S: Final = 3.0
_LAG_S: Final = 1.0
_LAG_SAMPLE_S: Final = 0.05
_LEAST_PING_S: Final = 0.5
_TRIES: Final = 3


class Diagnosis:
    """The local service ``diagnosis``.

    Attributes:
        pinging: sends pings that a person asks for.
    """

    def __init__(
        self,
        node: Diagnosed,
        endpoint: Endpoint,
        agent: ClusterAgent,
        groups: Groups,
        comm: Comm,
        reports: AddressReports,
        random: Random,
    ) -> None:
        self._node, self._endpoint, self._agent = node, endpoint, agent
        self._groups, self._comm = groups, comm
        self._reports = reports
        self.pinging: Pinging = Pinging(agent, random)
        self._own = str(endpoint.address)
        self._ping_s = max(_LEAST_PING_S, PROFILES[agent.config.profile].probe_timeout_s)
        self._surveying = trio.Lock()
        self._examining = trio.CapacityLimiter(_MOST_EXAMINATIONS)

    @rpc(read=True)
    async def survey(self) -> dict[str, Any]:
        """Ask all present members for their facts; return a `Survey` as a dict."""
        async with self._surveying:
            names = sorted(map(str, self._groups.known()))
            found: dict[str, Examination] = {}
            limit = trio.CapacityLimiter(_MOST_ASKED_AT_ONCE)

            async def ask(name: str, others: list[str]) -> None:
                async with limit:
                    found[name] = await self._ask(name, others)

            async with open_plain_nursery() as nursery:
                for place, name in enumerate(names):
                    nursery.start_soon(ask, name, next_ones(names, place))
            keys = await self._key_facts()
            fault = "" if self._node.keys.agent is None or self._is_given() else self._node.keys.agent.fault
            survey = Survey(self._own, {name: found[name] for name in names}, keys, fault)
        plain: dict[str, Any] = msgspec.to_builtins(survey)
        return plain

    @rpc(read=True)
    async def examine(self, others: list[str]) -> dict[str, Any]:
        """Return this node's facts, and what it could not do with `others`, present members, as a dict.

        Raises:
            MalformedRequest: these are no addresses, or too many.
        """
        if not isinstance(others, list | tuple) or len(others) > _MOST_TRIED:
            raise MalformedRequest(f"the others are a list of addresses, at most {_MOST_TRIED}")
        nodes = {NodeAddress.of(name) for name in others} & self._groups.known() - {self._endpoint.address}
        received_us = time_us()
        faults: list[Fault] = []
        lag_s = 0.0
        async with self._examining:
            with trio.move_on_after(self._limit_s()):
                async with open_plain_nursery() as nursery:
                    for node in sorted(nodes, key=str):
                        nursery.start_soon(self._try, node, faults.append)
                    lag_s = await _lag_s()
        facts = self._facts(received_us, lag_s)
        return {"facts": msgspec.to_builtins(facts), "faults": msgspec.to_builtins(faults)}

    @rpc(read=True)
    def figures(self) -> dict[str, Any]:
        """Return this node's `NodeFigures` as a dict."""
        plain: dict[str, Any] = msgspec.to_builtins(self._node.figures())
        return plain

    @rpc(read=True)
    async def overview(self, within_s: float = 2.0) -> dict[str, dict[str, Any]]:
        """Ask all present members for their figures, and return those and the states of members, by address.

        Args:
            within_s: the time limit of each member, in seconds, at most 60; its cancelled call may take a second more.

        Returns:
            For each member, suspected and failed ones included: ``sid``; ``state``: ``alive``, ``suspect`` or
            ``failed``; ``figures``, or None; and ``error``, why there are none, or an empty text.

        Raises:
            MalformedRequest: the time limit is no such number.
        """
        if isinstance(within_s, bool) or not isinstance(within_s, int | float) or not 0 < within_s <= _MOST_WITHIN_S:
            raise MalformedRequest(f"within_s is a number of seconds, at most {_MOST_WITHIN_S:g}, not {within_s!r:.80}")
        gone = {one.node: one.status for one in self._gone()}
        nodes = {str(node): node for node in self._groups.known()}
        found: dict[str, dict[str, Any]] = {}
        for name in sorted({*nodes, *gone}):
            node = nodes.get(name) or NodeAddress.of(name)
            found[name] = {"sid": node.sid, "state": gone.get(name, "alive"), "figures": None, "error": ""}
        limit = trio.CapacityLimiter(_MOST_ASKED_AT_ONCE)

        async def ask(name: str, node: NodeAddress) -> None:
            async with limit:
                try:
                    with trio.fail_after(within_s):
                        found[name]["figures"] = await self._comm.call(node, self._comm.prepare([], {}, _FIGURES))
                except trio.TooSlowError:
                    found[name]["error"] = f"no answer within {within_s:g} s"
                except TrionetError as exc:
                    found[name]["error"] = f"{type(exc).__name__}: {exc.text}"

        async with open_plain_nursery() as nursery:
            for name, node in nodes.items():
                nursery.start_soon(ask, name, node)
        return found

    def _limit_s(self) -> float:
        """Return the time limit of an examination."""
        return _CONNECT_S + 2 * _TRIES * self._ping_s + 1

    async def _ask(self, name: str, others: list[str]) -> Examination:
        asked_us = time_us()
        try:
            with trio.fail_after(self._limit_s() + 1):
                node = NodeAddress.of(name)
                answer = await self._comm.call(node, self._comm.prepare([others], {}, _EXAMINE))
                answered_us = time_us()
            return msgspec.convert(
                {**answer, "asked_at": asked_us / 1e6, "answered_at": answered_us / 1e6}, Examination, strict=False
            )
        except (ServiceNotFound, MethodNotFound) as exc:
            return Examination(error=exc.text, is_older=True)
        except trio.TooSlowError:
            return Examination(error=f"no answer within {self._limit_s() + 1:.0f} s")
        except TrionetError as exc:
            return Examination(error=f"{type(exc).__name__}: {exc.text}")
        except (msgspec.ValidationError, TypeError) as exc:
            return Examination(error=f"its answer can't be read: {exc}", is_older=True)

    async def _try(self, node: NodeAddress, add: Callable[[Fault], None]) -> None:
        """Try to reach a node, by a connection and by datagrams."""
        can_connect = False
        with trio.move_on_after(_CONNECT_S):
            can_connect = await self._endpoint.can_connect(node)
        if not can_connect:
            add(Fault(str(node), "connect"))
        elif self.pinging.has_datagrams:
            if await self.pinging.arrives(node, Way.BOTH, _TRIES, self._ping_s):
                return
            ways: dict[Way, bool] = {}

            async def try_way(way: Way) -> None:
                ways[way] = await self.pinging.arrives(node, way, _TRIES, self._ping_s)

            async with open_plain_nursery() as nursery:
                for way in (Way.OUT, Way.BACK):
                    nursery.start_soon(try_way, way)
            if not (ways[Way.OUT] and ways[Way.BACK]):  # else some were lost
                add(Fault(str(node), "back" if ways[Way.OUT] else "out" if ways[Way.BACK] else "both"))

    def _facts(self, received_us: int, lag_s: float) -> NodeFacts:
        members = sorted(map(str, self._groups.known()))
        open_, limit, most = _files()
        certificates = self._endpoint.certificates
        keys, agent = self._endpoint.keys, self._node.keys.agent
        sealing = None if agent is None else agent.ring.keys.sealing
        return NodeFacts(
            version=__version__,
            python=platform.python_version(),
            profile=self._agent.config.profile,
            datagrams=self.pinging.has_datagrams,
            received_at=received_us / 1e6,
            sent_at=time_us() / 1e6,
            lag_s=round(lag_s, 4),
            stalls=self._agent.swim.counts.stalls if self._agent.has_begun else 0,
            members=members if len(members) <= _MOST_LISTED else [],
            members_digest=digest_of(members),
            gone=self._gone(),
            groups=self._group_facts(),
            files_open=open_,
            files_limit=limit,
            files_most=most,
            seals_with="" if sealing is None else sealing.hex(),
            has_key=bool(keys) or keys.is_certified,
            is_protected=not keys.accepts_plain,
            certificate_ends_at=0.0 if certificates is None else certificates.own.ends_at,
            barred=self._reports.barred(),
            unreachable=self._reports.unreachable(),
            seeks=list(self._agent.seeks[:_MOST_TRIED]),
        )

    def _gone(self) -> list[Gone]:
        if not self._agent.has_begun:
            return []
        now = self._agent.driver.now()
        names = {State.SUSPECT: "suspect", State.DEAD: "failed"}
        infos = [info for info in self._agent.swim.members() if info.state in names]
        return [Gone(one.name, names[one.state], round(now - one.since, 1)) for one in infos[:_MOST_LISTED]]

    def _group_facts(self) -> dict[str, GroupFacts]:
        found, own = {}, self._endpoint.address
        for gid in self._groups.gids()[:_MOST_LISTED]:
            if not self._groups.has(gid, own):  # then its set is its own affair
                continue
            sids = list(map(str, self._groups.members(gid)))
            listed = sids if len(sids) <= _MOST_TRIED else []
            found[gid] = GroupFacts(len(sids), digest_of(sids), listed, self._groups.rule(gid) is not None)
        return found

    def _is_given(self) -> bool:
        """Whether another node gives this one its keys at each of its starts, so that it needs no file."""
        agent = self._node.keys.agent
        report = None if agent is None else agent.ring.reports.get(self._own)
        return report is not None and report.is_given

    async def _key_facts(self) -> list[KeyFacts]:
        agent = self._node.keys.agent
        if agent is None:
            return []
        status = None
        with trio.move_on_after(_KEYS_S):
            status = await self._node.keys.status()
        if status is None:
            return []
        reports = agent.ring.reports
        found = []
        for key in status.keys:
            present = [one for one in status.members if one.is_present]
            lacking = [one.name for one in present if key.id not in one.holds]
            kept = {one.name for one in present if (made := reports.get(one.name)) is not None and made.is_given}
            volatile = [one.name for one in present if one.holds.get(key.id) == "volatile" and one.name not in kept]
            found.append(KeyFacts(key.id, key.state, key.seals, key.waits_for, lacking, volatile))
        return found


def next_ones(names: list[str], place: int) -> list[str]:
    """Return the names that follow in a circle, at most `_MOST_TRIED`."""
    return [*names[place + 1 :], *names[:place]][:_MOST_TRIED]


async def _lag_s() -> float:
    """Return the longest delay of this event loop during a second."""
    longest = 0.0
    until = trio.current_time() + _LAG_S
    while (due := trio.current_time() + _LAG_SAMPLE_S) <= until:
        await trio.sleep_until(due)
        longest = max(longest, trio.current_time() - due)
    return longest


def _files() -> tuple[int, int, int]:
    """Return the number of open files, its limit, and the most that this may be raised to; 0 for unknown."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return len(os.listdir("/dev/fd")) - 1, soft, hard
    except (ImportError, OSError, ValueError):  # not on Windows; or none is left
        return 0, 0, 0
