"""The plan of a cluster: which node starts on which host, with which settings and by which command.

Invariants: a plan is made without network. All its nodes can be members of one cluster, as far as their settings tell:
their addresses differ, and where there is more than one machine none is a loopback address.
"""

from __future__ import annotations

import ipaddress
import shlex
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from trionet.cli.consecutive import check_ports, shifted
from trionet.cli.output import Table
from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.identity import NodeAddress, is_loopback

from .cluster_file import MOST_NODES, settings_of_a_host
from .host_launchers import ssh_launcher
from .placement import listed, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cluster_file import ClusterFile, Host

__all__ = ["HostPlan", "Plan", "make_plan"]

_LOCAL: Final = "this machine's fork server"


class HostPlan(NamedTuple):
    """The nodes of one host.

    Attributes:
        host: the host.
        configs: the configuration of each of its nodes.
    """

    host: Host
    configs: list[NodeConfig]

    @property
    def command(self) -> list[str]:
        """The command that starts them; empty for this machine."""
        return [] if self.host.address is None else ssh_launcher(self.host).command_line

    @property
    def addresses(self) -> str:
        """Their addresses, for a person."""
        first, last = self.configs[0], self.configs[-1]
        if not first.port:
            return f"{_stated(first).ip}, free ports"
        address = str(_stated(first))
        return address if first is last else f"{address} to {_stated(last).port}"


class Plan(NamedTuple):
    """The plan of a cluster.

    Attributes:
        cluster: its name.
        placement: how the nodes are placed.
        least: how many nodes must have started.
        hosts: the hosts that have nodes, in the order of the file.
        empty: the names of those that have none.
    """

    cluster: str
    placement: str
    least: int
    hosts: list[HostPlan]
    empty: list[str]

    @property
    def total(self) -> int:
        """How many nodes there are to be."""
        return sum(len(each.configs) for each in self.hosts)

    def summary(self) -> str:
        """Return it in one line."""
        nodes = "1 node" if self.total == 1 else f"{self.total} nodes"
        hosts = listed([f"{each.host.name} {len(each.configs)}" for each in self.hosts])
        return f"{nodes} of cluster {self.cluster} by {self.placement}: {hosts}"

    def table(self) -> Table:
        """Return it as a table."""
        rows = [
            (
                each.host.name,
                str(len(each.configs)),
                str(each.host.slots),
                each.addresses,
                shlex.join(each.command) or _LOCAL,
            )
            for each in self.hosts
        ]
        rows += [(name, "0", "", "", "") for name in self.empty]
        return Table(("host", "nodes", "slots", "addresses", "command"), rows)

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        hosts = [
            {
                "name": each.host.name,
                "address": each.host.address,
                "slots": each.host.slots,
                "nodes": [{"ip": node.ip, "port": node.port} for node in map(_stated, each.configs)],
                "command": each.command,
            }
            for each in self.hosts
        ]
        plan = {"cluster": self.cluster, "placement": self.placement, "min": self.least}
        return plan | {"hosts": hosts, "without_nodes": self.empty}


def make_plan(
    file: ClusterFile, of_all: Mapping[str, Any], *, nodes: int | None, least: int | None, has_key: bool
) -> Plan:
    """Return the plan of a cluster.

    Args:
        file: its file.
        of_all: the settings of all nodes: those of the file, and what goes before them.
        nodes: how many there are to be, in place of what the file says.
        least: how many must have started, likewise.
        has_key: whether the nodes get a key.

    Raises:
        ConfigError: the nodes can't be placed, or could not be a cluster; the text says what to write.
    """
    placed = _placed(file, nodes or file.nodes)
    chosen = [host for host in file.hosts if placed[host.name]]
    hosts, ports = list[HostPlan](), _Ports()
    for host in chosen:
        config = _config_of(host, of_all, has_key=has_key)
        by = ports.take(host, config, placed[host.name])
        configs = [shifted(config, by + number) for number in range(placed[host.name])]
        hosts.append(HostPlan(host, configs))
    _check_reachable(hosts)
    _check_distinct(hosts)
    cluster = hosts[0].configs[0].cluster
    plan = Plan(cluster, file.placement, 0, hosts, [host.name for host in file.hosts if not placed[host.name]])
    least = file.least if least is None else least
    if least is not None and not 1 <= least <= plan.total:
        there = (
            "there is 1 node: set it to 1"
            if plan.total == 1
            else f"there are {plan.total} nodes: set it to 1 to {plan.total}"
        )
        raise ConfigError(f"{file.path}: min is {least}, and {there}")
    return plan._replace(least=least or plan.total)


def _placed(file: ClusterFile, nodes: int | None) -> dict[str, int]:
    """Return the number of nodes of each host."""
    slots = {host.name: host.slots for host in file.hosts}
    wanted = nodes or (sum(slots.values()) if file.placement == "spread" else len(slots))
    if wanted > MOST_NODES:
        raise ConfigError(f"{file.path}: {wanted:,} nodes, and there are at most {MOST_NODES:,}: set nodes to fewer")
    try:
        return place(slots, nodes, file.placement)
    except ConfigError as exc:
        raise ConfigError(f"{file.path}: {exc.text}") from exc


def _config_of(host: Host, of_all: Mapping[str, Any], *, has_key: bool) -> NodeConfig:
    """Return the configuration of the nodes of a host, which get the key, and need no path of its file."""
    settings = settings_of_a_host(of_all, host)
    if "ip" not in settings and _is_ip(host.ssh_host) and "%" not in host.ssh_host:  # a zone is that of this machine
        settings["ip"] = host.ssh_host
    try:
        config = NodeConfig.from_mapping(settings)
        config.check_bind(has_key=has_key)
    except ConfigError as exc:
        raise ConfigError(f"{host.place}: {exc.text.removeprefix('configuration: ')}") from exc
    return msgspec.structs.replace(config, key_file=None, join=config.join or [])


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _stated(config: NodeConfig) -> NodeAddress:
    """Return the address at which others reach a node, as far as its settings tell."""
    return NodeAddress(config.advertise_ip or config.ip, config.advertise_port or config.port)


class _Ports:
    """The first port of each host: local ones are one machine, so their ports follow each other."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}

    def take(self, host: Host, config: NodeConfig, count: int) -> int:
        """Return by how much the first of `count` free ports is higher than that of `config`.

        Raises:
            ConfigError: there are not so many.
        """
        by = 0
        if host.address is None:
            by = self._taken.get(config.port, 0)
            self._taken[config.port] = by + count
        try:
            check_ports(config, count, by)
        except ConfigError as exc:
            raise ConfigError(f"{host.place}: {exc.text}") from exc
        return by


def _check_reachable(hosts: list[HostPlan]) -> None:
    """Refuse loopback addresses where there is more than this machine."""
    if not any(each.host.is_elsewhere for each in hosts):
        return
    for host, (config, *_) in hosts:
        ip = config.advertise_ip or config.ip
        if is_loopback(ip):
            raise ConfigError(
                f"{host.place}: its nodes would be at {ip}, where no other machine reaches them: set ip to an address "
                f'of {host.name}; or ip = "0.0.0.0" and advertise_ip to its address or its network interface'
            )


def _check_distinct(hosts: list[HostPlan]) -> None:
    """Refuse two nodes at one address."""
    seen: dict[NodeAddress, Host] = {}
    for host, configs in hosts:
        for config in configs:
            if not config.port or (config.advertise_ip and not _is_ip(config.advertise_ip)):
                continue  # a free port; or an interface perhaps
            address = _stated(config)
            other = seen.setdefault(address, host)
            if other is not host:
                raise ConfigError(
                    f"{host.place}: one of its nodes would be {address}, as one of {other.name} is: set "
                    f"another port or ip"
                )
