"""A call that goes to the members of a group along a tree: what its caller and the members on the way have in common.

A member runs the call itself, sends it on to the rest of its run, and streams the answers up as they come. A stream
gives what a tree needs: flow control, deadlines, and a cancellation that is confirmed when the handlers below have
ended. Answers travel as bytes, which only the caller decodes.

Invariants: a member gives one entry for itself and for each of its rest, unless its stream fails: the answer, or why
there is none. It repeats nothing: what to do about a lost member is the caller's matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import ConnectionLost, MessageTooLarge, TrionetError, known_kind
from trionet.message import RELAYING
from trionet.nurseries import open_plain_nursery
from trionet.protocols.relaying import packed_members, runs_of

from .fan_out import Outcomes, collect
from .gathering import Gathering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from typing import Protocol

    from trionet.codec import Codec
    from trionet.identity import SID, NodeAddress
    from trionet.protocols.relaying import RelayedCall
    from trionet.services.comm import Comm
    from trionet.transports.base import Request

    class Taker(Protocol):
        """Takes what becomes of a relayed call; members are named by their places."""

        def take(self, place: int, answer: Any, *, is_asked_here: bool) -> None:
            """Handle the answer of a member; `is_asked_here`: whether this node has asked it itself."""

        def take_failure(self, place: int, error: TrionetError, *, is_asked_here: bool) -> None:
            """Handle that there is no answer of a member."""


__all__ = ["Relaying", "checked", "entries_of", "fitting", "size_of"]

_ENTRY_BYTES: Final = 16
_HEAD_BYTES: Final = 128
"""What surrounds the only answer of an item, at most."""


class Relaying:
    """Sends a call to some members, and by way of some of them to the others.

    Attributes:
        comm: sends it.
        taker: takes the answers.

    Args:
        call: the call.
        members: whom to call; a place is an index in it.
        arity: into how many runs they are divided.
        way: the principals of the members that have forwarded it so far.
        base: a request that has the id, the depth and the principal of those to send.
    """

    def __init__(
        self,
        comm: Comm,
        call: RelayedCall,
        members: Sequence[NodeAddress],
        arity: int,
        way: list[str],
        base: Request,
        taker: Taker,
    ) -> None:
        self.comm: Comm = comm
        self._plain = call.plain()
        self._members = members
        self._arity = arity
        self._way = way
        self._base = base
        self.taker: Taker = taker

    async def run(self) -> None:
        """Send it, and wait for all that becomes of it."""
        alone: list[int] = []
        async with open_plain_nursery() as nursery:
            for begin, end in runs_of(len(self._members), self._arity):
                if end - begin == 1:
                    alone.append(begin)
                else:
                    nursery.start_soon(self._follow, begin, end)
            if alone:
                await self.ask(alone)

    def request(self, method: str, *args: Any) -> Request:
        """Return the request that calls a method of `RELAYING` with this call and more arguments."""
        comm, remote, blobs = self.comm, RELAYING[method], list[bytes]()
        return msgspec.structs.replace(
            self._base,
            gid=remote.gid,
            service=remote.service,
            method=remote.method,
            args=comm.codec.encode([self._plain, self._way, *args], blobs),
            kwargs=None,
            trace=b"",
            blobs=blobs,
        )

    async def ask(self, places: list[int]) -> None:
        """Call the members at some places, which have no rest."""
        request = self.request("answer")

        def call(node: NodeAddress) -> Awaitable[Any]:
            return self.comm.call_unrecorded(node, request)

        nodes = {str(place): self._members[place] for place in places}  # a peer may name a member twice
        gathering = Gathering(self.comm, request, is_each_awaited=True)
        await collect(nodes, call, gathering=gathering, outcomes=_Alone(self.taker))

    async def _follow(self, begin: int, end: int) -> None:
        """Call the first member of a run, which calls the rest, and take what becomes of them."""
        run = _Run(self.taker, begin, self._members[begin], end - begin)
        request = self.request("relay", packed_members(self._members[begin + 1 : end]), self._arity)
        try:
            with self.comm.departures.handling(run.head, run.give_up_rest):
                async with self.comm.open_items_unrecorded(run.head, request) as batches:
                    async for batch in batches:
                        run.take(batch)
            run.fail(ConnectionLost("it has relayed no answer of this member"))
        except TrionetError as exc:
            run.fail(_without_traceback(exc))


class _Run:
    """What becomes of the members of a run, whose first one is its head; places are from the head on.

    Args:
        taker: takes it.
        begin: the head's place for the taker.
        head: the head.
        count: how many members the run has.
    """

    def __init__(self, taker: Taker, begin: int, head: NodeAddress, count: int) -> None:
        self.head: NodeAddress = head
        self._taker = taker
        self._begin = begin
        self._left = dict.fromkeys(range(count))
        self._given_up: set[int] = set()

    def take(self, batch: Any) -> None:
        """Handle what the head has streamed.

        Raises:
            ConnectionLost: that can't be.
        """
        for place, answer, error in entries_of(batch):
            if place in self._given_up:
                continue
            if place not in self._left:
                raise ConnectionLost("it has relayed an answer of nobody, or two of one member")
            del self._left[place]
            if error is None:
                self._taker.take(self._begin + place, answer, is_asked_here=place == 0)
            else:
                self._taker.take_failure(self._begin + place, error, is_asked_here=False)

    def give_up_rest(self) -> None:
        """Handle that the head has failed or left: it may be silent for long. Its own answer may still come."""
        rest = [place for place in self._left if place]
        self._given_up.update(rest)
        for place in rest:
            self._lose(place, ConnectionLost("this member has failed or left"))

    def fail(self, failure: TrionetError) -> None:
        """Handle the end of the stream."""
        for place in list(self._left):
            self._lose(place, failure)

    def _lose(self, place: int, failure: TrionetError) -> None:
        del self._left[place]
        error = failure if place == 0 else _by_way_of(self.head, failure)
        self._taker.take_failure(self._begin + place, error, is_asked_here=place == 0)


class _Alone(Outcomes):
    """The outcomes of members that were asked here, and have no rest; keyed by their places."""

    def __init__(self, taker: Taker) -> None:
        super().__init__(None)
        self.taker = taker

    def note(self, sid: SID, value: Any, error: TrionetError | None) -> None:
        """Handle the answer of a member, or why there is none."""
        place = int(sid)
        if error is None:
            try:
                self.taker.take(place, checked(value), is_asked_here=True)
            except ConnectionLost as exc:
                error = exc
        if error is not None:
            self.taker.take_failure(place, _without_traceback(error), is_asked_here=True)


def checked(answer: Any) -> list[Any]:
    """Return the answer of a member: whether it is a value, its encoded bytes, and its blobs.

    The first is None for the error of a call that was refused, and has not run.

    Raises:
        ConnectionLost: it is none.
    """
    match answer:
        case [bool() | None as ok, bytes(data), list(blobs)] if all(type(blob) is bytes for blob in blobs):
            return [ok, data, blobs]
    raise ConnectionLost("what it has answered can't be read here")


def size_of(answer: list[Any]) -> int:
    """Return how many bytes an answer takes, about."""
    return _ENTRY_BYTES + len(answer[1]) + sum(map(len, answer[2]))


def fitting(answer: list[Any], codec: Codec, limit_bytes: int) -> list[Any]:
    """Return an answer.

    Raises:
        MessageTooLarge: it is too long for a message of `limit_bytes` in which it travels as bytes.
    """
    most, size = codec.most_bytes(limit_bytes) - _HEAD_BYTES, size_of(answer)
    if size > most:
        raise MessageTooLarge(
            f"an answer of {size:,} bytes is over the limit of {most:,} bytes of those that go along a tree: "
            f"max_message_bytes"
        )
    return answer


def entries_of(batch: Any) -> list[tuple[int, Any, TrionetError | None]]:
    """Return the entries that a member has streamed: the place of a member, and its answer, or why there is none.

    Raises:
        ConnectionLost: these are no entries.
    """
    try:
        return [_entry(place, answer, error) for place, answer, error in batch]
    except (TypeError, ValueError) as exc:
        raise ConnectionLost(f"what it has relayed can't be read here: {exc}") from exc


def _entry(place: Any, answer: Any, error: Any) -> tuple[int, Any, TrionetError | None]:
    if type(place) is not int:
        raise TypeError(f"{type(place).__name__} is no place")
    if error is None:
        return place, checked(answer), None
    if not isinstance(error, TrionetError):
        raise TypeError(f"{type(error).__name__} is no error")
    return place, None, error


def _by_way_of(head: NodeAddress, error: TrionetError) -> TrionetError:
    """Return the error of a member that was to be called by way of another one."""
    kind = known_kind(type(error))
    return kind(f"by way of {head}: {error.text}", **{name: getattr(error, name) for name in kind.fields})


def _without_traceback(error: TrionetError) -> TrionetError:
    """Return an error whose frames don't refer to it."""
    return error.with_traceback(None)
