"""A certificate authority for one test server, made with the `openssl` command."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.programs import program

_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alternatives}
"""


class CertificateError(Exception):
    """`openssl` is missing or refused; the text says which."""


@dataclass(frozen=True)
class Certificates:
    """Three PEM files."""

    authority: Path
    certificate: Path
    key: Path


def make(directory: Path, names: Sequence[str] = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")) -> Certificates:
    """A new authority and a server certificate of it for `names`, in `directory`. Elliptic keys: 30 ms in all."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    for role, alternatives in (("authority", "DNS:none"), ("server", ", ".join(names))):
        text = _CONFIG.format(name=f"Warmwire test {role}", alternatives=alternatives)
        (directory / f"{role}.cnf").write_text(text)
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    _openssl(directory, f"req -x509 {key} -days 30 -config authority.cnf -extensions authority -keyout ca.key -out ca.pem")
    _openssl(directory, f"req -new {key} -config server.cnf -keyout server.key -out server.csr")
    signed_by = "-CA ca.pem -CAkey ca.key -CAcreateserial"
    extensions = "-extfile server.cnf -extensions server"
    _openssl(directory, f"x509 -req -in server.csr {signed_by} -days 30 {extensions} -out server.pem")
    return made


def _openssl(directory: Path, arguments: str) -> None:
    path = program("openssl")
    if path is None:
        raise CertificateError("the `openssl` command is missing: run `python -m tests.servers.provision`")
    done = subprocess.run([path, *arguments.split()], cwd=directory, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise CertificateError(f"openssl {arguments} failed: {done.stderr.strip()}")
