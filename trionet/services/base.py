"""Services: objects with methods marked by `rpc`, or mappings of name to callable."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar, overload

from trionet.errors import MalformedRequest
from trionet.identity import check_name
from trionet.router import Method
from trionet.user_code import shown

from .marks import MARK, MOST_WRAPPERS, Mark, check_flags, check_plain, is_method, mark_of
from .references import ExposedMethod, function_of

__all__ = [
    "OwnMethods",
    "Service",
    "check_exposed",
    "exposed_methods",
    "rpc",
    "service_from",
]

F = TypeVar("F", bound=Callable[..., Any])

_OWN: Final = "trionet."

_Marked = dict[str, tuple[str, Callable[..., Any], Mark]]
"""Attributes, functions and marks, by their names on the wire."""


class Service(Protocol):
    """Any object with `rpc` methods; for annotations."""


@overload
def rpc(function: F, /) -> F: ...
@overload
def rpc(
    *,
    name: str | None = None,
    thread: bool = False,
    abandon_on_cancel: bool = False,
    read: bool = False,
    idempotent: bool = False,
) -> Callable[[F], F]: ...
def rpc(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    thread: bool = False,
    abandon_on_cancel: bool = False,
    read: bool = False,
    idempotent: bool = False,
) -> F | Callable[[F], F]:
    """Expose a method to other nodes.

    ``Counter.add`` then names the method for `Node.call` and `Group.call`. For all else it is the method as it was.

    Args:
        function: the method, sync or async.
        name: its name on the wire; default: its own name without a trailing underscore.
        thread: whether calls run it in a worker thread of Trio's, because it blocks; for plain functions. At most
            `NodeConfig.max_threads` run at once. A direct call in Python runs it as the plain function that it is.
        abandon_on_cancel: whether a cancelled call ends at once, and leaves its thread behind, which keeps its place
            among the `max_threads` until it ends. By default the call ends with its thread.
        read: whether the method only reads, so that a bearer token with the scope ``read`` may call it over HTTP. It
            holds for overrides in subclasses, too.
        idempotent: whether running it twice has the effect of running it once, so that a caller may repeat a call that
            may have happened, after an `IndefiniteError`: `Group.map` does. It changes nothing else, and holds for
            overrides in subclasses, too.

    Raises:
        MalformedRequest: it can't be called or marked, or has no name; or a thread can't run it.
    """
    check_flags(thread, abandon_on_cancel, read, idempotent)

    def mark(function: F) -> F:
        if isinstance(function, property | functools.cached_property) or not is_method(function):
            raise MalformedRequest(f"@trionet.rpc marks functions and methods, not a {type(function).__name__}")
        own = name or getattr(function, "__name__", None)
        if not isinstance(own, str) or own == "<lambda>":
            raise MalformedRequest(f"a {type(function).__name__} has no name of its own: use @trionet.rpc(name=...)")
        checked = check_name(own if name else own.removesuffix("_"), "method name")
        if thread:
            check_plain(function, getattr(function, "__qualname__", own))
        left = Mark(checked, thread, abandon_on_cancel, read, idempotent)
        bare: Any = function_of(function)
        try:
            setattr(bare, MARK, left)
        except (AttributeError, TypeError) as exc:
            raise MalformedRequest(
                f"a {type(function).__name__} can't be marked with @trionet.rpc: wrap it in a function"
            ) from exc
        return ExposedMethod(bare, left) if type(bare) is types.FunctionType else function  # type: ignore[return-value]

    return mark if function is None else mark(function)


def exposed_methods(service: object) -> dict[str, Method]:
    """Return the methods that `service` exposes, by their names on the wire.

    Raises:
        MalformedRequest: it is a mapping of anything but names to callables; or a marked method can't be called, is
            hidden by a decorator, has the same name on the wire as another one, or has to run in a thread and can't.
    """
    if (kind := type(service)).__module__.startswith(_OWN):
        return OwnMethods(service, _names_of_own(kind))
    if isinstance(service, Mapping):
        functions = {check_name(name, "method name"): function_of(function) for name, function in service.items()}
        for name, function in functions.items():
            if not callable(function):
                raise MalformedRequest(f"method {name!r} is not callable")
        return {name: _method(function, mark_of(function), name) for name, function in functions.items()}
    return _marked(service)


class OwnMethods(dict[str, Method]):
    """The methods of one of trionet's own services, each of which is bound with its first use.

    A node has a hundred of them, and uses few. A method is found by its key; `get` and ``|`` know the bound ones only.
    """

    __slots__ = ("_names", "_service")

    def __init__(self, service: object, names: Mapping[str, tuple[str, Mark]]) -> None:
        self._service, self._names = service, names

    def __missing__(self, name: str) -> Method:
        attribute, mark = self._names[name]
        bound = self[name] = _method(getattr(self._service, attribute), mark, attribute)
        return bound

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # the type of `dict` itself can't be made
        """Return a view of the names."""
        return KeysView(self)

    def values(self) -> ValuesView[Method]:  # type: ignore[override]  # the same
        """Return a view of the methods; to iterate over it binds all."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Method]:  # type: ignore[override]  # the same
        """Return a view of the names and methods; likewise."""
        return ItemsView(self)


def check_exposed(service: object) -> dict[str, Method]:
    """Return the methods that `service` exposes.

    Raises:
        MalformedRequest: it exposes none; or see `exposed_methods`.
    """
    methods = exposed_methods(service)
    if not methods:
        raise MalformedRequest(f"{shown(service)} exposes nothing: mark methods with @trionet.rpc, or pass a mapping")
    return methods


def _method(function: Callable[..., Any], mark: Mark | None, shown: str) -> Method:
    """Return the method that runs `function` as `mark` says; an error names it as `shown`."""
    if mark is None or not mark.thread:
        return Method(function, is_read=mark is not None and mark.read)
    check_plain(function, shown)  # an override, or a decorator, may not be
    return Method(function, in_thread=True, abandon_on_cancel=mark.abandon_on_cancel, is_read=mark.read)


def _marked(service: object) -> dict[str, Method]:
    """Return the marked methods of an object, by their names on the wire."""
    kind = type(service)
    marked: _Marked = {}
    for attribute, mark, member in _marks_of(kind):
        function = getattr(service, attribute)
        if isinstance(member, functools.singledispatchmethod):
            function = _dispatching(function)
        if not callable(function):
            raise MalformedRequest(
                f"{kind.__qualname__}.{attribute} is marked with @trionet.rpc, but a {type(function).__name__} can't "
                f"be called"
            )
        _expose(marked, kind, mark, attribute, function)
    for attribute, function in _attributes_of(service).items():
        # Methods of other objects are not exposed.
        if isinstance(function, types.FunctionType | functools.partial) and (own := mark_of(function)) is not None:
            _expose(marked, kind, own, attribute, function_of(function))
    return {
        name: _method(function, mark, f"{kind.__qualname__}.{attribute}")
        for name, (attribute, function, mark) in marked.items()
    }


def _marks_of(kind: type) -> list[tuple[str, Mark, Any]]:
    """Return the marked attributes of a class, each with its mark and its first definition.

    An override without a mark is still exposed.
    """
    found, bases = [], [base for base in kind.__mro__ if base is not object]
    for attribute in dir(kind):
        members = [base.__dict__[attribute] for base in bases if attribute in base.__dict__]
        mark = next(filter(None, map(mark_of, members)), None)
        if mark is None:
            _check_hidden(kind, attribute, members)
            continue
        if isinstance(members[0], property | functools.cached_property):
            raise MalformedRequest(
                f"{kind.__qualname__}.{attribute} is marked with @trionet.rpc and is a property: make it a method"
            )
        found.append((attribute, mark, members[0]))
    return found


def _names_of(kind: type) -> dict[str, tuple[str, Mark]]:
    return {mark.name: (attribute, mark) for attribute, mark, _ in _marks_of(kind)}


_names_of_own: Callable[[type], dict[str, tuple[str, Mark]]] = functools.cache(_names_of)
"""The attributes and marks of one of trionet's own classes, which don't change, by their names on the wire."""


def _attributes_of(service: object) -> dict[str, Any]:
    """Return an object's own attributes."""
    try:
        attributes: dict[str, Any] = object.__getattribute__(service, "__dict__")
    except AttributeError:
        return {}
    return {} if isinstance(service, type | types.ModuleType) else attributes


def _expose(marked: _Marked, kind: type, mark: Mark, attribute: str, function: Callable[..., Any]) -> None:
    name = mark.name
    other, same, _ = marked.setdefault(name, (attribute, function, mark))
    if same != function:
        raise MalformedRequest(
            f"{kind.__qualname__}.{attribute} and {kind.__qualname__}.{other} are both called {name!r} by other nodes: "
            f"use @trionet.rpc(name=...) for one of them"
        )


def _dispatching(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that dispatches on its first argument, without its copied signature."""

    def dispatch(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return dispatch


def _check_hidden(kind: type, attribute: str, members: list[Any]) -> None:
    """Raise `MalformedRequest` when a decorator without `functools.wraps` has hidden the mark of a method."""
    rest = [*members]
    for _ in range(MOST_WRAPPERS):
        if not rest:
            return
        inner = rest.pop()
        if isinstance(inner, types.FunctionType) and inner.__name__ == attribute and mark_of(inner) is not None:
            raise MalformedRequest(
                f"{kind.__qualname__}.{attribute} is marked with @trionet.rpc, and a decorator above hides it: "
                f"put @trionet.rpc above that, or have it use functools.wraps"
            )
        rest += _kept_by(inner)


def _kept_by(wrapper: Any) -> list[Any]:
    """Return the objects in a decorator's result that may be the wrapped function."""
    kept: list[Any] = []
    kind = type(wrapper)
    if issubclass(kind, type | types.ModuleType):
        return []
    if kind is types.FunctionType:
        kept += [*(wrapper.__defaults__ or ()), *(wrapper.__kwdefaults__ or {}).values()]
        for cell in wrapper.__closure__ or ():
            with suppress(ValueError):  # it is empty
                kept.append(cell.cell_contents)
    elif issubclass(kind, functools.partial | functools.partialmethod):
        kept += [wrapper.func, *wrapper.args, *wrapper.keywords.values()]
    elif issubclass(kind, staticmethod | classmethod):
        kept.append(wrapper.__func__)
    elif issubclass(kind, property):
        kept.append(wrapper.fget)
    elif kind.__module__ != "builtins":
        # An object of a decorator class; `getattr` could run the user's code.
        members = [vars(base).get(name) for base in kind.__mro__ for name in _slots_of(base)]
        for member in members:
            if isinstance(member, types.MemberDescriptorType):
                with suppress(AttributeError):  # it is empty
                    kept.append(member.__get__(wrapper))
    with suppress(AttributeError):
        kept += object.__getattribute__(wrapper, "__dict__").values()
    return kept


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def service_from(reference: str, found: object) -> object:
    """Return the service found at an import path; a class is instantiated without arguments.

    Raises:
        MalformedRequest: it is a class that exposes nothing, or needs arguments; it was not called.
    """
    if not inspect.isclass(found):
        return found
    if not any(mark_of(member) for kind in found.__mro__ for member in kind.__dict__.values()):
        raise MalformedRequest(f"{reference} exposes nothing: mark its methods with @trionet.rpc")
    try:
        inspect.signature(found).bind()
    except TypeError as exc:
        raise MalformedRequest(f"{reference} can't be made without arguments: {exc}") from exc
    return found()
