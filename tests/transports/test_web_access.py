"""Who may call a node with a key over HTTP."""

from __future__ import annotations

from tests.transports.keyed_nodes import open_keyed, request, token
from trionet import NodeConfig, Remote
from trionet.security.tokens import Scope


async def test_a_request_needs_a_token() -> None:
    async with open_keyed() as node:
        refused = await request(node, "/local/status/get", '["nid"]')
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="trionet"'
        assert "trionet keys token" in refused.json()["error"]["text"]
        accepted = await request(node, "/local/status/get", '["nid"]', bearer=token(Scope.READ))
        assert (accepted.status_code, accepted.json()) == (200, {"value": node.nid})


async def test_nodes_sign_their_calls_over_http() -> None:
    config = NodeConfig(transport="http")
    async with open_keyed(config) as one, open_keyed(config) as other:
        remote = Remote(node=other.address, service="status", method="get")
        assert await one.local.comm.send(["nid"], remote) == other.nid
