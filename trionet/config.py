"""The configuration of a node.

One frozen type, `NodeConfig`, and its three sources besides Python: a TOML or JSON file, environment variables
``TRIONET_*``, and a mapping (as it travels in `status.spawn`).

Invariant: each setting, from any source, has its type and range, and shares no container with the caller; else a
`ConfigError` names the setting. `NodeConfig.__post_init__` checks all settings.
"""

from __future__ import annotations

import functools
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .codec import register_type
from .config_checks import (
    check_advertised_port,
    check_on_start,
    check_references,
    check_rollout,
    checked_policy_setting,
    checked_seed,
    refuse_key,
)
from .conversion import Converter, Misfit, converter_for
from .errors import ConfigError, EncodeError, MalformedRequest
from .identity import NodeAddress, check_cluster, checked_destination, checked_host, is_loopback, is_unspecified
from .import_paths import is_reference, reference_to
from .limits import Limits
from .profiles import PROFILES
from .user_code import described, pass_endings, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    OnStart = Callable[..., Any] | str | None
    PolicyGiven = Mapping[str, Any] | Callable[..., bool] | str | None
else:
    PolicyGiven = Any
    OnStart = Any  # no converter accepts a callable or a text; __post_init__ checks it

__all__ = ["CERTIFICATE_FILES", "ENVIRONMENT_PREFIX", "NodeConfig", "check_tags", "parse_setting"]

ENVIRONMENT_PREFIX = "TRIONET_"
_MAX_TAGS_BYTES = 512
_CHOICES = {
    "accept": ("plain", "both", "sealed"),
    "send": ("plain", "sealed"),
    "transport": ("link", "http"),
    "restart": ("never", "on_failure", "always"),
    "profile": tuple(PROFILES),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
}
CERTIFICATE_FILES = ("certificate_file", "private_key_file", "ca_file")


class _SettingsByName(type(msgspec.Struct)):  # type: ignore[misc]  # which has no name in older ones
    """Raises a `ConfigError` for unknown settings, where msgspec would raise a `TypeError`."""

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        if args:
            raise ConfigError("settings are given by name: trionet.NodeConfig(ip=..., port=...)")
        for name in settings:
            _check_known(name, cls)
        return super().__call__(**settings)


_ALIASES = {"host": "ip", "address": "ip", "bind": "ip", "seeds": "join", "peers": "join"}  # other libraries' words


def _check_known(name: object, cls: Any) -> None:
    if name not in cls.__struct_fields__:
        import difflib  # only on an error

        similar = difflib.get_close_matches(_ALIASES.get(str(name), str(name)), cls.__struct_fields__, n=1)
        raise ConfigError(f"there is no setting {name!r:.100}" + (f"; there is {similar[0]!r}" if similar else ""))


class NodeConfig(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True, metaclass=_SettingsByName):
    """The configuration of one node, with the settings of `Limits`.

    `launcher`, `restart` and `detach` are for the spawner of the node; all others are for the node itself.

    Attributes:
        ip: the address to listen on. Other addresses than loopback need a key, or `insecure`.
        port: the TCP port to listen on; 0 picks a free one.
        advertise_ip: the address that other nodes connect to, or the network interface that has it; if `ip` is
            ``0.0.0.0`` or ``::``, by default that of the route to the nodes of `join`.
        advertise_port: the port that other nodes connect to, TCP and UDP, where that is mapped to `port`. None: `port`.
        on_start: called with the node once it accepts calls and before `open_node` returns; a callable or an import
            path ``"package.module:function"``, sync or async. To a spawned process a callable without an import path
            goes by value, with the extra ``code``.
        insecure: permits listening beyond loopback without a key: then everyone who reaches the port may call
            everything.
        key_file: the file of the cluster's key, made by ``trionet keys new FILE``: mode 0600 and yours. With a key the
            node talks to holders of the key alone. The nodes that it spawns get the key, and not the path.
        certificate_file, private_key_file, ca_file: the node's certificate for ``spiffe://CLUSTER/node/NAME``, its
            private key (mode 0600 and yours), and the certificates of the CAs of its peers, in PEM; all three or none.
            With them the node talks to holders of such certificates alone. The nodes that it spawns get the paths.
        accept: what the node accepts once it has a key: ``sealed``; ``both`` during a rollout; ``plain`` before it: its
            `key_file` may come later. What the key file says of a rollout goes before.
        send: what the node sends once it has a key: ``sealed``, or ``plain`` until all members accept both.
        cluster: the cluster's name. Clusters of different names never merge, even with one key. Lower case. Without a
            key it has no effect.
        trust_code: whether it reads code that nodes with the key of its cluster send, or, without keys, nodes of the
            same run: those of this process, and all that these have spawned.
        policy: who may call what: a table with ``allow``, ``deny`` or both, each of lists of ``gid/service/method`` by
            principal; or a function ``(principal, gid, service, method)`` that gives True or False, or its import path.
            None: members may call everything, holders of tokens what their scope permits.
        services: local services to start with, name to import path ``"package.module:Class"``.
        templates: service templates to start with, name to import path.
        join: addresses ``"ip:port"`` or ``"name:port"`` of nodes of a cluster to join; one that answers is enough. A
            name stands for all its addresses. An empty list begins a cluster. None: it joins no cluster by itself; a
            node spawned by a member of a cluster joins its spawner.
        profile: the timing of membership and gossip, for a kind of network: ``lan``, ``local`` or ``wan``; the same on
            all nodes.
        tags: short texts about the node for all members of its cluster, name to text.
        datagrams: whether membership and gossip use UDP, on the same port number. Otherwise they use connections.
        transport: the transport of its calls: ``link``, or ``http``, some thirty times slower. It accepts both.
        busy_poll: whether a link polls for more input for a moment before it sleeps, if recent polls succeeded:
            consecutive calls are three times as fast, and cost more processor time.
        child_launcher: the launcher of the nodes that it spawns, unless their configuration has a `launcher`. None: its
            own `launcher`; else ``forkserver``.
        log_level: for ``trionet-node``: debug, info, warning, error; or, in a spawned node, its spawner's if higher.
        log_format: likewise: ``text``, or ``json``, one object a line; so do the nodes that it spawns.
        launcher: its launcher: ``forkserver``, ``subprocess``, ``in_process``, ``ssh:HOST``, or a registered one. None:
            the spawner's `child_launcher`.
        restart: whether its spawner restarts it when it ends: ``never``, ``on_failure`` (an exit status other than 0,
            or a signal), ``always``.
        detach: whether it outlives its spawner.
    """

    ip: str = "127.0.0.1"
    port: int = 0
    advertise_ip: str | None = None
    advertise_port: int | None = None
    on_start: OnStart = None
    insecure: bool = False
    key_file: str | None = None
    certificate_file: str | None = None
    private_key_file: str | None = None
    ca_file: str | None = None
    accept: Literal["plain", "both", "sealed"] = "sealed"
    send: Literal["plain", "sealed"] = "sealed"
    cluster: str = "trionet"
    trust_code: bool = False
    policy: PolicyGiven = None
    services: dict[str, str] = msgspec.field(default_factory=dict)
    templates: dict[str, str] = msgspec.field(default_factory=dict)
    join: list[str] | None = None
    profile: Literal["lan", "local", "wan"] = "lan"
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    datagrams: bool = True
    transport: Literal["link", "http"] = "link"
    busy_poll: bool = True
    child_launcher: str | None = None
    log_level: str = "info"
    log_format: Literal["text", "json"] = "text"
    launcher: str | None = None
    restart: Literal["never", "on_failure", "always"] = "never"
    detach: bool = False

    def __post_init__(self) -> None:
        """Check every setting, and copy containers."""
        for setting, (converter, default) in _converters().items():
            value = getattr(self, setting)
            if type(value) is not type(default) or value != default:
                self._set(setting, _typed(setting, converter, value))
        self._check_addresses()
        check_on_start(self.on_start)
        check_cluster(self.cluster)
        self._check_files()
        check_rollout(self.accept, self.send, is_certified=self.certificate_file is not None)
        self._set("policy", checked_policy_setting(self.policy))
        for setting in ("services", "templates"):
            check_references(setting, getattr(self, setting))
        if self.join is not None:
            self._set("join", [checked_seed(seed) for seed in self.join])
        check_tags(self.tags)
        self.check_ranges()
        for setting, choices in _CHOICES.items():
            if getattr(self, setting) not in choices:
                *others, last = choices
                raise ConfigError(f"{setting} is {', '.join(others)} or {last}, not {shown(getattr(self, setting))}")

    def _set(self, setting: str, value: object) -> None:
        msgspec.structs.force_setattr(self, setting, value)

    def _check_addresses(self) -> None:
        self._set("ip", checked_host(self.ip, "ip"))
        try:
            NodeAddress(self.ip, self.port)
        except MalformedRequest as exc:
            raise ConfigError(f"port: {exc.text}") from exc
        if self.advertise_ip is not None:
            self._set("advertise_ip", checked_destination(self.advertise_ip, "advertise_ip"))
        check_advertised_port(self.advertise_port)

    def _check_files(self) -> None:
        for setting in ("key_file", *CERTIFICATE_FILES):
            path = getattr(self, setting)
            if path is not None and (not path or "\0" in path):
                raise ConfigError(f"{setting} is the path of a file")
        missing = [setting for setting in CERTIFICATE_FILES if getattr(self, setting) is None]
        if missing and len(missing) < len(CERTIFICATE_FILES):
            raise ConfigError(f"{' and '.join(CERTIFICATE_FILES)} go together: set {' and '.join(missing)}, too")

    def check_bind(self, *, has_key: bool = False, is_rolling: bool = False) -> None:
        """Raise `ConfigError` if listening on `ip` would open the node to others without protection.

        Args:
            has_key: whether the node has a key, from any source; a `key_file` is one, and a certificate protects, too.
            is_rolling: whether its key file says that it accepts plain peers, whatever `accept` is.
        """
        has_key = has_key or self.key_file is not None
        is_open = not (is_loopback(self.ip) or self.insecure or self.certificate_file is not None)
        if is_open and has_key and (is_rolling or self.accept != "sealed"):
            raise ConfigError(
                f"refusing to listen on {self.ip} while the node accepts plain peers: whoever reaches the port could "
                f"call its services. Listen on 127.0.0.1; or set insecure=True (--insecure) until the rollout of the "
                f"key has ended, if the network itself keeps others out"
            )
        if is_open and not has_key:
            raise ConfigError(
                f"refusing to listen on {self.ip} without a key: whoever reaches the port could call every service. "
                f"Make a key with 'trionet keys new FILE', and set key_file (--key-file); or listen on 127.0.0.1; or "
                f"set insecure=True (--insecure) if the network itself keeps others out"
            )
        if is_unspecified(self.ip) and not self.advertise_ip and not self.join:
            raise ConfigError(f"with ip {self.ip} other nodes need advertise_ip (--advertise-ip) to reach this one")
        if self.advertise_port is not None and not self.port:
            raise ConfigError("set port (--port), too: advertise_port is mapped to one, and port 0 picks any")

    @property
    def certificate_settings(self) -> dict[str, Any]:
        """The settings of its certificate, with absolute paths, and of the cluster that it is for; empty without."""
        paths = {setting: os.path.abspath(path) for setting in CERTIFICATE_FILES if (path := getattr(self, setting))}
        return paths and paths | {"cluster": self.cluster}

    def portable(self) -> NodeConfig:
        """Return the configuration to send to another process: `on_start` and `policy` are import paths.

        Raises:
            EncodeError: one of them can't be imported by another process.
        """
        paths = {name: getattr(self, name) for name in ("on_start", "policy") if callable(getattr(self, name))}
        for name, function in paths.items():
            paths[name] = reference_to(function)
            if paths[name] is None:
                raise EncodeError(
                    f"at $.{name}: {function!r} can't be imported by another process, and code does not travel: "
                    f"put it at the top level of a module, or give 'package.module:function'",
                    path=f"$.{name}",
                )
        return msgspec.structs.replace(self, **paths) if paths else self

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any], *, source: str = "configuration") -> NodeConfig:
        """Return the configuration with these settings.

        Raises:
            ConfigError: a setting is unknown or invalid; the text starts with `source`.
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
            ConfigError: it can't be read, or has neither form.
        """
        if not isinstance(path, str | Path):
            raise ConfigError(f"a configuration's file is given by its path, not by {path!r:.80}")
        import tomllib  # only where there is a file

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

        Numbers, booleans and tables are JSON; texts are plain; lists of texts are JSON or ``a,b``.

        Raises:
            ConfigError: a value does not have the form of its setting.
        """
        environment = os.environ if environment is None else environment
        settings = {}
        for field in msgspec.structs.fields(cls):
            variable = ENVIRONMENT_PREFIX + field.name.upper()
            if (text := environment.get(variable)) is not None:
                settings[field.name] = parse_setting(field.name, text, source=variable)
        return settings


def parse_setting(name: str, text: str, *, source: str) -> Any:
    """Return the value of the setting `name` in `text`.

    Raises:
        ConfigError: it is no value of that setting; the error's text starts with `source`.
    """
    refuse_key(text, source)
    field_type = (Limits.__annotations__ | NodeConfig.__annotations__)[name]
    is_path = field_type == "PolicyGiven" and is_reference(text)
    if is_path or "str" in field_type.split(" | ") or field_type == "OnStart" or field_type.startswith("Literal["):
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
    """Return a copy of a node's tags.

    Raises:
        ConfigError: they are no mapping of texts to texts, or too large for a statement about a node.
    """
    checked: dict[str, str] = _typed("tags", _converters()["tags"][0], tags)
    size = len(msgspec.msgpack.encode(checked))
    if size > _MAX_TAGS_BYTES:
        raise ConfigError(f"the tags have {size} bytes, over the {_MAX_TAGS_BYTES} that the news of a node may carry")
    return checked


@functools.cache
def _converters() -> dict[str, tuple[Converter, object]]:
    """Return the converter to each setting's type, and its default. Choices are texts here, and checked later."""
    hints = typing.get_type_hints(NodeConfig)
    hints |= dict.fromkeys(_CHOICES, str)
    hints["join"] = list[Any] | None  # addresses of any form; checked later
    hints["services"] = hints["templates"] = dict[str, Any]  # import paths; checked later
    return {
        field.name: (converter, field.default)
        for field in msgspec.structs.fields(NodeConfig)
        if (converter := converter_for(hints[field.name])) is not None
    }


def _typed(setting: str, converter: Converter, value: Any) -> Any:
    """Return `value`, converted to the setting's type; a container is copied to a new list or dict.

    Raises:
        ConfigError: it isn't of that type, or contains a text that is no Unicode.
    """
    refuse_key(value, setting)
    try:
        if isinstance(value, tuple | list):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        typed = converter.fit(value, False)
        _check_texts(typed)
    except Misfit as misfit:
        raise ConfigError(f"{setting}: {misfit}") from misfit
    except BaseException as exc:  # a mapping of the user's, or a __class__ that raises
        pass_endings(exc)
        raise ConfigError(f"{setting}: a {type(value).__name__} can't be read: {described(exc)}") from exc
    return typed


def _check_texts(value: Any) -> None:
    for text in [*value.keys(), *value.values()] if isinstance(value, dict) else [value]:
        try:
            if isinstance(text, str):
                text.encode()
        except UnicodeEncodeError as exc:
            raise Misfit(f"{text!r:.100} is no text: no Unicode") from exc


register_type(NodeConfig, name="trionet:NodeConfig")
