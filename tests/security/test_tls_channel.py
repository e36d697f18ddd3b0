"""The channel of links with certificates: what opens, what does not, and what counts as sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.certificates import CertificateAuthority, certificates_in, certificates_of
from tests.protocols.link.cores import hello
from trionet import NodeAddress
from trionet.protocols.link.channel import PeerRefused
from trionet.protocols.link.frames import FrameError
from trionet.protocols.link.handshake import AddressRefused, Greeted, Handshake
from trionet.security.peer_certificate import CertificateFault, PeerCertificate

if TYPE_CHECKING:
    from pathlib import Path

    from trionet.security.certificates import Certificates
    from trionet.security.tls_channel import TLSChannel


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return certificates_in(tmp_path)


def _pair(certificates: Certificates) -> tuple[TLSChannel, TLSChannel]:
    one, other = (certificates.new_channel(b"", is_initiator=is_initiator) for is_initiator in (True, False))
    return one, other


def _open_pair(certificates: Certificates) -> tuple[TLSChannel, TLSChannel]:
    one, other = _pair(certificates)
    for _ in range(2):
        assert not other.receive(one.data_to_send())
        assert not one.receive(other.data_to_send())
    assert one.is_open
    assert other.is_open
    return one, other


def test_both_sides_know_the_names_of_each_other_when_the_channel_is_open(certificates: Certificates) -> None:
    one, other = _open_pair(certificates)
    assert one.peer is not None
    assert other.peer is not None
    assert (one.peer.name, other.peer.name) == ("one", "one")


def test_an_open_channel_sends_no_tickets_and_nothing_of_its_own(certificates: Certificates) -> None:
    one, other = _open_pair(certificates)
    assert one.data_to_send() == other.data_to_send() == b""


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1, 63 * 1024])
def test_plaintext_arrives_whole_however_its_bytes_are_cut(certificates: Certificates, size: int) -> None:
    one, other = _open_pair(certificates)
    plaintext = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    sealed = one.send(plaintext)
    step = max(1, len(sealed) // 97)
    read = b"".join(other.receive(sealed[start : start + step]) for start in range(0, len(sealed), step))
    assert read == plaintext
    assert not other.is_amid_record


def test_plaintext_counts_as_sent_before_the_peer_can_read_it(certificates: Certificates) -> None:
    one, other = _open_pair(certificates)
    sealed = one.send(b"a" * 40_000)
    counted = read = 0
    for byte in range(len(sealed)):
        counted += one.sent(1)
        read += len(other.receive(sealed[byte : byte + 1]))
        assert read <= counted
        assert other.is_amid_record == (read < counted)
    assert counted == read == 40_000


def test_a_channel_whose_record_was_changed_returns_nothing_more(certificates: Certificates) -> None:
    one, other = _open_pair(certificates)
    first, changed, third = one.send(b"first"), bytearray(one.send(b"second")), one.send(b"third")
    assert other.receive(first) == b"first"
    changed[-1] ^= 1
    with pytest.raises(FrameError):
        other.receive(bytes(changed))
    with pytest.raises(FrameError):
        other.receive(third)


def test_each_changed_byte_of_the_handshake_keeps_the_channel_closed(certificates: Certificates) -> None:
    def opens(message: int, place: int) -> bool:
        one, other = _pair(certificates)
        sides = [one, other]
        for count in range(3):
            data = bytearray(sides[0].data_to_send())
            if count == message:
                data[place % len(data)] ^= 1
            try:
                sides[1].receive(bytes(data))
            except PeerRefused:
                return False
            sides.reverse()
        return one.is_open and other.is_open

    assert opens(-1, 0)
    for message in range(3):
        for place in range(0, 1500, 131):
            assert not opens(message, place), (message, place)


def test_a_node_may_claim_the_addresses_of_its_certificate_only(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    own = certificates_of(authority.issue("spiffe://trionet/node/own", file="own"))
    bound = certificates_of(
        authority.issue("spiffe://trionet/node/bound", hosts=("10.0.0.1", "b.example"), file="bound")
    )
    for ip, is_believed in (("10.0.0.1", True), ("B.example", True), ("10.0.0.2", False), ("localhost", False)):
        address = NodeAddress(ip, 1)
        outcome = _greet(own, bound, address)
        assert isinstance(outcome, Greeted) == is_believed, (ip, outcome)
        if isinstance(outcome, Greeted):
            assert outcome.peer_identity is not None
            assert outcome.peer_identity.name == "bound"
    assert isinstance(_greet(bound, own, NodeAddress("10.0.0.9", 1)), Greeted)


def _greet(acceptor: Certificates, initiator: Certificates, address: NodeAddress) -> Greeted | AddressRefused | None:
    """Return the outcome of a handshake at the acceptor, with an initiator that claims an address."""
    one = Handshake(msgspec.structs.replace(hello(), address=address), is_initiator=True, keys=[initiator])
    other = Handshake(hello(), is_initiator=False, keys=[acceptor])
    try:
        for _ in range(3):
            greeted = other.receive(one.data_to_send())
            if greeted is not None:
                return greeted
            one.receive(other.data_to_send())
    except AddressRefused as exc:
        return exc
    return None


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "has 0 URIs"),
        ([("DNS", "a"), ("IP Address", "127.0.0.1")], "has 0 URIs"),
        ([("URI", "spiffe://trionet/node/a"), ("URI", "spiffe://trionet/node/b")], "has 2 URIs"),
        ([("URI", "spiffe://trionet/node/a"), ("URI", "https://a")], "has 2 URIs"),
        ([("URI", "spiffe://shop/node/a")], "for the cluster 'shop'"),
        ([("URI", "spiffe://trionet/node/a/b")], "not of the form"),
        ([("URI", "spiffe://trionet/node/")], "not of the form"),
        ([("URI", "spiffe://trionet/node/..")], "not of the form"),
        ([("URI", "spiffe://trionet/user/a")], "not of the form"),
        ([("URI", "SPIFFE://trionet/node/a")], "not of the form"),
        ([("URI", "spiffe://trionet/node/a\n")], "not of the form"),
        ([("URI", "spiffe://trionet/node/a?b")], "not of the form"),
        ([("URI", "https://trionet/node/a")], "not of the form"),
    ],
)
def test_a_certificate_needs_exactly_one_uri_of_a_node_of_the_cluster(
    names: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(CertificateFault, match=reason):
        PeerCertificate.of({"subjectAltName": tuple(names)}, "trionet", 0.0)


def test_ip_addresses_match_in_any_form() -> None:
    names = (("URI", "spiffe://trionet/node/a"), ("IP Address", "0:0:0:0:0:0:0:1"), ("IP Address", "127.0.0.1"))
    peer = PeerCertificate.of({"subjectAltName": names}, "trionet", 0.0)
    hosts = ("::1", "127.0.0.1", "127.0.0.2", "localhost")
    assert [peer.may_claim(host) for host in hosts] == [True, True, False, False]
