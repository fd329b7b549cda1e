"""The names, labels and finalizers that parts agree on."""

from __future__ import annotations

import hashlib

SYSTEM_NAMESPACE = "dsecos-system"
NODE_NAMESPACE_PREFIX = "dsecos-node-"
AGENT_SERVICE_ACCOUNT = "agent"
AGENT_BINDING_SECRET = "agent-binding"  # noqa: S105 - a name, not a password
AGENT_LEASE = "agent"

OPERATOR_FINALIZER = "dsecos.io/operator"
AGENT_FINALIZER = "dsecos.io/agent"

LABEL_STACK = "dsecos.io/stack"
LABEL_STACK_NAMESPACE = "dsecos.io/stack-namespace"
LABEL_STACK_UID = "dsecos.io/stack-uid"
LABEL_ZONE = "dsecos.io/zone"
LABEL_ZONE_NAMESPACE = "dsecos.io/zone-namespace"
LABEL_NODE = "dsecos.io/node"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"

ANNOTATION_RESTART = "dsecos.io/restart"
"""Of a Stack: any new value restarts its running guest once. An annotation, because it is an order and not
something that a Git repository would declare.
"""

DOMAIN = "dsecos.internal"
"""What every name that DsecOS gives ends in; `internal` is reserved for private use (ICANN, 2024)."""
REGISTRY_HOST = f"registry.{DOMAIN}"
"""The name under which a guest finds its node's registry; it resolves to the zone's gateway."""

GUEST_TEMPLATE = "debian-13-docker"
VOLUME_MOUNT_ROOT = "/srv/volumes"
"""Where a Stack's volumes are mounted in its guest: one folder a volume, by name."""


def short_hash(*parts: str, length: int = 8) -> str:
    """A stable short name for a tuple of names (hexadecimal SHA-256, cut)."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:length]


def node_namespace(node: str) -> str:
    """The namespace that holds what a node needs to know."""
    return f"{NODE_NAMESPACE_PREFIX}{node}"


def guest_name(namespace: str, stack: str, uid: str) -> str:
    """The name of a Stack's Guest and container: readable, at most 49 long, unique for each life of one."""
    return f"{stack[:40].rstrip('-')}-{short_hash(namespace, stack, uid)}"


def attachment_name(zone_namespace: str, zone: str) -> str:
    """The name of a zone's ZoneAttachment in every node's namespace."""
    return f"{zone[:40].rstrip('-')}-{short_hash(zone_namespace, zone)}"
