"""Looks at the Proxmox VE behind a Node, with the Node's own token. Changes nothing there.

A small client of its own: this command knows the API and no other part of DsecOS, and needs six reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dsecos_api import Node
from dsecos_api.names import node_namespace
from dsecos_api.node import ProxmoxEngine
from dsecos_api.proxmox import vmid_range

from dsecos_cli.cluster import Cluster
from dsecos_cli.doctor.model import ProxmoxFacts, StorageFacts
from dsecos_cli.errors import CliError
from dsecos_cli.resources import SECRET

if TYPE_CHECKING:
    from urllib3 import PoolManager

PORT = 8006
TIMEOUT = 10.0
"""Seconds to connect, and to wait for an answer."""


class _RefusedError(Exception):
    """The API answered, and not with what was asked for."""


def look_at(cluster: Cluster, node: Node) -> ProxmoxFacts | None:
    """What its Proxmox VE tells; None where its engine is another. Raises nothing: what failed is told."""
    engine = node.spec.engine.proxmox
    if engine is None:
        return None
    facts = ProxmoxFacts(node.name, engine)
    try:
        token = _token(cluster, node.name, engine)
    except CliError as error:
        return replace(facts, no_token=error.message)
    facts = replace(facts, token=token.partition("=")[0])
    try:
        facts = replace(facts, shown_fingerprint=_fingerprint(engine.url))
        if engine.fingerprint is not None and facts.shown_fingerprint != engine.fingerprint.upper():
            return facts
        return _ask(facts, token)
    except (OSError, _RefusedError) as error:
        return replace(facts, error=str(error))


def _token(cluster: Cluster, node: str, engine: ProxmoxEngine) -> str:
    reference = engine.token_secret_ref
    secret = cluster.get(SECRET, reference.name, node_namespace(node))
    try:
        return base64.b64decode(secret.get("data", {})[reference.key], validate=True).decode().strip()
    except (KeyError, Base64Error, UnicodeDecodeError) as error:
        raise CliError(f"the Secret {reference.name} has no usable key {reference.key}") from error


def _fingerprint(url: str) -> str:
    """SHA-256 of the certificate that the server shows, whoever signed it."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (parts.hostname or "", parts.port or PORT)
    with (
        socket.create_connection(address, timeout=TIMEOUT) as connection,
        context.wrap_socket(connection, server_hostname=parts.hostname) as encrypted,
    ):
        shown = hashlib.sha256(encrypted.getpeercert(binary_form=True) or b"").hexdigest().upper()
    return ":".join(shown[i : i + 2] for i in range(0, len(shown), 2))


def _ask(facts: ProxmoxFacts, token: str) -> ProxmoxFacts:
    api = _Api(facts.engine, token)
    try:
        version = api.get("/version")
    except ssl.SSLCertVerificationError:
        return replace(facts, untrusted=True)
    except PermissionError:
        return replace(facts, token_refused=True)
    node = facts.engine.node
    nodes = tuple(str(item.get("node")) for item in api.get("/nodes"))
    facts = replace(
        facts,
        version=str(version.get("version", "")),
        permissions=api.get("/access/permissions") or {},
        nodes=nodes,
    )
    if node not in nodes:
        return facts
    ids = vmid_range(facts.engine.vmids)
    guests = [guest for guest in api.get("/cluster/resources?type=vm") if int(guest.get("vmid", 0)) in ids]
    return replace(
        facts,
        storages={str(item["storage"]): _storage(item) for item in api.get(f"/nodes/{node}/storage")},
        bridges=tuple(str(item["iface"]) for item in api.get(f"/nodes/{node}/network?type=any_bridge")),
        foreign_ids=tuple(sorted(int(guest["vmid"]) for guest in guests if not _is_ours(guest))),
        our_ids=sum(map(_is_ours, guests)),
    )


def _storage(item: Mapping[str, Any]) -> StorageFacts:
    return StorageFacts(
        kind=str(item.get("type", "")),
        content=frozenset(str(item.get("content", "")).split(",")),
        active=str(item.get("active", 0)) == "1",
        free_bytes=int(item["avail"]) if "avail" in item else None,
    )


def _is_ours(guest: Mapping[str, Any]) -> bool:
    return "dsecos" in str(guest.get("tags", "")).replace(",", ";").split(";")


class _Api:
    """Reads of one API. Raises OSError without an answer, PermissionError for 401, _RefusedError else."""

    def __init__(self, engine: ProxmoxEngine, token: str) -> None:
        import urllib3  # noqa: PLC0415 - loaded late, as the API client is

        parts = urlsplit(engine.url)
        self._base = f"https://{parts.netloc if parts.port else f'{parts.netloc}:{PORT}'}/api2/json"
        self._headers = {"Authorization": f"PVEAPIToken={token}", "Accept": "application/json"}
        pinned = engine.fingerprint
        self._http: PoolManager = urllib3.PoolManager(
            timeout=TIMEOUT,
            retries=False,
            cert_reqs="CERT_NONE" if pinned else "CERT_REQUIRED",
            assert_fingerprint=pinned,
        )
        self._failed = (urllib3.exceptions.HTTPError,)

    def get(self, path: str) -> Any:
        """The answer's `data`."""
        try:
            answer = self._http.request("GET", self._base + path, headers=self._headers, redirect=False)
        except self._failed as error:
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                raise error.__context__ from error
            raise OSError(f"no answer to {path}: {type(error).__name__}") from error
        if answer.status == 401:
            raise PermissionError("the token is refused")
        try:
            body = json.loads(answer.data)
        except ValueError:
            body = {}
        if answer.status != 200 or not isinstance(body, dict) or "data" not in body:
            raise _RefusedError(f"{path.partition('?')[0]} was answered with {answer.status} {answer.reason}")
        return body["data"]
