"""The names of services: that of a class, unless the caller gives another."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from trionet.errors import MalformedRequest
from trionet.identity import check_name
from trionet.message import BUILT_IN
from trionet.user_code import shown

__all__ = ["check_service_name", "default_name", "in_lower_snake", "service", "service_name_of"]

C = TypeVar("C", bound=type)

_NAME: Final = "__trionet_service__"
"""The attribute of a class with a name of its own; subclasses don't inherit it."""

_WORD_BEGINS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def check_service_name(name: str) -> None:
    """Raise `MalformedRequest` unless a user's service can have this name."""
    if check_name(name, "service name") in BUILT_IN:
        raise MalformedRequest(f"{name!r} is a built-in service")


def service(name: str, /) -> Callable[[C], C]:
    """Name the service that a class is, in place of its own name in lower_snake; a class decorator.

    ::

        @trionet.service("till")
        class Counter: ...

    ``routes.put(Counter())`` registers it under this name, and ``node.call(address, Counter.add, 5)`` calls it there.
    A subclass has its own name.

    Raises:
        MalformedRequest: the name is malformed or a built-in's; or what is decorated is no class.
    """
    if not isinstance(name, str):
        raise MalformedRequest(f'@trionet.service takes a name, @trionet.service("counter"), not {shown(name)}')
    check_service_name(name)

    def set_name(kind: C) -> C:
        if not inspect.isclass(kind):
            raise MalformedRequest(f"@trionet.service names classes, not {shown(kind)}")
        try:
            setattr(kind, _NAME, name)
        except (AttributeError, TypeError) as exc:
            raise MalformedRequest(f"{kind.__qualname__} can't be named: it has no attributes of its own") from exc
        return kind

    return set_name


def service_name_of(kind: type) -> str:
    """Return the name of the service that a class is: ``WordCount`` is ``word_count``."""
    own = kind.__dict__.get(_NAME)
    return own if isinstance(own, str) else in_lower_snake(kind.__name__)


def in_lower_snake(name: str) -> str:
    """Return the name of a class in lower_snake: ``HTTPServer`` is ``http_server``."""
    return _WORD_BEGINS.sub("_", name).lower()


def default_name(thing: object) -> str:
    """Return the name of a service that is put without one.

    Args:
        thing: a class, or an instance of one.

    Raises:
        MalformedRequest: it has none, as a mapping; or the name is malformed, or a built-in's.
    """
    kind = thing if isinstance(thing, type) else type(thing)
    if isinstance(thing, Mapping) or kind.__module__ == "builtins":
        raise MalformedRequest(f'{shown(thing)} has no name of its own: put(service, "name")')
    name = service_name_of(kind)
    try:
        check_service_name(name)
    except MalformedRequest as exc:
        raise MalformedRequest(
            f"{kind.__qualname__} gives its service no name: {exc.text}; "
            f'put(service, "name"), or @trionet.service("name")'
        ) from exc
    return name
