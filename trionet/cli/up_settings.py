"""The settings of the nodes of ``trionet up``, from its options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from trionet.config import CERTIFICATE_FILES, NodeConfig, parse_setting
from trionet.errors import ConfigError, MalformedRequest
from trionet.import_paths import import_reference
from trionet.services.names import default_name

from .arguments import add_certificate, add_key_file, settings_from
from .consecutive import check_ports

if TYPE_CHECKING:
    import argparse

__all__ = ["add_settings", "config_of", "settings_of_all"]


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--port-from", metavar="PORT", type=int, help="port of the first node; the others follow")
    add("--join", metavar="ADDR", action="append", help="a node of the cluster to join, host:port; repeatable")
    add(
        "--service",
        metavar="[NAME=]PATH",
        action="append",
        help="a service of all nodes, package.module:Class; its name is by default that of the class; repeatable",
    )
    add("--config", metavar="FILE|JSON", help="the configuration of all nodes, as for trionet-node")
    add("--launcher", metavar="NAME", help="forkserver, subprocess, in_process or ssh:HOST")
    add_key_file(parser)
    add_certificate(parser)
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: warning)")
    add("--log-format", metavar="FORMAT", help="text, or json: one object a line (default: text)")


def config_of(options: argparse.Namespace) -> NodeConfig:
    """Return the configuration of all nodes.

    Raises:
        ConfigError: it can't be used; the text names the option.
    """
    settings = _with_options({"log_level": "warning"} | settings_from(options.config), options)
    if options.launcher is not None:
        settings["launcher"] = options.launcher
    config = NodeConfig.from_mapping(settings, source="command line")
    if options.count < 1:
        raise ConfigError(f"N is a positive number, not {options.count}")
    if config.detach:
        raise ConfigError("detach: these nodes stop with this command")
    check_ports(config, options.count)
    return config


def settings_of_all(options: argparse.Namespace, of_file: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of all nodes of a cluster file: its own, and what goes before them.

    Raises:
        ConfigError: an option can't be used with a cluster file.
    """
    for name, reason in (("launcher", "how nodes start"), ("config", "their settings")):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name}: the cluster file says {reason}: write it there")
    environment = NodeConfig.settings_from_environment()
    for name in ("launcher", "detach"):
        environment.pop(name, None)
    return _with_options({"log_level": "warning"} | of_file | environment, options)


def _with_options(settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return settings with those that the options give."""
    if options.port_from is not None:
        settings["port"] = options.port_from
    if options.join is not None:
        settings["join"] = [seed for text in options.join for seed in text.split(",")]
    if options.service is not None:
        settings["services"] = {**settings.get("services", {}), **_services(options.service)}
    for name in ("key_file", "log_level", "log_format", *CERTIFICATE_FILES):
        if (text := getattr(options, name)) is not None:
            settings[name] = parse_setting(name, text, source=f"--{name.replace('_', '-')}")
    return settings


def _services(words: list[str]) -> dict[str, str]:
    """Return the import paths of services by name."""
    found: dict[str, str] = {}
    for word in words:
        name, _, reference = word.rpartition("=")
        name = name or _default_name(reference)
        if name in found:
            raise ConfigError(f"--service: two services are called {name!r:.80}: give one another name, NAME=PATH")
        found[name] = reference
    return found


def _default_name(reference: str) -> str:
    """Return the name that a service's class gives it."""
    try:
        found: Any = import_reference(reference)
        if not inspect.isclass(found):
            raise ConfigError(f"{reference} is no class, and so gives the service no name: use NAME={reference}")
        return default_name(found)
    except MalformedRequest as exc:
        raise ConfigError(f"--service: {exc.text}") from exc
