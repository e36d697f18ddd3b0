"""Error replies, ``{"type": "error", "code", "text"}``, as exceptions, in both directions.

The exceptions are trionet's own: each code below 1000 has a type (``trionet/errors.py`` lists them), and the two
families distinguish definite from indefinite errors. Invariant: an unknown code is indefinite, as in Maelstrom. Source:
Maelstrom, ``doc/protocol.md``, "Errors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import trio

from trionet.error_wire import error_from_wire
from trionet.errors import (
    CallTimeout,
    DecodeError,
    DefiniteError,
    EncodeError,
    IndefiniteError,
    RemoteError,
    TrionetError,
    error_to_wire,
)
from trionet.user_code import is_a

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CustomError", "error_body", "error_from_body", "is_crash"]

_MAX_TEXT_CHARS = 1000


class CustomError(IndefiniteError):
    """An error with a code of the program's own, 1000 or more; the request may have happened.

    Attributes:
        number: the code.
    """

    fields: ClassVar[tuple[str, ...]] = ("number",)
    number: int

    def __init__(self, text: str = "", *, number: int = 1000) -> None:
        super().__init__(text, number=number)


def is_crash(exc: BaseException) -> bool:
    """Return whether `exc` is a failure of a handler, which may have had an effect before, and not its answer.

    Errors of trionet are answers, except those about a value that the handler encodes or decodes itself.
    """
    if is_a(exc, CustomError):
        return type(exc.number) is not int or isinstance(error_from_wire({"code": exc.number}), DefiniteError)
    return not is_a(exc, (TrionetError, trio.TooSlowError)) or is_a(exc, (EncodeError, DecodeError))


def error_body(exc: BaseException) -> dict[str, Any]:
    """Return the body of an error reply for `exc`, without ``in_reply_to``; JSON can always represent it.

    An error of trionet has its code; ``trio.TooSlowError`` is a timeout (0), and any other exception a crash (13), as
    are an `EncodeError`, a `DecodeError`, and a `CustomError` with the number of another error.
    """
    if is_crash(exc):
        exc = RemoteError.from_exception(exc)
    elif isinstance(exc, trio.TooSlowError):
        exc = CallTimeout("the time for it is over")
    assert isinstance(exc, TrionetError)
    wire = error_to_wire(exc)
    code = exc.number if isinstance(exc, CustomError) else wire["code"]
    body = {"type": "error", "code": code, "text": wire["text"][:_MAX_TEXT_CHARS]}
    if not isinstance(exc, CustomError) and type(error_from_wire(body)) is not type(exc):
        body["name"] = wire["name"]  # the code alone does not determine the type
    return body


def error_from_body(body: Mapping[str, Any]) -> TrionetError:
    """Return the exception for the body of an error reply.

    Returns:
        The type of its code, such as `KeyDoesNotExist` for 20; `CustomError` for an unknown code; `IndefiniteError` for
        a malformed reply.
    """
    code, text = body.get("code"), body.get("text", "")
    text = text if isinstance(text, str) else str(text)
    if type(code) is not int:
        return IndefiniteError(f"an error reply without a code: {text}")
    name = body.get("name")
    error = error_from_wire({"code": code, "text": text, "name": name})
    if type(error) is IndefiniteError and name is None:
        return CustomError(text, number=code)
    if isinstance(error, RemoteError):  # Maelstrom's crash has only a text
        error.type_name, error.message, error.traceback = error.type_name or "", error.message or text, ""
    return error
