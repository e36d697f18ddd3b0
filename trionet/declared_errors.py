"""Classes of errors that travel by name and arguments; see `error`.

Invariant: no code travels, and what arrives can't do more than call the constructor of a class that this process has
declared. If that fails, the error is the `RemoteError` that any other exception would be.
"""

from __future__ import annotations

import functools
import inspect
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from .arguments import Method
from .codec import JSON
from .declared_kinds import declare, kind_named
from .errors import EncodeError, MalformedRequest, RemoteError
from .user_code import attempt, is_a, shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["error"]

E = TypeVar("E", bound=RemoteError)

_GIVEN: Final = "__trionet_given__"
"""The attribute of an error with the arguments of its constructor."""

_LONGEST_CHARS: Final = 8_192
"""Longer arguments are left out: errors travel cut to a limit."""


@overload
def error(cls: type[E], /) -> type[E]: ...
@overload
def error(*, name: str) -> Callable[[type[E]], type[E]]: ...
def error(cls: type[E] | None = None, /, *, name: str | None = None) -> Any:
    """Have errors of a class arrive as themselves on other nodes; a class decorator.

    ::

        @trionet.error
        class OutOfStock(trionet.RemoteError):
            def __init__(self, item: str, left: int = 0) -> None:
                super().__init__(f"{left} of {item} left")
                self.item, self.left = item, left

    A handler raises it, and the caller catches it: ``except OutOfStock as exc: exc.item``. It travels by its name and
    the arguments of its constructor, which are converted to their annotated types. Where the class isn't declared, or
    its constructor refuses the arguments, it is a `RemoteError` with its name. Subclasses are declared for themselves.

    Args:
        cls: a subclass of `RemoteError`.
        name: its name on the wire; default: ``"module.Class"``. A class of a script needs one, because its module is
            ``__main__`` in one process only.

    Raises:
        MalformedRequest: `cls` is no subclass of `RemoteError`; or the name is no text, or another class's.
    """
    if name is not None and not (isinstance(name, str) and name):
        raise MalformedRequest(f"the name of an error is a text, not {shown(name)}")
    return functools.partial(_declare, name=name) if cls is None else _declare(cls, name)


def _declare(cls: type[E], name: str | None) -> type[E]:
    if not (inspect.isclass(cls) and issubclass(cls, RemoteError) and cls is not RemoteError):
        raise MalformedRequest(
            f"@trionet.error marks subclasses of trionet.RemoteError, not {shown(cls)}: it may have happened"
        )
    kind = _Kind(cls, name or f"{cls.__module__}.{cls.__qualname__}")
    other = kind_named(kind.name)
    if isinstance(other, _Kind) and not other.is_same(cls):
        raise MalformedRequest(f"{kind.name!r} is the name of another error, {other.cls!r}")
    _keep_arguments(cls)
    declare(cls, kind)
    return cls


class _Kind:
    """A declared class.

    Attributes:
        cls: the class.
        name: its name on the wire.
    """

    def __init__(self, cls: type[RemoteError], name: str) -> None:
        self.cls = cls
        self.name = name
        self._constructor = Method(types.MethodType(inspect.unwrap(cls.__init__), cls))

    def is_same(self, cls: type) -> bool:
        """Whether `cls` is this class, or another one of its import path, as after a reload."""
        return (cls.__module__, cls.__qualname__) == (self.cls.__module__, self.cls.__qualname__)

    def arguments_of(self, exc: BaseException) -> str | None:
        """Return the arguments that the constructor was given, as JSON; None if they can't travel."""
        given = exc.__dict__.get(_GIVEN)
        text = None if given is None else attempt(self._encoded, *given, default=None)
        return text if text is not None and len(text) <= _LONGEST_CHARS else None

    def _encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        try:
            return JSON.encode([list(args), kwargs]).decode()
        except EncodeError:
            return JSON.encode(list(self._constructor.lowered(args, kwargs))).decode()

    def revived(self, error: RemoteError) -> RemoteError | None:
        """Return the error that `error` describes; None if its arguments don't fit."""
        return attempt(self._made, error, default=None)

    def _made(self, error: RemoteError) -> RemoteError | None:
        args, kwargs = JSON.decode(str(error.arguments).encode())
        args, kwargs = self._constructor.bind(args, kwargs)
        made = self.cls(*args, **kwargs)
        if not is_a(made, self.cls):
            return None
        for name in ("type_name", "message", "traceback", "arguments"):
            if getattr(made, name, None) is None:
                setattr(made, name, getattr(error, name))
        made.text = made.text or error.text
        made.node = error.node
        return made

    def arriving(self, set_state: Callable[[type, Any], object]) -> Callable[[type, Any], type]:
        """Return what gives the class its state where it arrives as code, and declares it there."""
        return functools.partial(_arrive, self.name, set_state)


def _arrive(name: str, set_state: Callable[[type, Any], object], cls: Any, state: Any) -> type:
    set_state(cls, state)
    return _declare(cls, name)


def _keep_arguments(cls: type[RemoteError]) -> None:
    """Have each error of `cls` keep the arguments of its constructor, also to be copied and pickled."""
    constructor = cls.__init__

    @functools.wraps(constructor)
    def init(self: RemoteError, *args: Any, **kwargs: Any) -> None:
        self.__dict__.setdefault(_GIVEN, (args, kwargs))  # a base's constructor is called later
        constructor(self, *args, **kwargs)

    def reduce(self: RemoteError) -> Any:
        args, kwargs = self.__dict__.get(_GIVEN, (self.args, {}))
        return functools.partial(type(self), *args, **kwargs), (), dict(self.__dict__)

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    if cls.__reduce__ is BaseException.__reduce__:
        cls.__reduce__ = reduce  # type: ignore[method-assign, assignment]
