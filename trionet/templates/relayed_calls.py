"""A member's part in calls that go along a tree: it runs them, and relays them to others.

Invariants: a relayed call needs the rights of the principal in whose name it is made, and of each member that has
forwarded it. It runs as if its caller had called this node itself: with its id, parent and trace, and under its
deadline. It runs once: see `RelayedRuns`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import JSON, MESSAGEPACK
from trionet.current_call import answered_call
from trionet.errors import MalformedRequest, MessageTooLarge, RemoteError, TrionetError, error_to_wire
from trionet.identity import NodeAddress
from trionet.message import MAX_ID_CHARS, RELAYING, Call, is_relaying, valid_parent
from trionet.nurseries import open_background_nursery
from trionet.prepared_call import PreparedCall
from trionet.principal import ANYONE, Principal
from trionet.protocols.relaying import LEAST_ARITY, MOST_RELAYS, RelayedCall, unpacked_members
from trionet.services.base import rpc
from trionet.services.relayed_runs import RelayedRuns
from trionet.trace_headers import valid_trace
from trionet.trio_internals import time_left_s

from .base import Template
from .relaying import Relaying, fitting, size_of

if TYPE_CHECKING:
    from trionet.codec import Codec
    from trionet.services.comm import Comm

    from .base import GroupContext

__all__ = ["RelayedCalls"]

_BATCH_BYTES: Final = 32 * 1024
"""How large the answers of one item are together, about; a larger one is an item of its own."""

_ERROR_BYTES: Final = 256

_PAUSES: Final = 8
"""How much shorter the pauses between items are than the time that the answers have taken so far."""

_MOST_PAUSE_S: Final = 0.002


class RelayedCalls(Template):
    """Answers relayed calls; for nodes only, which call these methods by the group ``all``."""

    def __init__(self, context: GroupContext) -> None:
        super().__init__(context)
        self._runs: RelayedRuns | None = None
        if context.gid == RELAYING["relay"].gid:
            comm = context.local.comm
            self._runs = RelayedRuns(comm.life, comm.now_ns, comm.began_ns)

    @rpc
    async def relay(self, call: Any, way: Any, members: Any, arity: Any) -> AsyncGenerator[list[Any]]:
        """Run a call here and at `members`; yield ``[place, answer, None]`` or ``[place, None, error]`` for each.

        Args:
            call: a `RelayedCall` as plain data.
            way: the principals of the members that have forwarded it before the one that calls here.
            members: their addresses; see `packed_members`. Their places are from 1 on, and that of this node is 0.
            arity: into how many runs they are divided.
        """
        incoming = _Incoming(call, way, self.context.local.comm)
        if type(arity) is not int or arity < LEAST_ARITY:
            raise MalformedRequest(f"the arity of a tree is a number from {LEAST_ARITY} on, not {arity!r:.80}")
        addresses, comm = unpacked_members(members), self.context.local.comm
        rising = _Rising(len(addresses) + 1, comm)
        if len(incoming.onward) > MOST_RELAYS:
            raise MalformedRequest(f"a call is relayed by {MOST_RELAYS} members at most: use a greater arity")
        base = msgspec.structs.replace(comm.prepare([], {}, RELAYING["relay"]), id=incoming.call.id)
        relaying = Relaying(comm, incoming.call, addresses, arity, incoming.onward, base, rising)

        async def run_here() -> None:
            try:
                rising.put(0, await self._run(incoming), None)
            except TrionetError as exc:
                rising.put(0, None, exc.with_traceback(None))

        with comm.raising_orphans("raise", base):
            async with open_background_nursery() as nursery:
                nursery.start_soon(run_here)
                nursery.start_soon(relaying.run)
                while batch := await rising.batch():
                    yield batch

    @rpc
    async def answer(self, call: Any, way: Any, ticket: Any = None) -> Any:
        """Run a call here, once; return its answer.

        Args:
            call: a `RelayedCall` as plain data.
            way: the principals of the members that have forwarded it before the one that calls here.
            ticket: that of `recall`; None for a call that comes for the first time.
        """
        return await self._run(_Incoming(call, way, self.context.local.comm), ticket)

    @rpc
    async def recall(self, call: Any, way: Any) -> list[Any]:
        """Return the answer of a call that has run here; or since when this node knows that it has not, and a ticket.

        Args:
            call: a `RelayedCall` as plain data.
            way: the principals of the members that have forwarded it before the one that calls here.
        """
        incoming = _Incoming(call, way, self.context.local.comm)
        incoming.check(is_run_here=False)
        return list(await self._remembered.recall(incoming.key))

    @property
    def _remembered(self) -> RelayedRuns:
        if self._runs is None:
            raise MalformedRequest(f"calls are relayed by the group 'all', not by {self.context.gid!r}")
        return self._runs

    async def _run(self, incoming: _Incoming, ticket: Any = None) -> Any:
        runs = self._remembered
        incoming.check(is_run_here=incoming.key not in runs)
        return await runs.run(incoming.key, ticket, incoming.begin)


class _Incoming:
    """A relayed call that a member has to answer.

    Attributes:
        call: the call.
        key: what it is remembered by.
        onward: the way that the members have forwarded it, with the last one.
    """

    def __init__(self, call: Any, way: Any, comm: Comm) -> None:
        self.call: RelayedCall = _checked(call)
        self._caller = NodeAddress.of(self.call.caller)
        codec = JSON if self.call.is_json else MESSAGEPACK
        is_own = codec.content_type == comm.codec.content_type
        self._codec: Codec = comm.codec if is_own else codec.limited(comm.codec.max_containers)
        by = answered_call()
        if not isinstance(by, PreparedCall):
            raise MalformedRequest("nodes relay calls to each other: use group.options(tree=True).call(...)")
        self._received = received = by.call
        self._router, self._most_bytes = comm.router, comm.router.max_message_bytes
        if type(way) is not list or len(way) > MOST_RELAYS:
            raise MalformedRequest(f"the way of a relayed call is a list of up to {MOST_RELAYS} principals")
        self._way = [Principal.parse(text) for text in way]
        self.onward: list[str] = [*way, *([] if received.forwarder is None else [str(received.forwarder)])]
        access = comm.router.access
        is_named = access is not None and access.is_active  # else its calls to itself alone have a name
        self.key: object = (self.call.id, self.call.caller, (received.principal or ANYONE) if is_named else None)

    def check(self, *, is_run_here: bool) -> None:
        """Raise the error of the router unless all that have forwarded the call may make it.

        Args:
            is_run_here: whether the call is to run, for which the router checks whoever has sent it here.
        """
        if is_run_here and not self._way:
            return
        named = self._decoded(with_args=False)
        for forwarder in (*self._way, *(() if is_run_here else (self._received.forwarder,))):
            self._router.permitted(msgspec.structs.replace(named, forwarder=forwarder))

    def _decoded(self, *, with_args: bool = True) -> Call:
        call, received, codec = self.call, self._received, self._codec
        blobs = iter(call.blobs) if call.blobs else None
        args = codec.decode(call.args, blobs) if with_args else []
        if type(args) is not list:
            raise MalformedRequest(f"arguments are a list, not a {type(args).__name__}")
        return Call(
            gid=call.gid,
            service=call.service,
            method=call.method,
            args=args,
            kwargs=codec.decode(call.kwargs, blobs) if with_args and call.kwargs is not None else {},
            id=call.id,
            caller=self._caller,
            timeout_s=time_left_s(),
            inner_depth=received.inner_depth,
            principal=received.principal,
            forwarder=received.forwarder,
            key_id=received.key_id,
            parent=valid_parent(call.parent),
            trace=valid_trace(call.trace),
        )

    async def begin(self) -> tuple[Any, int]:
        """Run it; return its answer, and the size of that, 0 if it was refused before it ran."""
        try:
            prepared = self._router.prepare(self._decoded())
        except TrionetError as exc:
            return self._answer_of(exc, has_run=False), 0
        try:
            value = await self._router.run_own(prepared)
        except TrionetError as exc:
            answer = self._answer_of(exc)
        else:
            blobs: list[bytes] = []
            try:
                answer = fitting([True, self._codec.encode(value, blobs), blobs], self._codec, self._most_bytes)
            except TrionetError as exc:
                answer = self._answer_of(RemoteError.from_exception(exc))
        return answer, size_of(answer)

    def _answer_of(self, error: TrionetError, *, has_run: bool = True) -> list[Any]:
        return [False if has_run else None, self._codec.encode(error_to_wire(error)), []]


def _checked(plain: Any) -> RelayedCall:
    """Return a call that may be relayed."""
    call = RelayedCall.of(plain)
    if is_relaying(call):
        raise MalformedRequest(f"{call.gid}/{call.service}/{call.method} relays calls, and is not relayed itself")
    if not 0 < len(call.id) <= MAX_ID_CHARS:  # nodes remember it
        raise MalformedRequest(f"the id of a relayed call has 1 to {MAX_ID_CHARS} characters, not {len(call.id)}")
    return call


class _Rising:
    """The answers that a member is to stream up, in the order in which they have come.

    The first one is streamed at once. After that, those that come within a pause are streamed together: messages cost
    their receiver more than answers, and a caller gets the answers of all. The pause is short against the time that
    the answers take.
    """

    def __init__(self, expected: int, comm: Comm) -> None:
        """Expect an entry of each of `expected` members, to be sent by `comm`."""
        self._comm = comm
        self._entries: list[list[Any]] = []
        self._came = trio.Event()
        self._all_came = trio.Event()
        self._given = 0
        self._expected = expected
        self._begun_at = trio.current_time()
        self._next_at = -math.inf

    def take(self, place: int, answer: Any, *, is_asked_here: bool) -> None:
        """Handle the answer of a member; see `Taker`."""
        del is_asked_here
        try:
            self.put(place + 1, fitting(answer, self._comm.codec, self._comm.router.max_message_bytes), None)
        except MessageTooLarge as exc:  # one that can't be sent would end the stream, and the others with it
            self.put(place + 1, None, RemoteError.from_exception(exc))

    def take_failure(self, place: int, error: TrionetError, *, is_asked_here: bool) -> None:
        """Handle that there is no answer of a member; see `Taker`."""
        del is_asked_here
        self.put(place + 1, None, error)

    def put(self, place: int, answer: Any, error: TrionetError | None) -> None:
        """Add an entry."""
        self._entries.append([place, answer, error])
        self._came.set()
        if self._given + len(self._entries) == self._expected:
            self._all_came.set()

    async def batch(self) -> list[Any]:
        """Return the next entries; nothing after the last one."""
        if self._given == self._expected:
            return []
        if not self._entries:
            self._came = trio.Event()
            await self._came.wait()
        with trio.move_on_at(self._next_at):
            await self._all_came.wait()
        now = trio.current_time()
        self._next_at = now + min(_MOST_PAUSE_S, (now - self._begun_at) / _PAUSES)
        size, count = 0, 0
        for _, answer, error in self._entries:
            size += _ERROR_BYTES if error is not None else size_of(answer)
            if count and size > _BATCH_BYTES:
                break
            count += 1
        batch, self._entries = self._entries[:count], self._entries[count:]
        self._given += count
        return batch
