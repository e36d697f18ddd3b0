"""A service that tells about its process and misbehaves on request, and `on_start` functions that do."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from tests.waiting import DEADLINE_S, wait_until
from trionet import IndefiniteError, NodeAddress, Remote, TemporarilyUnavailable, current_call, rpc

if TYPE_CHECKING:
    from trionet import Node

__all__ = [
    "SERVICES",
    "Misfit",
    "ask",
    "ask_in_vain",
    "block_at_start",
    "fail_to_start",
    "say_and_exit",
    "speak_up",
    "spin_at_start",
    "spin_file",
]

SERVICES = {"misfit": "tests.launchers.misfit:Misfit"}
"""What the nodes of these tests start with."""

_SPIN_FILE_VARIABLE = "TRIONET_TEST_SPIN_FILE"


class Misfit:
    """Tells, and misbehaves."""

    @rpc
    def pid(self) -> int:
        return os.getpid()

    @rpc
    def parent(self) -> int:
        return os.getppid()

    @rpc
    def exit(self, status: int) -> None:
        os._exit(status)

    @rpc
    def spin(self, file: str) -> None:
        """Block the event loop for ever, and the interpreter as far as one can."""
        _spin(file)

    @rpc
    def block(self, file: str) -> None:
        """Block the event loop for ever, without a processor."""
        _write(file)
        time.sleep(600)

    @rpc
    async def linger(self, seconds: float, file: str) -> None:
        """Take that long to be cancelled, and write the file in the end."""
        _write(f"{file} begun")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
            _write(file)

    @rpc
    def frozen(self) -> tuple[bool, int]:
        """Return whether garbage is collected, and how many objects are out of the collector's sight."""
        return gc.isenabled(), gc.get_freeze_count()

    @rpc
    def inheritable(self) -> list[int]:
        """Return the descriptors that a program started without care would get, beside the standard streams."""
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                if int(name) > 2 and os.get_inheritable(int(name)):
                    found.append(int(name))
            except OSError:  # the listing's own
                continue
        return found

    @rpc
    def ids(self, count: int) -> list[str]:
        """Return random ids of every source there is, `count` of each."""
        return [
            text
            for _ in range(count)
            for text in (str(uuid.uuid4()), secrets.token_hex(16), f"{random.getrandbits(64)}", f"{random.random()}")
        ]

    @rpc
    async def call_ids(self, peer: NodeAddress, count: int) -> list[str]:
        """Return the ids under which `peer` sees calls of this node."""
        assert _node is not None
        remote = Remote(node=peer, service="misfit", method="call_id")
        return [await _node.local.comm.send([], remote) for _ in range(count)]

    @rpc
    def call_id(self) -> str:
        return current_call().id

    @rpc
    def signals(self) -> dict[str, str]:
        """Return what happens on signals that Trio and the node don't use, as Python sees it."""
        found = {name: signal.getsignal(getattr(signal, name)) for name in ("SIGCHLD", "SIGHUP", "SIGUSR1")}
        return {name: getattr(handler, "name", repr(handler)) for name, handler in found.items()}

    @rpc
    def kernel_signals(self) -> dict[str, int]:
        """Return the signal masks of the process, as the kernel sees them."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")}

    @rpc
    def group(self) -> int:
        return os.getpgrp()

    @rpc
    def terminate_worker(self) -> int | None:
        """Fork a process as `multiprocessing` does, and end it by SIGTERM; return its exit status, if it has ended."""
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        worker.start()
        worker.terminate()
        worker.join(DEADLINE_S / 2)
        status = worker.exitcode
        worker.kill()
        worker.join()
        return status

    @rpc
    async def terminate_worker_of_thread(self) -> int | None:
        """Do so in another thread."""
        return await trio.to_thread.run_sync(self.terminate_worker)

    @rpc
    def read_input(self) -> str:
        """Have a program read standard input to its end."""
        return subprocess.run(["cat"], stdout=subprocess.PIPE, check=True, text=True).stdout


class FromOnlyHere:
    """Uses a module that is found only where the spawner's test has put it."""

    @rpc
    def get(self) -> Any:
        return importlib.import_module("only_here").Found.get()


_node: Node | None = None


def note(node: Node) -> None:
    """An `on_start` that `Misfit.call_ids` needs."""
    global _node  # noqa: PLW0603  one node in a process
    _node = node


def fail_to_start(node: Node) -> None:
    """An `on_start` that raises."""
    raise LookupError(f"no plan for {node.config.ip}")


def spin_at_start(node: Node) -> NoReturn:
    """An `on_start` that never returns."""
    _spin(os.environ[_SPIN_FILE_VARIABLE])


def block_at_start(node: Node) -> None:
    """An `on_start` that never returns, and takes no processor."""
    _write(os.environ[_SPIN_FILE_VARIABLE])
    time.sleep(600)


def say_and_exit(node: Node) -> NoReturn:
    """An `on_start` that ends the process."""
    print("it ends here", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(7)


def fork_and_exit(node: Node) -> NoReturn:
    """An `on_start` that forks a process, and ends its own without a word."""
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    Path(os.environ[_SPIN_FILE_VARIABLE]).write_text(f"{pid}", encoding="ascii")
    os._exit(7)


async def sleep_at_start(node: Node) -> None:
    """An `on_start` that never returns."""
    await trio.sleep_forever()


async def stop_soon(node: Node) -> None:
    """An `on_start` that stops the node."""
    await node.local.status.stop()


def crash_later(node: Node) -> None:
    """An `on_start` with a bug that shows when the node has booted."""

    async def crash() -> None:
        await wait_until(lambda: node.statistics().calls_served > 0)
        raise LookupError("a bug")

    trio.lowlevel.spawn_system_task(crash)


def leave(node: Node) -> NoReturn:
    """An `on_start` that ends the process as a script would."""
    sys.exit(5)


def give_up(node: Node) -> NoReturn:
    """An `on_start` that raises what no `except Exception` takes."""
    raise GeneratorExit


def speak_up(node: Node) -> None:
    """An `on_start` that uses the standard streams."""
    print("said on standard output")  # noqa: T201
    print("said on standard error", file=sys.stderr)  # noqa: T201


def spin_file(file: Path) -> dict[str, str]:
    """Return the environment variable that tells `spin_at_start` where to write its pid."""
    return {_SPIN_FILE_VARIABLE: str(file)}


def _spin(file: str) -> NoReturn:
    _write(file)
    while True:
        pass


async def ask(node: Node, address: NodeAddress, method: str, *args: Any) -> Any:
    """Call the misfit of the node at `address`."""
    return await node.local.comm.send(list(args), Remote(node=address, service="misfit", method=method))


async def ask_in_vain(node: Node, address: NodeAddress, method: str, *args: Any) -> None:
    """Call the misfit for what ends its process, or comes when that ends."""
    with suppress(IndefiniteError, TemporarilyUnavailable):
        await ask(node, address, method, *args)


def _write(file: str) -> None:
    """Make a file with the pid of this process, which is there all at once."""
    being_written = Path(f"{file}.new")
    being_written.write_text(f"{os.getpid()}\n", encoding="ascii")
    being_written.replace(file)
