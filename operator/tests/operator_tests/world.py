"""A small world for the Stack's plan: what API server, agent and zone do with its actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dsecos_api import Guest, NetworkZone, Stack
from dsecos_api.names import OPERATOR_FINALIZER, node_namespace
from dsecos_operator.kinds import ANNOTATION_DIGEST, LABEL_RETAINED, ConfigMapStamp, Stamp, node_of
from dsecos_operator.scheduling import Rules
from dsecos_operator.stacks import desired, retained
from dsecos_operator.stacks.actions import (
    Action,
    AddFinalizer,
    ApplyGuest,
    ApplySecret,
    DeleteGuest,
    DeleteSecret,
    Remember,
    RemoveFinalizer,
    WriteClaim,
)
from dsecos_operator.stacks.assign import assign, assign_adopted
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.departure import Surroundings
from dsecos_operator.stacks.guests import secret_of
from dsecos_operator.stacks.observe import Observed
from dsecos_operator.stacks.occupancy import occupants
from dsecos_operator.stacks.plan import Desired, plan

from .objects import node, stack, zone

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SPACE = node_namespace("node-1")
HERE = node(capabilities=["container/Adopt"])


@dataclass
class World:
    """One Stack's surroundings."""

    stack: Stack | None = field(default_factory=stack)
    zone: NetworkZone = field(default_factory=zone)
    document: str = "one"
    digest: str | None = "secret-1"
    broken: bool = False
    """Rendering fails."""
    guests: dict[str, Guest] = field(default_factory=dict)
    secrets: dict[str, Stamp] = field(default_factory=dict)
    attached: bool = False
    kept: dict[str, str] = field(default_factory=dict)

    def observed(self) -> Observed:
        config_map = ConfigMapStamp.parse(
            {
                "metadata": {
                    "name": retained.CONFIG_MAP,
                    "namespace": SPACE,
                    "labels": {LABEL_RETAINED: "true"},
                },
                "data": self.kept,
            }
        )
        return Observed(
            stack=self.stack,
            zone=self.zone,
            node=HERE,
            guests=tuple(self.guests.values()),
            secrets=tuple(self.secrets.values()),
            attachment=_ATTACHMENT if self.attached else None,
            retained=(config_map,),
        )

    def desired(self) -> Desired:
        if self.stack is None or self.stack.deleting or self.broken:
            return Desired()
        observed = self.observed()
        around = Surroundings(
            [HERE], [self.zone], occupants([self.stack], self.guests.values()), Rules(), NOW
        )
        adoption = self.stack.spec.adopt
        if adoption is not None:
            kept = assign_adopted(self.stack, adoption, around, present=observed.claim, guest=observed.guest)
            return Desired(kept, desired.adopted(self.stack, adoption, kept))
        claim = assign(
            self.stack,
            self.zone,
            around,
            present=observed.claim,
            guest=observed.guest,
            data_on=retained.home(observed.retained, self.stack),
        )
        present = observed.guest
        guest = desired.guest(
            self.stack,
            self.zone,
            claim,
            document=self.document,
            secret_digest=self.digest,
            id_base=present.spec.id_map.base if present and present.spec.id_map else 1_000_000,
        )
        return Desired(claim, guest, self.digest)

    def plan(self) -> list[Action]:
        return plan(self.observed(), self.desired(), NOW)

    def reconcile(self, killed_after: int | None = None) -> int:
        """One pass; `killed_after` actions the operator is gone. Returns how many were done."""
        actions = self.plan()[:killed_after]
        for action in actions:
            self.perform(action)
        return len(actions)

    def perform(self, action: Action) -> None:
        match action:
            case AddFinalizer():
                self._change_stack(finalizers=[OPERATOR_FINALIZER])
            case WriteClaim(claim):
                assert self.stack is not None
                assert OPERATOR_FINALIZER in self.stack.metadata.finalizers, "claimed without a finalizer"
                self.stack = self.stack.model_copy(
                    update={"status": self.stack.status.model_copy(update=vars(claim))}
                )
            case ApplySecret(namespace, name, digest):
                self.secrets[name] = _stamp(namespace, name, digest)
            case DeleteSecret(stamp):
                del self.secrets[stamp.name]
            case ApplyGuest(guest):
                self._apply(guest)
            case DeleteGuest(guest):
                self._going(guest)
            case Remember(_, entry):
                assert self.stack is not None
                key = retained.entry_key(self.stack)
                self.kept.pop(key, None) if entry is None else self.kept.update({key: entry})
            case RemoveFinalizer():
                assert self.stack is not None
                assert self.stack.deleting
                assert (self.guests, self.secrets, self.attached) == ({}, {}, False), (
                    "the finalizer went too early"
                )
                self.stack = None

    def others(self) -> None:
        """The agent removes what it was told to; the zone comes and goes with the guests."""
        self.guests = {name: each for name, each in self.guests.items() if not each.deleting}
        claimed = self.stack is not None and not self.stack.deleting and claim_of(self.stack) is not None
        zoned = claimed and self.stack is not None and self.stack.spec.zone is not None
        self.attached = zoned or any(each.spec.network is not None for each in self.guests.values())

    def settle(self) -> None:
        """Until nobody has anything to do."""
        for _ in range(20):
            done = self.reconcile()
            before = (dict(self.guests), self.attached)
            self.others()
            if done == 0 and before == (self.guests, self.attached):
                return
        raise AssertionError(f"it never settles: {self.plan()}")

    # What users do

    def edit(self, **changes: Any) -> None:
        """Change the Stack's spec."""
        if self.stack is None:
            return
        raw = self.stack.to_dict()
        raw["spec"] |= changes
        raw["metadata"]["generation"] += 1
        self.stack = Stack.parse(raw)

    def delete(self) -> None:
        """kubectl delete stack."""
        if self.stack is None:
            return
        if not self.stack.metadata.finalizers:
            self.stack = None
            return
        self._change_stack(deletion_timestamp="2026-11-22T00:00:00Z")

    def lose_guest(self) -> None:
        """kubectl delete guest, by hand."""
        for guest in list(self.guests.values()):
            self._going(guest)

    def lose_secret(self) -> None:
        """kubectl delete secret, by hand."""
        self.secrets.clear()

    def _apply(self, guest: Guest) -> None:
        assert self.stack is not None
        claim = claim_of(self.stack)
        assert claim is not None, "a guest without a claim"
        assert (claim.node, claim.guest) == (node_of(guest.namespace), guest.name)
        present = self.guests.get(guest.name)
        if present is None and secret_of(guest) is not None:
            assert secret_of(guest) in self.secrets, "a guest ahead of its secret"
        deletion = present.metadata.deletion_timestamp if present else None
        metadata = guest.metadata.model_copy(update={"uid": guest.name, "deletion_timestamp": deletion})
        self.guests[guest.name] = guest.model_copy(update={"metadata": metadata})

    def _going(self, guest: Guest) -> None:
        metadata = guest.metadata.model_copy(update={"deletion_timestamp": "2026-11-22T00:00:00Z"})
        self.guests[guest.name] = self.guests[guest.name].model_copy(update={"metadata": metadata})

    def _change_stack(self, **changes: Any) -> None:
        assert self.stack is not None
        self.stack = self.stack.model_copy(
            update={"metadata": self.stack.metadata.model_copy(update=changes)}
        )


def _stamp(namespace: str, name: str, digest: str) -> Stamp:
    metadata = {"name": name, "namespace": namespace, "annotations": {ANNOTATION_DIGEST: digest}}
    return Stamp.parse({"metadata": metadata})


_ATTACHMENT: Any = object()
"""That it is there is all that the plan asks."""
