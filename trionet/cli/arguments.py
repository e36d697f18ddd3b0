"""The arguments of commands, and the sources of a node's settings."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from trionet import __version__
from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.streams import OutputLost, check_written

__all__ = ["Parser", "import_from_working_directory", "settings_from"]


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, keeps the lines of its description, and has ``--version``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)
        self.add_argument(
            "--version", action="version", version=f"{self.prog} {__version__}", help="print the version, and end"
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process; help that could not be printed is an error."""
        try:
            check_written(sys.stdout)
        except OutputLost as exc:
            status, message = status or 1, message or f"{self.prog}: {exc}\n"
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        """End the process."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def import_from_working_directory() -> None:
    """Import from the working directory, too, if it still exists: services are often kept there."""
    try:
        here = os.getcwd()
    except OSError:
        return
    if here not in sys.path:
        sys.path.insert(0, here)


def settings_from(source: str | None) -> dict[str, Any]:
    """Return the settings of a configuration file and of the environment, which has priority.

    Args:
        source: the value of ``--config``: a file's name, or a JSON object; default: that of ``TRIONET_CONFIG``.

    Raises:
        ConfigError: a setting is unknown or invalid; the text names its source.
    """
    settings: dict[str, Any] = {}
    name = "--config" if source else "TRIONET_CONFIG"
    source = source or os.environ.get("TRIONET_CONFIG")
    if source:
        settings |= _settings_in(source, name)
    return settings | _checked(NodeConfig.settings_from_environment(), "environment")


def _checked(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """Return `settings`; raise a `ConfigError` that names their source if one is invalid."""
    NodeConfig.from_mapping(settings, source=source)
    return settings


def _settings_in(source: str, name: str) -> dict[str, Any]:
    if not source.lstrip().startswith("{"):
        return _checked(NodeConfig.settings_from_file(Path(source)), source)
    try:
        settings: dict[str, Any] = msgspec.json.decode(source)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{name}: {exc}") from exc
    return _checked(settings, name)
