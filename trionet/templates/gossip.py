"""Rumors for every member of a group, and periodic tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, Concatenate, Final, ParamSpec

from trionet.errors import EmptyGroup, MalformedRequest
from trionet.identity import check_name
from trionet.message import Remote, check_args, check_kwargs
from trionet.replies import Receipt, Replies
from trionet.services.base import rpc
from trionet.services.marks import mark_of
from trionet.services.periodic import PeriodicTask

from .base import Template
from .fan_out import collect
from .rumor_calls import RumorCalls

__all__ = ["GroupGossip"]

P = ParamSpec("P")

_PAIR: Final = 2
_LONGEST_BY_POSITION_S: Final = 60.0


class GroupGossip(Template):
    """The group-wide service ``gossip``."""

    @rpc
    async def send(
        self, args: list[Any] | tuple[Any, ...], remote: Remote, *, kwargs: Mapping[str, Any] | None = None
    ) -> Receipt:
        """Make every live member of the group, this node included if it is one, call itself, once.

        Returns once the first hop has the rumor: results of the calls are not collected. A failed call is reported on
        its member, by the log and a `RumorFailed` event, and does not stop the rumor. Unreachable members get it later,
        within the retention time of rumors.

        Args:
            args: the positional arguments.
            remote: the method to call; without a node.
            kwargs: the keyword arguments.

        Returns:
            The rumor's id, and the maps of the first hop; see also `Receipt.wait_spread`.

        Raises:
            EmptyGroup: the group has no members.
            GroupNotFound: this node has deleted it.
            MalformedRequest: the arguments are no list, or the remote has a node, or no service or method.
            EncodeError: an argument can't travel.
            MessageTooLarge: the arguments are over the limit.
            TemporarilyUnavailable: the node is stopping.
        """
        remote = Remote.of(remote, with_node=False)
        if not self.context.members():
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        gossip, spans = self.context.local.gossip, self.context.local.comm.active_spans
        with nullcontext() if spans is None else spans.rumor(self.context.gid, remote) as describe:
            rumor_id, packets = gossip.start(self.context.gid, args, check_kwargs(kwargs), remote)
            if describe is not None:
                describe(rumor_id, len(packets))
            members = {node.sid: node for node in packets}
            replies: Replies[bool] = await collect(members, lambda node: gossip.hand_over(node, packets[node]))
        wait = functools.partial(gossip.wait_spread, self.context.gid, rumor_id)
        return Receipt(rumor_id, replies.values, replies.errors, wait)

    def options(self, *, service: str) -> RumorCalls:
        """Return `call` for a service of another name than that of the method's class.

        Raises:
            MalformedRequest: the name is malformed.
        """
        return RumorCalls(self.send, check_name(service, "service name"))

    async def call(
        self, method: Callable[Concatenate[Any, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Receipt:
        """Make every live member of the group call a method of its own, once; see `send`.

        ::

            receipt = await group.gossip.call(Counter.add, 1)

        Args:
            method: a method marked with ``trionet.rpc``, as an attribute of its class; no stream.
            *args: its positional arguments.
            **kwargs: those by name.

        Raises the errors of `send`.

        Raises:
            MalformedRequest: it is no such method, or the arguments don't fit; nothing was sent.
        """
        return await RumorCalls(self.send, None).call(method, *args, **kwargs)

    @rpc
    async def at(
        self,
        interval: float | None = None,
        /,
        method: Callable[[], Any] | tuple[list[Any], Remote] | list[Any] | None = None,
        *,
        interval_s: float | None = None,
        jitter_s: float = 0.0,
    ) -> str:
        """Start a periodic task on this node; it ends with `del_`, with the group, or with the node.

        Args:
            interval: the interval, in seconds, by position; at most 60, because larger numbers are often milliseconds.
            method: a function without arguments, sync or async; or ``(args, remote)``, to gossip in this group. One
                that is marked with ``rpc(thread=True)`` runs in a worker thread.
            interval_s: the interval in seconds, by name, in place of `interval`; at least 0.001. The first run is after
                one interval, the next ones at its multiples. Runs never overlap: those missed by a long run are
                skipped.
            jitter_s: the largest random delay of each run.

        Returns:
            An id that is unique over all nodes and names this one as its owner.

        Raises:
            GroupNotFound: the group has been deleted.
            MalformedRequest: an argument is invalid, or the interval is given twice, or not at all.
            TemporarilyUnavailable: the node is stopping.
        """
        self.context.members()
        seconds = _interval_s(interval, interval_s)
        run, what = self._to_run(method)
        own, tasks = self.context.own, self.context.local.gossip.tasks_of_node
        return tasks.start(own, self.context.gid, seconds, jitter_s, what, run)

    def _to_run(self, method: Any) -> tuple[Callable[[], Any], str]:
        if callable(method):
            name, mark = getattr(method, "__qualname__", type(method).__qualname__), mark_of(method)
            if mark is None or not mark.thread:
                return method, name
            tasks = self.context.local.gossip.tasks_of_node
            return tasks.in_thread(method, abandon_on_cancel=mark.abandon_on_cancel), name
        if inspect.iscoroutine(method):
            method.close()
            name = method.__name__
            raise MalformedRequest(f"a periodic task is a function that is called each time: {name}, not {name}()")
        if not (isinstance(method, tuple | list) and len(method) == _PAIR):
            raise MalformedRequest(f"a periodic task is a function, or (args, remote), not {method!r:.80}")
        args, remote = check_args(method[0]), Remote.of(method[1], with_node=False)

        def run() -> Awaitable[Any]:
            return self.send(list(args), remote)

        return run, f"gossip {remote.service}/{remote.method}"

    @rpc
    async def del_(self, task_id: str) -> bool:
        """End a periodic task of any member; see `Gossip.del_`."""
        return await self.context.local.gossip.del_(task_id)

    @rpc(read=True)
    async def tasks(self) -> Replies[list[PeriodicTask]]:
        """Return each member's periodic tasks in this group."""
        return await self.fan_out([self.context.gid], Remote(service="gossip", method="tasks"))


def _interval_s(by_position: Any, by_name: Any) -> Any:
    """Return the interval, which `PeriodicTasks.start` checks.

    Raises:
        MalformedRequest: there is none, or there are two, or the one by position looks like milliseconds.
    """
    if (by_position is None) == (by_name is None):
        raise MalformedRequest("a periodic task has one interval: at(5.0, function), or at(interval_s=5.0, ...)")
    if by_name is not None:
        return by_name
    if isinstance(by_position, int | float) and by_position > _LONGEST_BY_POSITION_S:
        raise MalformedRequest(
            f"the interval is in seconds: {by_position!r:.40} are more than a minute. Where milliseconds were meant, "
            f"divide by 1,000; where not, name it: interval_s={by_position!r:.40}"
        )
    return by_position
