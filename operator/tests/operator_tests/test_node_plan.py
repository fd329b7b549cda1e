"""Nodes: registration, removal, heartbeat."""

from __future__ import annotations

from typing import Any

from dsecos_api import Node
from dsecos_api.names import OPERATOR_FINALIZER
from dsecos_operator.kinds import SECRET_STAMP, Stamp
from dsecos_operator.nodes import heartbeat, status
from dsecos_operator.nodes.plan import AddFinalizer, Apply, Observed, Remove, RemoveFinalizer, plan
from dsecos_operator.nodes.registration import objects
from dsecos_runtime import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, NAMESPACE, Key

from .objects import node


def registered(this: Node) -> dict[tuple[str, Key], Any]:
    there: dict[tuple[str, Key], Any] = {}
    for resource, wanted in objects(this):
        there[resource.kind, Key.of(wanted)] = Stamp.parse(wanted) if resource is SECRET_STAMP else wanted
    return there


def with_finalizer(this: Node, **more: Any) -> Node:
    metadata = this.metadata.model_copy(update={"finalizers": [OPERATOR_FINALIZER], **more})
    return this.model_copy(update={"metadata": metadata})


def test_a_new_node_gets_all_it_needs_and_then_nothing() -> None:
    actions = plan(Observed(node(), {}))
    assert isinstance(actions[0], AddFinalizer)
    kinds = [action.resource.kind for action in actions if isinstance(action, Apply)]
    assert kinds == [
        "Namespace",
        "RoleBinding",
        "ServiceAccount",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "RoleBinding",
        "Secret",
    ]
    this = with_finalizer(node())
    assert plan(Observed(this, registered(this))) == []


def test_rights_that_were_widened_by_hand_are_narrowed() -> None:
    this = with_finalizer(node())
    there = registered(this)
    key = (CLUSTER_ROLE.kind, Key("", "dsecos-node-node-1"))
    there[key] = {**there[key], "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    (action,) = plan(Observed(this, there))
    assert isinstance(action, Apply)
    assert action.wanted["rules"][0]["resourceNames"] == ["node-1"]


def test_a_node_leaves_step_by_step() -> None:
    this = with_finalizer(node(), deletion_timestamp="2026-01-01T00:00:00Z")
    there = registered(this)
    assert plan(Observed(this, there, in_use=("acme/shop",))) == []
    assert plan(Observed(this, there, attachments=("backend",))) == []
    (action,) = plan(Observed(this, there))
    assert isinstance(action, Remove)
    assert action.resource is NAMESPACE
    there = {
        key: each for key, each in there.items() if key[0] in (CLUSTER_ROLE.kind, CLUSTER_ROLE_BINDING.kind)
    }
    kinds = [action.name for action in plan(Observed(this, there))]
    assert kinds == ["node-clusterrolebinding-delete", "node-clusterrole-delete", "node-finalizer-remove"]
    assert plan(Observed(this, {})) == [RemoveFinalizer()]


def test_a_renewal_is_told_by_its_change_and_not_by_a_clock() -> None:
    lease = {"spec": {"renewTime": "1999-01-01T00:00:00Z", "leaseDurationSeconds": 40}}
    seen = heartbeat.see(None, lease, 100.0)
    assert heartbeat.see(seen, lease, 219.0) == seen
    assert heartbeat.patience(lease) == 120.0
    renewed = {"spec": {**lease["spec"], "renewTime": "1999-01-01T00:00:10Z"}}
    assert heartbeat.see(seen, renewed, 219.0).at == 219.0
    assert heartbeat.see(None, None, 5.0) == heartbeat.Seen("", 5.0)


def said(this: Node, *, lost: bool = False) -> dict[str, str]:
    new = status.status(this, "n", lost=lost, in_use=[])
    return {each.type: each.reason for each in new.conditions}


def test_ready_is_the_agents_word_unless_it_is_silent() -> None:
    assert said(node()) == {"NodeRegistered": "Registered"}
    assert said(node(), lost=True) == {"NodeRegistered": "Registered", "Ready": "AgentLost"}
    assert said(node(ready=False)) == {"NodeRegistered": "Registered", "Ready": "AgentLost"}, (
        "held until the agent takes it back"
    )
    fresh = node().model_copy(update={"status": node().status.model_copy(update={"conditions": []})})
    assert said(fresh) == {"NodeRegistered": "Registered", "Ready": "NeverReported"}
