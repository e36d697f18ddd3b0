"""In whose name a request over HTTPS is made: that of its certificate, whatever else it states."""

from __future__ import annotations

import gc
import secrets
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.certificates import CertificateAuthority
from tests.security.keys import key_of
from tests.transports.keyed_nodes import error_in, open_keyed
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeConfig, Remote, current_call, open_node, rpc
from trionet.protocols.link.core import LinkCore
from trionet.security.certificate_files import client_context
from trionet.security.http_signatures import sign_request
from trionet.security.keys import derive
from trionet.security.peer_certificate import PeerCertificate
from trionet.security.refusals import RequestRefused
from trionet.security.signature_base import HttpRequest, normalized_authority
from trionet.security.tls_channel import TLSChannel
from trionet.transports.clock import time_us
from trionet.transports.web_access import _certificate_of
from trionet.transports.web_tls import TLSClient

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node

PATH = "/local/probe/caller"


class Probe:
    @rpc
    def caller(self) -> list[str]:
        return [str(current_call().principal), str(current_call().caller)]


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


def config(settings: dict[str, Any], **others: Any) -> NodeConfig:
    return NodeConfig(services={"probe": "tests.transports.test_certified_requests:Probe"}, **settings, **others)


def client(authority: CertificateAuthority, settings: dict[str, Any] | None = None) -> httpx.AsyncClient:
    context = client_context(authority.file)
    context.check_hostname = False
    if settings is not None:
        context.load_cert_chain(settings["certificate_file"], settings["private_key_file"])
    return httpx.AsyncClient(verify=context, trust_env=False)


def signed(node: Node) -> dict[str, str]:
    """Return the headers of a signed call of `PATH` without arguments."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    head = HttpRequest(list(headers.items()), "PUT", normalized_authority(str(node.address)), PATH)
    made = sign_request(head, b"[]", derive(key_of(1), "trionet"), time_us(), secrets.token_bytes(16))
    return {**headers, **dict(made.headers)}


async def test_a_certificate_names_the_caller_and_may_do_all_that_a_node_may(authority: CertificateAuthority) -> None:
    bob = authority.issue("spiffe://trionet/node/bob", file="bob", hosts=("127.0.0.1",))
    with trio.fail_after(DEADLINE_S):
        async with open_node(config(authority.issue())) as node, client(authority, bob) as person:
            url = f"https://{node.address}"
            assert (await person.put(url + PATH, content="[]")).json() == {"value": ["certificate:bob", "None"]}
            assert (await person.put(f"{url}/local/groups/put", content='["g", {}]')).json() == {"value": {}}
            answer = await person.put(url + PATH, content="[]", headers={"Trionet-Caller": "127.0.0.1:5"})
            assert answer.json() == {"value": ["certificate:bob", "127.0.0.1:5"]}
            answer = await person.put(url + PATH, content="[]", headers={"Trionet-Caller": "127.0.0.2:5"})
            assert answer.status_code == 403
            assert "not for the address that it states" in error_in(answer)["text"]
            assert node.statistics().requests_refused == 1


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_both_transports_show_the_name_in_the_certificate(
    authority: CertificateAuthority, transport: str
) -> None:
    bob = authority.issue("spiffe://trionet/node/bob", file="bob")
    with trio.fail_after(DEADLINE_S):
        async with (
            open_keyed(config(authority.issue())) as node,
            open_keyed(config(bob, transport=transport)) as other,
        ):
            remote = Remote(node=node.address, service="probe", method="caller")
            assert (await other.local.comm.send([], remote))[0] == "certificate:bob"


async def test_a_signature_without_a_certificate_is_refused_where_nodes_have_names(
    authority: CertificateAuthority,
) -> None:
    bob = authority.issue("spiffe://trionet/node/bob", file="bob")
    with trio.fail_after(DEADLINE_S):
        async with (
            open_keyed(config(authority.issue())) as node,
            client(authority) as nobody,
            client(authority, bob) as member,
        ):
            plain = await nobody.put(f"http://{node.address}{PATH}", content="[]", headers=signed(node))
            within = await nobody.put(f"https://{node.address}{PATH}", content="[]", headers=signed(node))
            assert (plain.status_code, within.status_code) == (403, 403)
            assert node.statistics().requests_refused == 2
            named = await member.put(f"https://{node.address}{PATH}", content="[]", headers=signed(node))
            assert named.json()["value"][0] == "certificate:bob"


def test_a_certificate_that_has_ended_on_an_open_connection_is_refused() -> None:
    valid = PeerCertificate("bob", frozenset(), time.time() + 60)
    assert _certificate_of(TLSClient(valid, "")) is valid
    with pytest.raises(RequestRefused, match="expired"):
        _certificate_of(TLSClient(PeerCertificate("bob", frozenset(), time.time() - 1), ""))


@pytest.mark.parametrize(("ends_in_s", "header"), [(40, "close"), (4000, None)])
async def test_a_connection_ends_before_its_certificate(
    authority: CertificateAuthority, ends_in_s: float, header: str | None
) -> None:
    bob = authority.issue("spiffe://trionet/node/bob", file="bob", ends_in_s=ends_in_s)
    with trio.fail_after(DEADLINE_S):
        async with open_node(config(authority.issue())) as node, client(authority, bob) as person:
            answer = await person.put(f"https://{node.address}{PATH}", content="[]")
            assert (answer.status_code, answer.headers.get("connection")) == (200, header)


async def test_a_connection_that_fails_in_tls_is_counted_and_logged_for_what_it_is(
    authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(config(authority.issue())) as node:
            stream = await trio.open_tcp_stream(node.address.ip, node.address.port)
            async with stream:
                await stream.send_all(b"\x16 no TLS at all, but it begins like it")
                while await stream.receive_some():
                    pass
            assert node.statistics().connections_refused == 1
    assert "an HTTPS connection of 127.0.0.1 was closed: TLS failed" in caplog.text


async def test_what_has_ended_within_tls_waits_for_no_cyclic_collector(authority: CertificateAuthority) -> None:
    bob = authority.issue("spiffe://trionet/node/bob", file="bob")

    async def use(node: Node) -> None:
        await ask_raw(authority, bob, node)
        async with open_node(config(bob)) as other:
            await other.local.comm.send([], Remote(node=node.address, service="probe", method="caller"))

    def left() -> Counter[str]:
        kinds = (trio.SSLStream, TLSChannel, LinkCore)
        return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in kinds)

    with trio.fail_after(DEADLINE_S):
        async with open_node(config(authority.issue())) as node:
            await use(node)
            gc.collect()
            before = left()
            gc.disable()
            try:
                await use(node)
                await wait_until(lambda: left() <= before)  # some of before may end meanwhile
            finally:
                gc.enable()


async def ask_raw(authority: CertificateAuthority, settings: dict[str, Any], node: Node) -> None:
    """Make a request in another thread, with a socket, which leaves nothing."""

    def ask() -> bytes:
        context = client_context(authority.file)
        context.check_hostname = False
        context.load_cert_chain(settings["certificate_file"], settings["private_key_file"])
        plain = socket.create_connection((node.address.ip, node.address.port))
        with plain, context.wrap_socket(plain) as tls:
            host = f"Host: {node.address}\r\nConnection: close"
            tls.sendall(f"PUT {PATH} HTTP/1.1\r\n{host}\r\nContent-Length: 2\r\n\r\n[]".encode())
            return b"".join(iter(lambda: tls.recv(4096), b""))

    assert b"certificate:bob" in await trio.to_thread.run_sync(ask)
