"""What `make up` applies to the cluster: kinds, operator's roles, this node, a license, the sample."""

from pathlib import Path
from typing import Any

from dsecos_api.names import AGENT_BINDING_SECRET, AGENT_SERVICE_ACCOUNT, SYSTEM_NAMESPACE, node_namespace

from dsecos_control_plane.credentials import Account
from dsecos_control_plane.errors import NotReadyError
from dsecos_control_plane.kubectl import Kubectl
from dsecos_control_plane.progress import Say
from dsecos_control_plane.readiness import answers, wait
from dsecos_control_plane.settings import SOURCE, Settings

VERSION = "dsecos.io/v1alpha1"
SAMPLE = SOURCE / "manifests" / "samples" / "node-postgres.yaml"
SAMPLE_NAMESPACE = "demo"

OPERATOR = Account(SYSTEM_NAMESPACE, "dsecos-operator", "operator-binding")
"""The operator's service account, made by manifests/install."""

REGISTER_SECONDS = 90
NODE_SECONDS = 180
STACK_SECONDS = 600
"""How long to wait for the operator to register a node, for the node to be ready, for the sample to serve."""


def agent_account(settings: Settings) -> Account:
    """Return the service account that the operator makes for this node."""
    return Account(node_namespace(settings.node_name), AGENT_SERVICE_ACCOUNT, AGENT_BINDING_SECRET)


def install(kubectl: Kubectl) -> None:
    """Apply the kinds, wait until they are served, and apply the operator's namespace and roles."""
    kinds = str(SOURCE / "crds" / "yaml")
    kubectl.apply_from(f"--filename={kinds}")
    kubectl.wait("condition=Established", f"--filename={kinds}", timeout=60)
    kubectl.apply_from(f"--kustomize={SOURCE / 'manifests' / 'install'}")
    binding = {"name": OPERATOR.secret, "namespace": OPERATOR.namespace}
    kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": binding})


def node(settings: Settings) -> dict[str, Any]:
    """Return this host's Node object, with a btrfs pool on a sparse file, or a folder without btrfs."""
    pool = {"name": "default", "type": pool_type(), "path": str(settings.home / "pools" / "default")}
    return {
        "apiVersion": VERSION,
        "kind": "Node",
        "metadata": {"name": settings.node_name},
        "spec": {"engine": {"type": "lxc"}, "pools": [pool]},
    }


def pool_type() -> str:
    """Return the best kind of storage pool that this kernel can have (proc_filesystems(5))."""
    known = Path("/proc/filesystems").read_text().split()
    module = Path(f"/lib/modules/{Path('/proc/sys/kernel/osrelease').read_text().strip()}/kernel/fs/btrfs")
    return "btrfs" if "btrfs" in known or module.is_dir() else "dir"


def register_node(settings: Settings, kubectl: Kubectl) -> None:
    """Apply this host's Node unless there is one, and wait until the operator made its agent's account.

    An existing Node is left as it is: its pools hold data, and an administrator may have changed it.

    Raises:
        NotReadyError: the operator did not do it in time.
    """
    if not kubectl.succeeds("get", "nodes.dsecos.io", settings.node_name):
        kubectl.apply(node(settings))
    account = agent_account(settings)
    scope = f"--namespace={account.namespace}"
    names = (f"serviceaccount/{account.name}", f"secret/{account.secret}")
    wait(
        lambda: kubectl.succeeds("get", scope, *names), "the operator to register this node", REGISTER_SECONDS
    )


def development_license() -> dict[str, Any]:
    """Return the License that a fresh installation starts with."""
    return {
        "apiVersion": VERSION,
        "kind": "License",
        "metadata": {"name": "dsecos"},
        "spec": {"development": True},
    }


def deploy_sample(kubectl: Kubectl, say: Say) -> list[str]:
    """Apply the sample unless it is there, wait until it serves, and return its URLs.

    As a user would, with kubectl's own bookkeeping: so the user can go on with `kubectl apply`. What the user
    has made of it stays.

    Raises:
        NotReadyError: it was not ready in time; the message says what it says of itself.
    """
    scope = f"--namespace={SAMPLE_NAMESPACE}"
    if not kubectl.succeeds("get", f"--filename={SAMPLE}"):
        kubectl("apply", f"--filename={SAMPLE}")
    told: list[str] = []
    urls: list[str] = []

    def ready() -> bool:
        stacks = kubectl.get(scope, "stacks.dsecos.io")["items"]
        urls[:] = [url for stack in stacks for url in stack.get("status", {}).get("endpoints", [])]
        told[:] = [why for stack in stacks if (why := unready(stack))]
        # Right after a start, status is of the time before the stop: the application is asked too.
        told[:] = told or [f"{url} does not answer yet" for url in urls if not answers(url)]
        say("; ".join(told))
        return not told

    try:
        wait(ready, "the sample to be ready", STACK_SECONDS)
    except NotReadyError as error:
        msg = f"{error}: {'; '.join(told)}"
        raise NotReadyError(msg) from error
    return urls


def unready(stack: dict[str, Any]) -> str:
    """Say why a Stack is not ready for what its spec says now; empty if it is."""
    status = stack.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    ready = conditions.get("Ready", {"status": "Unknown", "reason": "NotSeen", "message": "no status yet"})
    if ready["status"] == "True" and status.get("observedGeneration") == stack["metadata"]["generation"]:
        return ""
    return f"{stack['metadata']['name']}: {ready['reason']} {ready['message']}".strip()
