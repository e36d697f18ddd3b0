"""The files of a node's certificate: read, checked, and made into settings of TLS.

The private key's file is its owner's alone; nobody else may replace the certificate or the CAs. The paths travel to
spawned nodes, the private key never does.

Invariant: a certificate that its own peers would refuse is refused here, with the reason: both sides of a handshake are
played in memory, with the settings that real connections have.
"""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import ConfigError
from trionet.protocols.link.channel import PeerRefused
from trionet.protocols.link.frames import FrameError

from .peer_certificate import CertificateFault, PeerCertificate
from .tls_channel import LINK_PROTOCOL, TLSChannel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CertificateFiles", "Contexts", "client_context", "identified", "load_contexts"]

_ROOT: Final = 0
_OTHERS_WRITE: Final = 0o022
_OTHERS_USE: Final = 0o177
_HTTP_PROTOCOLS: Final = ["h2", "http/1.1"]


class CertificateFiles(msgspec.Struct, frozen=True):
    """The paths of a node's files, in PEM: its certificate with any intermediate ones, its private key, the CAs."""

    certificate: str
    private_key: str
    ca: str


class Contexts(msgspec.Struct, frozen=True):
    """TLS's settings, from one reading of the files.

    Attributes:
        accepts: for links that peers make; they must present a certificate.
        dials: for links that this node makes.
        serves: for its HTTP face; clients may present a certificate.
        requests: for its requests over HTTP.
        own: what its own certificate says.
    """

    accepts: ssl.SSLContext
    dials: ssl.SSLContext
    serves: ssl.SSLContext
    requests: ssl.SSLContext
    own: PeerCertificate


def identified(tls: ssl.SSLObject, cluster: str) -> PeerCertificate:
    """Return what the peer's verified certificate says.

    Raises:
        CertificateFault: there is none, or it is not for a node of this cluster.
    """
    decoded = tls.getpeercert()
    if not decoded:
        raise CertificateFault("it has no certificate")
    return PeerCertificate.of(decoded, cluster, ssl.cert_time_to_seconds(str(decoded["notAfter"])))


def load_contexts(files: CertificateFiles, cluster: str) -> Contexts:
    """Return TLS's settings for a node of this cluster.

    Raises:
        ConfigError: a file can't be used, or peers would refuse the certificate; the text says why.
    """
    _check_file(files.private_key, "the private key", _OTHERS_USE, "chmod 600 it")
    _check_file(files.certificate, "the certificate", _OTHERS_WRITE, "chmod 644 it")
    _check_file(files.ca, "the file of CAs", _OTHERS_WRITE, "chmod 644 it")
    accepts, dials = _context(files, server_side=True), _context(files, server_side=False)
    serves, requests = _context(files, server_side=True), _context(files, server_side=False)
    for context in (accepts, dials):
        context.set_alpn_protocols([LINK_PROTOCOL])
    serves.verify_mode = ssl.CERT_OPTIONAL
    serves.set_alpn_protocols(_HTTP_PROTOCOLS)
    requests.set_alpn_protocols(["http/1.1"])
    return Contexts(accepts, dials, serves, requests, _checked_own(accepts, dials, files, cluster))


def client_context(ca_file: str) -> ssl.SSLContext:
    """Return what a client that is no node believes: certificates for the host, of the CAs in a file.

    As a node does, it accepts certificates without the identifiers of keys, which Python demands from 3.13 on.

    Raises:
        OSError: the file can't be used.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def _context(files: CertificateFiles, *, server_side: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate names a node, and the address that it may claim
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if server_side:
        context.num_tickets = 0
    _load(files.ca, "ca_file", lambda: context.load_verify_locations(files.ca))
    _load(
        files.certificate,
        "certificate_file",
        lambda: context.load_cert_chain(files.certificate, files.private_key, password=_no_password),
    )
    return context


def _no_password() -> str:
    raise ConfigError("private_key_file is encrypted, and nobody is here to type its password: decrypt it")


def _load(path: str, setting: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError("private_key_file is not the private key of the certificate in certificate_file") from exc
        raise ConfigError(f"{setting}: {path} and its key are no PEM: {exc.reason or exc}") from exc
    except OSError as exc:
        raise ConfigError(f"{setting}: {path}: {exc.strerror or exc}") from exc


def _check_file(path: str, what: str, forbidden: int, remedy: str) -> None:
    """Check that `path` is a file that only its owner, this user or root, may change, or use.

    Raises:
        ConfigError: it is not; the text says what to do.
    """
    try:
        info = os.stat(path)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{what}, {path}, can't be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(f"{what}, {path}, is no regular file")
    if info.st_uid not in (os.geteuid(), _ROOT):
        raise ConfigError(f"{what}, {path}, belongs to user {info.st_uid}: make it yours with chown")
    mode = stat.S_IMODE(info.st_mode)
    if mode & forbidden:
        raise ConfigError(f"{what}, {path}, has mode {mode:04o}, so that others may use or change it: {remedy}")


def _checked_own(
    accepts: ssl.SSLContext, dials: ssl.SSLContext, files: CertificateFiles, cluster: str
) -> PeerCertificate:
    """Return what the own certificate says, once it has passed a handshake of this node with itself.

    Raises:
        ConfigError: peers would refuse it.
    """

    def identify(tls: ssl.SSLObject) -> PeerCertificate:
        return identified(tls, cluster)

    one = TLSChannel(dials, is_initiator=True, identify=identify)
    other = TLSChannel(accepts, is_initiator=False, identify=identify)
    try:
        other.receive(one.data_to_send())
        one.receive(other.data_to_send())
        other.receive(one.data_to_send())
    except (PeerRefused, FrameError) as exc:
        reason = str(exc).removeprefix("its certificate ").removeprefix("is refused: ")
        raise ConfigError(f"other nodes would refuse the certificate {files.certificate}: it {reason}") from exc
    assert other.peer is not None
    return other.peer
