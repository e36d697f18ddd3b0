"""A policy decides who may call what, and is checked when a node starts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.transports.keyed_nodes import open_keyed, request, token
from trionet import ConfigError, NodeConfig, NotPermitted, Principal, Remote, open_node
from trionet.policy import checked_policy
from trionet.principal import ANYONE
from trionet.security.tokens import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = Principal("node", "10.0.0.1:80")
TOKEN = Principal("token", "0123abcd", "call")

WRONG: dict[str, Any] = {
    "no table": 5,
    "an empty table": {},
    "an unknown key": {"permit": {"*": ["*/*/*"]}},
    "a list of rules": {"allow": ["*"]},
    "no list of methods": {"allow": {"*": "*/*/*"}},
    "an empty list": {"deny": {"anyone": []}},
    "a number for a method": {"deny": {"anyone": [1]}},
    "a method of two parts": {"deny": {"anyone": ["shop/buy"]}},
    "an unknown kind": {"deny": {"user:me": ["*/*/*"]}},
    "a kind alone": {"deny": {"node": ["*/*/*"]}},
    "an unknown scope": {"deny": {"token:write:*": ["*/*/*"]}},
    "an async function": open_keyed.__wrapped__,  # type: ignore[attr-defined]
    "a function of too few": lambda principal: True,
    "a text that is no path": "everyone",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_policy_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match="policy"):
        NodeConfig(policy=WRONG[name])


async def test_a_glob_that_matches_no_method_of_a_built_in_service_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="there is spawn"):
        async with open_node(NodeConfig(policy={"deny": {"*": ["*/status/spwan"]}})):
            pass


def test_a_deny_wins_and_an_allow_denies_the_rest() -> None:
    table = {"allow": {"node:*": ["*/*/*"], "token:call:*": ["local/shop/*"]}, "deny": {"*": ["*/shop/clo?e"]}}
    reason = checked_policy(table).reason_against
    assert reason(NODE, "all", "status", "stop") == ""
    assert reason(NODE, "all", "shop", "close") == "the policy denies it"
    assert reason(TOKEN, "local", "shop", "buy") == ""
    assert reason(TOKEN, "all", "shop", "buy") == "the policy does not allow it"
    assert reason(ANYONE, "local", "shop", "buy") == "the policy does not allow it"


def fails(*_: object) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize("function", [fails, lambda *_: None, lambda *_: 1, lambda *_: False])
async def test_a_function_that_does_not_return_true_denies(
    function: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    policy = lambda who, *what: who.kind != "token" or function(who, *what)  # noqa: E731  # of the test's parameter
    async with open_keyed(NodeConfig(policy=policy)) as node:
        with caplog.at_level(logging.WARNING):
            answer = await request(node, "/local/status/get", '["nid"]', bearer=token(Scope.ADMIN))
        assert answer.status_code == 403
        assert node.statistics().calls_refused == 1
        assert "the call of local/status/get by token:admin:" in caplog.text


async def test_a_node_is_refused_what_the_policy_of_another_one_denies() -> None:
    policy = {"deny": {"node:*": ["local/status/stop"]}}
    async with open_keyed() as one, open_keyed(NodeConfig(policy=policy)) as other:
        remote = Remote(node=other.address, service="status", method="stop")
        with pytest.raises(NotPermitted, match=f"node:{one.address} may not call local/status/stop"):
            await one.local.comm.send([], remote)
        await other.local.status.get("nid")
        assert await other.local.comm.send(["nid"], Remote(node=other.address, service="status", method="get"))
        assert (one.statistics().calls_refused, other.statistics().calls_refused) == (0, 1)


async def test_without_a_key_everyone_is_anyone() -> None:
    policy = {"allow": {"anyone": ["local/status/get"]}}
    async with open_node() as one, open_node(NodeConfig(policy=policy)) as other:
        get, stop = (Remote(node=other.address, service="status", method=name) for name in ("get", "stop"))
        assert await one.local.comm.send(["nid"], get) == other.nid
        with pytest.raises(NotPermitted, match="anyone may not call"):
            await one.local.comm.send([], stop)
        answer = await request(other, "/local/status/stop", Trionet_Principal="node:10.0.0.1:80")
        assert answer.status_code == 403
