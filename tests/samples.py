"""What tests put on nodes: services, templates, and `on_start` functions that other processes can import."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from trionet import NodeAddress, Remote, Replies, Template, current_call, register_type, rpc

if TYPE_CHECKING:
    from trionet import Member, Node

COLLIDING = (NodeAddress("10.34.165.244", 8080), NodeAddress("10.66.126.180", 8080))
"""Two addresses with one SID; found by trying addresses 10.a.b.c with this port until two had one SID."""

PID_FILE_VARIABLE = "TRIONET_TEST_PID_FILE"
"""Names the environment variable that names the file into which a process that will block writes its pid."""


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    @rpc
    def add(self, amount: int = 1) -> int:
        """Return the new total."""
        self.total += amount
        return self.total

    @rpc(name="total")
    def current(self) -> int:
        """Return the total."""
        return self.total


class Probe:
    """Tells about the process it is in, and misbehaves on request."""

    @rpc
    def pid(self) -> int:
        return os.getpid()

    @rpc
    async def sleep(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "slept"

    @rpc
    def fail(self, message: str) -> None:
        raise ValueError(message)

    @rpc
    def block(self) -> None:
        while True:
            time.sleep(60)

    @rpc
    def describe_call(self) -> dict[str, Any]:
        call = current_call()
        left_s = call.deadline - trio.current_time()
        return {"id": call.id, "caller": call.caller, "gid": call.gid, "left_s": left_s}


class Needy:
    """Can't be made without an argument."""

    def __init__(self, needed: int) -> None:
        self.needed = needed

    @rpc
    def get(self) -> int:
        return self.needed


class Mute:
    """Exposes nothing."""

    def get(self) -> int:
        return 1


def make_nothing() -> None:
    """A function that is no service."""


class Census(Template):
    """A template as a user writes it."""

    @rpc
    async def pids(self) -> Replies[Any]:
        return await self.fan_out([], Remote(service="probe", method="pid"))

    @rpc
    def where(self) -> str:
        return self.context.gid


class BrokenTemplate(Template):
    """A template that can't be made."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        raise ValueError("a template without a plan")


def subset_of_one(sids: list[str]) -> int:
    return min(1, len(sids))


def is_worker(member: Member) -> bool:
    return member.tags.get("role") == "worker"


async def is_worker_later(member: Member) -> bool:
    return is_worker(member)


started: list[Node] = []
"""The nodes of this process that `note_node` and `note_node_async` were called with."""


def note_node(node: Node) -> None:
    started.append(node)


async def note_node_async(node: Node) -> None:
    await trio.lowlevel.checkpoint()
    started.append(node)


async def put_counter(node: Node) -> None:
    await node.local.routes.put(Counter(), "counter")


async def stop_node(node: Node) -> None:
    await node.local.status.stop()


def log_something(node: Node) -> None:
    logging.getLogger(__name__).info("open for business")


def fail_to_start(node: Node) -> None:
    raise LookupError(f"no plan for {node.config.ip}")


def exit_at_once(node: Node) -> None:
    os._exit(7)


def print_noise(node: Node) -> None:
    print("user code prints this before the report")  # noqa: T201  that is what it is for


def block_forever(node: Node) -> None:
    Path(os.environ[PID_FILE_VARIABLE]).write_text(f"{os.getpid()}\n", encoding="ascii")
    while True:
        time.sleep(60)


async def wait_forever(node: Node) -> None:
    await trio.Path(os.environ[PID_FILE_VARIABLE]).write_text(f"{os.getpid()}\n", encoding="ascii")
    await trio.sleep_forever()


class Sleeper:
    """Blocks."""

    @rpc
    def block(self, seconds: float) -> str:
        time.sleep(seconds)
        return "rested"

    @rpc(thread=True)
    def block_thread(self, seconds: float) -> str:
        time.sleep(seconds)
        return "rested"


class Ticker:
    """Streams."""

    @rpc
    async def ticks(self, count: int) -> AsyncIterator[int]:
        """Yield numbers."""
        for number in range(count):
            yield number


@register_type
@dataclass
class Order:
    """A type of the user's."""

    item: str
    count: int


class Echo:
    """Returns what it gets."""

    @rpc
    def back(self, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments."""
        return list(args), kwargs

    @rpc
    def order(self) -> Order:
        """Return a value of a type that others may not have."""
        return Order("tea", 2)


class Talker:
    """Prints what it is told, and returns the number of its characters."""

    @rpc
    def say(self, text: str) -> int:
        print(text)  # noqa: T201  that is what it is for
        return len(text)


def make_talker() -> Talker:
    return Talker()


async def note_environment(node: Node) -> None:
    """Write the environment of this process to a file."""
    await trio.Path(os.environ["TEST_NOTE"]).write_bytes(msgspec.json.encode(dict(os.environ)))
