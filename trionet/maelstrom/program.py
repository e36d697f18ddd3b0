"""Programs that are Maelstrom nodes: a function builds the node, and its parameters are the program's options."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING, Any

from trionet.errors import ConfigError

from .running import run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .node import MaelstromNode

    Build = Callable[..., MaelstromNode]

__all__ = ["build_node", "load_build", "main"]


def load_build(path: Path) -> Build:
    """Return the function ``build`` of a Python file; exceptions of the file pass through.

    Raises:
        ConfigError: the file has no such function.
    """
    spec = importlib.util.spec_from_file_location(f"trionet_program_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build: Build | None = getattr(module, "build", None)
    if not callable(build):
        raise ConfigError("it has no function build; let it make the MaelstromNode and return it, and call main(build)")
    return build


def build_node(build: Build, arguments: Sequence[str] = ()) -> MaelstromNode:
    """Return the node that `build` makes with these options.

    Args:
        build: has keyword arguments with defaults: a bool is a flag ``--name``; an int, a float or a text is
            ``--name VALUE``. Underscores become dashes.
        arguments: the words of the command line.

    Raises:
        ConfigError: an option is unknown, or has an invalid value.
    """
    return build(**vars(_parser(build).parse_args(arguments))) if arguments else build()


def main(build: Build, arguments: Sequence[str] | None = None) -> None:
    """Run the node that `build` makes with the options of the command line; see `build_node` and `run`.

    An invalid option ends the process with status 2.
    """
    try:
        node = build_node(build, sys.argv[1:] if arguments is None else arguments)
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    run(node)


def _parser(build: Build) -> argparse.ArgumentParser:
    import argparse  # a twentieth of a node's start

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> Any:
            raise ConfigError(message)

    parser = Parser(description=inspect.getdoc(build), allow_abbrev=False)
    for name, parameter in inspect.signature(build).parameters.items():
        option = "--" + name.replace("_", "-")
        if isinstance(parameter.default, bool):
            parser.add_argument(option, action="store_true")
        else:
            kind = type(parameter.default)
            parser.add_argument(option, type=kind, default=parameter.default, metavar=kind.__name__.upper())
    return parser
