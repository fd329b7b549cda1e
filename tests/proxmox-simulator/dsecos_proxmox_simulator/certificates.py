"""The certificate that the simulator shows, made anew at each start."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate, its own authority."""

    pem: str
    key_pem: str
    fingerprint: str
    """SHA-256, upper case with colons, as Proxmox shows it."""

    def load_into(self, context: ssl.SSLContext) -> None:
        """Show this one from the next connection on."""
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder, "pve-ssl.pem"), Path(folder, "pve-ssl.key")
            chain.write_text(self.pem)
            key.touch(mode=0o600)
            key.write_text(self.key_pem)
            context.load_cert_chain(chain, key)


def make_certificate(host: str, names: list[str]) -> Certificate:
    """A new key and certificate for an address and some names, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{names[0]}.simulator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.IPAddress(ipaddress.ip_address(host)),
                    *(x509.DNSName(n) for n in ("localhost", *names)),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )
