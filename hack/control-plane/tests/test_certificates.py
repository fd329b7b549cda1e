"""Certificates say what is asked for, chain to their authority, and are renewed in time."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from dsecos_control_plane.certificates import (
    CERTIFICATE_LIFETIME,
    RENEW_BEFORE,
    Pair,
    Request,
    issue,
    new_authority,
    still_serves,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SERVER = Request("server", hosts=("127.0.0.1", "localhost"))
CLIENT = Request("kubernetes-admin", ("system:masters",), client=True)


@pytest.fixture(scope="module")
def authority() -> Pair:
    return new_authority("authority", NOW)


def test_a_server_is_trusted_under_its_names_only(authority: Pair) -> None:
    pair = issue(authority, SERVER, NOW)
    builder = PolicyBuilder().store(Store([authority.certificate])).time(NOW)
    builder.build_server_verifier(x509.DNSName("localhost")).verify(pair.certificate, [])
    builder.build_server_verifier(x509.IPAddress(ip_address("127.0.0.1"))).verify(pair.certificate, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("elsewhere")).verify(pair.certificate, [])


def test_a_server_is_not_a_client(authority: Pair) -> None:
    usage = issue(authority, SERVER, NOW).certificate.extensions.get_extension_for_class(
        x509.ExtendedKeyUsage
    )
    assert list(usage.value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_client_carries_user_and_groups(authority: Pair) -> None:
    certificate = issue(authority, CLIENT, NOW).certificate
    assert certificate.subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_another_authority_is_not_believed(authority: Pair) -> None:
    pair = issue(new_authority("authority", NOW), CLIENT, NOW)
    assert not still_serves(pair, authority, CLIENT, NOW)


@given(st.timedeltas(timedelta(0), CERTIFICATE_LIFETIME + timedelta(days=400)))
def test_a_certificate_serves_until_it_is_due(age: timedelta) -> None:
    authority = new_authority("authority", NOW)
    pair = issue(authority, CLIENT, NOW)
    assert still_serves(pair, authority, CLIENT, NOW + age) == (age < CERTIFICATE_LIFETIME - RENEW_BEFORE)


@pytest.mark.parametrize(
    "other",
    [
        Request("server", hosts=("127.0.0.1",)),
        Request("server", hosts=("127.0.0.1", "localhost", "10.0.0.5")),
        Request("other", hosts=SERVER.hosts),
    ],
)
def test_a_certificate_that_says_something_else_does_not_serve(authority: Pair, other: Request) -> None:
    assert not still_serves(issue(authority, SERVER, NOW), authority, other, NOW)


def test_a_certificate_never_outlives_its_authority() -> None:
    authority = new_authority("authority", NOW)
    late = authority.certificate.not_valid_after_utc - timedelta(days=10)
    assert issue(authority, CLIENT, late).certificate.not_valid_after_utc <= late + timedelta(days=10)


def test_a_pair_survives_its_files(authority: Pair) -> None:
    pair = issue(authority, CLIENT, NOW)
    again = Pair.from_pem(pair.certificate_pem, pair.key_pem)
    assert again.certificate == pair.certificate
    assert again.key_pem == pair.key_pem
