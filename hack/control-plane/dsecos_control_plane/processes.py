"""The processes of an instance as one list, from which systemd units or a supervisord configuration are
rendered.
"""

from dataclasses import dataclass, field
from pathlib import Path

from dsecos_control_plane.identity import Identity, identity
from dsecos_control_plane.pki import SERVICE_RANGE
from dsecos_control_plane.settings import Settings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


VERSION = "version"
"""File in the folder of programs that says which build they are of."""


@dataclass(frozen=True)
class Probe:
    """A process is ready when this URL answers with `status`, over TLS signed by `authority`.

    `certificate` and `key` are the client's, where the server asks for one.
    """

    url: str
    authority: Path
    status: int = 200
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Process:
    """One long-running process.

    `before` are commands that run as root ahead of each start. `revision` names the version of whatever the
    command line does not show, and `files` are read at its start only: another revision or content means a
    restart. `writable` are the only folders that it may write to under systemd. `children_survive`: processes
    that it started live on when it stops, as the monitors of LXC guests must. `root` marks the one that needs
    the host's namespaces and capabilities, `sandboxes` one that makes namespaces for programs that it does
    not trust.
    """

    name: str
    argv: tuple[str, ...]
    identity: Identity | None = None
    environment: dict[str, str] = field(default_factory=dict)
    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[str, ...] = ()
    writable: tuple[Path, ...] = ()
    probe: Probe | None = None
    files: tuple[Path, ...] = ()
    revision: str = ""
    children_survive: bool = False
    root: bool = False
    sandboxes: bool = False


def etcd(settings: Settings) -> Process:
    """Describe etcd: one member, clients and peers with certificates of etcd's own authority."""
    pki, port = settings.pki, settings.etcd_port
    client, peer = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"
    certificate, key, authority = pki / "etcd.crt", pki / "etcd.key", pki / "etcd-ca.crt"
    argv = (
        f"{settings.bin}/etcd",
        "--name=dsecos",
        f"--data-dir={settings.home}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=dsecos={peer}",
        "--client-cert-auth=true",
        f"--trusted-ca-file={authority}",
        f"--cert-file={certificate}",
        f"--key-file={key}",
        "--peer-client-cert-auth=true",
        f"--peer-trusted-ca-file={authority}",
        f"--peer-cert-file={certificate}",
        f"--peer-key-file={key}",
        "--log-level=warn",
    )
    return Process(
        name="etcd",
        argv=argv,
        identity=identity(settings, "etcd"),
        writable=(settings.home / "etcd",),
        files=(settings.bin / VERSION, certificate),
        probe=Probe(
            f"{client}/health", authority, certificate=pki / "etcd-client.crt", key=pki / "etcd-client.key"
        ),
    )


def api_server(settings: Settings) -> Process:
    """Describe the API server: TLS only, RBAC, audit log, Secrets encrypted at rest.

    No endpoints are kept for the Service `kubernetes`: nothing runs inside this cluster that would look for
    them.
    """
    pki, etc = settings.pki, settings.etc
    argv = (
        f"{settings.bin}/kube-apiserver",
        f"--bind-address={settings.api_address}",
        f"--secure-port={settings.api_port}",
        f"--advertise-address={settings.api_address}",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={pki}/kube-apiserver.crt",
        f"--tls-private-key-file={pki}/kube-apiserver.key",
        "--tls-min-version=VersionTLS13",
        f"--client-ca-file={pki}/ca.crt",
        f"--authentication-config={etc}/authentication.yaml",
        "--authorization-mode=RBAC",
        f"--etcd-servers=https://127.0.0.1:{settings.etcd_port}",
        f"--etcd-cafile={pki}/etcd-ca.crt",
        f"--etcd-certfile={pki}/etcd-client.crt",
        f"--etcd-keyfile={pki}/etcd-client.key",
        f"--encryption-provider-config={pki}/encryption.yaml",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--audit-policy-file={etc}/audit-policy.yaml",
        f"--audit-log-path={settings.logs}/audit/audit.log",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=10",
        "--audit-log-maxage=30",
        "--profiling=false",
    )
    return Process(
        name="kube-apiserver",
        argv=argv,
        identity=identity(settings, "kube-apiserver"),
        after=("etcd",),
        writable=(settings.logs / "audit",),
        files=(
            settings.bin / VERSION,
            etc / "authentication.yaml",
            etc / "audit-policy.yaml",
            pki / "encryption.yaml",
            pki / "kube-apiserver.crt",
            pki / "etcd-client.crt",
        ),
        probe=Probe(f"{settings.api_server}/readyz", pki / "ca.crt"),
    )


def controller_manager(settings: Settings) -> Process:
    """Describe the controller manager, with only the controllers that a cluster without pods needs."""
    pki = settings.pki
    controllers = (
        "clusterrole-aggregation-controller",
        "garbage-collector-controller",
        "namespace-controller",
        "resourcequota-controller",
        "root-ca-certificate-publisher-controller",
        "serviceaccount-controller",
    )
    kubeconfig = pki / "kube-controller-manager.kubeconfig"
    argv = (
        f"{settings.bin}/kube-controller-manager",
        "--bind-address=127.0.0.1",
        f"--secure-port={settings.controller_manager_port}",
        f"--tls-cert-file={pki}/kube-controller-manager.crt",
        f"--tls-private-key-file={pki}/kube-controller-manager.key",
        "--tls-min-version=VersionTLS13",
        f"--client-ca-file={pki}/ca.crt",
        "--authentication-skip-lookup=true",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--root-ca-file={pki}/ca.crt",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--profiling=false",
    )
    url = f"https://127.0.0.1:{settings.controller_manager_port}/healthz"
    return Process(
        name="kube-controller-manager",
        argv=argv,
        identity=identity(settings, "kube-controller-manager"),
        after=("kube-apiserver",),
        files=(settings.bin / VERSION, kubeconfig, pki / "kube-controller-manager.crt"),
        probe=Probe(url, pki / "ca.crt"),
    )


def registry(settings: Settings) -> Process:
    """Describe the registry's write side: on loopback, with a password that root alone can read."""
    return Process(
        name="registry",
        argv=("/usr/bin/docker-registry", "serve", f"{settings.etc}/registry.yaml"),
        identity=identity(settings, "registry"),
        writable=(settings.home / "registry",),
        files=(
            settings.etc / "registry.yaml",
            settings.etc / "registry.htpasswd",
            settings.pki / "registry.crt",
        ),
        probe=Probe(
            f"https://127.0.0.1:{settings.registry_port}/v2/", settings.pki / "registry-ca.crt", status=401
        ),
    )


def registry_read(settings: Settings) -> Process:
    """Describe the registry's read-only side, which guests reach at their zone's gateway.

    A gateway comes and goes with its zone, so this listens on every address; the table that is loaded ahead
    of each start lets in what comes from the zones' bridges and from this host, and nothing else.
    """
    return Process(
        name="registry-read",
        argv=("/usr/bin/docker-registry", "serve", f"{settings.etc}/registry-read.yaml"),
        identity=identity(settings, "registry-read"),
        before=(("/usr/sbin/nft", "-f", f"{settings.etc}/registry-read.nft"),),
        after=("registry",),
        files=(
            settings.etc / "registry-read.yaml",
            settings.etc / "registry-read.nft",
            settings.pki / "registry-read.crt",
        ),
        probe=Probe(f"https://127.0.0.1:{settings.registry_read_port}/v2/", settings.pki / "registry-ca.crt"),
    )


def operator(settings: Settings, revision: str) -> Process:
    """Describe the operator: as nobody, with nothing but its kubeconfig and its code."""
    return Process(
        name="operator",
        argv=(f"{settings.home}/venv/operator/bin/dsecos-operator",),
        identity=identity(settings, "operator"),
        environment={**settings.environment(), "KUBECONFIG": f"{settings.home}/operator/kubeconfig"},
        writable=(settings.home / "operator",),
        revision=revision,
        sandboxes=True,
    )


def agent(settings: Settings, revision: str) -> Process:
    """Describe the node agent: root on the host, whose guests live on when it stops."""
    return Process(
        name="agent",
        argv=(f"{settings.home}/venv/agent/bin/dsecos-agent",),
        environment={**settings.environment(), "KUBECONFIG": f"{settings.home}/agent/kubeconfig"},
        revision=revision,
        children_survive=True,
        root=True,
    )


def control_plane(settings: Settings) -> list[Process]:
    """Return etcd, API server and controller manager, in the order of their start."""
    return [etcd(settings), api_server(settings), controller_manager(settings)]


def registries(settings: Settings) -> list[Process]:
    """Return both sides of the registry."""
    return [registry(settings), registry_read(settings)]
