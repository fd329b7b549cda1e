"""Which node gets its firewall and uplinks next, and why the others wait. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto

from dsecos_api import (
    Condition,
    ConditionStatus,
    HostPolicy,
    Metadata,
    NetworkZone,
    Node,
    Reason,
    Type,
)
from dsecos_api.hostpolicy import HOST_POLICY_NAME, HostFirewall, HostPolicySpec, Uplink
from dsecos_api.names import LABEL_MANAGED_BY, LABEL_NODE, node_namespace
from dsecos_runtime import is_true

STOPS = frozenset(
    {
        Reason.ROLLED_BACK,
        Reason.LOCKS_OUT_API_SERVER,
        Reason.LOCKS_OUT_ADMINISTRATORS,
        Reason.LOCKS_OUT_NODES,
        Reason.CIDR_INVALID,
        Reason.UPLINK_INVALID,
    }
)
"""What an agent says of what no other node should get before somebody has looked."""


class Standing(StrEnum):
    """How far a node is with what it has been given."""

    SETTLED = auto()
    """In force, or it has nothing."""
    UNDER_WAY = auto()
    STOPPED = auto()
    """Its agent has refused or undone it."""


@dataclass(frozen=True)
class Wish:
    """What a node gets as one change."""

    firewall: HostFirewall | None = None
    uplinks: Sequence[Uplink] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return self.firewall is not None or bool(self.uplinks)

    def within(self, had: Wish) -> bool:
        """Whether it only takes away from what was had."""
        return self.firewall in (None, had.firewall) and self.uplinks in ([], had.uplinks)


@dataclass(frozen=True)
class ApplyPolicy:
    """A node gets its policy, or gets its changes."""

    policy: HostPolicy
    name = "host-policy-apply"


@dataclass(frozen=True)
class Told:
    """What every node is told of the cluster."""

    nodes: list[str]
    """Addresses."""
    zones: list[str]
    """Networks."""


@dataclass(frozen=True)
class Roll:
    """How far the cluster is."""

    policies: Mapping[str, HostPolicy]
    """By the node's name."""
    stopped: list[str]
    """Nodes that have refused or undone what they still are to have."""
    chosen: frozenset[str]
    """Nodes that are told now."""
    busy: list[str]
    """Nodes that have been told, or are now, and are not done."""


@dataclass(frozen=True)
class Verdict:
    """What a Node's conditions HostFirewall and Uplinks say."""

    status: bool | None
    reason: Reason
    message: str


def plan(
    nodes: Sequence[Node],
    policies: Mapping[str, HostPolicy],
    max_unavailable: int,
    zones: Iterable[NetworkZone] = (),
) -> tuple[list[ApplyPolicy], dict[str, Verdict]]:
    """What to write, and what to say of each node that has, or is to have, a firewall or uplinks.

    `policies` by the node's name. A change goes to nodes while fewer than `max_unavailable` are under way,
    and to none while one has refused or undone its own; to take away, and to tell what the cluster consists
    of, nobody waits.
    """
    told = Told(node_addresses(nodes), zone_networks(zones))
    standings = {name: standing(policy) for name, policy in policies.items()}
    stopped = [
        node.name
        for node in nodes
        if standings.get(node.name) is Standing.STOPPED and not _changed(node, policies.get(node.name))
    ]
    changed = [node for node in nodes if _changed(node, policies.get(node.name)) and not node.spec.paused]
    # Whoever mends what has stopped the others goes first.
    changed.sort(key=lambda node: (standings.get(node.name) is not Standing.STOPPED, node.name))
    under_way = [
        name for name, each in standings.items() if each is Standing.UNDER_WAY and given_to(policies[name])
    ]
    taking = [node.name for node in changed if wish_of(node).within(given_to(policies.get(node.name)))]
    wanting = [node.name for node in changed if node.name not in taking]
    free = 0 if stopped else max_unavailable - len(under_way)
    # One that is under way already, and gets another one meanwhile, does not count twice.
    given = [name for name in wanting if name in under_way] if not stopped and free >= 0 else []
    given += [name for name in wanting if name not in under_way][: max(0, free)]
    roll = Roll(policies, sorted(stopped), frozenset([*given, *taking]), sorted({*under_way, *given}))
    actions, verdicts = [], {}
    for node in nodes:
        present = policies.get(node.name)
        kept = given_to(present)
        wanted = policy_of(node, told, wish_of(node) if node.name in roll.chosen else kept)
        if registered(node) and (present is None or present.spec != wanted.spec):
            actions.append(ApplyPolicy(wanted))
        if wish_of(node) or kept:
            verdicts[node.name] = _verdict(node, present, roll)
    return actions, verdicts


def wish_of(node: Node) -> Wish:
    """What its Node says."""
    return Wish(node.spec.firewall, node.spec.uplinks)


def given_to(policy: HostPolicy | None) -> Wish:
    """What its agent has been told."""
    return Wish() if policy is None else Wish(policy.spec.firewall, policy.spec.uplinks)


def in_force(policy: HostPolicy | None) -> Wish:
    """What its agent has confirmed."""
    return Wish() if policy is None else Wish(policy.status.enforced, policy.status.uplinks)


def told_of(node: Node, policy: HostPolicy | None, verdict: Verdict) -> dict[Type, Verdict]:
    """The verdict, for each half that there is. One that is in force is not to blame for the other."""
    wanted, given, present = wish_of(node), given_to(policy), in_force(policy)
    halves = {
        Type.HOST_FIREWALL: (wanted.firewall, given.firewall, present.firewall),
        Type.UPLINKS: (wanted.uplinks, given.uplinks, present.uplinks),
    }
    settled = {each for each, (want, _, has) in halves.items() if want and want == has}
    blameless = settled if verdict.status is not True and wanted != present else set()
    return {
        each: Verdict(True, Reason.IN_FORCE, "") if each in blameless else verdict
        for each, (want, gave, _) in halves.items()
        if want or gave
    }


def node_addresses(nodes: Sequence[Node]) -> list[str]:
    """Every address that a node of the cluster is known by."""
    known = (each for node in nodes for each in (node.spec.addresses, node.status.addresses) if each)
    return sorted({text for each in known for text in (each.management, each.tunnel) if text})


def zone_networks(zones: Iterable[NetworkZone]) -> list[str]:
    """Of the zones that can be had or are somewhere: what a tenant asks for and does not get is nobody's."""
    had = (zone for zone in zones if _is_had(zone))
    return sorted({cidr for zone in had for cidr in zone.spec.cidrs})


def _is_had(zone: NetworkZone) -> bool:
    return bool(zone.status.gateway or zone.status.nodes)


def registered(node: Node) -> bool:
    """Whether there is a namespace to write to."""
    return not node.deleting and is_true(node.status, Type.NODE_REGISTERED)


def policy_of(node: Node, told: Told, wish: Wish) -> HostPolicy:
    """The node's HostPolicy."""
    return HostPolicy(
        metadata=Metadata(
            name=HOST_POLICY_NAME,
            namespace=node_namespace(node.name),
            labels={LABEL_NODE: node.name, LABEL_MANAGED_BY: "dsecos-operator"},
        ),
        spec=HostPolicySpec(
            nodes=told.nodes,
            zones=told.zones,
            firewall=wish.firewall,
            uplinks=list(wish.uplinks),
            paused=node.spec.paused or None,
        ),
    )


def standing(policy: HostPolicy) -> Standing:
    """What the agent says of it."""
    ready, current = _ready(policy), _answered(policy)
    if current and ready is not None and ready.reason in STOPS:
        return Standing.STOPPED
    return Standing.SETTLED if current and is_true(policy.status, Type.READY) else Standing.UNDER_WAY


def _answered(policy: HostPolicy) -> bool:
    """Whether its status is about this wish: what else the policy tells changes without one."""
    if policy.status.observed_generation == policy.metadata.generation:
        return True
    return bool(given_to(policy)) and in_force(policy) == given_to(policy)


def _changed(node: Node, policy: HostPolicy | None) -> bool:
    return registered(node) and wish_of(node) != given_to(policy)


def _verdict(node: Node, policy: HostPolicy | None, roll: Roll) -> Verdict:
    if not registered(node):
        return Verdict(False, Reason.PENDING, "waits until the node is registered")
    if node.name not in roll.chosen and _changed(node, policy):
        return _waits(node, roll)
    ready = None if policy is None else _ready(policy)
    if policy is None or ready is None or node.name in roll.chosen or not _answered(policy):
        return Verdict(False, Reason.PROGRESSING, "its agent has been told")
    return Verdict(ready.status == ConditionStatus.TRUE, Reason(ready.reason), ready.message)


def _waits(node: Node, roll: Roll) -> Verdict:
    if node.spec.paused:
        return Verdict(None, Reason.PAUSED, "spec.paused keeps the change back")
    if roll.stopped:
        ready = _ready(roll.policies[roll.stopped[0]])
        why = "" if ready is None else ready.message
        text = f"it keeps what it had, because node {roll.stopped[0]} did not take its own: {why}"
        return Verdict(False, Reason.ROLLOUT_STOPPED, text)
    return Verdict(False, Reason.PENDING, f"waits for its turn, after node {', '.join(roll.busy[:5])}")


def _ready(policy: HostPolicy) -> Condition | None:
    return next((each for each in policy.status.conditions if each.type == Type.READY), None)
