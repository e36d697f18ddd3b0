"""The arguments of commands, and the sources of a node's settings."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.key_texts import KEY_VARIABLE, holds_key_text
from trionet.streams import OutputLost, check_written
from trionet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trionet.security.node_keys import NodeKeys

__all__ = [
    "Parser",
    "add_certificate",
    "add_key_file",
    "import_from_working_directory",
    "keys_of",
    "number",
    "seconds",
    "settings_from",
    "settings_in",
    "similar_to",
]

N = TypeVar("N", int, float)

_KEY_AS_ARGUMENT: Final = (
    "one of the arguments is a key. A key in a command line is seen by others and kept in the shell's history: make a "
    "new one with: trionet keys new FILE"
)


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, keeps the lines of its description, and has ``--version``.

    It refuses the text of a key anywhere, and does not quote it.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)
        if not settings.get("parents"):  # else one of them has it
            text = f"{self.prog} {__version__}"
            self.add_argument("--version", action="version", version=text, help="print the version, and end")

    def parse_known_args(  # type: ignore[override]  # overloads for the type of the namespace, which is argparse's own
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse; the other methods end here, too."""
        if any(map(holds_key_text, sys.argv[1:] if args is None else args)):
            self.exit(2, f"{self.prog}: {_KEY_AS_ARGUMENT}\n")
        return super().parse_known_args(args, namespace)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process; help that could not be printed is an error."""
        try:
            check_written(sys.stdout)
        except OutputLost as exc:
            status, message = status or 1, message or f"{self.prog}: {exc}\n"
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        """End the process."""
        if message.startswith("unrecognized arguments: -"):
            word = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
            message += similar_to(word, self._option_string_actions)
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise an error with the most similar choices, where argparse lists all."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = similar_to(str(value), choices) or f" (choose from {', '.join(choices)})"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r:.80}{hint}")

    def check_choice(self, what: str, given: str, choices: Iterable[str]) -> None:
        """End the process, with the most similar choices, unless `given` is one of `choices`."""
        choices = list(choices)
        if given in choices:
            return
        hint = similar_to(given, choices) or f"; there are {', '.join(choices)}"
        self.error(f"there is no {what} {given!r:.80}{hint}")


def similar_to(given: str, choices: Iterable[str]) -> str:
    """Return the end of a sentence that suggests the most similar choices; nothing if none is similar."""
    import difflib  # only on an error

    similar = difflib.get_close_matches(given, list(choices), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""


def number(kind: type[N], least: float, most: float, expected: str) -> Callable[[str], N]:
    """Return the ``type`` of an option: a number from `least` to `most`, described by `expected`."""

    def parse(text: str) -> N:
        """Return the number in the text of an option."""
        try:
            found = kind(text)
        except ValueError:
            found = None
        if found is None or not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{expected}, not {text!r:.80}")
        return found

    return parse


seconds: Final = number(float, math.ulp(0.0), sys.float_info.max, "a number of seconds")
"""The ``type`` of an option: a finite time of more than 0 seconds."""


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
        settings |= settings_in(source, name)
    return settings | _checked(NodeConfig.settings_from_environment(), "environment")


def add_key_file(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--key-file``."""
    parser.add_argument(
        "--key-file", metavar="FILE", help="the file of the cluster's key, made by: trionet keys new FILE"
    )


def add_certificate(parser: argparse.ArgumentParser) -> None:
    """Add the options of a node's certificate."""
    add = parser.add_argument
    add("--certificate-file", metavar="FILE", help="the node's certificate for spiffe://CLUSTER/node/NAME, in PEM")
    add("--private-key-file", metavar="FILE", help="the private key of the certificate, mode 0600, in PEM")
    add("--ca-file", metavar="FILE", help="the certificates of the CAs of all nodes, in PEM")


def keys_of(config: NodeConfig) -> NodeKeys | None:
    """Return the keys in the `key_file` of a configuration, or in ``TRIONET_KEY``; None without any.

    The variable is deleted, so that no process inherits it.

    Raises:
        ConfigError: both are given, or a key can't be used; the text says why.
    """
    if config.key_file is None and KEY_VARIABLE not in os.environ:
        return None
    from trionet.security.key_file import is_there, read_keys  # on use, as all of `trionet.security`
    from trionet.security.node_keys import NodeKeys

    if config.accept == "plain" and config.key_file is not None and not is_there(config.key_file):
        return None  # it comes later
    file = read_keys(config.key_file)
    return None if file is None else NodeKeys.of_file(file, config)


def _checked(settings: dict[str, Any], source: str) -> dict[str, Any]:
    """Return `settings`; raise a `ConfigError` that names their source if one is invalid."""
    NodeConfig.from_mapping(settings, source=source)
    return settings


def settings_in(source: str, name: str) -> dict[str, Any]:
    """Return the settings in a configuration file, or in a JSON object; an error's text begins with `name`.

    Raises:
        ConfigError: there are none, or some are wrong.
    """
    if not source.lstrip().startswith("{"):
        return _checked(NodeConfig.settings_from_file(Path(source)), source)
    try:
        settings: dict[str, Any] = msgspec.json.decode(source)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{name}: {exc}") from exc
    return _checked(settings, name)
