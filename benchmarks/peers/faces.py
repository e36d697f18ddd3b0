"""The same answer over HTTP: by a node, by a bare ASGI app on Hypercorn's Trio worker, and by plain Quart-Trio."""

from __future__ import annotations

import socket
from typing import Any

import trio

from benchmarks.commands import answer_in_trio, options

ANSWER = b'{"value":"d3272d8c21"}'


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer any request, after its body; be ready for as long as the server runs."""
    while scope["type"] == "lifespan":
        await send({"type": f"{(await receive())['type']}.complete"})
    while (await receive()).get("more_body", False):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


def plain_quart() -> Any:
    """Return an app of one route."""
    from quart import Response, request
    from quart_trio import QuartTrio

    app = QuartTrio("plain")

    @app.route("/<gid>/<service>/<method>", methods=["PUT", "POST"])
    async def call(gid: str, service: str, method: str) -> Response:
        del gid, service, method
        await request.get_data()
        return Response(ANSWER, content_type="application/json")

    return app


async def serve_app(app: Any) -> None:
    """Serve an app with Hypercorn, whose log goes to standard error."""
    from hypercorn.config import Config
    from hypercorn.trio import serve

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_max_requests = 1_000_000_000
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, app, config)
        await answer_in_trio(port=port)
        nursery.cancel_scope.cancel()


async def serve_node() -> None:
    """Serve a node."""
    import trionet

    async with trionet.open_node() as node:
        await answer_in_trio(port=node.address.port)


if __name__ == "__main__":
    kind = options()["kind"]
    if kind == "node":
        trio.run(serve_node)
    else:
        trio.run(serve_app, bare if kind == "bare" else plain_quart())
