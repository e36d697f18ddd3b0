"""Long `bytes` wherever they may be in calls, over sockets, plain and sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.security.keys import key_of
from tests.transports.link.ends import call, links
from trionet import DecodeError, NodeConfig, Remote, RemoteError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from trionet import Node

    Start = Callable[..., Awaitable[Node]]

LONG = bytes(range(256)) * 4096
VALUE = [{"one": LONG, "more": (LONG[1:], [b"short"])}, frozenset({LONG[2:]}), LONG]


def either(*args: Any, **kwargs: Any) -> list[Any]:
    return [*args, *kwargs.values()]


async def items(count: int) -> AsyncGenerator[Any]:
    for number in range(count):
        yield [number, LONG]


@pytest.mark.parametrize("is_sealed", [False, True], ids=["plain", "sealed"])
async def test_long_bytes_arrive_in_arguments_answers_items_and_answers_of_groups(
    start: Start, is_sealed: bool, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(key_of(1).reveal())
    (tmp_path / "key").chmod(0o600)
    config = NodeConfig(key_file=str(tmp_path / "key")) if is_sealed else NodeConfig()
    one, other = await start(config, either=either), await start(config, either=either, items=items)
    assert await call(one, other, "either", VALUE, kwargs={"last": LONG}) == [VALUE, LONG]
    assert await call(one, one, "either", VALUE, kwargs={"last": LONG}) == [VALUE, LONG]
    async with one.local.comm.stream([3], Remote(node=other.address, service="probe", method="items")) as found:
        assert [item async for item in found] == [[number, LONG] for number in range(3)]
    await one.local.groups.put("both", [one.address, other.address])
    replies = await one.group("both").comm.send([VALUE], Remote(service="probe", method="either"))
    assert list(replies.values.values()) == [[VALUE]] * 2
    assert len(links(one)) == 1


async def test_a_text_that_cannot_travel_beside_long_bytes_is_an_error_of_its_call_alone(start: Start) -> None:
    bad = [LONG, "\ud800"]

    async def in_task() -> list[Any]:
        return bad

    async def in_stream() -> AsyncGenerator[Any]:
        yield bad

    one, other = await start(), await start(at_once=lambda: bad, in_task=in_task, in_stream=in_stream)
    for method in ("at_once", "in_task"):
        with pytest.raises(RemoteError, match=r"at \$\[1\]: a lone surrogate"):
            await call(one, other, method)
    stream = one.local.comm.stream([], Remote(node=other.address, service="probe", method="in_stream"))
    async with stream as found:
        with pytest.raises(RemoteError, match=r"at \$\[1\]: a lone surrogate"):
            await anext(found)
    assert len(links(other)) == 1


async def test_containers_behind_long_bytes_are_counted(start: Start) -> None:
    one, other = await start(), await start(NodeConfig(max_message_containers=1_000))
    with pytest.raises(DecodeError, match="more than 1,000 lists"):
        await call(one, other, "echo", [LONG] + [[]] * 1_500)
    value: list[Any] = [LONG] + [[]] * 900
    assert await call(one, other, "echo", value) == (value,)
