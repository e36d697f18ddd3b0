"""Rules that decide which members of the cluster belong to a group.

Invariant: a rule is checked when it is made. From then on it never raises: a member for which its function fails does
not match, and is judged again at its next change.

Source: tags select members as in HashiCorp's Serf; groups that follow the cluster as in Erlang's ``pg``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import ConfigError, MalformedRequest
from trionet.import_paths import import_reference
from trionet.log_limits import about, limited_log
from trionet.user_code import attempt, attribute, pass_endings, shown

if TYPE_CHECKING:
    from .member import Member

__all__ = ["Rule", "checked_rule", "description_of"]

_log = limited_log(__name__)

_FORMS: Final = "where is a dict of tags, a function of one Member, or its import path 'package.module:name'"
_LONGEST: Final = 80


class Rule:
    """The rule of one group.

    Attributes:
        where: the rule as it was given: tags, a function, or its import path.
    """

    def __init__(self, where: dict[str, str] | str | Callable[[Member], Any], match: Callable[[Member], Any]) -> None:
        """Decide by ``match(member)``."""
        self.where: dict[str, str] | str | Callable[[Member], Any] = where
        self._match = match

    def is_match(self, gid: str, member: Member) -> bool:
        """Return whether `member` belongs to the group `gid`; an exception of the user's function is logged."""
        try:
            value = self._match(msgspec.structs.replace(member, tags=dict(member.tags)))
            if inspect.isawaitable(value):
                attempt(value.close, default=None)  # type: ignore[attr-defined]  # a coroutine has it
                raise TypeError(f"a rule gives True or False at once, not {shown(value, _LONGEST)}")
            return bool(value)
        except BaseException as exc:
            pass_endings(exc)
            _log.warning(
                "the rule of group %s failed for the member %s, which is left out until its next change",
                gid,
                member.node,
                exc_info=exc,
                extra=about(gid, gid=gid, peer=member.node),
            )
            return False

    def description(self) -> dict[str, str] | str:
        """Return the rule for a person or another node."""
        where = self.where
        return description_of(where) if callable(where) else where


def description_of(function: Callable[..., Any]) -> str:
    """Return the import path of a function; if it has none, a text of the same form that can't be imported."""
    module, name = attribute(function, "__module__"), attribute(function, "__qualname__")
    if isinstance(module, str) and isinstance(name, str):
        return f"{module}:{name}"
    return shown(function, _LONGEST)


def checked_rule(where: Any) -> Rule:
    """Return the rule that a user gives.

    Args:
        where: tags that a member has, with these values; or a function of a `Member`, which returns whether it
            belongs to the group; or the function's import path.

    Raises:
        MalformedRequest: it is none of these.
    """
    if attempt(isinstance, where, Mapping, default=False):
        tags: dict[Any, Any] | None = attempt(dict, where, default=None)
        if tags is None or not all(issubclass(type(part), str) for item in tags.items() for part in item):
            raise MalformedRequest(f"where: tags are texts by name, as in {{'role': 'worker'}}, not {shown(where)}")
        plain = {str.__str__(name): str.__str__(value) for name, value in tags.items()}
        return Rule(plain, lambda member: plain.items() <= member.tags.items())
    try:
        function = import_reference(where) if issubclass(type(where), str) else where
    except ConfigError as exc:
        raise MalformedRequest(f"where: {exc.text}; {_FORMS}") from exc
    _check_function(function)
    return Rule(where, function)


def _check_function(function: Any) -> None:
    """Raise `MalformedRequest` unless it is a plain function of one argument."""
    text = shown(function, _LONGEST)
    if not callable(function) or isinstance(function, type):
        raise MalformedRequest(f"{_FORMS}, not {text}")
    call = attribute(type(function), "__call__")
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    if any(is_kind(thing) for is_kind in kinds for thing in (function, call)):
        raise MalformedRequest(f"where: a rule gives True or False at once: {text} is async, or a generator")
    try:
        inspect.signature(function).bind(None)
    except TypeError as exc:
        raise MalformedRequest(f"where: a rule is called with one Member, and {text} can't be: {exc}") from exc
    except BaseException as exc:  # it has no signature that Python knows
        pass_endings(exc)
