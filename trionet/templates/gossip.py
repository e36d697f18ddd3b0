"""News for every member of a group, and tasks that are repeated."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from trionet.errors import EmptyGroup, MalformedRequest
from trionet.message import Remote
from trionet.replies import Receipt, Replies
from trionet.services.base import rpc
from trionet.services.periodic import PeriodicTask

from .base import Template
from .fan_out import collect

__all__ = ["GroupGossip"]

_PAIR = 2


def _remote_of(value: Any) -> Remote:
    """Return `value`, or the remote whose fields it has: that is how it is written in JSON."""
    try:
        return msgspec.convert(value, Remote)
    except msgspec.ValidationError as exc:
        raise MalformedRequest(f"a remote has a service and a method: {exc}") from exc


class GroupGossip(Template):
    """The group-wide service ``gossip``."""

    @rpc
    async def send(
        self, args: list[Any] | tuple[Any, ...], remote: Remote, *, kwargs: Mapping[str, Any] | None = None
    ) -> Receipt:
        """Have every live member of the group, this node included if it is one, make a call to itself, once.

        Returns as soon as the first hop has the rumor: it neither waits for the call anywhere nor tells what it
        returns. A member where the call fails reports it by itself (the log, and a `RumorFailed` event), and passes
        the rumor on all the same. Members that can't be reached get it when they can, within the time that rumors are
        kept.

        Args:
            args: the positional arguments.
            remote: what to call; it names no node.
            kwargs: the keyword arguments.

        Returns:
            The rumor's id, and the maps of the first hop; see `Receipt.wait_spread` for what comes after.

        Raises:
            EmptyGroup: the group has no members.
            GroupNotFound: it has been deleted.
            MalformedRequest: the arguments are no list, or the remote names a node, or no service or method.
            EncodeError: an argument can't travel.
            MessageTooLarge: the arguments are over the limit of this node.
            TemporarilyUnavailable: the node is stopping.
        """
        remote = _remote_of(remote)
        if not self.context.members():
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        gossip = self.context.local.gossip
        rumor_id, packets = gossip.start(self.context.gid, args, kwargs or {}, remote)
        members = {node.sid: node for node in packets}
        replies: Replies[bool] = await collect(members, lambda node: gossip.hand_over(node, packets[node]))
        wait = functools.partial(gossip.wait_spread, self.context.gid, rumor_id)
        return Receipt(rumor_id, replies.values, replies.errors, wait)

    @rpc
    async def at(
        self,
        interval_s: float,
        method: Callable[[], Any] | tuple[list[Any], Remote] | list[Any],
        *,
        jitter_s: float = 0.0,
    ) -> str:
        """Start a periodic task on this node, which ends with `del_`, with the group, or with the node.

        Args:
            interval_s: the first run comes after so many seconds, at least 0.001, and the next ones at whole multiples.
                A run that takes longer than that is not overlapped: what it misses is left out.
            method: what to run: a function without arguments, sync or async; or ``(args, remote)``, to be gossiped in
                this group each time.
            jitter_s: each run is put off by a random time up to this.

        Returns:
            An id that is unique over all nodes and names this one as the owner.

        Raises:
            GroupNotFound: the group has been deleted.
            MalformedRequest: an argument is none of these.
            TemporarilyUnavailable: the node is stopping.
        """
        self.context.members()
        run, what = self._to_run(method)
        own, tasks = self.context.own, self.context.local.gossip.tasks_of_node
        return tasks.start(own, self.context.gid, interval_s, jitter_s, what, run)

    def _to_run(self, method: Any) -> tuple[Callable[[], Any], str]:
        if callable(method):
            return method, getattr(method, "__qualname__", repr(method))
        if not (isinstance(method, tuple | list) and len(method) == _PAIR):
            raise MalformedRequest(f"a periodic task is a function, or (args, remote), not {method!r:.80}")
        args, remote = method[0], _remote_of(method[1])
        if not isinstance(args, list | tuple):
            raise MalformedRequest(f"the arguments are a list, not {args!r:.80}")
        remote.check(with_node=False)

        def run() -> Awaitable[Any]:
            return self.send(list(args), remote)

        return run, f"gossip {remote.service}/{remote.method}"

    @rpc
    async def del_(self, task_id: str) -> bool:
        """End a periodic task, on whichever member it is; see `Gossip.del_`."""
        return await self.context.local.gossip.del_(task_id)

    @rpc
    async def tasks(self) -> Replies[list[PeriodicTask]]:
        """Return the periodic tasks that each member has in this group."""
        return await self.fan_out([self.context.gid], Remote(service="gossip", method="tasks"))
