"""Name to service to method: runs a call on this node.

Every transport ends here, and so does a node's call to itself. The router owns what holds for any call, whatever
brought it: the arguments fit the method's signature, the caller's deadline is kept, an exception of the handler
becomes a `RemoteError`, and nothing but cancellation and Ctrl-C gets past.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import math
import types
import typing
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
import trio

from .errors import (
    CallTimeout,
    ConnectionLost,
    GroupNotFound,
    MalformedRequest,
    MethodNotFound,
    RemoteError,
    ServiceNotFound,
    TemporarilyUnavailable,
    TrionetError,
)
from .user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence

    from .identity import NodeAddress
    from .message import Call

__all__ = ["CurrentCall", "HandlerCancelled", "Method", "PreparedCall", "Router", "current_call", "is_awaitable"]

_NOTHING: Final[dict[str, Any]] = {}
_current: contextvars.ContextVar[PreparedCall] = contextvars.ContextVar("trionet_current_call")


class CurrentCall:
    """The call that a handler is answering.

    Attributes:
        id: the caller's id for it; the same at every member of a fan-out.
        caller: the calling node as it says, or None for a person with curl.
        gid: the group it was called through; ``"local"`` for a node's own services.
        service, method: what was called.
    """

    __slots__ = ("_deadline", "caller", "gid", "id", "method", "service")

    def __init__(self, call: Call, deadline: float) -> None:
        self.id: str = call.id
        self.caller: NodeAddress | None = call.caller
        self.gid: str = call.gid
        self.service: str = call.service
        self.method: str = call.method
        self._deadline = deadline

    @property
    def deadline(self) -> float:
        """When its time is over, on this node's Trio clock; ``inf`` without a deadline."""
        return min(self._deadline, trio.current_effective_deadline())


def current_call() -> CurrentCall:
    """Return the call that the running handler answers.

    Raises:
        RuntimeError: not called from within a handler.
    """
    prepared = _current.get(None)
    if prepared is None:
        raise RuntimeError("no call is being answered here")
    return prepared.current()


class HandlerCancelled(Exception):
    """The scope that a handler ran in was cancelled: its caller doesn't want the answer any more."""


class Method:
    """One exposed method: the callable, with what is needed to check arguments against its signature.

    Annotated parameters are checked, and converted from their JSON form (a mapping to the dataclass it describes),
    by ``msgspec.convert`` in strict mode. Parameters without annotation, or with one that msgspec doesn't know, take
    anything.

    Attributes:
        call: the callable.
        is_stream: whether it is an async generator function.
        is_sync: whether it is a plain function, which can run without a task of its own.
    """

    __slots__ = ("_plan", "call", "is_stream", "is_sync")

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call: Callable[..., Any] = call
        function = getattr(call, "__func__", None)
        try:
            self._plan = _plan_of(call if function is None else function, is_bound=function is not None)
        except TypeError:  # it can't be hashed
            self._plan = _Plan(call if function is None else function, is_bound=function is not None)
        self.is_stream: bool = self._plan.is_stream
        self.is_sync: bool = self._plan.is_sync

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments to call it with.

        Raises:
            MalformedRequest: they don't fit the signature.
        """
        return self._plan.bind(args, kwargs)


class _Plan:
    """What is known of a function's arguments; worked out once for each function, however many objects have it."""

    __slots__ = ("_converters", "_most", "_name", "_needed", "_signature", "_types", "is_stream", "is_sync")

    def __init__(self, function: Callable[..., Any], *, is_bound: bool) -> None:
        innermost = inspect.unwrap(function)
        self.is_stream = inspect.isasyncgenfunction(innermost)
        self.is_sync = not (self.is_stream or inspect.iscoroutinefunction(innermost))
        self._name = getattr(function, "__name__", "it")
        self._signature = _signature(function, is_bound=is_bound)
        self._types = {name: kind for name, kind in _annotations(innermost).items() if _is_convertible(kind)}
        # The common case: positional arguments alone, for positional parameters alone.
        parameters = [] if self._signature is None else list(self._signature.parameters.values())
        is_simple = self._signature is not None and all(
            parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
        )
        self._most = len(parameters) if is_simple else -1
        self._needed = sum(parameter.default is parameter.empty for parameter in parameters)
        self._converters = [
            (index, p.name, _as_it_is(self._types[p.name]))
            for index, p in enumerate(parameters)
            if p.name in self._types
        ]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments to call it with; see `Method.bind`."""
        if not kwargs and self._needed <= len(args) <= self._most:
            return self._convert_positional(args), kwargs
        if self._signature is None:
            return args, kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise MalformedRequest(f"the arguments don't fit {self._shown()}: {exc}") from exc
        parameters = self._signature.parameters
        for name, value in bound.arguments.items():
            if name in self._types:
                bound.arguments[name] = self._convert(name, value, parameters[name].kind)
        return bound.args, bound.kwargs

    def _convert_positional(self, args: Sequence[Any]) -> Sequence[Any]:
        if not self._converters:
            return args
        converted = list(args)
        for index, name, fitting in self._converters:
            if index >= len(converted):
                break
            if type(converted[index]) is not fitting:
                converted[index] = self._convert(name, converted[index], inspect.Parameter.POSITIONAL_ONLY)
        return converted

    def _convert(self, name: str, value: Any, kind: Any) -> Any:
        target = self._types[name]
        try:
            if kind is inspect.Parameter.VAR_POSITIONAL:
                return tuple(msgspec.convert(item, target) for item in value)
            if kind is inspect.Parameter.VAR_KEYWORD:
                return {key: msgspec.convert(item, target) for key, item in value.items()}
            return msgspec.convert(value, target)
        except BaseException as exc:  # a type of the user's may check its values, and raise whatever it likes
            pass_endings(exc)
            raise MalformedRequest(f"argument {name!r} of {self._shown()}: {described(exc)}") from exc

    def _shown(self) -> str:
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
        return f"{self._name}{inspect.Signature(shown, return_annotation=returned)}"


class _Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_plan_of = functools.lru_cache(maxsize=4096)(_Plan)


def _signature(function: Callable[..., Any], *, is_bound: bool) -> inspect.Signature | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None
    parameters = list(signature.parameters.values())
    if is_bound and parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        return signature.replace(parameters=parameters[1:])
    return signature


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    with suppress(Exception):
        return typing.get_type_hints(function)
    # A name is only there for the type checker. One by one: it must not be in the way of the others.
    found: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        single = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            found |= typing.get_type_hints(single, getattr(function, "__globals__", {}))
    return found


def _is_convertible(kind: Any) -> bool:
    if kind is Any or kind is object:
        return False
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return False
    return True


def _as_it_is(kind: Any) -> Any:
    """Return the type whose values need no conversion to `kind`, or None: the simplest ones are their own."""
    return kind if kind in (str, int, float, bool, bytes) else None


class PreparedCall:
    """A call that is about to run: the method was found, the arguments fit.

    Attributes:
        method: what will run.
    """

    __slots__ = ("_args", "_call", "_deadline", "_kwargs", "_running", "method")

    def __init__(
        self,
        method: Method,
        call: Call,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        running: dict[PreparedCall, None],
    ) -> None:
        self.method: Method = method
        self._running = running
        self._call = call
        self._args = args
        self._kwargs = kwargs
        self._deadline = math.inf if call.timeout_s is None else trio.current_time() + call.timeout_s

    def current(self) -> CurrentCall:
        """Return what the handler may know of it."""
        return CurrentCall(self._call, self._deadline)

    def begin(self) -> Any:
        """Call the method, for a plain function: return its value, or an awaitable of it for `finish`.

        Raises:
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        return contextvars.copy_context().run(self._begin)  # what it sets is its own, as in a task

    def _begin(self) -> Any:
        _current.set(self)
        try:
            return self.method.call(*self._args, **self._kwargs)
        except BaseException as exc:
            _reraise(exc)

    async def finish(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        """Run the method, or the awaitable that `begin` returned, to its end inside `scope`; return its value.

        Raises:
            CallTimeout: the caller's time is over.
            HandlerCancelled: `scope` was cancelled.
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        if self._deadline != math.inf:  # setting it costs even where it changes nothing
            scope.deadline = min(scope.deadline, self._deadline)
        self._running[self] = None
        token = _current.set(self)
        try:
            with scope:
                if awaitable is None:
                    awaitable = self.method.call(*self._args, **self._kwargs)
                if is_awaitable(awaitable):
                    return await awaitable
                return awaitable
        except BaseException as exc:
            _reraise(exc)
        finally:
            _current.reset(token)
            del self._running[self]
        raise self._cut_short()

    @asynccontextmanager
    async def stream(self, scope: trio.CancelScope) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Run the method, an async generator, inside `scope`: gives the generator, and closes it in the end.

        Raises what `finish` does.
        """
        scope.deadline = min(scope.deadline, self._deadline)
        self._running[self] = None
        token = _current.set(self)
        try:
            with scope:
                items = self.method.call(*self._args, **self._kwargs)
                try:
                    async with aclosing(_one_by_one(items)) as translated:
                        yield translated
                finally:
                    await _close(items)
                return
        finally:
            _current.reset(token)
            del self._running[self]
        raise self._cut_short()

    def _cut_short(self) -> Exception:
        if trio.current_time() >= self._deadline:
            return CallTimeout(f"{self._call.gid}/{self._call.service}/{self._call.method} ran out of time")
        return HandlerCancelled()


class Router:
    """The methods that can be called on one node.

    Attributes:
        served: how many calls it has taken on so far.
        running: those whose handlers are running, in the order of their beginning; plain functions never wait, and so
            aren't among them.
        refusing: why no further calls are taken, or None; `status.stop` is exempt.
    """

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Mapping[str, Method]]] = {}
        self.served: int = 0
        self.running: dict[PreparedCall, None] = {}
        self.refusing: str | None = None
        self._own_scopes: dict[trio.CancelScope, None] = {}

    def put(self, gid: str, service: str, methods: Mapping[str, Method]) -> None:
        """Expose `methods` as `service` under `gid`; replaces what was there."""
        self._services.setdefault(gid, {})[service] = methods

    def remove(self, gid: str, service: str | None = None) -> None:
        """Withdraw `service`, or all of `gid`; none being there is no error."""
        if service is None:
            self._services.pop(gid, None)
        else:
            self._services.get(gid, {}).pop(service, None)

    def resolve(self, gid: str, service: str, method: str) -> Method:
        """Return the method of that name.

        Raises:
            GroupNotFound, ServiceNotFound, MethodNotFound: there is none.
        """
        services = self._services.get(gid)
        if services is None:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        methods = services.get(service)
        if methods is None:
            raise ServiceNotFound(f"group {gid!r} has no service {service!r:.130}")
        found = methods.get(method)
        if found is None:
            raise MethodNotFound(f"service {service!r} of group {gid!r} has no method {method!r:.130}")
        return found

    def prepare(self, call: Call) -> PreparedCall:
        """Return `call` ready to run; nothing of the user's has run then.

        Raises:
            NotFound: there is no such method.
            MalformedRequest: the arguments don't fit it.
            CallTimeout: the caller's time is over already.
            TemporarilyUnavailable: the node is stopping.
        """
        method = self._services.get(call.gid, _NOTHING).get(call.service, _NOTHING).get(call.method)
        if method is None:
            method = self.resolve(call.gid, call.service, call.method)  # which says what there is none of
        if self.refusing is not None and (call.service, call.method) != ("status", "stop"):
            raise TemporarilyUnavailable(self.refusing)
        args, kwargs = method.bind(call.args, call.kwargs)
        if call.timeout_s is not None and call.timeout_s <= 0:
            raise CallTimeout("its time was over before it could start")
        self.served += 1
        return PreparedCall(method, call, args, kwargs, self.running)

    async def call(self, call: Call) -> Any:
        """Run `call` and return its value. Raises what `prepare` and `PreparedCall.finish` do.

        Raises:
            MalformedRequest: the method is a stream.
            ConnectionLost: the node has ended meanwhile.
        """
        prepared = self.prepare(call)
        if prepared.method.is_stream:
            raise MalformedRequest(f"{call.service}/{call.method} is a stream: use comm.stream")
        with self.own_scope() as scope:
            return await prepared.finish(scope)

    @contextmanager
    def own_scope(self) -> Generator[trio.CancelScope]:
        """Give the scope of a call of the node to itself: that runs in a task of the caller's, and ends with the node.

        Raises:
            ConnectionLost: the node has ended meanwhile.
        """
        scope = trio.CancelScope()
        self._own_scopes[scope] = None
        try:
            yield scope
        except HandlerCancelled:
            raise ConnectionLost("the node has stopped") from None
        finally:
            del self._own_scopes[scope]

    def end(self) -> None:
        """Take no further calls, and cancel those of the node to itself: it has ended."""
        self.refusing = "the node has stopped"
        for scope in self._own_scopes:
            scope.cancel()


def is_awaitable(value: Any) -> bool:
    """Return whether `value` can be awaited; its type is asked, since an object of the user's may raise when asked."""
    return hasattr(type(value), "__await__")


async def _one_by_one(items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """Give the items of a handler, its exceptions translated, and not those of whoever takes them."""
    while True:
        try:
            item = await anext(items)
        except StopAsyncIteration:
            return
        except BaseException as exc:
            _reraise(exc)
        yield item


async def _close(items: AsyncGenerator[Any]) -> None:
    try:
        await items.aclose()
    except BaseException as exc:
        _reraise(exc)


def _reraise(exc: BaseException) -> NoReturn:
    """Raise what a handler's `exc` means to its caller."""
    pass_endings(exc)
    if isinstance(exc, TrionetError) and exc.node is None:
        raise exc
    # An error with a node came from a call that the handler made: it tells of that call, not of this one.
    raise RemoteError.from_exception(exc) from exc
