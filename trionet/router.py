"""Name to service to method: runs a call on this node.

Every transport ends here, and so does a node's call to itself. The router owns what holds for any call, whatever
brought it: the arguments fit the method's signature, the caller's deadline is kept, an exception of the handler
becomes a `RemoteError`, and nothing but cancellation and Ctrl-C gets past.
"""

from __future__ import annotations

import contextvars
import inspect
import math
import typing
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from .errors import (
    CallTimeout,
    GroupNotFound,
    MalformedRequest,
    MethodNotFound,
    RemoteError,
    ServiceNotFound,
    TemporarilyUnavailable,
    TrionetError,
)
from .identity import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .message import Call

__all__ = ["CurrentCall", "Method", "Router", "current_call"]

_current: contextvars.ContextVar[CurrentCall] = contextvars.ContextVar("trionet_current_call")


class CurrentCall(msgspec.Struct, frozen=True, kw_only=True):
    """The call that a handler is answering.

    Attributes:
        id: the caller's id for it; the same at every member of a fan-out.
        caller: the calling node as it says, or None for a person with curl.
        gid: the group it was called through; ``"local"`` for a node's own services.
        deadline: on this node's Trio clock; ``inf`` without one.
    """

    id: str
    caller: NodeAddress | None
    gid: str
    deadline: float


def current_call() -> CurrentCall:
    """Return the call that the running handler answers.

    Raises:
        RuntimeError: not called from within a handler.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("no call is being answered here") from None


class Method:
    """One exposed method: the callable, with what is needed to check arguments against its signature.

    Annotated parameters are checked, and converted from their JSON form (a mapping to the dataclass it describes),
    by ``msgspec.convert`` in strict mode. Parameters without annotation, or with one that msgspec doesn't know, take
    anything.
    """

    __slots__ = ("_signature", "_types", "call")

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        try:
            self._signature: inspect.Signature | None = inspect.signature(call)
        except (TypeError, ValueError):  # some builtins have none
            self._signature = None
        self._types = {name: kind for name, kind in _annotations(call).items() if _is_convertible(kind)}

    def bind(
        self, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments to call it with.

        Raises:
            MalformedRequest: they don't fit the signature.
        """
        if self._signature is None:
            return tuple(args), dict(kwargs)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise MalformedRequest(f"the arguments don't fit {self._shown()}: {exc}") from exc
        if self._types:
            kinds = self._signature.parameters
            for name, value in bound.arguments.items():
                if name in self._types:
                    bound.arguments[name] = self._convert(name, value, kinds[name].kind)
        return bound.args, bound.kwargs

    def _convert(self, name: str, value: Any, kind: Any) -> Any:
        target = self._types[name]
        try:
            if kind is inspect.Parameter.VAR_POSITIONAL:
                return tuple(msgspec.convert(item, target) for item in value)
            if kind is inspect.Parameter.VAR_KEYWORD:
                return {key: msgspec.convert(item, target) for key, item in value.items()}
            return msgspec.convert(value, target)
        except msgspec.ValidationError as exc:
            raise MalformedRequest(f"argument {name!r} of {self._shown()}: {exc}") from exc

    def _shown(self) -> str:
        return f"{getattr(self.call, '__name__', 'it')}{self._signature}"


def _annotations(call: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(getattr(call, "__func__", call))
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that is only there for the type checker
        return {}


def _is_convertible(kind: Any) -> bool:
    if kind is Any or kind is object:
        return False
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return False
    return True


class Router:
    """The methods that can be called on one node.

    Attributes:
        served: how many calls it has taken on so far.
        refusing: why no further calls are taken, or None; `status.stop` is exempt.
    """

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Mapping[str, Method]]] = {}
        self.served = 0
        self.refusing: str | None = None

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

    async def call(self, call: Call) -> Any:
        """Run `call` and return its value.

        Raises:
            NotFound: there is no such method.
            MalformedRequest: the arguments don't fit it.
            CallTimeout: the caller's time is over.
            TemporarilyUnavailable: the node is stopping.
            RemoteError: the handler raised.
            TrionetError: the handler raised it as its answer.
        """
        method = self.resolve(call.gid, call.service, call.method)
        if self.refusing is not None and (call.service, call.method) != ("status", "stop"):
            raise TemporarilyUnavailable(self.refusing)
        args, kwargs = method.bind(list(call.args), call.kwargs)
        self.served += 1
        if call.timeout_s is not None and call.timeout_s <= 0:
            raise CallTimeout("its time was over before it could start")
        deadline = math.inf if call.timeout_s is None else trio.current_time() + call.timeout_s
        current = CurrentCall(
            id=call.id, caller=call.caller, gid=call.gid, deadline=min(deadline, trio.current_effective_deadline())
        )
        token = _current.set(current)
        try:
            with trio.CancelScope(deadline=deadline) as scope:
                return await _run(method.call, args, kwargs)
        finally:
            _current.reset(token)
        assert scope.cancelled_caught
        raise CallTimeout(f"{call.gid}/{call.service}/{call.method} ran out of time")


async def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the handler, and translate what it raises.

    BaseException is caught, against the habit: a handler's SystemExit must not end the node that serves it.
    """
    try:
        value = function(*args, **kwargs)
        return await value if inspect.isawaitable(value) else value
    except (trio.Cancelled, KeyboardInterrupt):
        raise
    except TrionetError as exc:
        # An error that came from a call the handler made tells of that call, not of this one.
        raise exc if exc.node is None else RemoteError.from_exception(exc) from exc
    except BaseExceptionGroup as exc:
        ending, _ = exc.split((trio.Cancelled, KeyboardInterrupt))
        if ending is not None:
            raise ending  # noqa: B904  its leaves carry their own causes
        raise RemoteError.from_exception(exc) from exc
    except BaseException as exc:
        raise RemoteError.from_exception(exc) from exc
