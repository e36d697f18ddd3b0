"""A service of nodes in processes of their own that gives them the faults which ``trionet doctor`` looks for."""

from __future__ import annotations

import ctypes
import socket
import time
from typing import TYPE_CHECKING, Any

import trionet.services.diagnosis
from trionet import rpc

if TYPE_CHECKING:
    from trionet import Node

__all__ = ["Faults", "expose"]

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_RETURN_NOTHING = (0x06, 0, 0, 0)  # BPF_RET | BPF_K


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("first", ctypes.POINTER(_Instruction))]


class Faults:
    """The local service ``faults``."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._time_ns = time.time_ns
        self._version: str = vars(trionet.services.diagnosis)["__version__"]
        self._files: tuple[int, int] | None = None

    @property
    def _datagrams(self) -> Any:
        return self._node._endpoint.datagrams  # noqa: SLF001  no node gives them away

    @rpc
    def deaf(self) -> None:
        """Have the kernel drop all datagrams to this node, as a firewall does."""
        instruction = _Instruction(*_RETURN_NOTHING)
        program = _Program(1, ctypes.pointer(instruction))
        for sock in self._datagrams._socks:  # noqa: SLF001  nor these
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))

    @rpc
    def mute(self) -> None:
        """Lose all datagrams from this node."""
        self._datagrams.send_nowait = lambda *_: True

    @rpc
    def skew(self, seconds: float) -> None:
        """Set the clock."""
        time.time_ns = lambda: self._time_ns() + int(seconds * 1e9)

    @rpc
    def age(self, version: str) -> None:
        """Claim another version."""
        vars(trionet.services.diagnosis)["__version__"] = version

    @rpc
    def limit_files(self, files: int) -> None:
        """Lower the limit of open files."""
        import resource

        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, self._files[1]))

    @rpc
    def block(self, seconds: float) -> None:
        """Block the event loop."""
        time.sleep(seconds)

    @rpc
    def heal(self) -> None:
        """Remove all faults."""
        import resource

        for sock in self._datagrams._socks:  # noqa: SLF001  nor these
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            except OSError:  # it has none
                continue
        vars(self._datagrams).pop("send_nowait", None)
        time.time_ns = self._time_ns
        self.age(self._version)
        if self._files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._files)


async def expose(node: Node) -> None:
    await node.local.routes.put(Faults(node), "faults")
