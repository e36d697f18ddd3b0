"""The kind and the parameters of callables that other nodes may call.

Invariants: each callable is either described, or refused with a `MalformedRequest` that names the reason; an argument
of its parameter's type is passed on as the same object.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any

from .conversion import Converter, Misfit, converter_for
from .errors import MalformedRequest
from .user_code import attempt, attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Method"]

_MOST_WRAPPERS = 100


class Method:
    """One exposed method: a callable with the converters of its arguments.

    Annotated parameters are checked, and converted by `trionet.conversion`. Parameters without an annotation that can
    be checked accept any value.

    Attributes:
        call: the callable.
        is_stream: whether it is an async generator function.
        is_sync: whether it is a plain function, which needs no task.
        in_thread: whether it is a plain function that runs in a worker thread, and so needs a task.
        abandon_on_cancel: whether the thread is left behind when the call is cancelled.
        is_read: whether it is marked as one that only reads.
    """

    __slots__ = ("_plan", "abandon_on_cancel", "call", "in_thread", "is_read", "is_stream", "is_sync")

    def __init__(
        self,
        call: Callable[..., Any],
        *,
        in_thread: bool = False,
        abandon_on_cancel: bool = False,
        is_read: bool = False,
    ) -> None:
        """Inspect `call`.

        Raises:
            MalformedRequest: it is wrapped by itself.
        """
        self.call: Callable[..., Any] = call
        is_bound = isinstance(call, types.MethodType)
        function = call.__func__ if isinstance(call, types.MethodType) else call
        # Other callables may have a hash and an equality of the user's code.
        make = _plan_of if isinstance(function, types.FunctionType) else _Plan
        self._plan = make(function, is_bound=is_bound)
        self.is_stream: bool = self._plan.is_stream
        self.in_thread: bool = in_thread
        self.abandon_on_cancel: bool = abandon_on_cancel
        self.is_read: bool = is_read
        self.is_sync: bool = self._plan.is_sync and not in_thread

    @property
    def signature(self) -> str:
        """Its name and parameters, for people."""
        return self._plan.shown()

    def bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, is_json: bool = False
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments to call it with.

        Args:
            args: the positional ones.
            kwargs: those by name.
            is_json: whether they are JSON of a client that is no node.

        Raises:
            MalformedRequest: they don't fit the signature.
        """
        return self._plan.bind(args, kwargs, is_json)


class _Plan:
    """The parameters of a function; made once for each function, for all objects that have it."""

    __slots__ = ("_bound", "_converters", "_most", "_name", "_needed", "_places", "_signature", "is_stream", "is_sync")

    def __init__(self, function: Callable[..., Any], *, is_bound: bool) -> None:
        innermost = _innermost(function)
        self.is_stream = attempt(inspect.isasyncgenfunction, innermost, default=False)
        is_coroutine = any(attempt(inspect.iscoroutinefunction, each, default=False) for each in (function, innermost))
        self.is_sync = not (self.is_stream or is_coroutine)
        self._name = _name_of(function)
        self._signature, self._bound = _signature(function, is_bound=is_bound)
        parameters = [] if self._signature is None else list(self._signature.parameters.values())
        annotations = _annotations(innermost)
        converters = {p.name: converter_for(annotations.get(p.name, Any)) for p in parameters}
        self._converters = {name: converter for name, converter in converters.items() if converter is not None}
        # The common case: only positional arguments and parameters.
        is_simple = self._signature is not None and all(
            parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
        )
        self._most = len(parameters) if is_simple else -1
        self._needed = sum(parameter.default is parameter.empty for parameter in parameters)
        self._places = [
            (index, p.name, self._converters[p.name].exact, self._converters[p.name])
            for index, p in enumerate(parameters)
            if p.name in self._converters
        ]

    def bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], is_json: bool
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments to call it with; see `Method.bind`."""
        if not kwargs and self._needed <= len(args) <= self._most:
            return self._convert_positional(args, is_json), kwargs
        if self._signature is None:
            return args, kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise MalformedRequest(f"the arguments don't fit {self.shown()}: {exc}") from exc
        if self._bound in kwargs:  # a **kwargs would accept it
            raise MalformedRequest(f"the arguments don't fit {self.shown()}: {self._bound!r} is the service itself")
        for name, value in bound.arguments.items():
            if name in self._converters:
                bound.arguments[name] = self._convert_named(name, value, is_json)
        return bound.args, bound.kwargs

    def _convert_positional(self, args: Sequence[Any], is_json: bool) -> Sequence[Any]:
        if not self._places:
            return args
        converted = list(args)
        for index, name, exact, converter in self._places:
            if index >= len(converted):
                break
            if type(converted[index]) is not exact:
                converted[index] = self._convert(name, converter, converted[index], is_json)
        return converted

    def _convert_named(self, name: str, value: Any, is_json: bool) -> Any:
        assert self._signature is not None
        converter, kind = self._converters[name], self._signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(self._convert(name, converter, item, is_json) for item in value)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {key: self._convert(name, converter, item, is_json) for key, item in value.items()}
        return self._convert(name, converter, value, is_json)

    def _convert(self, name: str, converter: Converter, value: Any, is_json: bool) -> Any:
        try:
            return converter.fit(value, is_json)
        except Misfit as misfit:
            raise MalformedRequest(f"argument {name!r} of {self.shown()}: {misfit}") from misfit

    def shown(self) -> str:
        """Return its name and signature, for people."""
        if self._signature is None:
            return self._name
        shown = [
            parameter.replace(annotation=_Bare(parameter.annotation))
            if isinstance(parameter.annotation, str)
            else parameter
            for parameter in self._signature.parameters.values()
        ]
        returned = self._signature.return_annotation
        returned = _Bare(returned) if isinstance(returned, str) else returned
        signature = inspect.Signature(shown, return_annotation=returned)
        return self._name + attempt(str, signature, default="")  # the repr of a default value may fail


class _Bare(str):
    """An annotation whose representation has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_plan_of = functools.lru_cache(maxsize=4096)(_Plan)


def _innermost(call: Any) -> Any:
    """Return the innermost function of `call`, under wrappers, partials, and ``__call__``."""
    for _ in range(_MOST_WRAPPERS):
        if isinstance(call, functools.partial):
            inner: Any = call.func
        elif isinstance(call, types.MethodType):
            inner = call.__func__
        elif isinstance(wrapped := attribute(call, "__wrapped__"), types.FunctionType | functools.partial):
            inner = wrapped
        elif isinstance(call, types.FunctionType | types.BuiltinFunctionType):
            return call
        elif inspect.isclass(call):
            inner = attribute(call, "__init__")
        else:
            inner = attribute(type(call), "__call__")
        if not isinstance(inner, types.FunctionType | types.MethodType | functools.partial):
            return call
        call = inner
    raise MalformedRequest(f"{attribute(call, '__name__')} is wrapped more than {_MOST_WRAPPERS} times, or by itself")


def _name_of(call: Any) -> str:
    for named in (call, _innermost(call), type(call)):
        if isinstance(name := attribute(named, "__name__"), str) and name != "__call__":
            return name
    return "it"


def _signature(function: Callable[..., Any], *, is_bound: bool) -> tuple[inspect.Signature | None, str | None]:
    """Return a function's signature, if it has one, and the name of the parameter for the bound object."""
    signature = attempt(inspect.signature, function, default=None)
    if signature is None:  # as some builtins
        return None, None
    parameters = list(signature.parameters.values())
    if is_bound and parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        first = parameters[0]
        bound = first.name if first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD else None
        return signature.replace(parameters=parameters[1:]), bound
    return signature, None


def _annotations(function: Any) -> dict[str, Any]:
    # With a namespace, typing does not search through wrappers, which may be circular.
    namespace = attribute(function, "__globals__")
    namespace = namespace if isinstance(namespace, dict) else {}
    found: dict[str, Any] | None = attempt(typing.get_type_hints, function, namespace, default=None)
    if found is not None:
        return found
    # One by one: some can't be evaluated, for example names for type checkers only.
    found = {}
    annotations = attribute(function, "__annotations__")
    for name, annotation in annotations.items() if isinstance(annotations, dict) else ():
        single = types.SimpleNamespace(__annotations__={name: annotation})
        found |= attempt(typing.get_type_hints, single, namespace, default=dict[str, Any]())
    return found
