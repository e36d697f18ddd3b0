"""The helper process of `trionet.launchers.forkserver`: imports everything once, and forks a node for each request.

All objects that the imports have made are moved out of the garbage collector's reach first (``gc.freeze``), so that a
collection in a child doesn't write to the shared pages, which would copy them. See `trionet.cli.node_forker`.

While it has no nodes, and no request has come for a moment, it rehearses: the interpreter adapts code that has been
called eight times, and then looks up fewer names, so that a child writes to fewer pages. A spawner that waits for this
process to be ready, or whose last node has ended, mostly has a request, or ends it, at once: neither waits for that.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import secrets
import select
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trionet.config import NodeConfig
from trionet.launchers.forked import RECORD
from trionet.launchers.lineage import open_watches
from trionet.launchers.needs import NO_NEEDS, Needs
from trionet.streams import prepare_streams
from trionet.warming import warm_up

from .node_forker import NodeForker, freeze
from .serving import prepare_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet.security.node_keys import NodeKeys

__all__ = ["main", "prepare"]

_ON_USE: Final = ("trionet.group", "trionet.launchers.built_in", "trionet.policy", "trionet.running_calls")
"""What a node imports when it is first used; here it is once for all nodes."""
_FOR_HTTP: Final = ("trionet.transports.http", "trionet.transports.web")
_FOR_KEYS: Final = (
    "trionet.security.node_keys",
    "trionet.security.noise_key",
    "trionet.security.noise_channel",
    "trionet.security.sealed_datagrams",
    "trionet.security.datagram_opener",
    "trionet.security.tokens",
)
_READ_BYTES: Final = 4096
_KEY_BYTES: Final = 32
_REHEARSALS: Final = 10
"""Each starts two nodes; further ones save nothing."""
_QUIET_MS: Final = 50
"""How long nothing has come before a rehearsal."""
_REHEARSAL_S: Final = 0.5
"""How long one may take, and a request wait: on a machine with too much to do there are no more."""


def main(control: int, ancestors: list[int], needs: Needs = NO_NEEDS, log_level: str = "info") -> NoReturn:
    """Serve requests from the socket `control` until its other end is closed, or one of the `ancestors` has ended.

    Args:
        control: the descriptor.
        ancestors: the ids of the processes above this one.
        needs: what the nodes need.
        log_level: that of their logs.
    """
    rehearse = prepare(needs, log_level)
    with socket.socket(fileno=control) as launcher:
        server = _ForkServer(launcher, open_watches(ancestors), rehearse)
        freeze()
        server.serve()
    sys.exit(0)


def prepare(needs: Needs, log_level: str) -> Callable[[], bool] | None:
    """Do what would be the same in each node; see `main`, and `trionet.warming`.

    Returns:
        A function that runs nodes again, and returns whether they could run; None if the first could not.
    """
    prepare_streams()
    config = NodeConfig.from_mapping({"log_level": log_level, "log_format": needs.log_format})
    with contextlib.suppress(ImportError):  # without the extra `secure` each node reports what is missing
        for module in (*_ON_USE, *(_FOR_HTTP if needs.has_http else ()), *(_FOR_KEYS if needs.has_keys else ())):
            importlib.import_module(module)
        if _rehearse(config, needs):
            return partial(_rehearse, config, needs, nodes=1, limit_s=_REHEARSAL_S)
    prepare_process(config)
    return None


def _rehearse(config: NodeConfig, needs: Needs, **more: Any) -> bool:
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # nodes that run for a moment only, and whose log nobody reads
            prepare_process(config)
            return warm_up(config, _passing_keys(config) if needs.has_keys else None, joins=needs.joins, **more)
    finally:
        prepare_process(config)


def _passing_keys(config: NodeConfig) -> NodeKeys:
    """Return new keys, for nodes that nobody is to talk to."""
    from trionet.security.key_entries import KeyFile
    from trionet.security.keys import ClusterKey
    from trionet.security.node_keys import NodeKeys

    return NodeKeys(KeyFile.of(ClusterKey(secrets.token_bytes(_KEY_BYTES))), config.cluster)


class _ForkServer(NodeForker):
    def __init__(self, control: socket.socket, watches: list[int], rehearse: Callable[[], bool] | None) -> None:
        super().__init__(watches)
        self._rehearse = rehearse
        self._rehearsals = 0 if rehearse is None else _REHEARSALS
        self._control = control
        self._received: list[int] = []

    def serve(self) -> None:
        self.send(RECORD.pack(b"R", 0, 0))
        poll, control = select.poll(), self._control.fileno()
        for source in (control, self.woken, *self.watches):
            poll.register(source, select.POLLIN)
        quiet_ms = _QUIET_MS
        while True:
            may_rehearse = self._rehearsals > 0 and not self.pids
            events = poll.poll(quiet_ms if may_rehearse else None)
            quiet_ms = _QUIET_MS if events else 0
            if not events:
                self._rehearse_once()
            for descriptor, _ in events:
                if descriptor == self.woken:
                    self.reap()
                elif descriptor != control or not self._serve_requests():
                    self.end_children()
                    return

    def _rehearse_once(self) -> None:
        assert self._rehearse is not None
        signal.set_wakeup_fd(-1)  # Trio has its own; no child may end meanwhile
        self._rehearsals = self._rehearsals - 1 if self._rehearse() else 0
        freeze()
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)

    def own_descriptors(self) -> Iterable[int]:
        return (self._control.detach(), *self._received)

    def send(self, record: bytes) -> None:
        try:  # noqa: SIM105  it writes to fewer pages, which are copied between two forks
            self._control.sendall(record)
        except OSError:  # the other end is gone: the poll reports it
            pass

    def _serve_requests(self) -> bool:
        """Serve the received requests; return whether there may be more."""
        try:
            data, self._received, _, _ = socket.recv_fds(self._control, _READ_BYTES, 64)
        except OSError:
            return False
        while len(data) % RECORD.size:
            more = self._control.recv(RECORD.size - len(data) % RECORD.size)
            if not more:
                return False
            data += more
        for kind, number, _ in RECORD.iter_unpack(data):
            if kind == b"F" and not self._received:  # no descriptor was free, and the kernel has closed it
                self.send(RECORD.pack(b"E", number, errno.EMFILE))
            elif kind == b"F":
                self.fork(number, self._received.pop(0))
            elif kind == b"A":
                self.send(RECORD.pack(b"A", 0, 0))
            elif kind == b"K":
                self.kill(number)
        return bool(data)
