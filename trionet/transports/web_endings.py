"""The end of a connection whose request is answered before its body has come.

Such an answer is an early refusal. The rest of the body follows, and the connection ends: without a word, the client
would send its next request on it, and lose that.

Source: RFC 9112, 9.3 and 9.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

__all__ = ["closing_unless_read"]

_PASSES: Final = 20
"""The passes of the event loop within which a body that has come is received."""


def closing_unless_read(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> tuple[ASGIReceiveCallable, ASGISendCallable]:
    """Return `receive` and `send`; an answer that is sent before all of the body has been received closes."""
    if scope["type"] != "http" or not scope["http_version"].startswith("1") or not _has_body(scope["headers"]):
        return receive, send
    is_whole = False

    async def received() -> Any:
        nonlocal is_whole
        message = await receive()
        is_whole = is_whole or (message["type"] == "http.request" and not message["more_body"])
        return message

    async def sent(message: Any) -> None:
        passes = _PASSES if message["type"] == "http.response.start" else 0
        while passes and not is_whole:  # a body that came with its head is about to be received
            passes -= 1
            await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start" and not is_whole:
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return received, sent


def _has_body(headers: Any) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)
