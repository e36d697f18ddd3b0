"""Calls that name their method by the class: ``node.call(address, Counter.add, 5)``.

Invariant: what such a call can't mean is refused before anything is sent: a method that isn't marked, one of an object
instead of its class, arguments that don't fit.
"""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trionet.errors import EncodeError, MalformedRequest
from trionet.message import LOCAL
from trionet.user_code import attempt, attribute, shown

from .marks import mark_of
from .references import REFERENCE, ExposedMethod, Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trionet.message import Remote
    from trionet.transports.base import Request

    from .comm import Comm

__all__ = ["check_kind", "lowered_request", "reference_of", "typed_request"]

_BY_CLASS: Final = "name the method by its class, as in node.call(address, Counter.add, 5)"
_BY_REMOTE: Final = "comm.send calls it by its names, with a trionet.Remote"


def reference_of(method: Any) -> Reference:
    """Return the reference of a method that was looked up on its class, ``Counter.add``.

    Raises:
        MalformedRequest: it is another thing; the text says what to write.
    """
    reference: Reference | None = method.__dict__.get(REFERENCE) if type(method) is types.FunctionType else None
    if reference is None:
        _refuse(method)
    return reference


def check_kind(reference: Reference, *, is_stream: bool) -> None:
    """Raise `MalformedRequest` unless the method is a stream, or unless it is none."""
    if reference.method.is_stream is not is_stream:
        raise MalformedRequest(
            f"{reference.name} is no stream, which has @trionet.rpc on an async generator: await call(...)"
            if is_stream
            else f"{reference.name} is a stream: async with stream(...) as items"
        )


def typed_request(
    comm: Comm,
    reference: Reference,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    service: str | None = None,
    gid: str = LOCAL,
) -> Request:
    """Return the prepared call of a method, for any number of nodes.

    Args:
        comm: the service that sends it.
        reference: the method.
        args: its positional arguments.
        kwargs: those by name.
        service: the name of the service; default: that of its class.
        gid: the group whose service it is.

    Raises:
        MalformedRequest: the arguments don't fit the signature, or a name is malformed.
        EncodeError: an argument can't travel.
    """
    reference.check(args, kwargs)
    remote = reference.remote_at(service, gid)
    try:
        return comm.prepare(list(args), kwargs, remote)
    except EncodeError:
        return lowered_request(comm, reference, args, kwargs, remote)


def lowered_request(
    comm: Comm, reference: Reference, args: tuple[Any, ...], kwargs: Mapping[str, Any], remote: Remote
) -> Request:
    """Return the prepared call of a method, with arguments that travel by their annotations, or raise `EncodeError`."""
    lowered, named = reference.method.lowered(args, kwargs)
    return comm.prepare(lowered, named, remote)


def _refuse(method: Any) -> NoReturn:
    """Raise the `MalformedRequest` for what is no method of a class.

    Raises:
        MalformedRequest: always; the text says what to write.
    """
    kind = type(method)
    if issubclass(kind, types.CoroutineType | types.AsyncGeneratorType):
        if issubclass(kind, types.CoroutineType):
            method.close()
        raise MalformedRequest(
            f"{method.__qualname__}(...) has been called here: pass the method and, after it, its arguments: "
            f"node.call(address, Counter.add, 5)"
        )
    if issubclass(kind, types.MethodType):
        raise MalformedRequest(_why_bound(method))
    if issubclass(kind, type):
        raise MalformedRequest(f"{method.__qualname__} is a class: {_BY_CLASS}")
    if kind is ExposedMethod or not issubclass(kind, types.FunctionType):
        what = attribute(method, "__qualname__") or shown(method, 80)
        raise MalformedRequest(f"{what} is no method of a class: {_BY_CLASS}; {_BY_REMOTE}")
    raise MalformedRequest(_why_unknown(method))


def _why_bound(method: types.MethodType) -> str:
    if isinstance(method.__self__, type):
        return f"{method.__qualname__} is a class method, and calls go to methods of objects: {_BY_REMOTE}"
    by_class = f"{type(method.__self__).__qualname__}.{method.__name__}"
    return f"{by_class} is bound to an object of this process, and the call is for one of a node: pass {by_class}"


def _why_unknown(function: types.FunctionType) -> str:
    owner, _, name = function.__qualname__.rpartition(".")
    if name == "<lambda>" or not owner or owner.endswith("<locals>"):
        return f"{function.__qualname__} is a function, and no method of a class: {_BY_CLASS}; {_BY_REMOTE}"
    if mark_of(function) is not None:
        return f"{function.__qualname__} has a decorator above @trionet.rpc: put @trionet.rpc on top"
    if not attempt(lambda: next(iter(inspect.signature(function).parameters)) == "self", default=True):
        return f"{function.__qualname__} has no self, and calls go to methods of objects: {_BY_REMOTE}"
    return f"{function.__qualname__} is not exposed: mark it with @trionet.rpc, as an override of a marked method, too"
