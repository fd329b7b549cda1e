"""The Guest controller: look, plan, act, until there is nothing left to do; then tell.

A pass takes a fraction of a second, since what lasts (waiting for dockerd, `docker compose up`) goes on
beside it. What wakes a guest: its object, its zone's, its init's death (pidfd), its links (netlink), its
containers (Docker's events), the end of a bring-up, an imported template; and every five minutes nothing in
particular.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.names import AGENT_FINALIZER
from dsecos_api.types import RunPolicy
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
)

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.compose.protocol import Compose
from dsecos_agent.engines.model import GuestState
from dsecos_agent.engines.protocol import Engine, Watch
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.act import Actor, Target, run_stages
from dsecos_agent.guests.blocks import blocks, migration_due
from dsecos_agent.guests.bringup import BringUps
from dsecos_agent.guests.config import startup_of
from dsecos_agent.guests.desired import Wanted, wanted
from dsecos_agent.guests.failures import ActionFailedError, blind, explain, final
from dsecos_agent.guests.leftovers import Leftovers
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.observe import Observer
from dsecos_agent.guests.plan import plan
from dsecos_agent.guests.record import Records
from dsecos_agent.guests.startorder import Candidate, StartOrder
from dsecos_agent.guests.state import Observed, Phase
from dsecos_agent.guests.telling import QUIET, Teller
from dsecos_agent.node.inventory import Inventory

ROUNDS = 5
"""Looks in one pass.

Two or three are the rule; more means that somebody works against us, and others wait.
"""

ENGINE_BUSY = 2.0
"""Seconds until another look at a guest that the engine, or somebody else, is at."""

SHORTLY = 0.2
"""Seconds until another look at what the kernel or the engine is about to end."""


class UnseenError(Exception):
    """The guest could not be looked at."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(str(error))
        self.error = error


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
        lives: Lives,
        order: StartOrder,
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
        self._lives = lives
        self._order = order
        self._leftovers = leftovers
        self._teller = Teller(runtime)
        self._docker_events: dict[str, Watch] = {}
        self._waited: set[str] = set()
        """Guests that were seen waiting for their start."""
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
            network = guest.spec.network
            if network is not None and network.attachment == attachment.name:
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
        if self._node.engine_problem is not None:
            await self._teller.blind(guest, self._node.engine_problem)
            return Requeue(ENGINE_BUSY)  # woken as soon as it is there
        if not guest.deleting and not guest.spec.paused:
            again = await self._end_former(guest)
            if again is not None:
                return again
        if guest.spec.adopt is not None and not guest.deleting:
            self._lives.recall(guest.name, guest.spec.stack_ref.uid, guest.status.lifecycle)
        wish = self._wanted(guest)
        try:
            wish, seen, left = await self._converge(guest, wish)
        except UnseenError as unseen_error:
            await self._teller.blind(guest, blind(unseen_error.error))
            raise unseen_error.error from None
        except ActionFailedError as failed:
            self._turn_is_over(guest, started=False)
            await self._fail(guest, wish, failed)
            raise failed.error from None
        if left is None:
            return None
        self._accompany(wish, seen)
        if not wish.deleting and self._teller.worth(guest, seen):
            await self._teller.tell(guest, wish, seen)
        return self._again(wish, seen, left)

    async def _end_former(self, guest: Guest) -> Requeue | None:
        """An object may be made again before the removal of the former one has ended: that comes first.

        None: nothing is left to end.
        """
        try:
            return await self._leftovers.end_removal(guest.name)
        except (ActionFailedError, AdapterError) as error:
            cause = error.error if isinstance(error, ActionFailedError) else error
            if isinstance(cause, AdapterError):
                await self._teller.blind(guest, blind(cause))
            raise cause from None

    async def _converge(self, guest: Guest, wish: Wanted) -> tuple[Wanted, Observed, list[do.Action] | None]:
        """Look and act until nothing is left; returns the last look and what it leaves to do, None when the
        guest is gone. Raises UnseenError, ActionFailedError.
        """
        for _ in range(ROUNDS):
            wish, seen, actions = await self._look(guest, wish)
            if not actions:
                return wish, seen, []
            if seen.alive and any(isinstance(action, do.Stop | do.Migrate) for action in actions):
                await self._tell_leaving(guest, wish, seen, actions)
            target = Target(wish.name, wish.owner_uid, wish, lambda: self._let_go(guest), seen)
            await run_stages(self._actor, target, actions)
            self._teller.started(guest, seen, self._records.get(guest.name), actions)
            if any(isinstance(action, do.RemoveFinalizer) for action in actions):
                self._end_life(wish.name)
                return wish, seen, None
        return await self._look(guest, wish)

    async def _look(self, guest: Guest, wish: Wanted) -> tuple[Wanted, Observed, list[do.Action]]:
        """What is, what is to be done about it, and what it tells of the guest's life."""
        try:
            seen = await self._observer.observe(wish)
        except AdapterError as error:
            raise UnseenError(error) from error
        seen = replace(seen, turn=self._turn(guest, seen))
        actions = plan(wish, seen)
        before = seen.record
        record = self._lives.looked(wish, seen, actions, lambda: self._engine.settings(wish.config))
        seen = replace(seen, record=record)
        self._teller.drifted(guest, before, record)
        if wish.paused or any(block.stalled for block in blocks(wish, seen)):
            self._turn_is_over(guest, started=False)
        if record is not None and wish.own_disks and not wish.adopted and wish.port != record.link:
            wish = self._wanted(guest)  # the engine has told the name of its port
            return wish, seen, plan(wish, seen)
        return wish, seen, actions

    # Whose turn it is

    def _candidate(self, guest: Guest) -> Candidate:
        startup = startup_of(guest)
        return Candidate(guest.name, startup.order, startup.delay)

    def _turn(self, guest: Guest, seen: Observed) -> bool:
        if seen.alive or guest.spec.run_policy != RunPolicy.RUNNING:
            self._turn_is_over(guest, started=seen.alive and guest.name in self._waited)
            return True
        others = [
            self._candidate(each)
            for each in self._runtime.cache.list(GUEST, guest.namespace)
            if each.spec.run_policy == RunPolicy.RUNNING and not (each.deleting or each.spec.paused)
        ]
        self._waited.add(guest.name)
        wait = self._order.wait(self._candidate(guest), others)
        if wait is not None:
            self.wake(Key.of(guest), after=wait)
        return wait is None

    def _turn_is_over(self, guest: Guest, *, started: bool) -> None:
        """Let those with higher numbers look whether it is their turn."""
        if self._order.settled(self._candidate(guest), started=started):
            for name in self._waited - {guest.name}:
                self.wake_guest(name)
        self._waited.discard(guest.name)

    def _wanted(self, guest: Guest) -> Wanted:
        network, cache = guest.spec.network, self._runtime.cache
        attachment = None
        if network is not None:
            attachment = cache.get(ZONE_ATTACHMENT, Key(guest.namespace, network.attachment))
        link = self._records.link(guest.name)
        return wanted(guest, attachment, self._node.facts(), self._engine.digest, link)

    async def _let_go(self, guest: Guest) -> None:
        await self._runtime.cluster.remove_finalizer(GUEST, guest, AGENT_FINALIZER)

    # What accompanies a running guest

    def _accompany(self, wish: Wanted, seen: Observed) -> None:
        name = wish.name
        if seen.alive:
            self._engine.watch(name, self.wake_guest)
        if wish.adopted:
            return
        if seen.running and wish.run == "Running" and name not in self._docker_events:
            self._docker_events[name] = self._compose.subscribe(
                wish.docker, lambda: self._docker_changed(name)
            )
        elif not seen.running and name in self._docker_events:
            self._docker_events.pop(name).close()

    def _docker_changed(self, name: str) -> None:
        # A bring-up changes containers all the time and tells when it has ended.
        if self._bring_ups.state(name) is None:
            self._bring_ups.nudge(name)
            self.wake_guest(name)

    def _end_life(self, name: str) -> None:
        events = self._docker_events.pop(name, None)
        if events is not None:
            events.close()
        self._observer.forget(name)
        self._order.forget(name)
        self._teller.forget(name)
        self._waited.discard(name)

    async def _tell_leaving(
        self, guest: Guest, wish: Wanted, seen: Observed, actions: Sequence[do.Action]
    ) -> None:
        """A stop may take as long as the guest's grace: it is told before."""
        first = next(action for action in actions if isinstance(action, do.Stop | do.Migrate))
        self._lives.begin(wish.name, wish.owner_uid, first, wish, seen)
        await self._teller.leaving(guest, wish, replace(seen, record=self._records.get(wish.name)))

    async def _fail(self, guest: Guest, wish: Wanted, failed: ActionFailedError) -> None:
        log = getattr(failed.error, "log", "")
        get_logger().warning("action failed", action=failed.action.name, error=str(failed.error), log=log)
        wish, seen, _ = await self._look(guest, wish)
        self._accompany(wish, seen)
        await self._teller.tell(guest, wish, seen, explain(failed))
        if final(failed):
            raise Terminal(str(failed.error)) from failed.error

    def _again(self, wish: Wanted, seen: Observed, left: Sequence[do.Action]) -> Requeue | None:
        if left:
            return Requeue(SHORTLY)
        if seen.busy or (seen.engine is not None and migration_due(wish, seen)):
            return Requeue(ENGINE_BUSY)
        stopping = seen.engine is not None and seen.engine.state is GuestState.STOPPING
        if stopping or (wish.deleting and seen.port is not None):
            return Requeue(SHORTLY)
        if seen.problem is not None and seen.bring_up is None and seen.running:
            due = self._bring_ups.due_in(wish.name)
            return None if due is None else Requeue(due)
        if seen.bring_up is not None and seen.bring_up.phase is Phase.WAITING:
            return Requeue(QUIET)
        return None
