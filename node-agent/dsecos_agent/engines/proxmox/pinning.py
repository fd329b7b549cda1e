"""Whom we speak to: certificates are verified, by an authority or by fingerprint, before anything is sent."""

import hashlib
import re
import socket
import ssl
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.util import create_urllib3_context

from dsecos_agent.engines.errors import CertificateChangedError
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings

_HEX = re.compile(r"[0-9a-f]{64}")


def normalised(fingerprint: str) -> str:
    """64 lower-case hex digits. Raises ValueError when it is no SHA-256."""
    plain = fingerprint.replace(":", "").strip().lower()
    if not _HEX.fullmatch(plain):
        raise ValueError(f"{fingerprint!r} is no SHA-256 fingerprint: 64 hex digits, with or without colons")
    return plain


def shown(fingerprint: str) -> str:
    """As Proxmox shows it: upper case with colons."""
    plain = normalised(fingerprint).upper()
    return ":".join(plain[at : at + 2] for at in range(0, len(plain), 2))


class Pinned(HTTPAdapter):
    """Connects only where the certificate has this fingerprint: urllib3 compares it in the handshake."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = normalised(fingerprint)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Called by HTTPAdapter when it is made and unpickled."""
        # Without a context of ours urllib3 loads all authorities of the host for each connection (65 ms).
        context = create_urllib3_context()
        context.check_hostname = False
        super().init_poolmanager(*args, assert_fingerprint=self._fingerprint, ssl_context=context, **options)


def authority(settings: ProxmoxSettings) -> str | bool:
    """What requests verifies against: a file, a directory, True (its own list), or False where `Pinned` does
    it.
    """
    if settings.fingerprint is not None:
        return False
    if settings.ca is not None:
        return str(settings.ca)
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def changed(settings: ProxmoxSettings, host: str, port: int) -> CertificateChangedError:
    """Say what the server shows now, and what to do. Looks at it once more; sends nothing. Blocking."""
    found = _presented(host, port, settings.connect_limit)
    where = f"{host}:{port} shows a certificate with SHA-256 fingerprint {found}"
    advice = "If its owner renewed it, set the new fingerprint; if not, somebody may be in between."
    if settings.fingerprint is not None:
        return CertificateChangedError(f"{where}; pinned is {shown(settings.fingerprint)}. {advice}")
    by = settings.ca or "this host's authorities"
    return CertificateChangedError(
        f"{where}, which {by} did not sign for that name. Give the cluster's authority "
        "(/etc/pve/pve-root-ca.pem) or pin the fingerprint after comparing it on the node "
        "(pvenode cert info)."
    )


def _presented(host: str, port: int, limit: float) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=limit) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True) or b""
    except OSError:
        return "(not shown any more)"
    return shown(hashlib.sha256(certificate).hexdigest())
