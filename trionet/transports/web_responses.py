"""Errors as responses of Quart's."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from quart import Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from trionet.codec import JSON
from trionet.errors import MalformedRequest, MethodNotFound, RemoteError

from .web_errors import error_body, status_of, too_large

if TYPE_CHECKING:
    from trionet.errors import TrionetError

__all__ = ["error_of", "error_response"]


def error_response(
    error: TrionetError, limit_bytes: int, status: int | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return the response for `error`."""
    body = error_body(error, limit_bytes)
    return Response(body, status=status or status_of(error), headers=headers, content_type=JSON.content_type)


def error_of(exc: HTTPException, limit_bytes: int) -> TrionetError:
    """Return the error for a failure of the web stack."""
    if isinstance(exc, RequestEntityTooLarge):
        return too_large(limit_bytes)
    if isinstance(exc, MethodNotAllowed):
        methods = sorted(exc.valid_methods or ())
        is_call = not methods or "PUT" in methods
        return MalformedRequest("call with PUT or POST" if is_call else f"this path is for {', '.join(methods)}")
    if exc.code == HTTPStatus.NOT_FOUND:
        return MethodNotFound("paths are /<gid>/<service>/<method>")
    if (exc.code or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:  # from the user's code around a call that may have run
        return RemoteError.from_exception(getattr(exc, "original_exception", None) or exc)
    return MalformedRequest(f"{exc.code} {exc.name}")
