"""The kind and the parameters of callables that other nodes may call.

Invariants: each callable is either described, or refused with a `MalformedRequest` that names the reason; an argument
of its parameter's type is passed on as the same object.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .conversion import Converter, Misfit, converter_for
from .errors import MalformedRequest
from .user_code import attempt, attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


__all__ = ["Method", "Signature", "signature_of"]

_MOST_WRAPPERS = 100
_ABCS: Final = {name: getattr(collections.abc, name) for name in collections.abc.__all__}
_NOWHERE: Final = (-1, False)
_AWAITED: Final = (collections.abc.Awaitable, collections.abc.Coroutine)
_STREAMED: Final = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


class Method:
    """One exposed method: a callable with the converters of its arguments.

    Annotated parameters are checked, and converted by `trionet.conversion`. Parameters without an annotation that can
    be checked accept any value.

    Attributes:
        call: the callable.
        bind: returns the arguments to call it with: of the positional ones, those by name, and whether they are JSON of
            a client that is no node. It raises `MalformedRequest` unless they fit the signature.
        is_stream: whether it is an async generator function.
        is_sync: whether it is a plain function, which needs no task.
        in_thread: whether it is a plain function that runs in a worker thread, and so needs a task.
        abandon_on_cancel: whether the thread is left behind when the call is cancelled.
        is_read: whether it is marked as one that only reads.
        answer: the converter to its annotated return type, or to that of its items; None if any value fits.
        lower: returns an answer in a form that travels; None if its type travels by itself.
        ok: the histogram of its calls that return a value, from the first one on; None before.
    """

    __slots__ = (
        "_plan",
        "abandon_on_cancel",
        "answer",
        "bind",
        "call",
        "in_thread",
        "is_read",
        "is_stream",
        "is_sync",
        "lower",
        "ok",
    )

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
        self.bind: Callable[..., tuple[Sequence[Any], Mapping[str, Any]]] = self._plan.bind
        self.is_stream: bool = self._plan.is_stream
        self.in_thread: bool = in_thread
        self.abandon_on_cancel: bool = abandon_on_cancel
        self.is_read: bool = is_read
        self.ok: list[int] | None = None
        self.is_sync: bool = self._plan.is_sync and not in_thread
        self.answer: Converter | None = self._plan.answer
        self.lower: Callable[[Any], Any] | None = self._plan.lower

    @property
    def signature(self) -> str:
        """Its name and parameters, for people."""
        return self._plan.shown()

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Check that a node with the same code accepts these arguments; return whether any of their types fit as well.

        Containers are not searched: their items are checked where they arrive.

        Raises:
            MalformedRequest: they don't fit the signature.
        """
        return self._plan.check(args, kwargs)

    def lowered(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments in the form that travels, and that `bind` converts back, where they are annotated."""
        return self._plan.lowered(args, kwargs)


class _Plan:
    """The parameters of a function; made once for each function, for all objects that have it."""

    __slots__ = (
        "_bound",
        "_by_name",
        "_converters",
        "_most",
        "_most_positional",
        "_name",
        "_needed",
        "_needed_positional",
        "_places",
        "_signature",
        "answer",
        "is_stream",
        "is_sync",
        "lower",
    )

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
        self._most_positional, self._needed_positional, self._by_name = _counted(parameters)
        self.answer = converter_for(_answered(annotations.get("return", Any), is_stream=self.is_stream))
        self.lower = self.answer.lower if self.answer is not None and self.answer.lowers else None

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Check the arguments; see `Method.check`."""
        given = len(args)
        most = self._most_positional
        fits = given <= most and (self._are_named(given, kwargs) if kwargs else self._needed <= given)
        if not fits:
            self.bind(args, kwargs, is_json=False)  # which says why, or knows better
            return False
        is_by_type = True
        for index, name, exact, converter in self._places:
            if index < given:
                value = args[index]
            elif name in kwargs:
                value = kwargs[name]
            else:
                continue
            if type(value) is not exact and not converter.is_natural(value):
                self._convert(name, converter, value, is_json=False)
                is_by_type = False
        return is_by_type

    def _are_named(self, given: int, kwargs: Mapping[str, Any]) -> bool:
        """Whether `kwargs` are the parameters after the first `given`, as far as these need a value."""
        needed = self._needed - min(given, self._needed_positional)
        for name in kwargs:
            place, is_needed = self._by_name.get(name, _NOWHERE)
            if place < given:
                return False
            needed -= is_needed
        return needed <= 0

    def lowered(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments in the form that travels; see `Method.lowered`."""
        if self._signature is None:
            return list(args), dict(kwargs)
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if (converter := self._converters.get(name)) is not None:
                bound.arguments[name] = _each(converter.lower, value, self._signature.parameters[name].kind)
        return list(bound.args), bound.kwargs

    def bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], is_json: bool = False
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
        return _each(lambda item: self._convert(name, converter, item, is_json), value, kind)

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


def _counted(parameters: list[inspect.Parameter]) -> tuple[int, int, dict[str, tuple[int, bool]]]:
    """Count the positional parameters; return the place of each that can be given by name, and whether it is needed.

    Returns:
        How many can be given by position, how many of these must be, and the places; -1, 0 and none for a function that
        takes any number of arguments.
    """
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return -1, 0, {}
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    by_name = {
        p.name: (place, p.default is p.empty) for place, p in enumerate(parameters) if p.kind is not p.POSITIONAL_ONLY
    }
    return len(positional), sum(p.default is p.empty for p in positional), by_name


def _each(convert: Callable[[Any], Any], value: Any, kind: inspect._ParameterKind) -> Any:
    """Return the value of a parameter of this kind, converted."""
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return tuple(map(convert, value))
    if kind is inspect.Parameter.VAR_KEYWORD:
        return {key: convert(item) for key, item in value.items()}
    return convert(value)


def _answered(annotation: Any, *, is_stream: bool) -> Any:
    """Return the type of a method's answer, or of its items, by the annotation of what it returns."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if is_stream:
        return args[0] if origin in _STREAMED and args else Any
    return args[-1] if origin in _AWAITED and args else annotation


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
    # One by one: some can't be evaluated, for example names for type checkers only. Those of the ABCs are known.
    found, namespace = {}, _ABCS | namespace
    annotations = attribute(function, "__annotations__")
    for name, annotation in annotations.items() if isinstance(annotations, dict) else ():
        single = types.SimpleNamespace(__annotations__={name: annotation})
        found |= attempt(typing.get_type_hints, single, namespace, default=dict[str, Any]())
    return found


class Signature(NamedTuple):
    """What a method says of itself.

    Attributes:
        parameters: its parameters, without that of its object; None if it has no signature.
        annotations: the types of its parameters, and of its value as ``return``, as far as they can be evaluated.
        doc: its docstring; empty if it has none.
    """

    parameters: list[inspect.Parameter] | None
    annotations: Mapping[str, Any]
    doc: str


def signature_of(method: Method) -> Signature:
    """Return what the callable of `method` says of itself."""
    call = method.call
    signature = attempt(inspect.signature, call, default=None)
    doc = attempt(inspect.getdoc, _innermost(call), default=None)
    parameters = None if signature is None else list(signature.parameters.values())
    return Signature(parameters, _annotations(_innermost(call)), doc if isinstance(doc, str) else "")
