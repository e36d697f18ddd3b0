"""Errors for other nodes, made of exceptions that the user's code has raised."""

from __future__ import annotations

from .declared_kinds import declared_kind
from .error_wire import error_from_wire
from .errors import RemoteError, TrionetError, error_fields, known_kind
from .plain_data import PlainData
from .user_code import attribute

__all__ = ["as_answer", "as_error"]


def as_answer(exc: BaseException) -> TrionetError:
    """Return the reply to a call whose handler has raised `exc`: `exc`, or a `RemoteError` that describes it.

    An error with a node came from a call that the handler made, and describes that call instead of this one.
    """
    error = as_error(exc)
    return RemoteError.from_exception(exc) if "node" in error_fields(error) else error


def as_error(exc: BaseException) -> TrionetError:
    """Return the error to send to other nodes for an exception of the user's code.

    One of trionet's own errors is sent as it is. An error of a user's subclass becomes one of the nearest class that
    every node has; if that is a `RemoteError`, it has the name of the class, and the arguments if that is marked with
    ``trionet.error``. All others, and errors whose further fields are not plain data, become a `RemoteError`.
    """
    kind = type(exc)  # isinstance would use __class__, which may be the user's code, too
    if not issubclass(kind, TrionetError):
        return RemoteError.from_exception(exc)
    error: TrionetError = exc  # type: ignore[assignment]
    if declared_kind(kind) is not None or (known_kind(kind) is RemoteError and attribute(error, "type_name") is None):
        return RemoteError.from_exception(error)
    wire, plain = error_fields(error), PlainData()
    for value in wire.values():
        plain.of(value)
    if not plain.is_exact:
        return RemoteError.from_exception(error)
    return error if known_kind(kind) is kind and type(error.text) is str else error_from_wire(wire)
