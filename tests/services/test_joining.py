"""Nodes that find only themselves behind a name."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from trionet.errors import MalformedRequest
from trionet.services.joining import LONGEST_PAUSE_S, seek_others


async def test_a_node_alone_behind_a_name_looks_again_until_there_is_another_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list[list[Any]] = []

    async def join(names: list[Any]) -> None:
        await trio.lowlevel.checkpoint()
        asked.append(names)
        if len(asked) < 3:
            raise MalformedRequest("there is no seed but this node itself")

    began = autojump_clock.current_time()
    await seek_others(join, ["10.0.0.1:8080", "nodes.example:8080"], lambda: True)
    assert asked == [["nodes.example:8080"]] * 3
    assert autojump_clock.current_time() - began == 3 * LONGEST_PAUSE_S
    await seek_others(join, ["10.0.0.1:8080", "[::1]:8080"], lambda: True)
    await seek_others(join, ["nodes.example:8080"], lambda: False)
    assert len(asked) == 3
