"""Stack: the controller."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from dsecos_api import Condition, NetworkZone, Reason, Stack, Type
from dsecos_api.stack import Adoption
from dsecos_runtime import (
    GUEST,
    NETWORK_ZONE,
    NODE,
    STACK,
    Controller,
    Key,
    Requeue,
    Runtime,
    act_all,
    get_logger,
    utcnow,
)

from dsecos_operator.kinds import CONFIG_MAP_STAMP, SECRET_STAMP
from dsecos_operator.license.check import check as check_license
from dsecos_operator.maintenance import view
from dsecos_operator.rendering import Policy, Refused, Renderer, Request, catalog
from dsecos_operator.settings import OperatorSettings
from dsecos_operator.stacks import retained
from dsecos_operator.stacks.act import Actor
from dsecos_operator.stacks.actions import Action, ApplyGuest, RemoveFinalizer, WriteClaim
from dsecos_operator.stacks.decide import Prepared, decide
from dsecos_operator.stacks.findings import Findings, Problem
from dsecos_operator.stacks.news import news
from dsecos_operator.stacks.observe import Observed, observe
from dsecos_operator.stacks.occupancy import occupants
from dsecos_operator.stacks.plan import Desired, plan
from dsecos_operator.stacks.references import References, secret_values
from dsecos_operator.stacks.status import status
from dsecos_operator.stacks.wakeups import WakeUps

LOOK_AGAIN = 30.0
"""Seconds until the next look at a Stack that waits for something that may not wake it."""


class StackController(Controller):
    """Turns Stacks into Guests."""

    name = "stack"
    outputs = (GUEST, SECRET_STAMP, CONFIG_MAP_STAMP)

    def __init__(self, runtime: Runtime, settings: OperatorSettings, renderer: Renderer) -> None:
        super().__init__()
        self._runtime = runtime
        self._settings = settings
        self._renderer = renderer
        self._references = References(runtime.cluster, runtime.cache)
        self._actor = Actor(runtime, self._references)
        self._wakeups = WakeUps(runtime.cache)
        self._placing = asyncio.Lock()
        self._told: dict[str, list[Condition]] = {}
        self.inputs = self._wakeups.inputs()

    async def background(self) -> None:
        """The first Stack does not wait for the renderer's start."""
        try:
            await self._renderer.warm()
        except Refused as refused:
            get_logger().error("renderer does not start", reason=refused.reason, message=refused.message)

    async def reconcile(self, key: Key) -> Requeue | None:
        """One pass: see the package's docstring."""
        observed = observe(self._runtime.cache, key)
        stack = observed.stack
        if stack is None or stack.deleting:
            return await self._remove(key, observed)
        prepared = await self._prepare(stack, observed)
        # Places are given to one Stack at a time, each from what the one before has left.
        async with self._placing:
            findings = await self._converge(key, prepared)
        if findings is None:
            return None
        await self._report(key, findings)
        problem = findings.problem
        waits = problem is not None and not problem.refused.stalled
        return Requeue(LOOK_AGAIN) if waits or findings.stray or self._on_the_way(key) else None

    async def _prepare(self, stack: Stack, observed: Observed) -> Prepared | Adoption | Problem:
        """License and rendering. What already runs goes on without a License; what is adopted is not
        rendered.
        """
        verdict = check_license(observed.licenses)
        if not verdict.licensed and not observed.own:
            return Problem(Type.LICENSED, Refused(verdict.reason, verdict.message))
        if stack.spec.adopt is not None:
            return stack.spec.adopt
        if observed.zone is None:
            message = f"spec.zone: there is no NetworkZone {stack.spec.zone} in namespace {stack.namespace}"
            return Problem(Type.SCHEDULED, Refused(Reason.ZONE_NOT_FOUND, message, stalled=False))
        try:
            return Prepared(
                rendering=await self._renderer.render(await self._request(stack, observed.zone)),
                secret_digest=await self._references.secrets_digest(stack),
            )
        except Refused as refused:
            return Problem(Type.RENDERED, refused)

    async def _request(self, stack: Stack, zone: NetworkZone) -> Request:
        spec, allowed = stack.spec, zone.spec.policy
        text, entry = None, None
        if spec.template is not None:
            entry = catalog.read(self._settings.catalog_folder, spec.template.name)
        elif spec.compose is not None and spec.compose.config_map_ref is not None:
            text = await self._references.compose_text(stack, spec.compose.config_map_ref)
        elif spec.compose is not None:
            text = spec.compose.inline
        return Request(
            stack=f"{stack.namespace}/{stack.name}",
            zone=zone.name,
            policy=Policy(
                privileged_guests=bool(allowed and allowed.privileged_guests),
                host_mounts=bool(allowed and allowed.host_mounts),
                devices=bool(allowed and allowed.devices),
            ),
            secrets=tuple(sorted(each.name for each in secret_values(stack))),
            volumes=tuple(sorted(each.name for each in spec.volumes)),
            text=text,
            entry=entry,
            values=spec.template.values if spec.template is not None else {},
        )

    async def _converge(self, key: Key, prepared: Prepared | Adoption | Problem) -> Findings | None:
        """Assign, plan, act. None: the Stack is gone or going meanwhile."""
        cache = self._runtime.cache
        observed = observe(cache, key)
        stack = observed.stack
        if stack is None or stack.deleting:
            self.wake(key)
            return None
        now = utcnow()
        world = self._world(observed, now)
        wanted, findings = decide(stack, observed, prepared, world, self._settings.guest_id_base)
        actions = plan(observed, wanted, now)
        if stack.spec.paused:
            findings = replace(findings, waiting=self._kept_back(observed, wanted))
        freed = any(isinstance(action, ApplyGuest) for action in actions) and observed.guest is not None
        await self._act(key, observed, findings, actions)
        moved = any(isinstance(action, WriteClaim) for action in actions) and observed.claim is not None
        if moved:  # what was kept back while it was on its way comes now
            self.wake(key)
        if freed:  # it may have given up memory or a port that others wait for
            for waiting in self._wakeups.pending():
                self.wake(waiting)
        return findings

    def _world(self, observed: Observed, now: datetime) -> view.World:
        cache = self._runtime.cache
        stacks, guests = cache.list(STACK), cache.list(GUEST)
        places = occupants(stacks, guests) + retained.orphans(observed.retained)
        return view.World(
            cache.list(NODE), cache.list(NETWORK_ZONE), stacks, guests, places, self._settings.rules(), now
        )

    @staticmethod
    def _kept_back(observed: Observed, wanted: Desired) -> int:
        """What would be done if the Stack were not paused."""
        stack, guest = observed.stack, observed.guest
        if stack is None or wanted.guest is None:
            return 0
        if guest is not None:
            wanted = Desired(
                wanted.claim,
                wanted.guest.model_copy(
                    update={"spec": wanted.guest.spec.model_copy(update={"paused": guest.spec.paused})}
                ),
                wanted.secret_digest,
                wanted.upkeep,
            )
        going_on = stack.model_copy(update={"spec": stack.spec.model_copy(update={"paused": None})})
        return len(plan(Observed(**{**vars(observed), "stack": going_on}), wanted, utcnow()))

    async def _act(self, key: Key, observed: Observed, findings: Findings, actions: list[Action]) -> None:
        async def one(action: Action) -> None:
            stack = self._runtime.cache.get(STACK, key) or observed.stack
            claimed = None
            if isinstance(action, WriteClaim) and stack is not None:
                claimed = status(observed, stack, replace(findings, claim=action.claim))
                self._tell(stack, claimed.conditions)
            await self._actor.act(key, stack, claimed, action)

        await act_all(actions, one)

    def _on_the_way(self, key: Key) -> bool:
        """Whether the Stack moves, or is on a node that is being emptied."""
        stack = self._runtime.cache.get(STACK, key)
        if stack is None or stack.status.node is None:
            return False
        node = self._runtime.cache.get(NODE, Key("", stack.status.node))
        moves = stack.status.moving_to is not None or stack.status.failed_move is not None
        return moves or (node is not None and bool(node.spec.maintenance))

    async def _remove(self, key: Key, observed: Observed) -> Requeue | None:
        """Take everything away; the finalizer last."""
        actions = plan(observed, Desired(), utcnow())
        stack = observed.stack
        await self._act(key, observed, Findings(check_license(observed.licenses)), actions)
        if stack is None or any(isinstance(action, RemoveFinalizer) for action in actions):
            self._told.pop(stack.uid if stack is not None else "", None)
            return None
        await self._report(key, Findings(check_license(observed.licenses), observed.claim))
        # Whether the zone stays on the node may depend on guests of its peers, which do not wake it.
        return Requeue(LOOK_AGAIN) if observed.attachment is not None else None

    async def _report(self, key: Key, findings: Findings) -> None:
        observed = observe(self._runtime.cache, key)
        stack = observed.stack
        if stack is None:
            return
        # An action may have given it another place.
        findings = replace(findings, claim=observed.claim or findings.claim)
        new = status(observed, stack, findings)
        self._tell(stack, new.conditions)
        await self._runtime.status.write(STACK, stack, new)

    def _tell(self, stack: Stack, conditions: list[Condition]) -> None:
        """Events for what changed since this process last told, or since the status was written."""
        before = self._told.get(stack.uid, stack.status.conditions)
        self._told[stack.uid] = conditions
        for warning, reason, message in news(before, conditions):
            (self._runtime.events.warning if warning else self._runtime.events.normal)(
                STACK, stack, reason, message
            )
