"""A pretend agent: the only thing in these tests that is not real.

It holds the node agent's real credential and writes what an agent writes: heartbeat, the Node's status,
finalizers, and the status of Guests and ZoneAttachments. It runs no container. What a real agent does is
tested with the node agent and end to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dsecos_api import Guest, Node, Reason, Type, ZoneAttachment
from dsecos_api.conditions import GUEST_STEPS
from dsecos_api.guest import GuestStatus
from dsecos_api.lifecycle import Cause, Lifecycle, LifecycleState
from dsecos_api.names import AGENT_FINALIZER, AGENT_LEASE, node_namespace
from dsecos_api.node import Addresses, NodeStatus, ResourceCount
from dsecos_api.stack import ServiceStatus
from dsecos_api.types import DeletionPolicy, RunPolicy
from dsecos_api.zoneattachment import ZoneAttachmentStatus
from dsecos_runtime import GUEST, NODE, ZONE_ATTACHMENT, Cluster, ClusterError, Conditions, Heartbeat

EVERY = 0.1
"""Seconds between two looks."""


@dataclass
class Engine:
    """A cluster's engine: where each Stack's guest is, by UID. Its nodes are called as the Nodes are."""

    name: str
    where: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    """Why it moves no guest."""


class PretendAgent:
    """One node's agent. `holding` True: it looks and answers nothing, as if it were slow."""

    def __init__(
        self, kubeconfig: Path, node: str, memory: str = "8Gi", engine: Engine | None = None
    ) -> None:
        """`engine`: shared by the nodes of a cluster between which guests can be moved."""
        self.cluster = Cluster.connect(kubeconfig, field_manager="dsecos-agent")
        self.node, self.namespace, self.memory = node, node_namespace(node), memory
        self.engine = engine
        self.holding = False
        self.capabilities = ["container/Adopt"]
        if engine is not None:
            self.capabilities += ["container/Migrate", "container/OwnDisks"]
        self.tunnel: str | None = None
        self.tunnel_mtu: int | None = None
        self.refusal: tuple[Reason, str] | None = None
        """Reason and message that every guest fails with."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Report the node and begin to look."""
        found = await self.cluster.get(NODE, self.node)
        await self.report(found)
        await self.beat()
        self._task = asyncio.create_task(self._run(), name=f"agent of {self.node}")

    async def stop(self) -> None:
        """Stop looking, as if killed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.cluster.close()

    async def beat(self, duration: int = 40) -> None:
        """Renew the Lease once."""
        await Heartbeat(
            self.cluster, self.namespace, AGENT_LEASE, identity="pretend", duration=duration
        ).beat()

    async def tell(self) -> None:
        """Report the node again, as the fields of this agent now say."""
        await self.report(await self.cluster.get(NODE, self.node))

    async def report(self, node: Node) -> None:
        """Ready, with what the node has."""
        conditions = Conditions(None, node.metadata.generation)
        conditions.ready(Reason.AGENT_REPORTING, "a pretend agent reports")
        count = ResourceCount(cpu="4", memory=self.memory, guests="100")
        await self.cluster.apply_status(
            NODE,
            node,
            NodeStatus(
                observed_generation=node.metadata.generation,
                conditions=conditions.build(),
                addresses=Addresses(management="192.0.2.1", tunnel=self.tunnel),
                tunnel_mtu=self.tunnel_mtu,
                capacity=count,
                allocatable=count,
                engine_cluster=self.engine.name if self.engine is not None else None,
                capabilities=self.capabilities,
            ),
        )

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ClusterError):
                if not self.holding:
                    await self._look()
            await asyncio.sleep(EVERY)

    async def _look(self) -> None:
        for attachment in await self.cluster.list(ZONE_ATTACHMENT, self.namespace):
            await self._attachment(attachment)
        for guest in await self.cluster.list(GUEST, self.namespace):
            await self._guest(guest)

    async def _attachment(self, attachment: ZoneAttachment) -> None:
        if attachment.deleting:
            await self.cluster.remove_finalizer(ZONE_ATTACHMENT, attachment, AGENT_FINALIZER)
            return
        if attachment.status.observed_generation == attachment.metadata.generation:
            return
        attachment = await self.cluster.add_finalizer(ZONE_ATTACHMENT, attachment, AGENT_FINALIZER)
        conditions = Conditions(attachment.status, attachment.metadata.generation)
        conditions.ready(Reason.IN_FORCE)
        status = ZoneAttachmentStatus(
            observed_generation=attachment.metadata.generation, bridge="dsz0", conditions=conditions.build()
        )
        await self.cluster.apply_status(ZONE_ATTACHMENT, attachment, status)

    async def _guest(self, guest: Guest) -> None:
        uid = guest.spec.stack_ref.uid
        if guest.deleting:
            if self.engine is not None and guest.spec.deletion_policy != DeletionPolicy.ORPHAN:
                assert self.engine.where.pop(uid, self.node) == self.node, "destroyed from afar"
            await self.cluster.remove_finalizer(GUEST, guest, AGENT_FINALIZER)
            return
        current = guest.status.observed_generation == guest.metadata.generation
        if current and (self.refusal is None) == _ready(guest):
            return
        guest = await self.cluster.add_finalizer(GUEST, guest, AGENT_FINALIZER)
        conditions = Conditions(guest.status, guest.metadata.generation, order=GUEST_STEPS)
        compose = guest.spec.compose
        for step in GUEST_STEPS:
            conditions.true(step, Reason.ADOPTED if compose is None else Reason.AVAILABLE)
        failed = self._moved(guest)
        if failed:
            conditions.false(Type.GUEST_READY, Reason.MIGRATION_FAILED, failed)
            conditions.reconciling(Reason.MIGRATION_FAILED, failed)
        elif self.refusal is None:
            conditions.ready(Reason.RUNNING)
        else:
            conditions.false(Type.SERVICES_READY, *self.refusal)
            conditions.stalled(*self.refusal)
        state = "Running" if guest.spec.run_policy == RunPolicy.RUNNING else "Stopped"
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document: dict[str, Any] = json.loads(compose.document) if compose is not None else {"services": {}}
        status = GuestStatus(
            observed_generation=guest.metadata.generation,
            epoch=guest.spec.epoch,
            compose_digest=compose.digest if compose is not None else None,
            started_at=moment,
            lifecycle=Lifecycle(state=LifecycleState(state), since=moment, cause=Cause.RUN_POLICY),
            engine_node=self.engine.where.get(uid) if self.engine is not None else None,
            restart=guest.spec.restart,
            services=[
                ServiceStatus(name=name, image=service["image"], state="running")
                for name, service in sorted(document["services"].items())
            ],
            conditions=conditions.build(),
        )
        await self.cluster.apply_status(GUEST, guest, status)

    def _moved(self, guest: Guest) -> str:
        """Make, take over or move the guest in the engine; why that failed."""
        if self.engine is None:
            return ""
        where, order = self.engine.where, guest.spec.migrate
        where.setdefault(guest.spec.stack_ref.uid, self.node)
        if order is None or where[guest.spec.stack_ref.uid] != self.node:
            return ""
        if self.engine.refusal:
            return self.engine.refusal
        where[guest.spec.stack_ref.uid] = order.engine_node
        return ""


def _ready(guest: Guest) -> bool:
    return any(each.type == Type.READY and each.status == "True" for each in guest.status.conditions)
