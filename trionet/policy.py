"""A policy: which principals may call which methods of a node.

A table has globs of principals, and for each the globs ``gid/service/method`` that it allows or denies. A deny wins.
With an allow, all that no allow matches is denied. ``*`` stands for any text within a part, ``?`` for one character.

Invariants: a policy is checked when it is made. From then on it never raises: a function that fails denies.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .errors import ConfigError
from .import_paths import import_reference
from .principal import KINDS
from .user_code import attempt, attribute, described, pass_endings, shown

if TYPE_CHECKING:
    from .principal import Principal

__all__ = ["Policy", "checked_policy"]

_TABLES: Final = ("allow", "deny")
_SCOPES: Final = ("read", "call", "admin")
_PARTS: Final = 3
_REMEMBERED: Final = 4096
_SHAPE: Final = "policy is a table with allow, deny or both, each of lists of 'gid/service/method' by principal"
_FUNCTION: Final = "policy: a function (principal, gid, service, method) gives True or False at once"

_Rules = list[tuple[re.Pattern[str], re.Pattern[str]]]


class Policy:
    """The policy of one node.

    Attributes:
        given: it, as a configuration holds it: a copy of the table, or the function.
        methods: the globs of methods that it names.
    """

    def __init__(
        self, given: Any, judge: Callable[[Principal, str, str, str], str], methods: tuple[str, ...] = ()
    ) -> None:
        self.given: Any = given
        self.methods: tuple[str, ...] = methods
        self.reason_against: Callable[[Principal, str, str, str], str] = judge
        """Returns why a principal may not call ``gid/service/method``; an empty text if it may."""

    def check_built_in(self, names: Mapping[str, Mapping[str, frozenset[str]]]) -> None:
        """Check the globs of trionet's own methods.

        Args:
            names: the methods of each built-in service, by ``"local"`` and ``"group"``.

        Raises:
            ConfigError: a glob matches none of a built-in service.
        """
        for glob in self.methods:
            gid, service, method = glob.split("/")
            if not any(service in services for services in names.values()):
                continue
            forms = ["local"] if gid == "local" else list(names) if "*" in gid or "?" in gid else ["group"]
            known = sorted(frozenset().union(*(names[form].get(service, frozenset()) for form in forms)))
            if not any(_pattern(method).fullmatch(name) for name in known):
                import difflib  # only on an error

                similar = difflib.get_close_matches(method, known, n=1)
                hint = f"there is {similar[0]}" if similar else f"there are {', '.join(known) or 'none'}"
                raise ConfigError(f"policy: {glob!r:.130} matches no method of the built-in service {service}: {hint}")


def checked_policy(given: Any) -> Policy:
    """Return the policy in a configuration: a table, a function, or the import path of a function.

    Raises:
        ConfigError: it is neither, or has unknown keys, or a malformed glob.
    """
    if _is_mapping(given):
        return _table(given)
    if issubclass(type(given), str):
        given = import_reference(given)
    if not callable(given) or isinstance(given, type):
        raise ConfigError(f"{_SHAPE}; or a function: not {shown(given, 80)}")
    _check_function(given)
    return Policy(given, functools.partial(_by_function, given))


def _table(given: Mapping[Any, Any]) -> Policy:
    tables: dict[Any, Any] | None = attempt(dict, given, default=None)
    if not tables:
        raise ConfigError(f"{_SHAPE}, and this one is empty: leave it out to allow everything")
    for name in tables:
        if not _is_text(name) or name not in _TABLES:
            raise ConfigError(f"policy: there is no {shown(name, 80)}; there are allow and deny")
    copied = {name: _copied(name, table) for name, table in tables.items()}
    rules = {name: _rules(table) for name, table in copied.items()}
    methods = tuple(method for table in copied.values() for globs in table.values() for method in globs)
    judge = functools.lru_cache(_REMEMBERED)(functools.partial(_by_table, rules.get("allow"), rules.get("deny", [])))
    return Policy(copied, judge, methods)


def _copied(name: str, given: Any) -> dict[str, list[str]]:
    """Return a copy of the table ``allow`` or ``deny``.

    Raises:
        ConfigError: it is no table, or has malformed globs.
    """
    table: dict[Any, Any] | None = attempt(dict, given, default=None) if _is_mapping(given) else None
    if table is None:
        raise ConfigError(f"{_SHAPE}: {name} is a table, not {shown(given, 80)}")
    for principal, methods in table.items():
        _check_principal(name, principal)
        if not issubclass(type(methods), list | tuple) or not methods:
            raise ConfigError(
                f"policy.{name}: {shown(principal, 80)} has a list of 'gid/service/method', not {shown(methods, 80)}"
            )
        for method in methods:
            _check_method(name, method)
    return {str(principal): [str(method) for method in methods] for principal, methods in table.items()}


def _rules(table: Mapping[str, list[str]]) -> _Rules:
    return [(_pattern(principal), _pattern(method)) for principal, methods in table.items() for method in methods]


def _is_text(value: object) -> bool:
    return issubclass(type(value), str)  # isinstance would use __class__, which may be the user's code


def _is_mapping(value: object) -> bool:
    return attempt(isinstance, value, Mapping, default=False)


def _check_principal(table: str, glob: Any) -> None:
    if not _is_text(glob) or not glob:
        raise ConfigError(f"policy.{table}: a principal is a text, not {shown(glob, 80)}")
    kind, colon, rest = glob.partition(":")
    kinds = [one for one in KINDS if _pattern(kind).fullmatch(one)]
    is_any = "*" in kind  # it may stand for the rest, too
    has_form = is_any or (bool(rest) != (kinds == ["anyone"]) and bool(colon) == bool(rest))
    if not kinds or not has_form:
        raise ConfigError(
            f"policy.{table}: {shown(glob, 80)} matches no principal: these are node:IP:PORT, certificate:NAME, "
            f"token:SCOPE:ID and anyone, with * and ? for any"
        )
    scope, separator, _ = rest.partition(":")
    is_whole = not separator and "*" in scope  # it stands for the id, too
    has_scope = separator and any(_pattern(scope).fullmatch(one) for one in _SCOPES)
    if kind == "token" and not (is_whole or has_scope):
        raise ConfigError(f"policy.{table}: {shown(glob, 80)} matches no token: token:SCOPE:ID, read, call or admin")


def _check_method(table: str, glob: Any) -> None:
    if not _is_text(glob) or glob.count("/") != _PARTS - 1 or not all(glob.split("/")):
        raise ConfigError(f"policy.{table}: a method is 'gid/service/method', as in '*/shop/*', not {shown(glob, 80)}")
    if not re.fullmatch(r"[A-Za-z0-9_.*?/-]+", glob, re.ASCII):
        raise ConfigError(
            f"policy.{table}: {shown(glob, 80)} matches no method: names have letters, digits, '_', '-', '.'"
        )


@functools.lru_cache(_REMEMBERED)
def _pattern(glob: str) -> re.Pattern[str]:
    wild = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(wild.get(character) or re.escape(character) for character in re.sub(r"\*+", "*", glob)))


def _by_table(allow: _Rules | None, deny: _Rules, principal: Principal, gid: str, service: str, method: str) -> str:
    who, what = str(principal), f"{gid}/{service}/{method}"

    def matches(rules: _Rules) -> bool:
        return any(one.fullmatch(who) and other.fullmatch(what) for one, other in rules)

    if matches(deny):
        return "the policy denies it"
    return "" if allow is None or matches(allow) else "the policy does not allow it"


def _by_function(function: Callable[..., Any], principal: Principal, gid: str, service: str, method: str) -> str:
    try:
        value = function(principal, gid, service, method)
    except BaseException as exc:
        pass_endings(exc)
        return f"the policy failed: {described(exc)}"
    if value is True:
        return ""
    if value is False:
        return "the policy does not allow it"
    if inspect.iscoroutine(value):
        value.close()
    return f"the policy gave {shown(value, 80)}, neither True nor False"


def _check_function(function: Any) -> None:
    call = attribute(type(function), "__call__")
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    if any(is_kind(thing) for is_kind in kinds for thing in (function, call)):
        raise ConfigError(f"{_FUNCTION}: {shown(function, 80)} is async, or a generator")
    try:
        inspect.signature(function).bind(None, None, None, None)
    except TypeError as exc:
        raise ConfigError(f"{_FUNCTION}, and {shown(function, 80)} can't be called so: {exc}") from exc
    except BaseException as exc:  # it has no signature that Python knows
        pass_endings(exc)
