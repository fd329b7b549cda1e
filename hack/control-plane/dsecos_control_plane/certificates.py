"""Certificate authorities and what they sign (RFC 5280). Pure but for the randomness of keys."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=90)
CLOCK_SKEW = timedelta(minutes=5)
"""How far another machine's clock may lag behind ours: certificates are valid from that long ago."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM (PKCS 8, not encrypted)."""
        return private_pem(self.key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> "Pair":
        """Read both from PEM.

        Raises:
            ValueError: one of them cannot be read, or the key is of another kind than ours.
        """
        private = serialization.load_pem_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            msg = "the key is not an elliptic curve key"
            raise ValueError(msg)
        return cls(x509.load_pem_x509_certificate(certificate), private)


@dataclass(frozen=True)
class Request:
    """What a certificate is to say.

    `hosts` are the DNS names and addresses that a server answers at; a certificate without hosts is a
    client's only. For Kubernetes the common name is the user, and the organizations are its groups.
    """

    common_name: str
    organizations: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    client: bool = False


def new_authority(name: str, now: datetime) -> Pair:
    """Make a self-signed authority that may sign certificates, but no further authorities."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, request: Request, now: datetime) -> Pair:
    """Make a key and a certificate for it, signed by `authority`."""
    key = new_key()
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] if request.hosts else []
    usages += [ExtendedKeyUsageOID.CLIENT_AUTH] if request.client else []
    issuer_key = authority.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(request))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(min(now + CERTIFICATE_LIFETIME, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
    if request.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_names(request.hosts)), critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def still_serves(pair: Pair, authority: Pair, request: Request, now: datetime) -> bool:
    """Tell whether a certificate says what is requested, was signed by `authority`, and lasts long enough."""
    certificate = pair.certificate
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    names: set[x509.GeneralName] = set()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = set(extension.value)
    same = certificate.subject == _subject(request) and names == set(_names(request.hosts))
    return same and now + RENEW_BEFORE < certificate.not_valid_after_utc


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a private key on NIST P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in PEM (PKCS 8, not encrypted)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half of a key in PEM."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _subject(request: Request) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in request.organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, request.common_name)])


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
