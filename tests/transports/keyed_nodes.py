"""Nodes with keys, and requests to them as people and other programs make them."""

from __future__ import annotations

import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import trio

from tests.security.keys import key_of
from tests.waiting import DEADLINE_S
from trionet import NodeConfig, open_node
from trionet.security.key_entries import KeyFile
from trionet.security.keys import derive
from trionet.security.node_keys import NodeKeys
from trionet.security.token_scope import Scope
from trionet.security.tokens import issue_token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet import Node

__all__ = ["error_in", "http_client", "open_keyed", "request", "token"]

_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of no use here, but httpx would make one for each client


def http_client(*, http2: bool = False) -> httpx.AsyncClient:
    """Return a client without settings of the environment, for HTTP/1.1 or for HTTP/2."""
    return httpx.AsyncClient(trust_env=False, verify=_TLS, http1=not http2, http2=http2)


@asynccontextmanager
async def open_keyed(
    config: NodeConfig | None = None, *, seed: int = 1, cluster: str = "trionet"
) -> AsyncGenerator[Node]:
    """Run a node with the key of this number."""
    keys = NodeKeys(KeyFile.of(key_of(seed)), cluster)
    with trio.fail_after(DEADLINE_S):
        async with open_node(config, keys=keys) as node:
            yield node


def token(
    scope: Scope = Scope.CALL, *, seed: int = 1, cluster: str = "trionet", age_s: float = 0, lifetime_s: float = 60
) -> str:
    """Return a token that was made so long ago."""
    return issue_token(derive(key_of(seed), cluster), scope, time.time() - age_s, lifetime_s)


async def request(
    node: Node, path: str, content: str = "[]", *, bearer: str | None = None, method: str = "PUT", **headers: str
) -> httpx.Response:
    """Make one request; ``_`` in the names of headers stands for ``-``."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if bearer is not None:
        given["Authorization"] = f"Bearer {bearer}"
    async with http_client() as client:
        return await client.request(method, f"http://{node.address}{path}", content=content, headers=given)


def error_in(response: httpx.Response) -> Any:
    """Return the error of an answer."""
    return response.json()["error"]
