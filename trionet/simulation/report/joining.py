"""Joins JavaScript modules to one script, because browsers load no modules from files.

Each module becomes a function that is called once and returns its exports. Known are the forms that our modules use:
``import { a, b as c } from "./x.js";``, ``export`` before a function, a class or one constant, and a list of names.
Invariant: the script does what the modules do; an unknown form or name is an error, never a wrong script.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from trionet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["join_modules"]

_IMPORT: Final = re.compile(r"""^import\s*\{([^}]*)\}\s*from\s*["']\./([\w.-]+\.js)["'];?[ \t]*$""", re.MULTILINE)
_EXPORTED: Final = re.compile(r"^export (?=(?:async )?(?:function\*? ?|class |const |let )([\w$]+))", re.MULTILINE)
_LIST: Final = re.compile(r"^export\s*\{([^}]*)\};?[ \t]*$", re.MULTILINE)
_UNKNOWN: Final = re.compile(
    r"^[ \t]*import\b(?!\s*[(:=]).*$|^[ \t]*export\b(?!\s*[:=]).*$|\bimport\s*\(.*$|\bimport\.meta\b.*$", re.MULTILINE
)
_NAME: Final = re.compile(r"([\w$]+)(?: as ([\w$]+))?")


class _Module(NamedTuple):
    """A module: its body, in which imports are left, and its exports: names outside, and inside."""

    body: str
    exports: dict[str, str]


def join_modules(main: str, read: Callable[[str], str]) -> str:
    """Return one script that does what a module and all its imports do; there `main` is the exports of the module.

    Args:
        main: the file name of the module.
        read: returns the text of a module by its file name.

    Raises:
        ConfigError: the modules import each other in a circle, a name that isn't exported, or by an unknown form.
    """
    modules: dict[str, _Module] = {}
    _add(main, read, modules, ())
    places = {name: f"module{place}" for place, name in enumerate(modules)} | {main: "main"}
    parts = [_function(name, modules, places) for name in modules]
    return '"use strict";\n' + "\n".join(parts)


def _add(name: str, read: Callable[[str], str], modules: dict[str, _Module], within: tuple[str, ...]) -> None:
    """Add a module after all that it imports."""
    if name in within:
        raise ConfigError(f"modules import each other in a circle: {' -> '.join([*within, name])}")
    if name in modules:
        return
    text = read(name).replace("\r\n", "\n")
    for match in _IMPORT.finditer(text):
        _add(match[2], read, modules, (*within, name))
    exports = {match[1]: match[1] for match in _EXPORTED.finditer(text)}
    for match in _LIST.finditer(text):
        exports |= {outside: inside for inside, outside in _names(name, match[1])}
    body = _LIST.sub("", _EXPORTED.sub("", text)).strip()
    left = _UNKNOWN.search(_IMPORT.sub("", body))
    if left is not None:
        raise ConfigError(f"{name}: an import or export of this form can't be joined: {left[0].strip():.100}")
    modules[name] = _Module(body, exports)


def _function(name: str, modules: dict[str, _Module], places: dict[str, str]) -> str:
    """Return the module as a called function."""

    def linked(match: re.Match[str]) -> str:
        names = _names(name, match[1])
        for imported, _ in names:
            if imported not in modules[match[2]].exports:
                raise ConfigError(f"{name}: {match[2]} exports no {imported}")
        return f"const {{ {', '.join(f'{one}: {other}' for one, other in names)} }} = {places[match[2]]};"

    body, exports = _IMPORT.sub(linked, modules[name].body), modules[name].exports
    returned = ", ".join(f"{outside}: {inside}" for outside, inside in exports.items())
    return f"const {places[name]} = (() => {{\n{body}\nreturn {{ {returned} }};\n}})();\n"


def _names(module: str, listed: str) -> list[tuple[str, str]]:
    """Return the names of a list, each one with its new name, which is mostly the same."""
    found = []
    for name in listed.split(","):
        match = _NAME.fullmatch(" ".join(name.split()))
        if match is not None:
            found.append((match[1], match[2] or match[1]))
        elif name.strip():
            raise ConfigError(f"{module}: {name.strip()!r:.100} is no name to import or export")
    return found
