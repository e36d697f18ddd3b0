"""A service that makes trouble on request, for nodes in processes of their own."""

from __future__ import annotations

import os
from typing import Any

import trio

from trionet import CallTimeout, TemporarilyUnavailable, rpc

__all__ = ["Trouble"]


class Odd(BaseException):
    """No Exception."""


class Trouble:
    """Misbehaves; and counts the handlers in and out."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0

    @rpc
    def pid(self) -> int:
        return os.getpid()

    @rpc
    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @rpc
    def typed(self, number: int, name: str = "?", *, flag: bool = False) -> Any:
        return [number, name, flag]

    @rpc
    def fail(self, kind: str) -> None:
        raise {
            "value": ValueError("nothing good"),
            "group": ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])]),
            "base group": BaseExceptionGroup("several", [Odd("a")]),
            "exit": SystemExit(3),
            "generator exit": GeneratorExit(),
            "odd": Odd("hey"),
            "timeout": CallTimeout("late"),
            "unavailable": TemporarilyUnavailable("busy"),
        }[kind]

    @rpc
    async def fail_soon(self, kind: str) -> None:
        await trio.lowlevel.checkpoint()
        self.fail(kind)

    @rpc
    async def wait(self) -> None:
        """Never return."""
        self.begun += 1
        self.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.running -= 1

    @rpc
    def count(self) -> list[int]:
        """Return how many calls of `wait` have begun, and how many are running."""
        return [self.begun, self.running]

    @rpc
    def large(self, size: int) -> str:
        return "x" * size

    @rpc
    async def flow(self) -> Any:
        """A stream without end."""
        self.begun += 1
        self.running += 1
        try:
            while True:
                yield "x" * 10_000
        finally:
            self.running -= 1
