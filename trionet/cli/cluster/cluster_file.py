"""The cluster file: which hosts there are, how nodes start there, and the settings of all nodes.

It is a configuration of nodes with a few more keys, and a table for each host. A key of a host goes before the same
key of the file. Invariant: what is read has the right types, and no unknown key; whether the nodes fit is the plan's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trionet.config import CERTIFICATE_FILES, ENVIRONMENT_PREFIX, NodeConfig
from trionet.errors import ConfigError, MalformedRequest
from trionet.identity import check_name, is_loopback
from trionet.key_texts import KEY_VARIABLE
from trionet.launchers.ssh_login import check_options

from .placement import PLACEMENTS
from .tables import TOMLTable, read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FILE_KEYS", "HOST_KEYS", "MOST_NODES", "ClusterFile", "Host", "read_cluster_file", "settings_of_a_host"]

FILE_KEYS: Final = ("nodes", "placement", "min", "hosts")
"""The keys of the file that are no settings of nodes, and not those of all its hosts."""

_OF_ALL_HOSTS: Final = ("user", "python", "venv", "command", "slots", "options", "directory", "environment")
"""The keys of a host that the file may have, too, for all hosts; `slots` alone is for local ones as well."""

HOST_KEYS: Final = ("local", "address", *_OF_ALL_HOSTS)
"""The keys of a host that are no settings of nodes."""

_REMOTE_KEYS: Final = tuple(key for key in HOST_KEYS if key not in ("local", "slots"))

_REFUSED: Final = {
    "launcher": "the hosts say how nodes start",
    "detach": "these nodes stop with the command",
}
_OF_THE_CLUSTER: Final = ("cluster", "key_file", "accept", "send", "profile", "join")
"""The settings that all nodes of a cluster share."""

_TABLES: Final = ("services", "templates", "tags")
"""The settings whose entries add up."""

_OTHER_WORDS: Final = {
    "host": "address",
    "hostname": "address",
    "ssh": "address",
    "name": "address",
    "username": "user",
    "login": "user",
    "container": "command",
    "ssh_options": "options",
    "env": "environment",
    "cwd": "directory",
    "workdir": "directory",
    "working_directory": "directory",
    "n": "nodes",
    "count": "nodes",
    "key": "key_file",
    "seeds": "join",
}

MOST_NODES: Final = 10_000
"""How many nodes there are at most, on one host and in all."""

_MOST_HOSTS: Final = 1_000
_HOST_TAG: Final = "host"

_ADDRESS: Final = re.compile(r"(?:(?P<user>[^@\s:/-][^@\s:/]*)@)?(?P<host>[A-Za-z0-9_.:%\[][A-Za-z0-9_.:%\[\]-]*)\Z")
_USER: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.$+-]*\Z")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PYTHON_WORDS: Final = ("-m", "trionet.cli.node")


class Host(NamedTuple):
    """A host of a cluster file.

    Attributes:
        place: the file and the table, for errors.
        name: its name, which is a tag of its nodes.
        address: what ``ssh`` logs in to, perhaps with a user; None: this machine, without ssh.
        slots: how many nodes it may have.
        command: the words that run ``trionet-node`` there.
        options: further arguments of ``ssh``.
        directory: the working directory; None: that of the login.
        environment: variables.
        settings: those of its nodes that are not those of all nodes.
    """

    place: str
    name: str
    address: str | None
    slots: int
    command: list[str]
    options: list[str]
    directory: str | None
    environment: dict[str, str]
    settings: dict[str, Any]

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is another machine, as far as its address tells."""
        return self.address is not None and not is_loopback(self.ssh_host)

    @property
    def ssh_host(self) -> str:
        """The address without user and brackets."""
        return (self.address or "").rpartition("@")[2].removeprefix("[").removesuffix("]")


class ClusterFile(NamedTuple):
    """A cluster file.

    Attributes:
        path: where it is.
        nodes: how many there are to be; None: as many as the hosts have room for.
        placement: how they are placed.
        least: how many must have started; None: all.
        settings: those of all nodes.
        hosts: the hosts, in its order.
    """

    path: Path
    nodes: int | None
    placement: str
    least: int | None
    settings: dict[str, Any]
    hosts: list[Host]


def read_cluster_file(path: str) -> ClusterFile:
    """Return what a cluster file says.

    Raises:
        ConfigError: it can't be read, or something in it is wrong; the text names the place and what to write.
    """
    table = read_toml(Path(path))
    hosts = table.values.get("hosts")
    if isinstance(hosts, list):
        raise table.error("hosts", "each host is a table of its own: [hosts.NAME], not [[hosts]]")
    settings_names = set(NodeConfig.__struct_fields__) - set(_REFUSED)
    _check_settings(table)
    table.check_known([*FILE_KEYS, *_OF_ALL_HOSTS, *settings_names], _OTHER_WORDS)
    found = table.table("hosts")
    if not found.values:
        raise ConfigError(f"{path}: there are no hosts: write a table [hosts.NAME] for each machine")
    if len(found.values) > _MOST_HOSTS:
        raise table.error("hosts", f"at most {_MOST_HOSTS:,} hosts, not {len(found.values):,}")
    settings = {key: value for key, value in table.values.items() if key in settings_names}
    if isinstance(key_file := settings.get("key_file"), str) and key_file:
        settings["key_file"] = str(Path(path).parent / _expanded("key_file", key_file, table))
    read = [_host(name, found.table(name), table) for name in found.values]
    _check_distinct(read)
    NodeConfig.from_mapping(settings, source=path)
    for host in read:
        NodeConfig.from_mapping(settings_of_a_host(settings, host), source=host.place)
    return ClusterFile(
        path=Path(path),
        nodes=table.whole("nodes", 1, MOST_NODES),
        placement=table.choice("placement", PLACEMENTS) or PLACEMENTS[0],
        least=table.whole("min", 1, MOST_NODES),
        settings=settings,
        hosts=read,
    )


def _expanded(key: str, file: str, table: TOMLTable) -> Path:
    """Return a path of this machine, with the home for a ``~`` that begins it."""
    try:
        return Path(file).expanduser()
    except RuntimeError as exc:  # there is no such user, or no home
        raise table.error(key, f"{file!r:.100}: {str(exc).rstrip('.').lower()}") from exc


def settings_of_a_host(of_all: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """Return the settings of the nodes of a host: its own go before those of all, and entries of tables add up."""
    settings = {**of_all, **host.settings}
    for name in _TABLES:
        settings[name] = {**of_all.get(name, {}), **host.settings.get(name, {})}
    settings["tags"][_HOST_TAG] = host.name
    return settings


def _check_settings(table: TOMLTable) -> None:
    """Refuse the settings that no cluster file has, and what is no table and should be."""
    for key, reason in _REFUSED.items():
        if key in table:
            raise table.error(key, f"{reason}: leave it out")
    for key in CERTIFICATE_FILES:
        if (file := table.text(key)) is not None and not file.startswith("/"):
            raise table.error(key, f"each node reads it on its own host: write an absolute path, not {file!r:.100}")
    for key in _TABLES:
        table.table(key)
    if _HOST_TAG in table.texts("tags"):
        raise table.error("tags", f"the tag {_HOST_TAG} is the name of the host: leave it out")


def _host(name: str, table: TOMLTable, file: TOMLTable) -> Host:
    """Return a host; what its table leaves out is that of the file."""
    settings_names = [key for key in NodeConfig.__struct_fields__ if key not in _REFUSED and key not in _OF_THE_CLUSTER]
    _check_name(name, table)
    _check_settings(table)
    for key in _OF_THE_CLUSTER:
        if key in table:
            raise table.error(key, "all nodes of a cluster share it: write it above the hosts")
    nested = [key for key, value in table.values.items() if isinstance(value, dict) and key not in settings_names]
    if nested and not set(nested) & set(HOST_KEYS):
        raise table.error(nested[0], f'a name with dots is quoted: [hosts."{_dotted(name, table.values)}"]')
    table.check_known([*HOST_KEYS, *settings_names], _OTHER_WORDS)
    settings = {key: value for key, value in table.values.items() if key in settings_names}
    slots = _given(table, file, "slots").whole("slots", 0, MOST_NODES)
    local = table.flag("local")
    if local or (local is None and name == "local" and "address" not in table):
        for key in _REMOTE_KEYS:
            if key in table:
                raise table.error(key, "its nodes start on this machine, without ssh: leave it out")
        return Host(table.place, name, None, 1 if slots is None else slots, [], [], None, {}, settings)
    directory = _given(table, file, "directory")
    return Host(
        place=table.place,
        name=name,
        address=_address(name, table, file),
        slots=1 if slots is None else slots,
        command=_command(table, file),
        options=_options(_given(table, file, "options")),
        directory=directory.text("directory"),
        environment=_environment(file) | _environment(table),
        settings=settings,
    )


def _dotted(name: str, values: Mapping[str, Any]) -> str:
    """Return the name of a host that TOML takes for tables within each other."""
    for key, value in values.items():
        if isinstance(value, dict) and key not in (*HOST_KEYS, *NodeConfig.__struct_fields__):
            return _dotted(f"{name}.{key}", value)
    return name


def _check_name(name: str, table: TOMLTable) -> None:
    try:
        check_name(name, "name of a host")
    except MalformedRequest as exc:
        raise ConfigError(f"{table.place}: {exc.text}; what ssh logs in to is its address") from exc


def _given(table: TOMLTable, file: TOMLTable, key: str) -> TOMLTable:
    """Return the table that says what `key` is: that of the host, or the file."""
    return table if key in table else file


def _address(name: str, table: TOMLTable, file: TOMLTable) -> str:
    text, key = table.text("address") or name, "address"
    found = _ADDRESS.match(text)
    if found is None or "://" in text or not found["host"].strip("[]"):
        raise table.error(key, f"a name of ssh's configuration, a host name or an IP address, not {text!r:.100}")
    host = found["host"]
    if host.count(":") == 1 or "]:" in host:
        port = host.rpartition(":")[2]
        raise table.error(key, f'ssh takes the port from its options: options = ["-p", "{port}"]')
    given = _given(table, file, "user")
    user = given.text("user")
    if user is not None and not _USER.match(user):
        raise given.error("user", f"the name of a user, not {user!r:.100}")
    if found["user"] and "user" in table:
        raise table.error("user", f"the address names the user {found['user']}, too: leave one of them out")
    user = found["user"] or user
    host = host.removeprefix("[").removesuffix("]")
    return host if user is None else f"{user}@{host}"


def _command(table: TOMLTable, file: TOMLTable) -> list[str]:
    """Return the words that run ``trionet-node`` there."""
    ways = ("python", "venv", "command")
    source = table if any(way in table for way in ways) else file
    given = [way for way in ways if way in source]
    if len(given) > 1:
        raise source.error(given[1], f"{given[0]} says already how nodes start: leave one of them out")
    if (python := source.text("python")) is not None:
        return [python, *_PYTHON_WORDS]
    if (venv := source.text("venv")) is not None:
        return [f"{venv.rstrip('/')}/bin/python", *_PYTHON_WORDS]
    command = source.words("command")
    if command is not None and not any(command[:1]):
        raise source.error("command", "the words that run trionet-node there; it is empty")
    return command or ["trionet-node"]


def _options(source: TOMLTable) -> list[str]:
    """Return the further arguments of ssh."""
    options = source.words("options") or []
    try:
        check_options(options)
    except MalformedRequest as exc:
        raise source.error("options", exc.text) from exc
    return options


def _environment(table: TOMLTable) -> dict[str, str]:
    environment = table.texts("environment")
    for name in environment:
        place = table.table("environment")
        if not _VARIABLE.match(name):
            raise place.error(name, "the name of a variable has letters, digits and '_'")
        if name == KEY_VARIABLE:
            raise place.error(name, "the key goes through the connection: give the path of its file in key_file")
        setting = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name.startswith(ENVIRONMENT_PREFIX) and setting in NodeConfig.__struct_fields__:
            raise place.error(name, f"nodes take their settings from this file: write {setting} in place of it")
    return environment


def _check_distinct(hosts: list[Host]) -> None:
    """Refuse two hosts that are the same login: that is one host with more slots."""
    seen: dict[tuple[str, ...], Host] = {}
    for host in hosts:
        if host.address is None:
            continue
        other = seen.setdefault((host.address, *host.options), host)
        if other is not host:
            raise ConfigError(
                f"{host.place}: is {host.address}, as {other.name} is: leave it out, and give {other.name} more slots"
            )
