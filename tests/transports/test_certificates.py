"""Nodes with certificates: who reaches them by links and HTTPS, who doesn't and why, renewal and expiry."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.certificates import CertificateAuthority
from tests.security.keys import key_of
from tests.transports.keyed_nodes import token
from tests.waiting import DEADLINE_S, wait_until
from trionet import ConfigError, KeyMismatch, Node, NodeConfig, NodeUnreachable, Remote, open_node
from trionet.security.certificate_files import client_context
from trionet.security.key_entries import KeyFile
from trionet.security.node_keys import NodeKeys
from trionet.security.token_scope import Scope

if TYPE_CHECKING:
    from trionet import NodeAddress


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


def _config(settings: dict[str, Any], **others: Any) -> NodeConfig:
    return NodeConfig(**settings, **others)


async def _nid(by: Node, of: NodeAddress) -> Any:
    return await by.local.comm.send(["nid"], Remote(node=of, service="status", method="get"))


def _client(authority: CertificateAuthority, settings: dict[str, Any] | None = None) -> httpx.AsyncClient:
    context = client_context(authority.file)
    context.check_hostname = False
    if settings is not None:
        context.load_cert_chain(settings["certificate_file"], settings["private_key_file"])
    return httpx.AsyncClient(verify=context, trust_env=False)


async def _put(client: httpx.AsyncClient, node: Node, scheme: str = "https", **settings: Any) -> httpx.Response:
    return await client.put(f"{scheme}://{node.address}/local/status/get", content='["nid"]', **settings)


def _bundle(path: Path, *authorities: CertificateAuthority) -> str:
    """Write a file with several CAs; return its path."""
    path.write_text("".join(Path(one.file).read_text() for one in authorities))
    return str(path)


# ---- who is let in


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_nodes_with_certificates_of_one_ca_call_each_other(
    authority: CertificateAuthority, transport: str
) -> None:
    one = _config(authority.issue("spiffe://trionet/node/one", file="one"), transport=transport)
    two = _config(authority.issue("spiffe://trionet/node/two", file="two", hosts=("127.0.0.1",)), transport=transport)
    with trio.fail_after(DEADLINE_S):
        async with open_node(one) as first, open_node(two) as second:
            assert await _nid(first, second.address) == second.nid
            assert await _nid(second, first.address) == first.nid


async def test_nodes_with_certificates_and_a_key_need_both(authority: CertificateAuthority) -> None:
    settings = authority.issue()
    keys, others = (NodeKeys(KeyFile.of(key_of(seed)), "trionet") for seed in (1, 2))
    with trio.fail_after(DEADLINE_S):
        async with (
            open_node(_config(settings), keys=keys) as one,
            open_node(_config(settings), keys=keys) as same,
            open_node(_config(settings), keys=others) as other_key,
            open_node(_config(settings)) as no_key,
            open_node(keys=keys) as no_certificate,
        ):
            assert await _nid(one, same.address) == same.nid
            for stranger in (other_key, no_key, no_certificate):
                for caller, callee in ((stranger, one), (one, stranger)):
                    with pytest.raises(KeyMismatch):
                        await _nid(caller, callee.address)


async def test_a_spawned_node_has_its_spawners_certificate(authority: CertificateAuthority) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(_config(authority.issue("spiffe://shop/node/one"), cluster="shop")) as node:
            for launcher in ("forkserver", "in_process"):
                child = await node.local.status.spawn(NodeConfig(launcher=launcher))
                assert await _nid(node, child)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no certificate", "accepts only nodes with a certificate"),
        ("of another CA", "of no CA in its ca_file|is of no CA in this node's ca_file"),
        ("of another cluster", "for the cluster 'trionet', and this node is of 'shop'"),
    ],
)
async def test_strangers_are_refused_with_a_reason_in_both_logs(
    authority: CertificateAuthority, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    foreign = CertificateAuthority(tmp_path, "foreign")
    bundle = _bundle(tmp_path / "bundle.pem", authority, foreign)
    strangers = {
        "no certificate": NodeConfig(),
        "of another CA": _config(foreign.issue(file="foreign", ca_file=bundle)),
        "of another cluster": _config(authority.issue("spiffe://shop/node/a", file="shop"), cluster="shop"),
    }
    with trio.fail_after(DEADLINE_S):
        async with open_node(_config(authority.issue())) as node, open_node(strangers[name]) as stranger:
            with pytest.raises(KeyMismatch, match=reason):
                await _nid(stranger, node.address)
            await wait_until(lambda: node.statistics().connections_refused >= 1)
            with pytest.raises(KeyMismatch):
                await _nid(node, stranger.address)
            await wait_until(lambda: stranger.statistics().connections_refused >= 1)
            for line in ("a connection that began as a link was closed", "no connection to"):
                await wait_until(lambda line=line: caplog.text.count(line) == 2)  # type: ignore[misc]  # its default
    assert "serving it failed" not in caplog.text


async def test_no_older_tls_and_no_stranger_gets_past_the_handshake(authority: CertificateAuthority) -> None:
    settings = authority.issue()

    def connect(address: NodeAddress, version: ssl.TLSVersion) -> str | None:
        context = client_context(authority.file)
        context.check_hostname = False
        context.maximum_version = version
        with socket.create_connection((address.ip, address.port), DEADLINE_S) as raw, context.wrap_socket(raw) as tls:
            return tls.version()

    with trio.fail_after(DEADLINE_S):
        async with open_node(_config(settings)) as node:
            with pytest.raises(ssl.SSLError):
                await trio.to_thread.run_sync(connect, node.address, ssl.TLSVersion.TLSv1_2)
            await wait_until(lambda: node.statistics().connections_refused >= 1)
            assert await trio.to_thread.run_sync(connect, node.address, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


def _overwrite(path: str) -> None:
    Path(path).write_text("half a file")


# ---- HTTP


async def test_https_on_a_node_with_certificates_alone_needs_a_client_certificate(
    authority: CertificateAuthority,
) -> None:
    settings = authority.issue()
    with trio.fail_after(DEADLINE_S):
        async with open_node(_config(settings)) as node:
            async with _client(authority) as nobody, _client(authority, settings) as member:
                assert (await _put(nobody, node)).status_code == 403
                assert (await _put(nobody, node, "http")).status_code == 403
                assert (await nobody.get(f"https://{node.address}/healthz")).status_code == 200
                assert (await _put(member, node)).json() == {"value": str(node.nid)}
            assert node.statistics().requests_refused == 2


async def test_https_on_a_node_with_a_key_needs_a_token(authority: CertificateAuthority) -> None:
    settings = authority.issue()
    keys = NodeKeys(KeyFile.of(key_of(1)), "trionet")
    bearer = {"Authorization": f"Bearer {token(Scope.READ)}"}
    with trio.fail_after(DEADLINE_S):
        async with (
            open_node(_config(settings), keys=keys) as node,
            _client(authority) as person,
            _client(authority, settings) as member,
        ):
            assert (await _put(person, node, headers=bearer)).json() == {"value": str(node.nid)}
            assert (await _put(person, node, "http", headers=bearer)).json() == {"value": str(node.nid)}
            assert (await _put(person, node)).status_code == 401
            assert (await _put(member, node)).status_code == 401


async def test_http_between_nodes_goes_only_to_the_address_of_the_certificate(authority: CertificateAuthority) -> None:
    one = _config(authority.issue("spiffe://trionet/node/one", file="one"), transport="http")
    two = _config(authority.issue("spiffe://trionet/node/two", file="two", hosts=("127.0.0.1",)))
    with trio.fail_after(DEADLINE_S):
        async with open_node(one) as first, open_node(two) as second:
            elsewhere = type(second.address)("localhost", second.address.port)
            with pytest.raises(NodeUnreachable, match="not for the address localhost"):
                await _nid(first, elsewhere)
            assert await _nid(first, second.address) == second.nid


# ---- the files


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ends_in_s": -10}, "certificate has expired"),
        ({"begins_in_s": 1000}, "certificate is not yet valid"),
        ({"uris": []}, "has 0 URIs"),
        ({"uris": ["spiffe://trionet/node/a", "spiffe://trionet/node/b"]}, "has 2 URIs"),
        ({"uris": "spiffe://shop/node/a"}, "cluster 'shop'"),
        ({"hosts": ("10.1.2.3",)}, "would not believe that this node is at 127.0.0.1"),
    ],
)
async def test_a_node_does_not_start_with_a_certificate_that_others_would_refuse(
    authority: CertificateAuthority, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        async with open_node(_config(authority.issue(**change))):
            pass


def _loose_copy(path: str, copy: Path) -> None:
    copy.write_bytes(Path(path).read_bytes())
    copy.chmod(0o640)


async def test_a_node_does_not_start_with_files_that_do_not_fit_or_that_others_may_change(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    settings, other = authority.issue(), authority.issue(file="other")
    foreign = CertificateAuthority(tmp_path, "foreign")
    loose = tmp_path / "loose.key.pem"
    _loose_copy(settings["private_key_file"], loose)
    junk = tmp_path / "junk.pem"
    junk.write_text("no PEM")
    for change, reason in (
        ({"private_key_file": other["private_key_file"]}, "is not the private key"),
        ({"private_key_file": str(loose)}, "mode 0640"),
        ({"private_key_file": str(tmp_path / "none")}, "No such file"),
        ({"certificate_file": str(junk)}, "no PEM"),
        ({"ca_file": str(junk)}, "ca_file"),
        ({"ca_file": foreign.file}, "other nodes would refuse the certificate"),
        ({"certificate_file": str(tmp_path)}, "no regular file"),
    ):
        with pytest.raises(ConfigError, match=reason):
            async with open_node(NodeConfig(**{**settings, **change})):
                pass


@pytest.mark.parametrize("missing", ["certificate_file", "private_key_file", "ca_file"])
def test_the_three_settings_go_together(missing: str) -> None:
    settings: dict[str, Any] = dict.fromkeys(["certificate_file", "private_key_file", "ca_file"], "a.pem")
    del settings[missing]
    with pytest.raises(ConfigError, match=f"set {missing}, too"):
        NodeConfig(**settings)


def test_a_certificate_is_protection_beyond_loopback() -> None:
    settings: dict[str, Any] = dict.fromkeys(["certificate_file", "private_key_file", "ca_file"], "a.pem")
    NodeConfig(ip="192.0.2.1", **settings).check_bind()
    with pytest.raises(ConfigError, match="without a key"):
        NodeConfig(ip="192.0.2.1").check_bind()


# ---- renewal


async def test_reload_uses_a_renewed_certificate_for_links_and_https(
    authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    peer = authority.issue("spiffe://trionet/node/peer", file="peer")
    async with open_node(_config(authority.issue(ends_in_s=3600))) as node, open_node(_config(peer)) as other:
        with trio.fail_after(DEADLINE_S):
            await wait_until(lambda: "expires in 1.0 h" in caplog.text)
            authority.issue("spiffe://trionet/node/renewed")
            await node.reload()
            assert await _nid(node, other.address) == other.nid
            async with _client(authority) as client:
                assert (await client.get(f"https://{node.address}/healthz")).status_code == 200


async def test_a_reload_that_fails_changes_nothing(authority: CertificateAuthority) -> None:
    peer = _config(authority.issue("spiffe://trionet/node/peer", file="peer"))
    settings = authority.issue()
    with trio.fail_after(DEADLINE_S):
        async with open_node(_config(settings)) as node, open_node(peer) as other:
            authority.issue("spiffe://shop/node/one")
            with pytest.raises(ConfigError, match="cluster 'shop'"):
                await node.reload()
            _overwrite(settings["certificate_file"])
            with pytest.raises(ConfigError):
                await node.reload()
            assert await _nid(node, other.address) == other.nid
            assert await _nid(other, node.address) == node.nid


@pytest.mark.slow
async def test_no_call_goes_over_a_link_whose_certificate_has_ended(
    authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    peer = _config(authority.issue("spiffe://trionet/node/peer", file="peer"))
    with trio.fail_after(DEADLINE_S):
        async with open_node(_config(authority.issue(ends_in_s=3))) as node, open_node(peer) as other:
            ends_at = time.time() + 3
            assert await _nid(other, node.address) == node.nid

            async def is_refused() -> bool:
                try:
                    await _nid(other, node.address)
                except NodeUnreachable:
                    return True
                return False

            while not await is_refused():  # noqa: ASYNC110  the certificate ends by the clock
                await trio.sleep(0.05)
            assert time.time() >= ends_at - 1.5  # a certificate has whole seconds
            with pytest.raises(KeyMismatch, match="as expired"):
                await _nid(node, other.address)
            assert "certificate has expired" in caplog.text
            authority.issue()
            await node.reload()
            assert await _nid(node, other.address) == other.nid
            assert await _nid(other, node.address) == node.nid


# ---- commands


@pytest.mark.slow
def test_a_node_of_the_command_line_refuses_a_bad_certificate_with_status_2(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    settings = authority.issue(ends_in_s=-10)
    options = [part for name, path in settings.items() for part in (f"--{name.replace('_', '-')}", path)]
    command = [sys.executable, "-m", "trionet.cli.node", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIONET_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=environment)
    assert done.returncode == 2, done.stderr
    assert "certificate has expired" in done.stderr
