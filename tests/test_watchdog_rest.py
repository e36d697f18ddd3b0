"""The rest of the watchdog's thread: what ends it, and what it costs a handler that begins."""

from __future__ import annotations

import logging
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
import trio

from tests.waiting import DEADLINE_S, wait_until
from trionet import Remote, open_node, rpc, watchdog
from trionet.watchdog import BLOCKED_S, Watchdog

HOUR: bytes = struct.pack("4l", 0, 0, 3600, 0)


class Shop:
    @rpc
    def quick(self) -> None: ...

    @rpc
    def blocking(self) -> None:
        time.sleep(BLOCKED_S + 0.6)


def resting() -> bool:
    """Return whether the thread rests, in a wait without the lock."""
    (thread,) = (each for each in threading.enumerate() if each.name == "trionet watchdog")
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001
    return Watchdog.of_this_run().is_resting and frame is not None and frame.f_code.co_name == "wait"


def switches() -> list[str]:
    """Return whether the thread sleeps, and how often it has gone to sleep, and has been put off its processor."""
    (thread,) = (each for each in threading.enumerate() if each.name == "trionet watchdog")
    lines = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii").splitlines()
    return [line for line in lines if line.startswith("State:") or "ctxt_switches" in line]


async def fallen_asleep() -> list[str]:
    """Return the switches once the thread sleeps in its rest.

    While the loop waits it does not hold Python's lock: a thread that is to run does so, or is no sleeper but waits for
    a processor; and one that waits for the lock wakes all the time.
    """
    with trio.fail_after(DEADLINE_S):
        while True:
            before = switches()
            await trio.sleep(0.05)
            if resting() and "State:\tS (sleeping)" in before and switches() == before:
                return before


@pytest.mark.skipif(sys.platform != "linux", reason="timers with descriptors are Linux's")
async def test_a_handler_that_begins_wakes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node() as node:
        await node.local.routes.put(Shop(), "shop")
        quick = Remote(node=node.address, service="shop", method="quick")
        await node.local.comm.send([], quick)
        before = await fallen_asleep()
        monkeypatch.setattr(watchdog._TimedRest, "_END_SOON", HOUR)  # noqa: SLF001  so that a late call is no failure
        await node.local.comm.send([], quick)
        assert not Watchdog.of_this_run().is_resting
        assert switches() == before
    assert all(each.name != "trionet watchdog" for each in threading.enumerate())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["_TimedRest", "_Rest"])
async def test_a_handler_that_blocks_is_named_after_a_rest(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "_TimedRest", getattr(watchdog, kind))
    caplog.set_level(logging.WARNING, "trionet.watchdog")
    async with open_node() as node:
        await node.local.routes.put(Shop(), "shop")
        await node.local.comm.send([], Remote(node=node.address, service="shop", method="quick"))
        await wait_until(resting)
        with trio.fail_after(DEADLINE_S):
            await node.local.comm.send([], Remote(node=node.address, service="shop", method="blocking"))
    assert "blocking has blocked the event loop" in caplog.text


async def test_without_a_free_descriptor_the_thread_rests_by_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(watchdog._TimedRest):  # noqa: SLF001
        def __init__(self) -> None:
            raise OSError("no descriptor is free")

    monkeypatch.setattr(watchdog, "_TimedRest", Full)
    assert type(watchdog._new_rest()) is watchdog._Rest  # noqa: SLF001
