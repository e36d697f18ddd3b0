"""Tells other members of a node's keys, and hears of theirs: by calls over sealed links, never by another way.

Invariants: key material goes only to a member whose link is sealed with a key that is not retired, and only in the
answer to its own question. So who holds nothing but a retired key gets no other one.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.current_call import current_call
from trionet.errors import ConnectionLost, MalformedRequest, NotPermitted, TrionetError
from trionet.log_limits import about, limited_log
from trionet.message import LOCAL
from trionet.nesting import current_depth
from trionet.security.key_news import KeyNews, decode_news, digest_of, encode_news
from trionet.security.key_statements import KeyState
from trionet.transports.base import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from trionet.identity import NodeAddress
    from trionet.security.key_ring import KeyRing
    from trionet.transports.base import Links

__all__ = ["KeyExchange", "reload_all", "sealed_call"]

_log = limited_log(__name__)

_CALL_S: Final = 10.0
_AT_ONCE: Final = 16
_BITS: Final = 64


def sealed_call(ring: KeyRing) -> bytes:
    """Return the id of the key of the link by which the running call came; a key that is held.

    Raises:
        NotPermitted: it came by another way.
    """
    call = current_call()
    if call.key_id and call.key_id in ring.keys:
        return call.key_id
    _log.warning(
        "a call of keys/%s from %s was refused: it did not come over a sealed link",
        call.method,
        call.caller,
        extra=about(call.caller, service="keys", method=call.method, call_id=call.id),
    )
    raise NotPermitted(f"keys/{call.method} is for nodes of the cluster, over sealed links only")


async def reload_all(links: Links, own: NodeAddress, nodes: Iterable[NodeAddress], random: Random) -> set[NodeAddress]:
    """Have nodes read their key files, over whatever links there are; return which have, and log the others."""
    args = links.codec.encode([])
    done: set[NodeAddress] = set()

    async def reload(node: NodeAddress) -> None:
        name = f"keys-{random.getrandbits(_BITS):016x}"
        request = Request(LOCAL, "keys", "reload", args, None, name, own, current_depth())
        try:
            with trio.fail_after(_CALL_S):
                await links.call(node, request)
                done.add(node)
        except (TrionetError, trio.TooSlowError) as exc:
            _log.warning("the spawned node %s has not read its key file: %s", node, exc, extra=about(node))

    async with trio.open_nursery() as nursery:
        for node in sorted(nodes):
            nursery.start_soon(reload, node)
    return done


class KeyExchange:
    """Exchanges news of one node's ring with other nodes."""

    def __init__(
        self, own: NodeAddress, links: Links, ring: KeyRing, random: Random, changed: Callable[[], Any]
    ) -> None:
        """Exchange the news of `ring` over `links`; await ``changed()`` after each change of the ring."""
        self._own = own
        self._links = links
        self._ring = ring
        self._changed = changed
        self._prefix = f"keys-{random.getrandbits(_BITS):016x}"
        self._numbers = itertools.count(1)

    async def with_all(self, nodes: Iterable[NodeAddress]) -> None:
        """Exchange news with nodes, several at a time; those that can't be reached are skipped."""
        limit = trio.CapacityLimiter(_AT_ONCE)

        async def exchange(node: NodeAddress) -> None:
            async with limit:
                await self.with_one(node)

        async with trio.open_nursery() as nursery:
            for node in sorted(nodes):
                if node != self._own:
                    nursery.start_soon(exchange, node)

    async def with_one(self, node: NodeAddress) -> bool:
        """Exchange news with a node; return whether it answered."""
        try:
            with trio.fail_after(_CALL_S):
                await self._exchange(node)
        except (TrionetError, trio.TooSlowError) as exc:
            _log.debug("no news of keys from %s: %s", node, exc)
            return False
        return True

    async def step_all(self, nodes: Iterable[NodeAddress], step: str, without: Iterable[str]) -> list[str]:
        """Have nodes take a step of a rollout, one after the other; return what those say that have not taken it."""
        late, args = [], self._links.codec.encode([step, list(without)])
        for node in sorted(set(nodes) - {self._own}):
            try:
                with trio.fail_after(_CALL_S):
                    await self._exchange(node)
                    await self._call(node, "take_step", args)
            except (TrionetError, trio.TooSlowError) as exc:
                late.append(f"{node} ({exc})")
        return late

    async def _exchange(self, node: NodeAddress) -> None:
        answer = await self._send(node, self._news())
        await self.absorb(answer)
        materials = self._ring.keys.material_for(answer.wanted)
        reports = tuple(self._ring.reports) if answer.digest != digest_of(self._ring.reports) else ()
        if materials or reports:
            await self.absorb(await self._send(node, self._news(reports=reports, materials=materials)))

    async def _send(self, node: NodeAddress, news: KeyNews) -> KeyNews:
        args = self._links.codec.encode([encode_news(news)])
        try:
            return decode_news(await self._call(node, "exchange", args))
        except MalformedRequest as exc:
            raise ConnectionLost(f"{node} answered otherwise than a node: {exc.text}") from exc

    async def _call(self, node: NodeAddress, method: str, args: bytes) -> Any:
        name = f"{self._prefix}-{next(self._numbers):x}"
        request = Request(LOCAL, "keys", method, args, None, name, self._own, current_depth())
        return await self._links.call_sealed(node, request, self._ring.keys.dialing.__contains__)

    def _news(self, **more: Any) -> KeyNews:
        ring = self._ring
        news = KeyNews(
            ring.keys.statements(),
            (ring.report(),),
            digest_of(ring.reports),
            ring.keys.wanted(),
            members=ring.unreported,
        )
        return msgspec.structs.replace(news, **{name: value for name, value in more.items() if value})

    async def receive(self, data: object) -> bytes:
        """Handle the news of the node whose call is being answered; return this node's.

        Raises:
            MalformedRequest: these are no news.
            NotPermitted: they came otherwise than over a sealed link.
        """
        key_id, ring = sealed_call(self._ring), self._ring
        news = decode_news(data)
        await self.absorb(news)
        is_trusted = key_id in ring.keys and ring.keys.state(key_id) < KeyState.RETIRED
        materials = ring.keys.material_for(news.wanted) if is_trusted else ()
        reports = tuple(ring.reports) if digest_of(ring.reports) != news.digest else ()
        return encode_news(self._news(reports=reports, materials=materials))

    async def absorb(self, news: KeyNews) -> None:
        """Take the news of another node."""
        ring = self._ring
        ring.note_members(news.members)
        is_new = ring.keys.merge(news.statements)
        is_new = ring.merge_reports(news.reports) or is_new
        is_new = ring.keys.take_material(news.materials) or is_new
        if is_new:
            await self._changed()
