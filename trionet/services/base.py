"""What makes an object a service: methods marked with `rpc`, or a mapping of name to callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from trionet.errors import MalformedRequest
from trionet.identity import check_name
from trionet.router import Method

__all__ = ["BUILT_IN", "Service", "exposed_methods", "rpc", "service_from"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__trionet_rpc__"

BUILT_IN = frozenset({"status", "groups", "routes", "comm", "gossip", "membership"})
"""Names that a user's service can't have."""


class Service(Protocol):
    """Any object with `rpc` methods is one; there is nothing to inherit. This is for annotations."""


@overload
def rpc(function: F, /) -> F: ...
@overload
def rpc(*, name: str) -> Callable[[F], F]: ...
def rpc(function: F | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
    """Expose a method to other nodes.

    Args:
        function: the method, sync or async.
        name: what it is called on the wire; default its own name without a trailing underscore.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, check_name(name or function.__name__.removesuffix("_"), "method name"))
        return function

    return mark if function is None else mark(function)


def exposed_methods(service: object) -> dict[str, Method]:
    """Return the methods that `service` exposes, by their names on the wire.

    Raises:
        MalformedRequest: it is a mapping of something else than names to callables.
    """
    if isinstance(service, Mapping):
        methods = {check_name(name, "method name"): function for name, function in service.items()}
        for name, function in methods.items():
            if not callable(function):
                raise MalformedRequest(f"method {name!r} is not callable")
    else:
        methods = dict(_marked(service))
    return {name: Method(function) for name, function in methods.items()}


def _marked(service: object) -> list[tuple[str, Callable[..., Any]]]:
    marked = []
    for attribute in dir(type(service)):
        # A subclass that overrides a method without marking it again still exposes it.
        marks = (getattr(kind.__dict__.get(attribute), _MARK, None) for kind in type(service).__mro__)
        if (name := next(filter(None, marks), None)) is not None:
            marked.append((name, getattr(service, attribute)))
    return marked


def service_from(reference: str, found: object) -> object:
    """Return the service that an import path led to: a class is instantiated without arguments.

    Raises:
        MalformedRequest: it is a class that exposes nothing, or needs arguments; nothing was called then.
    """
    if not inspect.isclass(found):
        return found
    if not any(getattr(member, _MARK, None) for kind in found.__mro__ for member in kind.__dict__.values()):
        raise MalformedRequest(f"{reference} exposes nothing: mark its methods with @trionet.rpc")
    try:
        inspect.signature(found).bind()
    except TypeError as exc:
        raise MalformedRequest(f"{reference} can't be made without arguments: {exc}") from exc
    return found()
