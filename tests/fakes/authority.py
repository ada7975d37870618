"""A certificate authority that lives as long as a test.

Its certificates are as plain as those that MySQL makes for itself: without key identifiers, which Python demands by
default from 3.13 on.
"""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_NOW = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_LATER = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_PEM = serialization.Encoding.PEM


class Authority:
    """Signs server certificates. ``ca_path`` is the PEM file to trust it by."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Warmwire test authority")])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self._name, self._key.public_key()).add_extension(basic, critical=True)
        self.ca_path = directory / "ca.pem"
        self.ca_path.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def server_context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """For a server that shows a certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        builder = self._builder(subject, key.public_key(), expired=expired).add_extension(alternatives, critical=False)
        path = self._directory / f"server-{names[0]}-{expired}.pem"
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(private + builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority and nobody else."""
        context = ssl.create_default_context(cafile=str(self.ca_path))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool = False
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW)
            .not_valid_after(_NOW + datetime.timedelta(days=1) if expired else _LATER)
        )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
