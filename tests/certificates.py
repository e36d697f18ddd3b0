"""Certificates of CAs and nodes, made anew for each test."""

from __future__ import annotations

import datetime
import ipaddress
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trionet.security.certificate_files import CertificateFiles
from trionet.security.certificates import Certificates

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NAME", "CertificateAuthority", "certificates_in", "certificates_of"]

NAME: Final = "spiffe://trionet/node/one"
_DAY: Final = datetime.timedelta(days=1)


class CertificateAuthority:
    """A CA whose files are in a folder.

    Attributes:
        file: the path of its certificate.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), now - _DAY, now + 365 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file: str = str(folder / f"{name}.pem")
        (folder / f"{name}.pem").write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        uris: str | list[str] = NAME,
        *,
        hosts: tuple[str, ...] = (),
        begins_in_s: float = -86400,
        ends_in_s: float = 30 * 86400,
        file: str = "node",
        ca_file: str | None = None,
    ) -> dict[str, Any]:
        """Issue a certificate; return the settings of a node that has it.

        Args:
            uris: its URIs.
            hosts: its IP addresses and DNS names.
            begins_in_s, ends_in_s: its validity, from now.
            file: the name of its files.
            ca_file: the CAs that the node believes; by default this one.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.UniformResourceIdentifier(uri) for uri in ([uris] if isinstance(uris, str) else uris)]
        begin, end = (now + datetime.timedelta(seconds=seconds) for seconds in (begins_in_s, ends_in_s))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
        builder = _builder(subject, self._name, key.public_key(), begin, end)
        if names or hosts:
            alternatives = x509.SubjectAlternativeName([*names, *map(_general_name, hosts)])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        path, key_path = self._folder / f"{file}.pem", self._folder / f"{file}.key.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.touch(0o600)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path.chmod(0o644)
        return {"certificate_file": str(path), "private_key_file": str(key_path), "ca_file": ca_file or self.file}


def certificates_of(settings: dict[str, Any], cluster: str = "trionet") -> Certificates:
    """Return the certificates of a node with these settings."""
    files = CertificateFiles(settings["certificate_file"], settings["private_key_file"], settings["ca_file"])
    return Certificates(files, cluster)


def certificates_in(folder: Path) -> Certificates:
    """Return the certificates of a node, by a new CA whose files are in this folder."""
    return certificates_of(CertificateAuthority(folder).issue())


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, begin: Any, end: Any) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
