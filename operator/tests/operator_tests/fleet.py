"""Several nodes, their agents and engines, and the operator's real code between them, without an API server.

An event is one pass of somebody; an operator may be killed after any of its actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from dsecos_api import Guest, NetworkZone, Node, Reason, Stack, Type, ZoneAttachment
from dsecos_api.lifecycle import Lifecycle, LifecycleState
from dsecos_api.names import OPERATOR_FINALIZER, node_namespace
from dsecos_api.types import DeletionPolicy, RunPolicy
from dsecos_operator.kinds import ANNOTATION_DIGEST, SECRET_STAMP, Stamp, node_of
from dsecos_operator.license.check import check
from dsecos_operator.maintenance import report, view
from dsecos_operator.maintenance.drain import Standing
from dsecos_operator.rendering import Rendering
from dsecos_operator.scheduling import Rules
from dsecos_operator.stacks.actions import (
    Action,
    AddFinalizer,
    ApplyGuest,
    ApplySecret,
    CopySecret,
    DeleteGuest,
    DeleteSecret,
    RemoveFinalizer,
    WriteClaim,
)
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.decide import Prepared, decide
from dsecos_operator.stacks.findings import Findings
from dsecos_operator.stacks.guests import secret_of
from dsecos_operator.stacks.observe import observe
from dsecos_operator.stacks.occupancy import occupants
from dsecos_operator.stacks.plan import Desired, plan
from dsecos_operator.stacks.status import status
from dsecos_operator.zones.whole import settle
from dsecos_runtime import GUEST, NETWORK_ZONE, NODE, STACK, ZONE_ATTACHMENT, Cache, Conditions, Key

from .objects import adopting, node, stack, zone

CAPABILITIES = [f"{kind}/{each}" for kind in ("container", "vm") for each in ("Adopt", "Migrate", "OwnDisks")]
Names = list[str]
SECRET = "secret-1"


def proxmox(name: str, *, cluster: str | None = "rack", **spec: Any) -> Node:
    """A node of a Proxmox VE cluster that has reported."""
    engine = {
        "type": "proxmox",
        "proxmox": {
            "url": "https://pve:8006",
            "node": f"pve-{name}",
            "tokenSecretRef": {"name": "t", "key": "k"},
        },
    }
    found = node(name, engine=engine, **spec)
    update = {"engine_cluster": cluster, "capabilities": CAPABILITIES}
    return found.model_copy(update={"status": found.status.model_copy(update=update)})


@dataclass
class Machine:
    """A guest as the engine has it."""

    at: str
    """Name of the engine's node."""
    running: bool
    epoch: int


@dataclass
class Fleet:
    """What the API holds, and what is real."""

    nodes: dict[str, Node] = field(default_factory=dict)
    stacks: dict[str, Stack] = field(default_factory=dict)
    zones: dict[str, NetworkZone] = field(default_factory=dict)
    guests: dict[tuple[str, str], Guest] = field(default_factory=dict)
    secrets: dict[tuple[str, str], Stamp] = field(default_factory=dict)
    attachments: dict[tuple[str, str], ZoneAttachment] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    """By the Stack's UID."""
    outside: dict[str, Machine] = field(default_factory=dict)
    """Those of somebody else, by their ids in the engine."""
    carried: set[str] = field(default_factory=set)
    """UIDs of Stacks whose guests somebody else has moved."""
    sick: set[str] = field(default_factory=set)
    """Stacks whose services are unhealthy, by no doing of the operator's."""
    refusing: set[str] = field(default_factory=set)
    """Engine's nodes that no guest can be moved to."""
    refusal: Reason = Reason.MIGRATION_FAILED
    """What agents say then."""
    now: datetime = datetime(2026, 11, 22, tzinfo=UTC)
    done: list[str] = field(default_factory=list)
    """Names of the actions, in order."""

    # What users do

    def add_node(self, added: Node) -> None:
        """Join a node."""
        self.nodes[added.name] = added

    def add(self, name: str, **spec: Any) -> None:
        """Apply a Stack in a zone of its own."""
        number = len(self.zones)
        zone_name = spec.pop("zone", f"zone-{name}")
        self.zones.setdefault(zone_name, zone(f"10.20.{number}.0/24", name=zone_name))
        self.stacks[name] = stack(name, zone=zone_name, **spec)

    def make_by_hand(self, engine_id: str, at: str, running: bool = True) -> None:
        """A guest that DsecOS knows nothing of."""
        self.outside[engine_id] = Machine(self._engine_node(at), running, 0)

    def adopt(self, name: str, *, on: str, engine_id: str = "105", **spec: Any) -> None:
        """Apply a Stack that takes such a guest over."""
        self.stacks[name] = adopting(name, on=on, engine_id=engine_id, **spec)

    def edit(self, name: str, **spec: Any) -> None:
        """Change a Stack's spec; None removes a field."""
        raw = self.stacks[name].to_dict()
        merged = {**raw["spec"], **spec}
        raw["spec"] = {key: value for key, value in merged.items() if value is not None}
        raw["metadata"]["generation"] += 1
        self.stacks[name] = Stack.parse(raw)

    def maintain(self, name: str, on: bool = True, **drain: Any) -> None:
        """Begin or end a node's maintenance."""
        raw = self.nodes[name].to_dict()
        raw["spec"]["maintenance"] = on
        raw["spec"]["drain"] = drain
        self.nodes[name] = Node.parse(raw)

    def suspend(self, name: str) -> None:
        """Its agent says that it is suspended."""
        for key, guest in self.guests.items():
            if guest.spec.stack_ref.name == name and guest.status.lifecycle is not None:
                lifecycle = guest.status.lifecycle.model_copy(update={"state": LifecycleState.SUSPENDED})
                seen = guest.status.model_copy(update={"lifecycle": lifecycle})
                self.guests[key] = guest.model_copy(update={"status": seen})

    def carry(self, name: str, to: str) -> None:
        """Somebody moves a Stack's guest, without asking."""
        uid = self.stacks[name].uid
        self.machines[uid].at = self._engine_node(to)
        self.carried.add(uid)

    def delete(self, name: str) -> None:
        """kubectl delete stack."""
        metadata = self.stacks[name].metadata.model_copy(
            update={"deletion_timestamp": "2026-11-22T00:00:00Z"}
        )
        self.stacks[name] = self.stacks[name].model_copy(update={"metadata": metadata})

    # The cache's part that observe() reads

    def get(self, resource: Any, key: Key) -> Any:
        """One object."""
        pools: dict[Any, Any] = {
            STACK: self.stacks.get(key.name),
            NODE: self.nodes.get(key.name),
            NETWORK_ZONE: self.zones.get(key.name),
            ZONE_ATTACHMENT: self.attachments.get((key.namespace, key.name)),
        }
        return pools[resource]

    def list(self, resource: Any, namespace: str = "", *, label: tuple[str, str] | None = None) -> list[Any]:
        """All objects of a kind, by label."""
        pools: dict[Any, Any] = {
            STACK: self.stacks,
            NODE: self.nodes,
            NETWORK_ZONE: self.zones,
            GUEST: self.guests,
            SECRET_STAMP: self.secrets,
        }
        return [
            each
            for each in pools.get(resource, {}).values()
            if (not namespace or each.namespace == namespace)
            and (label is None or each.metadata.labels.get(label[0]) == label[1])
        ]

    # The operator

    def world(self) -> view.World:
        """What the operator decides by."""
        stacks, guests = list(self.stacks.values()), list(self.guests.values())
        return view.World(
            list(self.nodes.values()),
            list(self.zones.values()),
            stacks,
            guests,
            occupants(stacks, guests),
            Rules(),
            self.now,
        )

    def reconcile(self, name: str, killed_after: int | None = None) -> int:
        """One pass over a Stack; `killed_after` actions the operator is gone. Returns how many were done."""
        cache = cast(Cache, self)
        found = self.stacks.get(name)
        if found is None:
            return 0
        observed = observe(cache, Key(found.namespace, name))
        if found.deleting:
            actions, findings = plan(observed, Desired(), self.now), Findings(check([]), observed.claim)
        else:
            rendered = Prepared(Rendering(document="{}", services=(), volumes=(), ports=()), SECRET)
            prepared = found.spec.adopt or rendered
            wanted, findings = decide(found, observed, prepared, self.world(), 1_000_000)
            actions = plan(observed, wanted, self.now)
        for number, action in enumerate(actions):
            if number == killed_after:
                return number
            self.perform(name, action, findings)
            self.done.append(action.name)
        if name in self.stacks:
            after = observe(cache, Key(found.namespace, name))
            told = replace(findings, claim=after.claim)
            self._status(name, status(after, self.stacks[name], told))
        return len(actions)

    def perform(self, name: str, action: Action, findings: Findings) -> None:
        """What the API server makes of an action."""
        match action:
            case AddFinalizer():
                self._metadata(name, finalizers=[OPERATOR_FINALIZER])
            case WriteClaim(claim):
                observed = observe(cast(Cache, self), Key("acme", name))
                told = replace(findings, claim=claim)
                self._status(name, status(observed, self.stacks[name], told))
                assert claim_of(self.stacks[name]) == claim
            case ApplySecret(namespace, secret, digest):
                self.secrets[namespace, secret] = _stamp(self.stacks[name], namespace, secret, digest)
            case CopySecret(stamp, namespace):
                digest = stamp.metadata.annotations[ANNOTATION_DIGEST]
                self.secrets[namespace, stamp.name] = _stamp(self.stacks[name], namespace, stamp.name, digest)
            case DeleteSecret(stamp):
                del self.secrets[stamp.namespace, stamp.name]
            case ApplyGuest(guest):
                self._apply(guest)
            case DeleteGuest(guest):
                self._change(guest, metadata={"deletion_timestamp": "2026-11-22T00:00:00Z"})
            case RemoveFinalizer():
                del self.stacks[name]

    def _apply(self, guest: Guest) -> None:
        key = (guest.namespace, guest.name)
        present = self.guests.get(key)
        claims = {claim.node for each in self.stacks.values() if (claim := claim_of(each))}
        assert node_of(guest.namespace) in claims or present is not None, "a guest without a claim"
        if present is None and secret_of(guest) is not None:
            assert key in self.secrets, "a guest ahead of its secret"
        generation = (present.metadata.generation or 0) + 1 if present is not None else 1
        deletion = present.metadata.deletion_timestamp if present is not None else None
        update = {"uid": guest.name, "generation": generation, "deletion_timestamp": deletion}
        metadata = guest.metadata.model_copy(update=update)
        kept = present.status if present is not None else guest.status
        self.guests[key] = guest.model_copy(update={"metadata": metadata, "status": kept})

    # The others

    def zone_pass(self) -> None:
        """The zone's controller and the agents: every node that needs a zone has it in force."""
        self.attachments.clear()
        everybody = self.zones.values(), self.stacks.values(), self.guests.values(), self.nodes.values()
        zones, attachments = settle(*everybody)
        self.zones = {each.name: each for each in zones}
        for made in attachments:
            conditions = Conditions(None, 1)
            conditions.ready(Reason.IN_FORCE)
            seen = made.status.model_copy(update={"observed_generation": 1, "conditions": conditions.build()})
            metadata = made.metadata.model_copy(update={"generation": 1})
            self.attachments[made.namespace, made.name] = made.model_copy(
                update={"status": seen, "metadata": metadata}
            )

    def agent_pass(self, name: str) -> bool:
        """One look of a node's agent at its guests. Returns whether anything changed."""
        before = (dict(self.guests), {uid: vars(each).copy() for uid, each in self.machines.items()})
        for guest in [each for each in self.guests.values() if node_of(each.namespace) == name]:
            self._agent(guest, self._engine_node(name))
        return before != (self.guests, {uid: vars(each) for uid, each in self.machines.items()})

    def _agent(self, guest: Guest, here: str) -> None:
        uid = guest.spec.stack_ref.uid
        machine = self.machines.get(uid)
        if guest.deleting:
            self._end(guest, machine, here)
            del self.guests[guest.namespace, guest.name]
            return
        if machine is None and guest.spec.adopt is not None:
            there = self.outside.get(guest.spec.adopt)
            if there is None or there.at != here:
                self._tell(guest, None, failed=Reason.FAILED)
                return
            machine = self.machines[uid] = self.outside.pop(guest.spec.adopt)
        elif machine is None:
            machine = self.machines[uid] = Machine(here, False, guest.spec.epoch)
        failed = None
        if guest.spec.paused:
            self._tell(guest, machine)
            return
        if machine.at == here:
            assert guest.spec.epoch >= machine.epoch, "an old assignment acts"
            machine.epoch = guest.spec.epoch
            order = guest.spec.migrate
            if order is not None:
                failed = self.refusal if order.engine_node in self.refusing else None
                machine.at = here if failed else order.engine_node
            else:
                machine.running = guest.spec.run_policy == RunPolicy.RUNNING
        self._tell(guest, machine, failed)

    def _end(self, guest: Guest, machine: Machine | None, here: str) -> None:
        """What becomes of a guest whose object is deleted."""
        given_away = guest.spec.migrate is not None and machine is not None and machine.at != here
        if machine is None or given_away:
            return
        uid, policy = guest.spec.stack_ref.uid, guest.spec.deletion_policy
        if guest.spec.adopt is not None and policy != DeletionPolicy.DELETE:
            running = machine.running and policy == DeletionPolicy.ORPHAN
            self.outside[guest.spec.adopt] = Machine(machine.at, running, 0)
            del self.machines[uid]
        elif policy != DeletionPolicy.ORPHAN:
            assert machine.at == here or uid in self.carried, "destroyed from afar"
            del self.machines[uid]

    def _tell(self, guest: Guest, machine: Machine | None, failed: Reason | None = None) -> None:
        """`machine` None: there is none."""
        running = machine is not None and machine.running
        conditions = Conditions(guest.status, guest.metadata.generation)
        if failed is not None:
            conditions.false(Type.GUEST_READY, failed, "storage is not available")
            conditions.stalled(failed, "storage is not available")
        elif guest.spec.stack_ref.name in self.sick and running:
            conditions.reconciling(Reason.UNHEALTHY, "0 of 1 services healthy")
        else:
            conditions.ready(Reason.RUNNING if running else Reason.STOPPED)
        state = LifecycleState.RUNNING if running else LifecycleState.STOPPED
        moment = "2026-11-22T00:00:00Z"
        life = Lifecycle.model_validate({"state": state, "since": moment, "cause": "Created"})
        seen = guest.status.model_copy(
            update={
                "observed_generation": guest.metadata.generation,
                "compose_digest": guest.spec.compose.digest if guest.spec.compose is not None else None,
                "engine_node": machine.at if machine is not None else None,
                "lifecycle": life if machine is not None else None,
                "conditions": [
                    each.model_copy(update={"last_transition_time": moment}) for each in conditions.build()
                ],
            }
        )
        self.guests[guest.namespace, guest.name] = guest.model_copy(update={"status": seen})

    # Looking on

    def settle(self, rounds: int = 60) -> None:
        """Until nobody has anything to do."""
        for _ in range(rounds):
            self.zone_pass()
            before = dict(self.stacks)
            busy = sum(self.reconcile(name) for name in list(self.stacks))
            busy += sum(self.agent_pass(name) for name in self.nodes)
            if not busy and _said(before) == _said(self.stacks):
                return
        raise AssertionError(f"it never settles: {self.done[-20:]}")

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    def outcome(self, name: str) -> report.Outcome:
        """Condition Drained of a node."""
        return report.outcome(*view.drain(self.nodes[name], self.world()))

    def waiting(self, name: str) -> Names:
        """Who waits for what there."""
        return report.progress(*view.drain(self.nodes[name], self.world())).waiting

    def on_the_way(self, name: str) -> int:
        """Guests that leave a node, or are stopped there."""
        residents, _ = view.drain(self.nodes[name], self.world())
        return sum(each.standing in (Standing.MOVING, Standing.STOPPING) for each in residents)

    def place(self, name: str) -> str | None:
        """Where a Stack is by its status."""
        return self.stacks[name].status.node

    def where(self, name: str) -> str:
        """Where its guest really is."""
        return self.machines[self.stacks[name].uid].at.removeprefix("pve-")

    def ready(self, name: str) -> str:
        """Reason of its Ready."""
        return self.reason(name, Type.READY)

    def reason(self, name: str, kind: str) -> str:
        """Reason of a condition."""
        return next((str(each.reason) for each in self.conditions(name) if each.type == kind), "")

    def message(self, name: str, kind: str) -> str:
        """Message of a condition."""
        return next((each.message for each in self.conditions(name) if each.type == kind), "")

    def conditions(self, name: str) -> Iterator[Any]:
        """Conditions of a Stack."""
        yield from self.stacks[name].status.conditions

    def _engine_node(self, name: str) -> str:
        engine = self.nodes[name].spec.engine
        return engine.proxmox.node if engine.proxmox is not None else name

    def _status(self, name: str, new: Any) -> None:
        self.stacks[name] = self.stacks[name].model_copy(update={"status": new})

    def _metadata(self, name: str, **changes: Any) -> None:
        metadata = self.stacks[name].metadata.model_copy(update=changes)
        self.stacks[name] = self.stacks[name].model_copy(update={"metadata": metadata})

    def _change(self, guest: Guest, metadata: dict[str, Any]) -> None:
        key = (guest.namespace, guest.name)
        found = self.guests[key]
        update = {"metadata": found.metadata.model_copy(update=metadata)}
        self.guests[key] = found.model_copy(update=update)


def space(name: str) -> str:
    """A node's namespace."""
    return node_namespace(name)


def _said(stacks: dict[str, Stack]) -> list[tuple[Any, ...]]:
    return [
        (
            name,
            each.status.node,
            each.status.moving_to,
            [(one.type, one.reason) for one in each.status.conditions],
        )
        for name, each in stacks.items()
    ]


def _stamp(owner: Stack, namespace: str, name: str, digest: str) -> Stamp:
    labels = {"dsecos.io/stack": owner.name, "dsecos.io/stack-namespace": owner.namespace}
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": {ANNOTATION_DIGEST: digest},
    }
    return Stamp.parse({"metadata": metadata})
