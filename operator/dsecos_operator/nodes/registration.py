"""What a node's agent needs in the API: a namespace, an account, and the least that it may do there. Pure.

The agent may do the same in every node's namespace, so the rules stand once, in ClusterRole
`dsecos-node-agent` of manifests/install, and a RoleBinding gives them in this one namespace. That way the
operator needs the right to bind that one role, and neither to hold its rules everywhere nor to write roles as
it likes. Its own Node object is cluster-scoped: a ClusterRole for each node names it.
"""

from __future__ import annotations

from typing import Any

from dsecos_api import Node
from dsecos_api.base import API_VERSION
from dsecos_api.names import (
    AGENT_BINDING_SECRET,
    AGENT_SERVICE_ACCOUNT,
    LABEL_MANAGED_BY,
    LABEL_NODE,
    SYSTEM_NAMESPACE,
    node_namespace,
)
from dsecos_runtime import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    NAMESPACE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    Object,
    Resource,
)

from dsecos_operator.kinds import SECRET_STAMP

AGENT_ROLE = "dsecos-node-agent"
"""ClusterRole of manifests/install: what an agent may do in its node's namespace."""
OPERATOR_NODE_ROLE = "dsecos-operator-node"
"""ClusterRole of manifests/install: what the operator may do in nodes' namespaces only."""
EVENTS_ROLE = "dsecos-node-events"
"""ClusterRole of manifests/install: tell of events, and read none."""
EVENTS_NAMESPACE = "default"
OPERATOR_SERVICE_ACCOUNT = "dsecos-operator"
RBAC = "rbac.authorization.k8s.io"


def node_role(node: str) -> str:
    """Name of the ClusterRole and its binding that show a node its own Node object."""
    return f"dsecos-node-{node}"


def objects(node: Node) -> list[tuple[Resource[Any], Object]]:
    """Everything that a node is registered with, in the order in which it can be made."""
    return [
        (NAMESPACE, _object(node, node_namespace(node.name))),
        # The operator's own rights come first: without them it cannot make the Secret.
        (
            ROLE_BINDING,
            {
                **_object(node, "operator", node_namespace(node.name)),
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": OPERATOR_NODE_ROLE},
                "subjects": [_subject(OPERATOR_SERVICE_ACCOUNT, SYSTEM_NAMESPACE)],
            },
        ),
        (SERVICE_ACCOUNT, _account(node)),
        (
            ROLE_BINDING,
            {
                **_object(node, AGENT_SERVICE_ACCOUNT, node_namespace(node.name)),
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": AGENT_ROLE},
                "subjects": [_subject(AGENT_SERVICE_ACCOUNT, node_namespace(node.name))],
            },
        ),
        (CLUSTER_ROLE, {**_object(node, node_role(node.name)), "rules": _node_rules(node.name)}),
        (
            CLUSTER_ROLE_BINDING,
            {
                **_object(node, node_role(node.name)),
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": node_role(node.name)},
                "subjects": [_subject(AGENT_SERVICE_ACCOUNT, node_namespace(node.name))],
            },
        ),
        # Events about the Node itself, which is cluster-scoped, are in namespace default.
        (
            ROLE_BINDING,
            {
                **_object(node, node_role(node.name), EVENTS_NAMESPACE),
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": EVENTS_ROLE},
                "subjects": [_subject(AGENT_SERVICE_ACCOUNT, node_namespace(node.name))],
            },
        ),
        # Deleting it revokes every token of the agent.
        (SECRET_STAMP, _object(node, AGENT_BINDING_SECRET, node_namespace(node.name))),
    ]


def _node_rules(node: str) -> list[Object]:
    own = {"apiGroups": ["dsecos.io"], "resourceNames": [node]}
    return [
        {**own, "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {**own, "resources": ["nodes/status"], "verbs": ["get", "patch"]},
    ]


def _object(node: Node, name: str, namespace: str = "") -> Object:
    metadata: Object = {
        "name": name,
        "labels": {LABEL_NODE: node.name, LABEL_MANAGED_BY: "dsecos-operator"},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "Node",
                "name": node.name,
                "uid": node.uid,
                "controller": True,
            }
        ],
    }
    return {"metadata": {**metadata, "namespace": namespace} if namespace else metadata}


def _account(node: Node) -> Object:
    account = _object(node, AGENT_SERVICE_ACCOUNT, node_namespace(node.name))
    return {**account, "automountServiceAccountToken": False}


def _subject(name: str, namespace: str) -> Object:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
