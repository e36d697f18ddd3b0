"""A policy decides who may call what, and is checked when a node starts."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

from tests.certificates import CertificateAuthority
from tests.security.keys import node_keys
from tests.transports.keyed_nodes import open_keyed, request, token
from tests.waiting import wait_until
from trionet import (
    ConfigError,
    EncodeError,
    NodeAddress,
    NodeConfig,
    NotPermitted,
    Principal,
    Remote,
    RemoteError,
    open_node,
)
from trionet.access import Access
from trionet.launchers.passed_code import portable
from trionet.message import Call
from trionet.policy import checked_policy
from trionet.principal import ANYONE
from trionet.security.live_keys import LiveKeys
from trionet.security.token_scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NODE = Principal("node", "10.0.0.1:80")


class Hostile:
    """A value whose every attribute fails."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1


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
    "a hostile policy": Hostile(),
    "a hostile table": {"allow": Hostile()},
    "a hostile name of a table": {Hostile(): {"*": ["*/*/*"]}},
    "a hostile principal": {"deny": {Hostile(): ["*/*/*"]}},
    "a hostile list": {"deny": {"*": Hostile()}},
    "a hostile method": {"deny": {"*": [Hostile()]}},
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


def test_mappings_and_tuples_are_copied_to_tables_and_lists() -> None:
    given = MappingProxyType({"deny": MappingProxyType({"token:*": ("*/shop/*",)})})
    assert NodeConfig(policy=given).policy == {"deny": {"token:*": ["*/shop/*"]}}


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


def spare_status(principal: Principal, gid: str, service: str, method: str) -> bool:
    return not (principal.kind == "node" and service == "status" and method == "stop")


SPARING = "tests.test_policy:spare_status"


def test_a_policy_comes_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('[policy.deny]\n"token:read:*" = ["*/shop/*"]\n', encoding="utf-8")
    table = {"deny": {"token:read:*": ["*/shop/*"]}}
    assert NodeConfig(**NodeConfig.settings_from_file(tmp_path / "node.toml")).policy == table
    for text, policy in ((SPARING, SPARING), ('{"deny": {"token:read:*": ["*/shop/*"]}}', table)):
        assert NodeConfig(**NodeConfig.settings_from_environment({"TRIONET_POLICY": text})).policy == policy
    with pytest.raises(ConfigError, match="TRIONET_POLICY"):
        NodeConfig.settings_from_environment({"TRIONET_POLICY": "deny stop"})


async def test_a_policy_that_can_not_be_imported_is_an_error_before_the_port_is_open() -> None:
    async with open_node() as probe:
        port = probe.address.port
    with pytest.raises(ConfigError, match="no_such_module"):
        async with open_node(NodeConfig(port=port, policy="no_such_module:policy")):
            pass
    async with open_node(NodeConfig(port=port)):
        pass


async def test_a_spawned_process_has_the_policy_of_its_configuration() -> None:
    async with open_keyed() as node:
        child = await node.local.status.spawn(NodeConfig(policy=spare_status))
        assert await node.local.comm.send(["port"], Remote(node=child, service="status", method="get")) == child.port
        with pytest.raises(NotPermitted, match="may not call local/status/stop"):
            await node.local.comm.send([], Remote(node=child, service="status", method="stop"))


@pytest.mark.parametrize("on_start", [None, lambda: None], ids=["no on_start", "a lambda"])
def test_a_policy_without_an_import_path_does_not_travel(on_start: Any) -> None:
    with pytest.raises(EncodeError, match="put it at the top level") as caught:
        portable(NodeConfig(policy=lambda *_: True, on_start=on_start))
    assert caught.value.path == "$.policy"


def test_a_running_node_that_gets_a_key_begins_to_check() -> None:
    keys = LiveKeys()
    access = Access(NodeAddress("127.0.0.1", 1), keys, None)
    assert not access.is_active
    keys.replace(node_keys())
    assert access.is_active
    with pytest.raises(NotPermitted):
        access.check(Call("local", "status", "stop", principal=TOKEN), is_read=False)
    access.check(Call("local", "status", "stop", principal=NODE), is_read=False)
    with pytest.raises(NotPermitted):
        access.check(Call("local", "status", "stop", principal=NODE, forwarder=TOKEN), is_read=False)
    assert access.refused == 2


@pytest.mark.parametrize("name", ["membership/packet", "membership/unreachable", "keys/exchange"])
def test_the_protocols_go_on_under_any_policy_and_are_for_nodes_only(name: str) -> None:
    access = Access(NodeAddress("127.0.0.1", 1), LiveKeys(node_keys()), checked_policy({"deny": {"*": ["*/*/*"]}}))
    service, method = name.split("/")
    access.check(Call("local", service, method, principal=NODE), is_read=False)
    with pytest.raises(NotPermitted, match="only nodes may call it"):
        access.check(Call("local", service, method, principal=TOKEN), is_read=False)


async def test_packets_of_the_protocols_are_not_for_a_policy() -> None:
    nobody = {"deny": {"*": ["*/*/*"]}}
    config = NodeConfig(policy=nobody, datagrams=False, join=[])
    async with open_keyed(config) as one:
        joining = msgspec.structs.replace(config, join=[str(one.address)])
        async with open_keyed(joining) as other:
            await wait_until(lambda: len(one.members()) == len(other.members()) == 2)
            assert one.statistics().calls_refused == other.statistics().calls_refused == 0


@pytest.mark.parametrize("has_key", [False, True], ids=["certificates", "certificates and a key"])
@pytest.mark.parametrize("transport", ["link", "http"])
async def test_a_node_with_a_certificate_is_judged_by_its_name(
    tmp_path: Path, transport: Literal["link", "http"], has_key: bool
) -> None:
    authority = CertificateAuthority(tmp_path)
    of_name = {name: authority.issue(f"spiffe://trionet/node/{name}", file=name) for name in ("web-1", "db", "op")}
    policy = {"allow": {"certificate:op": ["*/*/*"], "certificate:web-*": ["local/status/get"]}}
    keys = node_keys() if has_key else None
    async with (
        open_node(NodeConfig(**of_name["web-1"], transport=transport), keys=keys) as web,
        open_node(NodeConfig(**of_name["op"], transport=transport), keys=keys) as operator,
        open_node(NodeConfig(**of_name["db"], policy=policy), keys=keys) as db,
    ):
        get, stop = (Remote(node=db.address, service="status", method=name) for name in ("get", "stop"))
        assert await web.local.comm.send(["nid"], get) == db.nid
        with pytest.raises(NotPermitted, match="certificate:web-1 may not call local/status/stop"):
            await web.local.comm.send([], stop)
        through = Remote(node=operator.address, service="comm", method="send")
        with pytest.raises(RemoteError, match="certificate:web-1 may not call local/status/stop"):
            await web.local.comm.send([[], stop], through)
        assert not db.is_stopping
        await operator.local.comm.send([], stop)
        assert db.is_stopping


def test_the_longest_name_of_a_certificate_travels() -> None:
    longest = Principal("certificate", "n" * 255)
    assert Principal.parse(str(longest)) == longest
