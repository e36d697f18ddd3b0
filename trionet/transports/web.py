"""The node's HTTP face: a Quart-Trio app, on Hypercorn's protocols inside the node's nursery.

``PUT`` (or ``POST``) ``/<gid>/<service>/<method>`` with a JSON list of arguments runs the method. Query parameters are
keyword arguments, in JSON (a bare word is a text). The response is ``{"value": …}``; for a group-wide call
``{"values": {…}, "errors": {…}}``, with ``"value"`` for an aggregate; for a failure
``{"error": {"code", "name", "text", …}}``. Values are in the JSON form of `trionet.codec`.

The app answers all requests, with one exception: until somebody asks for it to add something to it, plain calls,
probes and metrics are answered in front of it (`web_direct`). So a node that only answers these never imports Quart.

Requests with ambiguous framing (`web_framing`) are refused.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from weakref import WeakMethod

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext

from trionet.errors import RemoteError
from trionet.log_limits import limited_log
from trionet.user_code import pass_endings

from .web_calls import Calls
from .web_connection import HTTPConnection
from .web_direct import DirectAnswers
from .web_endings import closing_unless_read
from .web_head import ABORT, ON_PROVEN
from .web_plain_pages import PlainPages
from .web_refusals import RefusedRequests
from .web_tls import TLS_CLIENT, SecuredStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from trionet.config import NodeConfig

    from .base import Handler
    from .shown import Pages
    from .web_access import WebAccess
    from .web_app import QuartTrio

__all__ = ["WebServer"]

_APP: Final = "trionet.transports.web_app"


class WebServer:
    """Serves HTTP connections of one node.

    Attributes:
        closing: whether responses close their connection.
        refused: the requests that were refused because of who made them.
    """

    def __init__(
        self, handler: Handler, config: NodeConfig, access: WebAccess | None = None, pages: Pages | None = None
    ) -> None:
        """Prepare to serve.

        Args:
            handler: runs the calls.
            config: the node's.
            access: checks who makes a request; None on a node without a key or a certificate, where everyone may call.
            pages: what it shows besides its services.
        """
        self.closing: bool = False
        self.refused: RefusedRequests = RefusedRequests()
        self._calls = Calls(handler, config)
        plain = PlainPages(pages, config.max_message_bytes)
        self._direct = DirectAnswers(self._calls, plain, config, access, self.refused, lambda: self.closing)
        self._parts = (handler, self._calls, config, access, self.refused, pages, plain, lambda: self.closing)
        self._made: QuartTrio | None = None
        self._is_extended = False
        self._config = _hypercorn_config(config)
        self._context = WorkerContext(None)
        self._state: dict[str, Any] = {}
        self._nursery: trio.Nursery | None = None
        self._starting = trio.Lock()
        self._is_started = False

    @property
    def app(self) -> QuartTrio:
        """The Quart-Trio app, which answers all requests from now on.

        What is added to it, before its first request, may concern any of them.
        """
        self._is_extended = True
        return self._made_app()

    def _made_app(self) -> QuartTrio:
        if self._made is None:
            from .web_app import make_app

            self._made = make_app(*self._parts)
        return self._made

    async def started(self, nursery: trio.Nursery) -> None:
        """Start the app in `nursery` if it answers all requests; else it starts with the first one that it answers."""
        self._nursery = nursery
        if self._is_extended:
            await self._started_app()

    async def _started_app(self) -> QuartTrio:
        async with self._starting:
            if _APP not in sys.modules:
                await trio.to_thread.run_sync(importlib.import_module, _APP)  # it takes half a second
            app = self._made_app()
            if not self._is_started:
                assert self._nursery is not None
                await self._nursery.start(self.run)
                self._is_started = True
            return app

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the lifespan of the app (ASGI) until cancelled; then shut it down."""
        app = self._made_app()

        async def run_app(scope: Any, receive: Any, send: Any) -> None:
            await _without_endings(app(scope, receive, send))

        lifespan = Lifespan(ASGIWrapper(run_app), self._config, self._state)
        shielded = trio.CancelScope(shield=True)

        async def handle_lifespan(*, task_status: trio.TaskStatus[None]) -> None:
            with shielded:
                await lifespan.handle_lifespan(task_status=task_status)

        async with trio.open_nursery() as nursery:
            await nursery.start(handle_lifespan)
            try:
                await lifespan.wait_for_startup()
                task_status.started()
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(self._config.shutdown_timeout, shield=True):
                    await lifespan.wait_for_shutdown()
                shielded.cancel()

    def connect(
        self,
        stream: socket.socket | SecuredStream,
        first: bytes,
        on_proven: Callable[[], object] = lambda: None,
    ) -> HTTPConnection:
        """Return the connection on `stream`, whose first bytes have been read.

        ``on_proven()`` is called with each request that has a valid token or signature.
        """
        state = {**self._state, ON_PROVEN: on_proven}
        if isinstance(stream, SecuredStream):
            state[TLS_CLIENT] = stream.client
        connection = HTTPConnection(self._answer, self._config, self._context, state, stream, first)
        state[ABORT] = WeakMethod(connection.abort)
        return connection

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request or a WebSocket: an ASGI app."""
        receive, send = closing_unless_read(scope, receive, send)
        asked = None if self._is_extended else self._direct.read(scope)
        if asked is not None:
            await _without_endings(self._direct.answer(asked, scope, receive, send))
        else:
            await _without_endings(self._answer_by_app(scope, receive, send))

    async def _answer_by_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Have the app answer, which assumes the request's target to be valid.

        A disconnected client is no error, unlike in Quart from 0.23 on.
        """
        if not scope["path"].startswith("/"):
            try:
                path = urlsplit(scope["path"]).path
            except ValueError:
                path = ""
            scope["path"] = path if path.startswith("/") else "/"
        app = await self._started_app()
        from .web_app import ClientGone

        try:
            await app(scope, receive, send)
        except* ClientGone:
            pass

    def close(self) -> None:
        """Have each response close its connection."""
        self.closing = True

    async def finish(self) -> None:
        """Close idle connections at once, and the others after their response."""
        await self._context.terminated.set()


async def _without_endings(work: Awaitable[None]) -> None:
    """Await `work` of the user's; what would end the process becomes an exception, to which the answer is 500."""
    try:
        await work
    except Exception:
        raise
    except BaseException as exc:
        pass_endings(exc)
        raise RemoteError.from_exception(exc) from exc


def _hypercorn_config(config: NodeConfig) -> Config:
    hypercorn_config = Config()
    hypercorn_config.accesslog = None
    hypercorn_config.errorlog = limited_log("trionet.http")
    hypercorn_config.include_server_header = False
    hypercorn_config.keep_alive_timeout = config.idle_timeout_s
    hypercorn_config.keep_alive_max_requests = 1_000_000_000  # peers keep their connections
    return hypercorn_config
