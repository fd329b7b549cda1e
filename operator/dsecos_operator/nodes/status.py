"""The operator's part of a Node's status. The agent writes the rest, under its own field manager.

Ready is the agent's word. Only when the agent never spoke, or not for long, does the operator say Unknown,
and it holds on to that until the agent takes the condition back: dropping it would leave the Node without
any.
"""

from __future__ import annotations

from dsecos_api import Condition, Node, Reason, Type
from dsecos_api.node import DrainStatus, NodeStatus
from dsecos_runtime import Conditions

from dsecos_operator.maintenance.report import Outcome

OURS = frozenset({Reason.AGENT_LOST, Reason.NEVER_REPORTED})
"""Reasons of a Ready condition that only the operator gives."""


def status(
    node: Node,
    namespace: str,
    *,
    lost: bool,
    in_use: list[str],
    drained: tuple[DrainStatus, Outcome] | None = None,
) -> NodeStatus:
    """`lost`: the agent is silent for too long; `in_use`: guests that keep a Node from being removed;
    `drained`: how far it is emptied, while it is in maintenance.
    """
    generation = node.metadata.generation
    conditions = Conditions(node.status, generation)
    conditions.true(Type.NODE_REGISTERED, Reason.REGISTERED, f"namespace {namespace}")
    written = {Type.NODE_REGISTERED}
    ready = next((each for each in node.status.conditions if each.type == Type.READY), None)
    if ready is None or ready.reason == Reason.NEVER_REPORTED:
        conditions.unknown(
            Type.READY, Reason.NEVER_REPORTED, "its agent has not reported yet; start it there"
        )
        written.add(Type.READY)
    elif lost or ready.reason == Reason.AGENT_LOST:
        conditions.unknown(
            Type.READY,
            Reason.AGENT_LOST,
            "its agent does not report any more; its guests may still run, and stay placed here",
        )
        written.add(Type.READY)
    if node.deleting:
        text = "waits until its guests are gone: " + ", ".join(in_use[:5]) if in_use else "is being removed"
        conditions.set(Type.RECONCILING, True, Reason.IN_USE if in_use else Reason.DELETING, text)
        written.add(Type.RECONCILING)
    if drained is not None:
        conditions.set(Type.DRAINED, drained[1].done, drained[1].reason, drained[1].message)
        written.add(Type.DRAINED)
    return NodeStatus(
        drain=drained[0] if drained is not None else None,
        agent_namespace=namespace,
        # Where the agent does not look, nobody else can say that this generation was looked at.
        observed_generation=generation if Type.READY in written else None,
        conditions=[each for each in conditions.build() if each.type in written],
    )


def of(node: Node, kind: Type) -> Condition | None:
    """One condition of the Node."""
    return next((each for each in node.status.conditions if each.type == kind), None)
