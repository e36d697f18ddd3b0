"""The nodes that one node spawns: each is supervised by a task of one nursery.

Invariant: after `cancel_starting`, no node is started any more.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from .config import NodeConfig
from .errors import MalformedRequest, TemporarilyUnavailable
from .identity import NodeAddress, check_name, is_loopback
from .launchers.output import level_of_process
from .launchers.passed_code import pass_code, portable
from .launchers.passed_keys import pass_keys
from .launchers.restart import keep_running
from .under_trio import check_under_trio
from .user_code import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .events import Event
    from .launchers import Launcher
    from .launchers.registry import Launchers
    from .security.live_keys import LiveKeys

__all__ = ["ChildNodes"]

_DEFAULT: Final = NodeConfig()
_IN_PROCESS: Final = "in_process"
_ON_THIS_MACHINE: Final = ("forkserver", "subprocess", _IN_PROCESS)


class ChildNodes:
    """Spawns nodes by launchers.

    Attributes:
        supervised: the spawned nodes that are starting, running, stopping, or to be started again.
        booted: the spawned nodes that have booted so far, restarts included.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        launchers: Launchers,
        default_launcher: str,
        publish: Callable[[Event], None],
        keys: LiveKeys,
        key_file: str | None,
        own: NodeAddress,
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        """Supervise nodes in `nursery`; by `default_launcher` where a configuration names none.

        They get `keys` of the node `own`, unless their configuration has another key file than its `key_file`; and the
        settings of its `certificate`, unless they have their own.
        """
        self.nursery = nursery
        self.supervised: int = 0
        self.booted: int = 0
        self._numbers = 0
        self._records: dict[str, dict[str, Any]] = {}
        self._launchers = launchers
        self._default_launcher = default_launcher
        self._publish = publish
        self._keys = keys
        self._key_file = key_file
        self._certificate = certificate or {}
        self._own = str(own)
        self._starting: dict[trio.CancelScope, None] = {}
        self._boot_listeners: list[Callable[[NodeAddress], None]] = []
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether no node is running, starting or stopping."""
        return not self.nursery.child_tasks

    async def spawn_for(self, spawner: NodeConfig, config: NodeConfig, is_member: bool) -> NodeAddress:
        """Start a child of a node with the configuration `spawner`, which may be a member of a cluster."""
        config = self.of_cluster(config, spawner)
        if config.join is None and is_member:
            config = self.joining(config, spawner, NodeAddress.of(self._own))
        return await self.spawn(config)

    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Start a node, and return its address once it has booted; see `Status.spawn`."""
        check_under_trio("node.spawn")
        self._check_open()
        name = config.launcher or self._default_launcher
        launcher = self._launchers.get(name)
        config, code = (config, b"") if name == _IN_PROCESS else portable(config)
        config = self._with_certificate(self._with_keys(config, is_near=name in _ON_THIS_MACHINE))
        with trio.CancelScope() as scope:
            self._starting[scope] = None
            try:
                # The task inherits what is passed.
                keys = self._keys if config.key_file is None else None
                with pass_keys(keys, self._own), pass_code(code), self._launchers.passed():
                    address: NodeAddress = await self.nursery.start(self._supervise, launcher, config)
            finally:
                del self._starting[scope]
            return address
        raise TemporarilyUnavailable("the node is stopping")

    def on_boot(self, listener: Callable[[NodeAddress], None]) -> None:
        """Call ``listener(address)`` whenever a spawned node has booted, restarts included."""
        self._boot_listeners.append(listener)

    async def _supervise(
        self, launcher: Launcher, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress]
    ) -> None:
        self.supervised += 1
        self._numbers += 1
        key, name = str(self._numbers), config.launcher or self._default_launcher
        self._records[key] = record = {"launcher": name, "restart": config.restart, "boots": 0}
        try:
            await keep_running(launcher, config, self._publish, partial(self._booted, record), task_status=task_status)
        finally:
            self.supervised -= 1
            del self._records[key]

    def described(self, most: int) -> dict[str, dict[str, Any]]:
        """Return what at most `most` supervised nodes are, by number: launcher, address, and how often booted."""
        return {key: dict(record) for key, record in islice(self._records.items(), most)}

    def _booted(self, record: dict[str, Any], node: NodeAddress) -> None:
        record |= {"address": str(node), "boots": record["boots"] + 1}
        self.booted += 1
        for listener in self._boot_listeners:
            listener(node)

    def _with_keys(self, config: NodeConfig, *, is_near: bool) -> NodeConfig:
        """Return the configuration of a child that gets this node's keys, and so needs no path of their file.

        If these come later, the child on this machine reads them from the same file, when this node does.
        """
        keys = self._keys.now
        if keys is None:
            if self._keys.is_rolling and is_near and config.key_file is None and self._key_file is not None:
                return msgspec.structs.replace(config, key_file=self._key_file, accept="plain", send="plain")
            return config
        if config.key_file not in (None, self._key_file):
            return config
        return _with(config, key_file=None, cluster=keys.cluster)

    def _with_certificate(self, config: NodeConfig) -> NodeConfig:
        """Return the configuration of a child that has its own certificate, or this node's."""
        if config.certificate_file is not None:
            return config
        return _with(config, **self._certificate)

    def of_cluster(self, config: NodeConfig, spawner: NodeConfig) -> NodeConfig:
        """Return the configuration of a child, which is of the cluster of its spawner unless it names another.

        So they are of one cluster before they get a key, too, and believe each other's code. They share its standard
        error, and log in its format, and by default no more than it does.
        """
        inherited: dict[str, Any] = {}
        if spawner.log_format != _DEFAULT.log_format:
            inherited["log_format"] = spawner.log_format
        if config.log_level == _DEFAULT.log_level:
            inherited["log_level"] = level_of_process()
        if config.cluster == _DEFAULT.cluster:
            inherited["cluster"] = spawner.cluster
        return _with(config, **inherited)

    def joining(self, config: NodeConfig, spawner: NodeConfig, address: NodeAddress) -> NodeConfig:
        """Return the configuration of a child that joins the cluster of its spawner.

        A child on the same machine listens where its spawner does, unless its configuration names another address than
        the default: a loopback address could not join a cluster beyond this machine.
        """
        config = _with(
            config,
            join=[str(address)],
            cluster=spawner.cluster,
            profile=spawner.profile,
            datagrams=config.datagrams and spawner.datagrams,
        )
        is_near = (config.launcher or self._default_launcher) in _ON_THIS_MACHINE
        if is_near and config.ip == _DEFAULT.ip and config.advertise_ip is None and not is_loopback(address.ip):
            config = _with(config, ip=spawner.ip, advertise_ip=spawner.advertise_ip, insecure=spawner.insecure)
        return config

    def register_launcher(self, name: str, launcher: Launcher) -> None:
        """Use `launcher` for configurations that name it; see `Node.register_launcher`."""
        if not callable(getattr(launcher, "start", None)):
            raise MalformedRequest(f"a launcher has an async method 'start', and {launcher!r:.80} has not")
        self._launchers.put(check_name(name, "launcher name"), launcher)

    def launcher(self, name: str) -> Launcher:
        """Return the launcher of that name; see `Node.launcher`."""
        if not isinstance(name, str):
            raise MalformedRequest(f"a launcher is named by a text, not {shown(name)}")
        return self._launchers.get(name)

    async def prewarm(self) -> None:
        """Start the fork server; see `Node.prewarm`."""
        self._check_open()
        await self._launchers.prewarm()

    def cancel_starting(self) -> None:
        """Cancel the nodes that are starting, and start no more."""
        self._is_closed = True
        for scope in self._starting:
            scope.cancel()

    def _check_open(self) -> None:
        if self._is_closed:
            raise TemporarilyUnavailable("the node is stopping")


def _with(config: NodeConfig, **settings: Any) -> NodeConfig:
    """Return `config` with other values of `settings`; itself, which needs no check, if it has them already."""
    other = {name: value for name, value in settings.items() if getattr(config, name) != value}
    return msgspec.structs.replace(config, **other) if other else config
