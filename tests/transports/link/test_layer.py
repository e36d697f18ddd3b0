"""A layer that transforms the bytes of all links, encryption for example, on sockets and on a fabric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.protocols.link.ends import GivenChannel
from tests.protocols.link.test_channel import Records
from tests.security.sealed import WatchedChannel, WatchedKey
from tests.waiting import DEADLINE_S
from trionet import ConnectionLost, Node, NodeAddress, Remote, open_node
from trionet.protocols.link.handshake import Handshake
from trionet.transports.link.transport import LinkTransport
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.protocols.link.channel import LinkKey

MARKER = b"a text that is hidden on the wire"
LARGE = 5_000_000


class Tell:
    """The service ``probe``."""

    def __init__(self) -> None:
        self.cancelled = trio.Event()

    def echo(self, *args: Any) -> list[Any]:
        return list(args)

    async def wait(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.set()

    async def count(self, most: int) -> AsyncGenerator[bytes]:
        for number in range(most):
            yield bytes([number % 256]) * 1000


def _on(node: Node, method: str) -> Remote:
    return Remote(node=node.address, service="probe", method=method)


@pytest.fixture(params=["records", "sealed"])
def channels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Records] | list[WatchedChannel]:
    """Put a layer under all links; returns the channels that have been made."""
    records, key = list[Records](), WatchedKey(rekey_bytes=100_000)

    def new_key() -> LinkKey:
        if request.param == "sealed":
            return key
        records.append(Records(65_000))
        return GivenChannel(records[-1])

    def new_handshake(transport: LinkTransport, node: NodeAddress | None = None) -> Handshake:
        return Handshake(transport.handshakes._hello, is_initiator=node is not None, keys=[new_key()])  # noqa: SLF001

    monkeypatch.setattr(LinkTransport, "new_handshake", new_handshake)
    return key.channels if request.param == "sealed" else records


@pytest.mark.parametrize("on_fabric", [False, True], ids=["on sockets", "on a fabric"])
async def test_nodes_call_each_other_through_a_layer_under_their_links(
    channels: list[Records] | list[WatchedChannel], *, on_fabric: bool
) -> None:
    fabric, probe = MemoryFabric() if on_fabric else None, Tell()
    async with open_node(fabric=fabric) as one, open_node(fabric=fabric) as other:
        methods = {"echo": probe.echo, "wait": probe.wait, "count": probe.count}
        await other.local.routes.put(methods, "probe")
        call = one.local.comm.send
        assert await call([MARKER], _on(other, "echo")) == [MARKER]
        assert await call([bytes(LARGE)], _on(other, "echo")) == [bytes(LARGE)]
        async with one.local.comm.stream([600], _on(other, "count")) as items:
            assert sum([len(item) async for item in items]) == 600_000
        with trio.move_on_after(0.05) as scope:
            await call([], _on(other, "wait"))
        assert scope.cancelled_caught
        with trio.fail_after(DEADLINE_S):
            await probe.cancelled.wait()
        assert one.statistics().calls_orphaned == 0
    assert len(channels) == 2
    assert all(channel.read_bytes > LARGE for channel in channels)


def _forged(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


async def test_a_layer_that_finds_a_forged_record_closes_the_link(
    channels: list[Records] | list[WatchedChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = MemoryFabric()
    async with open_node(fabric=fabric) as one, open_node(fabric=fabric) as other:
        await other.local.routes.put({"echo": lambda *args: list(args)}, "probe")
        await one.local.comm.send([1], _on(other, "echo"))
        initiator, kind = channels[0], type(channels[0])
        send: Callable[[Any, bytes], bytes] = kind.send
        monkeypatch.setattr(
            kind, "send", lambda it, data: _forged(send(it, data)) if it is initiator else send(it, data)
        )
        with pytest.raises(ConnectionLost, match="closed it"):
            await one.local.comm.send([2], _on(other, "echo"))
