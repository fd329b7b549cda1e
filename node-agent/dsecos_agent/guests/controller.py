"""The Guest controller: look, plan, act, until there is nothing left to do; then tell.

A pass takes a fraction of a second, since what lasts (waiting for dockerd, `docker compose up`) goes on
beside it. What wakes a guest: its object, its zone's, its init's death (pidfd), its links (netlink), its
containers (Docker's events), the end of a bring-up, an imported template; and every five minutes nothing in
particular.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason, Type
from dsecos_api.names import AGENT_FINALIZER
from dsecos_runtime import (
    GUEST,
    ZONE_ATTACHMENT,
    Controller,
    Input,
    Key,
    Requeue,
    Runtime,
    Terminal,
    get_logger,
    ignoring_status,
    is_true,
)

from dsecos_agent.compose.protocol import Compose
from dsecos_agent.engines.model import GuestState
from dsecos_agent.engines.protocol import Engine, Watch
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.act import Actor, Target, run_stages
from dsecos_agent.guests.bringup import BringUps
from dsecos_agent.guests.desired import Block, Wanted, wanted
from dsecos_agent.guests.failures import ActionFailedError, explain, final
from dsecos_agent.guests.leftovers import Leftovers
from dsecos_agent.guests.observe import Observer
from dsecos_agent.guests.plan import plan
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.report import status
from dsecos_agent.guests.state import Observed, Phase
from dsecos_agent.node.inventory import Inventory

ROUNDS = 5
"""Looks in one pass.

Two or three are the rule; more means that somebody works against us, and others wait.
"""

QUIET = 10.0
"""Seconds for which the wait for a started guest's dockerd is not worth a status of its own."""

SHORTLY = 0.2
"""Seconds until another look at what the kernel or the engine is about to end."""


@dataclass(slots=True)
class _Life:
    """What accompanies a guest while it runs."""

    docker_events: Watch | None = None
    pending_since: float = field(default_factory=time.monotonic)


class GuestController(Controller):
    """Converges each Guest of this node."""

    name = "guest"
    outputs = (GUEST,)
    workers = 8
    resync = 300.0

    def __init__(
        self,
        runtime: Runtime,
        node: Inventory,
        *,
        engine: Engine,
        compose: Compose,
        observer: Observer,
        actor: Actor,
        bring_ups: BringUps,
        records: Records,
        leftovers: Leftovers,
    ) -> None:
        """`node` tells pools and templates."""
        super().__init__()
        self._runtime = runtime
        self._node = node
        self._engine = engine
        self._compose = compose
        self._observer = observer
        self._actor = actor
        self._bring_ups = bring_ups
        self._records = records
        self._leftovers = leftovers
        self._lives: dict[str, _Life] = {}
        self.inputs = (
            Input(GUEST, changed=ignoring_status),
            Input(ZONE_ATTACHMENT, keys=self._guests_of, changed=ignoring_status),
        )
        bring_ups.wake = self.wake_guest

    def wake_guest(self, name: str) -> None:
        """Look at one guest."""
        self.wake(Key(self._node.namespace, name))

    def _guests_of(self, attachment: ZoneAttachment) -> Iterable[Key]:
        for guest in self._runtime.cache.list(GUEST, attachment.namespace):
            if guest.spec.network.attachment == attachment.name:
                yield Key.of(guest)

    async def seed(self) -> Iterable[Key]:
        """Guests of which only a record is left."""
        return [Key(self._node.namespace, name) for name in self._records.names()]

    async def reconcile(self, key: Key) -> Requeue | None:
        """One guest."""
        guest = self._runtime.cache.get(GUEST, key)
        if guest is None:
            self._end_life(key.name)
            return await self._leftovers.settle(key.name)
        if not guest.deleting and not guest.spec.paused:
            guest = await self._runtime.cluster.add_finalizer(GUEST, guest, AGENT_FINALIZER)
        if guest.deleting and AGENT_FINALIZER not in guest.metadata.finalizers:
            return None  # others' finalizers keep it; ours is done
        wish = self._wanted(guest)
        try:
            seen, left = await self._converge(guest, wish)
        except ActionFailedError as failed:
            await self._fail(guest, wish, failed)
            raise failed.error from None
        if left is None:
            return None
        self._accompany(wish, seen)
        if self._worth_telling(guest, wish, seen):
            await self._tell(guest, wish, seen)
        return self._again(wish, seen, left)

    async def _converge(self, guest: Guest, wish: Wanted) -> tuple[Observed, list[do.Action] | None]:
        """Look and act until nothing is left; returns the last look and what it leaves to do, None when the
        guest is gone.
        """
        target = Target(wish.name, wish.owner_uid, wish, lambda: self._let_go(guest))
        for _ in range(ROUNDS):
            seen = await self._observer.observe(wish)
            actions = plan(wish, seen)
            if not actions:
                return seen, []
            await run_stages(self._actor, target, actions)
            self._announce(guest, seen, actions)
            if any(isinstance(action, do.RemoveFinalizer) for action in actions):
                self._end_life(wish.name)
                return seen, None
        seen = await self._observer.observe(wish)
        return seen, plan(wish, seen)

    def _wanted(self, guest: Guest) -> Wanted:
        key = Key(guest.namespace, guest.spec.network.attachment)
        attachment = self._runtime.cache.get(ZONE_ATTACHMENT, key)
        return wanted(guest, attachment, self._node.facts(), self._engine.digest)

    async def _let_go(self, guest: Guest) -> None:
        await self._runtime.cluster.remove_finalizer(GUEST, guest, AGENT_FINALIZER)

    # What accompanies a running guest

    def _accompany(self, wish: Wanted, seen: Observed) -> None:
        life = self._lives.setdefault(wish.name, _Life())
        if seen.alive:
            self._engine.watch(wish.name, self.wake_guest)
        if seen.running and life.docker_events is None and wish.run == "Running":
            life.docker_events = self._compose.subscribe(wish.shared, lambda: self._docker_changed(wish.name))
        elif not seen.running and life.docker_events is not None:
            life.docker_events.close()
            life.docker_events = None

    def _docker_changed(self, name: str) -> None:
        # A bring-up changes containers all the time and tells when it has ended.
        if self._bring_ups.state(name) is None:
            self._bring_ups.nudge(name)
            self.wake_guest(name)

    def _end_life(self, name: str) -> None:
        life = self._lives.pop(name, None)
        if life is not None and life.docker_events is not None:
            life.docker_events.close()
        self._observer.forget(name)

    # Telling

    def _worth_telling(self, guest: Guest, wish: Wanted, seen: Observed) -> bool:
        """A guest on its way is told of when its services are being brought up, not at every step before."""
        if wish.deleting:
            return False
        life = self._lives[wish.name]
        on_its_way = seen.bring_up is not None and seen.bring_up.phase is Phase.WAITING
        if not on_its_way or is_true(guest.status, Type.READY):
            life.pending_since = time.monotonic()
            return True
        return time.monotonic() - life.pending_since > QUIET

    async def _tell(self, guest: Guest, wish: Wanted, seen: Observed, failure: Block | None = None) -> None:
        told = status(guest, wish, seen, failure)
        await self._runtime.status.write(GUEST, guest, told)
        before = next((each for each in guest.status.conditions if each.type == Type.READY), None)
        now = next(each for each in told.conditions if each.type == Type.READY)
        moving = is_true(told, Type.RECONCILING)
        if before is None or before.reason == now.reason or moving:
            return
        if now.status == "True":
            self._runtime.events.normal(GUEST, guest, now.reason, now.message or "as wanted")
        elif now.reason != Reason.PAUSED:
            self._runtime.events.warning(GUEST, guest, now.reason, now.message)

    async def _fail(self, guest: Guest, wish: Wanted, failed: ActionFailedError) -> None:
        block = explain(failed)
        log = getattr(failed.error, "log", "")
        get_logger().warning("action failed", action=failed.action.name, error=str(failed.error), log=log)
        seen = await self._observer.observe(wish)
        self._accompany(wish, seen)
        await self._tell(guest, wish, seen, block)
        if final(failed):
            raise Terminal(str(failed.error)) from failed.error

    def _announce(self, guest: Guest, before: Observed, actions: Sequence[do.Action]) -> None:
        names = {type(action) for action in actions}
        if do.Start not in names:
            return
        if do.Stop in names:
            text = "restarted: its configuration had changed"
            if before.port_lost:
                text = "restarted: its network port was gone"
            self._runtime.events.normal(GUEST, guest, "Restarted", text)
        elif before.record is not None and before.record.started and before.record.autostart:
            self._runtime.events.warning(
                GUEST, guest, "Restarted", "the guest had stopped and was started again"
            )
        else:
            self._runtime.events.normal(GUEST, guest, "Started", "the guest was started")

    def _again(self, wish: Wanted, seen: Observed, left: Sequence[do.Action]) -> Requeue | None:
        if left:
            return Requeue(SHORTLY)
        stopping = seen.engine is not None and seen.engine.state is GuestState.STOPPING
        if stopping or (wish.deleting and seen.port is not None):
            return Requeue(SHORTLY)
        if seen.problem is not None and seen.bring_up is None and seen.running:
            due = self._bring_ups.due_in(wish.name)
            return None if due is None else Requeue(due)
        if seen.bring_up is not None and seen.bring_up.phase is Phase.WAITING:
            return Requeue(QUIET)
        return None
