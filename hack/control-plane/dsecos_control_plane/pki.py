"""The keys and certificates of an instance, on disk in `DSECOS_HOME/pki`, and the kubeconfigs made of them.

Three authorities, so that a key serves one purpose: `ca` for the Kubernetes API, `etcd-ca` for etcd (whose
clients may do everything, so no user's certificate may be one), `registry-ca` that guests trust for the
registry alone.
"""

import base64
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from dsecos_api.names import REGISTRY_HOST

from dsecos_control_plane import certificates
from dsecos_control_plane.certificates import Pair, Request
from dsecos_control_plane.files import folder, write
from dsecos_control_plane.identity import identity
from dsecos_control_plane.settings import Settings

SERVICE_RANGE = "10.96.0.0/24"
"""Addresses of Kubernetes Services. Nothing routes them here; the API server wants a range."""

AUTHORITIES = ("ca", "etcd-ca", "registry-ca")


@dataclass(frozen=True)
class Leaf:
    """One certificate: its authority, what it says, and the service whose user alone may read its key.

    `owner` None: root alone.
    """

    name: str
    authority: str
    request: Request
    owner: str | None = None


def leaves(node_name: str, addresses: Sequence[str]) -> list[Leaf]:
    """Return the certificates of a control plane on a node that has these addresses.

    User and group names are those that Kubernetes' default RBAC policy knows (controller manager) and that
    `kubectl auth whoami` shows for an administrator made by kubeadm.
    """
    local = ("127.0.0.1", "localhost")
    service = "kubernetes.default.svc"
    names = ("kubernetes", "kubernetes.default", service, f"{service}.cluster.local", "10.96.0.1", node_name)
    api = tuple(dict.fromkeys([*local, *names, *addresses]))
    manager = "kube-controller-manager"
    return [
        Leaf("kube-apiserver", "ca", Request("kube-apiserver", hosts=api), "kube-apiserver"),
        Leaf("admin", "ca", Request("kubernetes-admin", ("system:masters",), client=True)),
        Leaf(f"{manager}-client", "ca", Request(f"system:{manager}", client=True), manager),
        Leaf(manager, "ca", Request(manager, hosts=local), manager),
        Leaf("etcd", "etcd-ca", Request("etcd", hosts=local, client=True), "etcd"),
        Leaf("etcd-client", "etcd-ca", Request("kube-apiserver", client=True), "kube-apiserver"),
        Leaf("registry", "registry-ca", Request("registry", hosts=local), "registry"),
        Leaf(
            "registry-read",
            "registry-ca",
            Request(REGISTRY_HOST, hosts=(*local, REGISTRY_HOST)),
            "registry-read",
        ),
    ]


def ensure(settings: Settings, now: datetime | None = None, *, cluster: bool = True) -> list[str]:
    """Make what is missing, renew what ends soon, and return the names of what was made.

    `cluster` False: only what the registry needs, because the cluster is somebody else's.

    Writes `pki/<name>.crt` (for all to read) and `pki/<name>.key` (for one service), the key of service
    accounts, the key that Secrets are encrypted with in etcd, and the kubeconfigs of administrator and
    controller manager.
    """
    now = now or datetime.now(UTC)
    folder(settings.pki, mode=0o755)
    made: list[str] = []
    authorities: dict[str, Pair] = {}
    for name in AUTHORITIES if cluster else ("registry-ca",):
        known = load(settings.pki, name)
        authorities[name] = known or certificates.new_authority(f"dsecos-{name}", now)
        if known is None:
            made.append(name)
        _store(settings, name, authorities[name], None)
    pairs: dict[str, Pair] = {}
    for leaf in leaves(settings.node_name, primary_addresses()):
        authority = authorities.get(leaf.authority)
        if authority is None:
            continue
        pair = load(settings.pki, leaf.name)
        if pair is None or not certificates.still_serves(pair, authority, leaf.request, now):
            pair = certificates.issue(authority, leaf.request, now)
            made.append(leaf.name)
        _store(settings, leaf.name, pair, leaf.owner)
        pairs[leaf.name] = pair
    if cluster:
        made += _service_account_key(settings) + _encryption_key(settings)
        _kubeconfigs(settings, authorities["ca"], pairs)
    return made


def primary_addresses() -> list[str]:
    """Return the addresses that this host speaks to others from: at most one of IPv4 and one of IPv6.

    The kernel is asked for the route to a documentation address (RFC 5737, RFC 3849); nothing is sent.
    Addresses of other links come and go with zones, and a certificate that names them would be renewed each
    time.
    """
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            found.append(str(probe.getsockname()[0]))
    return found


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> str:
    """Return a kubeconfig document for one user of one cluster, both in the words of that format."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "dsecos", "cluster": cluster}],
        "users": [{"name": "dsecos", "user": user}],
        "contexts": [{"name": "dsecos", "context": {"cluster": "dsecos", "user": "dsecos"}}],
        "current-context": "dsecos",
    }
    return yaml.safe_dump(document, sort_keys=False)


def _kubeconfigs(settings: Settings, authority: Pair, pairs: dict[str, Pair]) -> None:
    manager = "kube-controller-manager"
    targets = [
        (settings.admin_kubeconfig, "admin", None),
        (settings.pki / f"{manager}.kubeconfig", f"{manager}-client", manager),
    ]
    trust = base64.b64encode(authority.certificate_pem).decode()
    cluster = {"certificate-authority-data": trust, "server": settings.api_server}
    for path, name, owner in targets:
        user = {
            "client-certificate-data": base64.b64encode(pairs[name].certificate_pem).decode(),
            "client-key-data": base64.b64encode(pairs[name].key_pem).decode(),
        }
        document = kubeconfig(cluster, user)
        write(path, document, mode=0o600, owner=identity(settings, owner) if owner else None)


def _service_account_key(settings: Settings) -> list[str]:
    private, public = settings.pki / "service-account.key", settings.pki / "service-account.pub"
    owner = identity(settings, "kube-apiserver")
    if private.exists() and public.exists():
        return []
    key = certificates.new_key()
    write(private, certificates.private_pem(key), mode=0o600, owner=owner)
    write(public, certificates.public_pem(key))
    return ["service-account"]


def _encryption_key(settings: Settings) -> list[str]:
    """Make the EncryptionConfiguration of the API server: Secrets lie encrypted in etcd and in copies of its
    data.
    """
    path = settings.pki / "encryption.yaml"
    if path.exists():
        return []
    key = {"name": "key1", "secret": base64.b64encode(secrets.token_bytes(32)).decode()}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [
            {"resources": ["secrets"], "providers": [{"secretbox": {"keys": [key]}}, {"identity": {}}]}
        ],
    }
    write(path, yaml.safe_dump(document), mode=0o600, owner=identity(settings, "kube-apiserver"))
    return ["encryption"]


def load(pki: Path, name: str) -> Pair | None:
    """Return a certificate and its key, or None if they are missing or cannot be read."""
    certificate, key = pki / f"{name}.crt", pki / f"{name}.key"
    if not (certificate.exists() and key.exists()):
        return None
    try:
        return Pair.from_pem(certificate.read_bytes(), key.read_bytes())
    except ValueError:
        return None


def _store(settings: Settings, name: str, pair: Pair, owner: str | None) -> None:
    reader = identity(settings, owner) if owner else None
    write(settings.pki / f"{name}.key", pair.key_pem, mode=0o600, owner=reader)
    write(settings.pki / f"{name}.crt", pair.certificate_pem)
