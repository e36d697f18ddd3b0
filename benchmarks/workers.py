"""Worker processes, as the runner sees them: each one answers commands, a line of JSON each way.

Invariants: when the block of `open_worker` ends, however it ends, the process has ended, too; and no answer is waited
for without a limit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import IO

__all__ = ["ROOT", "Worker", "WorkerFailed", "open_worker", "python_worker"]

ROOT = Path(__file__).resolve().parent.parent

_START_S = 60.0
_ANSWER_S = 60.0
_END_S = 5.0
_SHOWN_CHARS = 1500


class WorkerFailed(Exception):
    """A worker did not start, did not answer, or answered with an error."""


class Worker:
    """A process that answers commands; made by `open_worker`.

    Attributes:
        name: for messages.
        pid: its process id.
        ready: what it said when it was ready.
    """

    def __init__(self, name: str, process: trio.Process, log: IO[bytes]) -> None:
        self.name = name
        self.pid = process.pid
        self.ready: dict[str, Any] = {}
        self._process = process
        self._log = log
        self._pending = b""

    async def ask(self, do: str, limit_s: float = _ANSWER_S, **details: Any) -> dict[str, Any]:
        """Give a command and return its answer.

        Raises:
            WorkerFailed: there was none within `limit_s`, or it is an error.
        """
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(json.dumps({"do": do, **details}).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._failed("has ended") from None
        return await self.answer(limit_s)

    async def answer(self, limit_s: float) -> dict[str, Any]:
        """Wait for one line; see `ask`."""
        assert self._process.stdout is not None
        with trio.move_on_after(limit_s):
            while b"\n" not in self._pending:
                data = await self._process.stdout.receive_some()
                if not data:
                    raise self._failed("has ended")
                self._pending += data
            line, _, self._pending = self._pending.partition(b"\n")
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise self._failed(f"says: {answer['error']}")
            return answer
        raise self._failed(f"did not answer within {limit_s:g} s")

    def _failed(self, what: str) -> WorkerFailed:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()[-_SHOWN_CHARS:]
        return WorkerFailed(f"{self.name} {what}{': ' if said else ''}{said}")


@asynccontextmanager
async def open_worker(
    name: str,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    start_s: float = _START_S,
    is_killed: bool = False,
) -> AsyncGenerator[Worker]:
    """Run a worker for as long as the block lasts.

    Args:
        name: for messages.
        command: what to run.
        env: what to add to the environment.
        start_s: how long it may take to be ready.
        is_killed: whether it is killed in the end: a program that doesn't end with its input.

    Raises:
        WorkerFailed: it did not say that it is ready.
    """
    with tempfile.TemporaryFile() as log:
        try:
            process = await trio.lowlevel.open_process(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=_environment() | dict(env or {}),
                start_new_session=True,  # so that Ctrl-C is the runner's alone, and all it started can be ended
            )
        except OSError as exc:
            raise WorkerFailed(f"{name} did not start: {exc}") from exc
        worker = Worker(name, process, log)
        try:
            worker.ready = await worker.answer(start_s)
            yield worker
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, 0.0 if is_killed else _END_S)


async def _end(process: trio.Process, grace_s: float) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.aclose()
    with trio.move_on_after(grace_s):
        await process.wait()
    # Itself, if it hasn't ended, and whatever it started: as long as one of them lives, no other group has this id.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    await process.stdout.aclose()


def _environment() -> dict[str, str]:
    env = dict(os.environ)
    env["PYTHONPATH"] = str(ROOT)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def python_worker(module: str, role: str, options: Mapping[str, Any], python: str | Path | None = None) -> list[str]:
    """Return the command of a worker that is written in Python."""
    return [str(python or sys.executable), "-m", f"benchmarks.{module}", role, json.dumps(dict(options))]
