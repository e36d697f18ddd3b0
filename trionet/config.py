"""What a node is told when it starts.

One frozen type, `NodeConfig`, and the three places it can be read from besides Python: a TOML or JSON file, environment
variables ``TRIONET_*``, and a mapping (as it travels in `status.spawn`).

Invariant: whichever way a configuration is made, each setting has its type and range and belongs to it alone, or there
is a `ConfigError` that names the setting. It is checked in one place, `NodeConfig.__post_init__`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .bounds import MAX_CONTAINERS
from .codec import register_type
from .conversion import Converter, Misfit, converter_for
from .errors import ConfigError, EncodeError, MalformedRequest
from .identity import NodeAddress, check_name, checked_destination, checked_host, is_loopback
from .profiles import PROFILES
from .user_code import described, pass_endings, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    OnStart = Callable[..., Any] | str | None
else:
    OnStart = Any  # no type says "a callable or a text"; __post_init__ checks it

__all__ = [
    "ENVIRONMENT_PREFIX",
    "GUARD_MAIN",
    "NodeConfig",
    "check_tags",
    "import_reference",
    "parse_setting",
    "reference_to",
]

ENVIRONMENT_PREFIX = "TRIONET_"
_MAX_SECONDS = 1e9
_POSITIVE: dict[str, float] = {
    "max_message_bytes": 2**40,
    "max_message_containers": 2**40,
    "max_calls_per_peer": 2**31 - 1,
    "max_connections": 2**31 - 1,
    "idle_timeout_s": _MAX_SECONDS,
    "body_timeout_s": _MAX_SECONDS,
    "connect_timeout_s": _MAX_SECONDS,
}
"""Settings that are positive, and the most that they can be: larger ones could not be sent, or waited for."""
_MAX_TAGS_BYTES = 512
_LEAST_HELD_BYTES = 256 * 1024 * 1024
_MOST_HELD_BYTES = 2**50
_HELD_MESSAGES = 8
_LEAST_HELD_MESSAGES = 4
_CHOICES = {
    "transport": ("link", "http"),
    "restart": ("never", "on_failure", "always"),
    "profile": tuple(PROFILES),
    "log_level": ("debug", "info", "warning", "error"),
}
GUARD_MAIN = (
    "a program that starts when its module is imported starts again where a node imports that module by its name: put "
    "what starts it under: if __name__ == '__main__'"
)
_UNSPECIFIED = ("0.0.0.0", "::")


class _SettingsByName(type(msgspec.Struct)):  # type: ignore[misc]  # which has no name in older ones
    """Says what is wrong with the settings of a configuration, in place of msgspec."""

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        if args:
            raise ConfigError("a configuration takes its settings by name: trionet.NodeConfig(ip=..., port=...)")
        for name in settings:
            _check_known(name, cls)
        return super().__call__(**settings)


def _check_known(name: object, cls: Any) -> None:
    if name not in cls.__struct_fields__:
        similar = difflib.get_close_matches(str(name), cls.__struct_fields__, n=1)
        raise ConfigError(f"there is no setting {name!r:.100}" + (f"; there is {similar[0]!r}" if similar else ""))


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, metaclass=_SettingsByName):
    """The configuration of one node.

    Attributes:
        ip: the address to listen on. Anything but loopback needs `insecure`.
        port: the TCP port to listen on; 0 picks a free one.
        advertise_ip: what other nodes connect to, where that isn't `ip`: needed when `ip` is ``0.0.0.0`` or ``::``.
        on_start: called with the node once it accepts calls and before `open_node` returns; a callable or an import
            path ``"package.module:function"``, sync or async. To travel to another process it must be importable there.
        insecure: permits listening beyond loopback although anyone who reaches the port may call everything.
        services: local services to start with, name to import path ``"package.module:Class"``.
        templates: service templates to start with, name to import path.
        join: addresses ``"ip:port"`` or ``"name:port"`` of nodes of a cluster to join, any of which will do; a name
            stands for all its addresses. An empty list begins a cluster. None: it joins nobody by itself; where it
            is spawned by a node of a cluster, it joins its spawner.
        profile: the timing of membership and gossip, for its kind of network: ``lan``, ``local`` or ``wan``; the same
            on all nodes.
        tags: texts by which a node tells the others of its cluster about itself, name to text; short ones.
        datagrams: whether membership and gossip use UDP, on the same port number. Without, all goes over connections.
        transport: how its calls go out: over ``link``, or over ``http``, some thirty times slower. It takes both.
        busy_poll: whether a link that has just heard from its peer looks for more for a moment before it sleeps, where
            that has lately been worth it: calls one after another take a third of the time, for processor time.
        max_message_bytes: the largest request or reply body taken or sent. Sane: 64 KiB to 1 GiB.
        max_held_bytes: what all links together hold at most of messages: those that have not come to their end,
            calls until they are answered, answers until they are written. At the limit the link that holds most is
            closed. None: 256 MiB, or eight times `max_message_bytes` where that is more. Sane: a quarter of the
            memory; at least four times `max_message_bytes`.
        max_message_containers: how many lists, dicts, tuples and so on a message may hold that is taken, as they are
            counted in its wire form. Each takes some 100 bytes of memory, and as few as one on the wire.
            Sane: 10,000 to 10,000,000.
        max_calls_per_peer: calls of one peer in progress at once, at each depth of nesting up to 7; further ones wait
            at the caller. Those that are nested more deeply share as many, and are refused when these are taken.
            Sane: 16 to 65536.
        max_connections: open connections taken at once; at the limit one without a finished request is closed,
            else the one that has been idle longest, or, when all are in use, the new one.
            Sane: above twice the number of nodes, below the process's limit of open files.
        idle_timeout_s: how long a connection may stay idle, take to send a request's head, or read nothing of an
            answer. Sane: 40 to 600: above the 30 s after which our own client lets go of an idle connection, or calls
            meet connections being closed.
        body_timeout_s: how long a request's body may take to arrive. Sane: 5 to 600.
        connect_timeout_s: how long to try to connect before a node counts as unreachable. Sane: 1 to 30.
        stop_grace_s: how long a stopping node waits for the calls it is answering. Sane: 0 to 30.
        launcher: how it starts other nodes, and, where it is itself spawned, how it is started: ``forkserver``,
            ``subprocess``, ``in_process``, ``ssh:HOST``, or a registered one; default: as its spawner does, and
            ``forkserver`` in the end.
        restart: where it is spawned, whether its spawner starts it again when it ends: ``never``, ``on_failure`` (with
            another exit status than 0, or by a signal), ``always``.
        detach: where it is spawned, whether it outlives its spawner.
        log_level: for ``trionet-node``: debug, info, warning, error.
    """

    ip: str = "127.0.0.1"
    port: int = 0
    advertise_ip: str | None = None
    on_start: OnStart = None
    insecure: bool = False
    services: dict[str, str] = {}
    templates: dict[str, str] = {}
    join: list[str] | None = None
    profile: Literal["lan", "local", "wan"] = "lan"
    tags: dict[str, str] = {}
    datagrams: bool = True
    transport: Literal["link", "http"] = "link"
    busy_poll: bool = True
    max_message_bytes: int = 16 * 1024 * 1024
    max_held_bytes: int | None = None
    max_message_containers: int = MAX_CONTAINERS
    max_calls_per_peer: int = 1024
    max_connections: int = 4096
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    stop_grace_s: float = 2.0
    launcher: str | None = None
    restart: Literal["never", "on_failure", "always"] = "never"
    detach: bool = False
    log_level: str = "info"

    def __post_init__(self) -> None:
        """Check every setting, whatever it was read from; containers become the configuration's own."""
        for setting, (converter, default) in _converters().items():
            value = getattr(self, setting)
            if value is not default:
                self._set(setting, _typed(setting, converter, value))
        self._check_addresses()
        if not (self.on_start is None or callable(self.on_start) or _is_reference(self.on_start)):
            kind = type(self.on_start)
            given = shown(self.on_start) if issubclass(kind, str) else f"a {kind.__name__}"
            raise ConfigError(f"on_start is a callable or 'package.module:function', not {given}")
        self._check_references()
        if self.join is not None:
            self._set("join", [_checked_seed(seed) for seed in self.join])
        check_tags(self.tags)
        for setting, most in _POSITIVE.items():
            _check_range(setting, getattr(self, setting), most)
        least = _LEAST_HELD_MESSAGES * self.max_message_bytes
        if not least <= self.held_bytes_limit <= _MOST_HELD_BYTES:
            raise ConfigError(
                f"max_held_bytes is at least {_LEAST_HELD_MESSAGES} times max_message_bytes, here {least:,}, and at "
                f"most {_MOST_HELD_BYTES:,}, not {shown(self.max_held_bytes)}"
            )
        if not 0 <= self.stop_grace_s <= _MAX_SECONDS:
            raise ConfigError(f"stop_grace_s is from 0 to {_MAX_SECONDS:g}, not {self.stop_grace_s!r}")
        for setting, choices in _CHOICES.items():
            if getattr(self, setting) not in choices:
                *others, last = choices
                raise ConfigError(f"{setting} is {', '.join(others)} or {last}, not {shown(getattr(self, setting))}")

    def _set(self, setting: str, value: object) -> None:
        msgspec.structs.force_setattr(self, setting, value)

    @property
    def held_bytes_limit(self) -> int:
        """What all links together hold at most of messages, in bytes: `max_held_bytes`, or its default."""
        if self.max_held_bytes is not None:
            return self.max_held_bytes
        return max(_LEAST_HELD_BYTES, _HELD_MESSAGES * self.max_message_bytes)

    def _check_addresses(self) -> None:
        self._set("ip", checked_host(self.ip, "ip"))
        _check_address(self.ip, self.port)
        if self.advertise_ip is not None:
            self._set("advertise_ip", checked_destination(self.advertise_ip, "advertise_ip"))

    def _check_references(self) -> None:
        for setting in ("services", "templates"):
            for name, reference in getattr(self, setting).items():
                try:
                    check_name(name, "service name")
                except MalformedRequest as exc:
                    raise ConfigError(f"{setting}: {exc.text}") from exc
                if not _is_reference(reference):
                    raise ConfigError(f"{setting}.{name} is 'package.module:Class', not {reference!r:.100}")

    def check_bind(self) -> None:
        """Raise `ConfigError` when listening on `ip` would open the node to others without protection."""
        if not is_loopback(self.ip) and not self.insecure:
            raise ConfigError(
                f"refusing to listen on {self.ip}: whoever reaches the port could call every service. Listen on "
                f"127.0.0.1, or say insecure=True (--insecure) if the network itself keeps others out"
            )
        if self.ip in _UNSPECIFIED and not self.advertise_ip:
            raise ConfigError(f"with ip {self.ip} other nodes need advertise_ip (--advertise-ip) to reach this one")

    def portable(self) -> NodeConfig:
        """Return the same configuration with `on_start` by import path, so that it can travel.

        Raises:
            EncodeError: `on_start` can't be imported by another process.
        """
        if self.on_start is None or isinstance(self.on_start, str):
            return self
        reference = reference_to(self.on_start)
        if reference is None:
            raise EncodeError(
                f"at $.on_start: {self.on_start!r} can't be imported by another process, and code does not travel: "
                f"put it at the top level of a module, or give 'package.module:function'",
                path="$.on_start",
            )
        return msgspec.structs.replace(self, on_start=reference)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any], *, source: str = "configuration") -> NodeConfig:
        """Return the configuration that `settings` gives.

        Raises:
            ConfigError: a setting is unknown or has a wrong value; the text starts with `source`.
        """
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{source}: expected a table of settings, not a {type(settings).__name__}")
        try:
            for name in settings:
                _check_known(name, cls)  # of any type
            return cls(**settings)
        except ConfigError as exc:
            raise ConfigError(f"{source}: {exc.text}") from exc

    @classmethod
    def settings_from_file(cls, path: str | Path) -> dict[str, Any]:
        """Return the settings in a TOML file, or a JSON file if its name ends in ``.json``.

        Raises:
            ConfigError: it can't be read, or is neither.
        """
        if not isinstance(path, str | Path):
            raise ConfigError(f"a configuration's file is given by its path, not by {path!r:.80}")
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            settings = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}") from exc
        except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{path}: {exc}") from exc
        if not isinstance(settings, dict):
            raise ConfigError(f"{path}: expected a table of settings")
        return settings

    @classmethod
    def settings_from_environment(cls, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the settings in ``TRIONET_*`` variables.

        Numbers, booleans and tables are as in JSON, texts as they are, and lists of texts either way: ``a,b``.

        Raises:
            ConfigError: a variable's value is no such thing.
        """
        environment = os.environ if environment is None else environment
        settings = {}
        for field in msgspec.structs.fields(cls):
            variable = ENVIRONMENT_PREFIX + field.name.upper()
            if (text := environment.get(variable)) is not None:
                settings[field.name] = parse_setting(field.name, text, source=variable)
        return settings


def parse_setting(name: str, text: str, *, source: str) -> Any:
    """Return the value of the setting `name` that `text` writes.

    Raises:
        ConfigError: it writes none; the text starts with `source`.
    """
    field_type = NodeConfig.__annotations__[name]
    if "str" in field_type.split(" | ") or field_type == "OnStart" or field_type.startswith("Literal["):
        return text
    if field_type.startswith("list[str]") and not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    if field_type == "bool" and text.lower() in ("1", "0", "yes", "no"):
        return text.lower() in ("1", "yes")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{source}: expected {field_type}, got {text!r:.80}") from exc


def check_tags(tags: object) -> dict[str, str]:
    """Return a node's tags as a dict of their own.

    Raises:
        ConfigError: they are no mapping of texts to texts, or too much to go along with the news of a node.
    """
    checked: dict[str, str] = _typed("tags", _converters()["tags"][0], tags)
    size = len(msgspec.msgpack.encode(checked))
    if size > _MAX_TAGS_BYTES:
        raise ConfigError(f"the tags have {size} bytes, over the {_MAX_TAGS_BYTES} that the news of a node may carry")
    return checked


@functools.cache
def _converters() -> dict[str, tuple[Converter, object]]:
    """Return what each setting's type asks for, and its default. A choice is a text here: it is checked by name."""
    hints = typing.get_type_hints(NodeConfig)
    hints |= dict.fromkeys(_CHOICES, str)
    hints["join"] = list[Any] | None  # addresses in any form, which become texts
    hints["services"] = hints["templates"] = dict[str, Any]  # import paths, which are checked by name
    return {
        field.name: (converter, field.default)
        for field in msgspec.structs.fields(NodeConfig)
        if (converter := converter_for(hints[field.name])) is not None
    }


def _typed(setting: str, converter: Converter, value: Any) -> Any:
    """Return `value`, which is of the setting's type; a container as a new list or dict.

    Raises:
        ConfigError: it isn't of that type, or holds a text that is no Unicode.
    """
    try:
        if isinstance(value, tuple | list):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        typed = converter.fit(value, False)
        _check_texts(typed)
    except Misfit as misfit:
        raise ConfigError(f"{setting}: {misfit}") from misfit
    except BaseException as exc:  # a mapping of the user's, or an object that raises when it is asked for its class
        pass_endings(exc)
        raise ConfigError(f"{setting}: a {type(value).__name__} can't be read: {described(exc)}") from exc
    return typed


def _check_texts(value: Any) -> None:
    for text in value.items() if isinstance(value, dict) else [value]:
        for part in text if isinstance(text, tuple) else [text]:
            if isinstance(part, str):
                try:
                    part.encode()
                except UnicodeEncodeError as exc:
                    raise Misfit(f"{part!r:.100} is no text: no Unicode") from exc


def _check_range(setting: str, value: float, most: float) -> None:
    if not 0 < value <= most:
        raise ConfigError(f"{setting} is a positive number, at most {most:g}, not {shown(value)}")


def _checked_seed(seed: object) -> str:
    """Return a seed, in whatever form it was given, as the text that travels to a spawned node."""
    try:
        address = NodeAddress.of(seed)
    except MalformedRequest as exc:
        raise ConfigError(f"join: {exc.text}") from exc
    except BaseException as exc:  # an object of the user's, which was asked for its address
        pass_endings(exc)
        raise ConfigError(f"join: a {type(seed).__name__} is no address: {type(exc).__name__}") from exc
    if not address.port:
        raise ConfigError(f"join: the seed {address} has no port")
    return str(address)


def _check_address(ip: str, port: int) -> None:
    for setting, address in (("ip", (ip, 0)), ("port", ("127.0.0.1", port))):
        try:
            NodeAddress(*address)
        except MalformedRequest as exc:
            raise ConfigError(f"{setting}: {exc.text}") from exc


def _is_reference(value: Any) -> bool:
    if not issubclass(type(value), str):  # the value itself may raise when it is asked
        return False
    module, colon, name = value.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def import_reference(reference: str) -> Any:
    """Return the object that ``"package.module:name"`` names.

    Raises:
        ConfigError: there is none, or its module can't be imported; the cause is chained.
    """
    if not _is_reference(reference):
        raise ConfigError(f"expected 'package.module:name', got {reference!r:.100}")
    module, _, name = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except BaseException as exc:  # the module is the user's
        pass_endings(exc)
        text = described(exc)
        hint = f"; {GUARD_MAIN}" if isinstance(exc, RuntimeError) and "from inside a run()" in text else ""
        raise ConfigError(f"can't import {module!r}: {type(exc).__name__}: {text}{hint}") from exc
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            raise ConfigError(f"{module!r} has no {name!r}") from exc
        except BaseException as exc:  # a module may have a __getattr__, and a class a metaclass
            pass_endings(exc)
            raise ConfigError(f"can't get {name!r} of {module!r}: {type(exc).__name__}: {described(exc)}") from exc
    return found


def reference_to(thing: Any) -> str | None:
    """Return the import path of a class or function, or None when another process could not import it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    reference = f"{module}:{name}"
    try:
        return reference if import_reference(reference) is thing else None
    except ConfigError:
        return None


register_type(NodeConfig, name="trionet:NodeConfig")
