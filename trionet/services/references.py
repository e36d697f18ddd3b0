"""Methods as arguments of calls: ``Counter.add`` names a service's method, and the class it was looked up on.

Invariants: a method marked with ``rpc`` is an `ExposedMethod` in the namespace of its class, and acts as the function
that it was: an object's attribute is the bound method, a class's attribute is a function. That function is another one
for each class, the same one each time, and has a `Reference`. Nothing keeps a class alive.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import ref

from trionet.arguments import Method
from trionet.conversion import Misfit
from trionet.errors import MalformedRequest, TrionetError, UnexpectedAnswer
from trionet.message import LOCAL, Remote
from trionet.mistakes import option_hint
from trionet.user_code import attribute

from .names import in_lower_snake, service_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trionet.identity import NodeAddress

    from .marks import Mark

__all__ = ["REFERENCE", "ExposedMethod", "Reference", "function_of", "types_of"]

T = TypeVar("T")

REFERENCE: Final = "__trionet_reference__"
"""The attribute of a function that was looked up on a class."""

_MOST_FITTING: Final = 64

_OF_WRAPPERS: Final = frozenset({"__wrapped__", *functools.WRAPPER_ASSIGNMENTS})


class Reference:
    """A method, as a class has it.

    The attributes after `name` are valid once `check` has been called.

    Attributes:
        function: the function, whichever class it was looked up on.
        mark: what `rpc` says about it.
        name: its name in its class, ``Counter.add``.
        remote: the destination of its calls, without a node: the service that its class is.
        is_stream: whether it is an async generator function.
        exact: the type whose instances are answers without a conversion; None if there is none.
        fitting: the types of arguments that fit, as `types_of` returns them.
    """

    __slots__ = (
        "_attribute",
        "_kind",
        "_kind_name",
        "_method",
        "exact",
        "fitting",
        "function",
        "is_stream",
        "mark",
        "name",
        "remote",
    )

    def __init__(self, kind: type, attribute: str, function: types.FunctionType, mark: Mark) -> None:
        self.function: types.FunctionType = function
        self.mark: Mark = mark
        self.name: str = f"{kind.__qualname__}.{attribute}"
        self.remote: Remote | None = None
        self.is_stream: bool = False
        self.exact: type | None = None
        self.fitting: set[tuple[Any, ...]] = set()
        self._kind = ref(kind)
        self._kind_name = kind.__name__
        self._attribute = attribute
        self._method: Method | None = None

    def __reduce__(self) -> Any:
        return _referred, (self._kind(), self._attribute)

    @property
    def method(self) -> Method:
        """Its parameters and its answer; inspected once."""
        if self._method is None:
            kind = self._kind()
            method = Method(types.MethodType(self.function, self))
            self.remote = self.remote_at(in_lower_snake(self._kind_name) if kind is None else service_name_of(kind))
            self.is_stream = method.is_stream
            self.exact = None if method.answer is None else method.answer.exact
            self._method = method
        return self._method

    def remote_at(self, service: str | None, gid: str = LOCAL) -> Remote:
        """Return the destination of its calls to a service of another name, or of a group; None is its own name."""
        if service is None:
            if gid == LOCAL:
                return self.own_remote
            service = self.own_remote.service
        return Remote.of(Remote(service=service, method=self.mark.name, gid=gid), with_node=False)

    @property
    def own_remote(self) -> Remote:
        """The destination of its calls; see `remote`."""
        _ = self.method
        assert self.remote is not None
        return self.remote

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise `MalformedRequest` unless the arguments fit the signature.

        Whether they do is mostly a matter of their types: those that did are in `fitting`.
        """
        given = types_of(args, kwargs)
        if given in self.fitting:
            return
        try:
            is_by_type = self.method.check(args, kwargs)
        except MalformedRequest as exc:
            exc.text += option_hint(exc.text)
            raise
        if is_by_type and len(self.fitting) < _MOST_FITTING:
            self.fitting.add(given)

    def answer(self, value: Any) -> Any:
        """Return an answer, or an item of its stream, as the type in its annotation.

        Raises:
            UnexpectedAnswer: it is of another type.
        """
        converter = self.method.answer
        if converter is None or type(value) is converter.exact:
            return value
        try:
            return converter.fit(value, is_json=False)
        except Misfit as misfit:
            text = f"{self.name} has run, and its answer is not of the annotated type: {misfit}"
            raise UnexpectedAnswer(text) from misfit

    def answer_of(self, node: NodeAddress, value: Any) -> Any:
        """Return the answer of a node as `answer` does, with the node in errors."""
        try:
            return self.answer(value)
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            raise


def types_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the types of arguments, and the names of those by name."""
    return (*map(type, args), *kwargs, *map(type, kwargs.values())) if kwargs else tuple(map(type, args))


def _referred(kind: type, attribute: str) -> Any:
    return getattr(getattr(kind, attribute), REFERENCE)


class ExposedMethod:
    """A function that is marked with ``rpc``, as the namespace of a class or a module has it."""

    __slots__ = ("__dict__", "__weakref__", "_attribute", "_function", "_functions", "_mark", "_own", "_owner")

    def __init__(self, function: types.FunctionType, mark: Mark, attribute: str | None = None) -> None:
        self._function = function
        self._mark = mark
        self._attribute: str = attribute or function.__name__
        self._functions: dict[ref[type], types.FunctionType] = {}
        self._owner: type | None = None
        self._own: types.FunctionType | None = None
        functools.update_wrapper(self, function)
        self.__dict__.pop(REFERENCE, None)  # that of a method which is marked again

    # What selects functions by `isinstance` accepts it, as unittest.mock and pydantic do.
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return types.FunctionType

    def __set_name__(self, kind: type, name: str) -> None:
        if kind.__dict__.get(self._attribute) is not self:  # else `name` is a second one
            self._attribute = name
        self._owner, self._own = kind, None

    def __get__(self, instance: Any, kind: Any = None) -> Any:
        if instance is not None:
            return types.MethodType(self._function, instance)
        if kind is self._owner and kind is not None:  # the most frequent case; the class has this object
            own = self._own
            if own is None:
                own = self._own = self._as_of(kind)
            return own
        found = self._functions.get(ref(kind))
        if found is None:
            found = self._functions.setdefault(ref(kind, self._functions.pop), self._as_of(kind))
        return found

    def _as_of(self, kind: type) -> types.FunctionType:
        """Return the function of a class, with its `Reference`."""
        original = self._function
        function = types.FunctionType(
            original.__code__, original.__globals__, original.__name__, None, original.__closure__
        )
        functools.update_wrapper(function, original)
        del function.__wrapped__  # type: ignore[attr-defined]
        function.__defaults__, function.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
        function.__qualname__ = f"{kind.__qualname__}.{self._attribute}"
        own = {name: value for name, value in self.__dict__.items() if name not in _OF_WRAPPERS}
        function.__dict__.update(own | original.__dict__)
        function.__dict__[REFERENCE] = Reference(kind, self._attribute, original, self._mark)
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it as the function that it is."""
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)  # as ``__code__``

    def __repr__(self) -> str:
        return repr(self._function)

    def __reduce_ex__(self, _: Any) -> Any:
        if _is_importable(self):
            return self._function.__qualname__
        return ExposedMethod, (self._function, self._mark, self._attribute)


def function_of(member: T) -> T:
    """Return the function itself of a member of a class or a mapping; other members as they are.

    As a decorator above ``rpc`` it makes a method that is exposed, and an attribute of its objects without a function
    call in between; it can't be called by its class.
    """
    anything: Any = member
    found: T = anything.__wrapped__ if type(member) is ExposedMethod else member
    return found


def _is_importable(exposed: ExposedMethod) -> bool:
    """Whether it is a name of its module: a plain function, and no method."""
    module = sys.modules.get(exposed.__module__)
    return attribute(module, exposed.__qualname__) is exposed
