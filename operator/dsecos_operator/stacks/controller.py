"""Stack: the controller."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dsecos_api import Condition, Reason, Stack, Type
from dsecos_runtime import GUEST, NODE, STACK, Controller, Key, Requeue, Runtime, act_all, get_logger

from dsecos_operator.kinds import CONFIG_MAP_STAMP, SECRET_STAMP, node_of
from dsecos_operator.license.check import check as check_license
from dsecos_operator.rendering import Policy, Refused, Renderer, Rendering, Request, catalog
from dsecos_operator.scheduling import id_base
from dsecos_operator.settings import OperatorSettings
from dsecos_operator.stacks import desired, retained
from dsecos_operator.stacks.act import Actor
from dsecos_operator.stacks.assign import assign
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.findings import Findings, Problem
from dsecos_operator.stacks.news import news
from dsecos_operator.stacks.observe import Observed, observe
from dsecos_operator.stacks.occupancy import occupants
from dsecos_operator.stacks.plan import Action, ApplyGuest, Desired, RemoveFinalizer, WriteClaim, plan
from dsecos_operator.stacks.references import References, secret_values
from dsecos_operator.stacks.status import status
from dsecos_operator.stacks.wakeups import WakeUps

LOOK_AGAIN = 30.0
"""Seconds until the next look at a Stack that waits for something that may not wake it."""


@dataclass(frozen=True)
class Prepared:
    """What was found out before places are looked at."""

    rendering: Rendering
    secret_digest: str | None


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
        return Requeue(LOOK_AGAIN) if problem is not None and not problem.refused.stalled else None

    async def _prepare(self, stack: Stack, observed: Observed) -> Prepared | Problem:
        """License and rendering. What already runs goes on without a License."""
        verdict = check_license(observed.licenses)
        if not verdict.licensed and observed.guest is None:
            return Problem(Type.LICENSED, Refused(verdict.reason, verdict.message))
        if observed.zone is None:
            message = f"spec.zone: there is no NetworkZone {stack.spec.zone} in namespace {stack.namespace}"
            return Problem(Type.SCHEDULED, Refused(Reason.ZONE_NOT_FOUND, message, stalled=False))
        try:
            return Prepared(
                rendering=await self._renderer.render(await self._request(stack, observed)),
                secret_digest=await self._references.secrets_digest(stack),
            )
        except Refused as refused:
            return Problem(Type.RENDERED, refused)

    async def _request(self, stack: Stack, observed: Observed) -> Request:
        spec = stack.spec
        allowed = observed.zone.spec.policy if observed.zone is not None else None
        text, entry = None, None
        if spec.template is not None:
            entry = catalog.read(self._settings.catalog_folder, spec.template.name)
        elif spec.compose is not None and spec.compose.config_map_ref is not None:
            text = await self._references.compose_text(stack, spec.compose.config_map_ref)
        elif spec.compose is not None:
            text = spec.compose.inline
        return Request(
            stack=f"{stack.namespace}/{stack.name}",
            zone=spec.zone,
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

    async def _converge(self, key: Key, prepared: Prepared | Problem) -> Findings | None:
        """Assign, plan, act. None: the Stack is gone or going meanwhile."""
        cache = self._runtime.cache
        observed = observe(cache, key)
        stack = observed.stack
        if stack is None or stack.deleting:
            self.wake(key)
            return None
        wanted, findings = self._assign(stack, observed, prepared)
        actions = plan(observed, wanted)
        if stack.spec.paused:
            findings = Findings(
                findings.license,
                findings.claim,
                findings.problem,
                findings.notes,
                self._kept_back(observed, wanted),
            )
        freed = any(isinstance(action, ApplyGuest) for action in actions) and observed.guest is not None
        await self._act(key, observed, findings, actions)
        if freed:  # it may have given up memory or a port that others wait for
            for waiting in self._wakeups.pending():
                self.wake(waiting)
        return findings

    def _assign(
        self, stack: Stack, observed: Observed, prepared: Prepared | Problem
    ) -> tuple[Desired, Findings]:
        verdict, claim = check_license(observed.licenses), claim_of(stack)
        zone = observed.zone
        if isinstance(prepared, Problem):
            return Desired(), Findings(verdict, claim, prepared)
        notes = _notes(stack, prepared.rendering)
        cache = self._runtime.cache
        places = occupants(cache.list(STACK), cache.list(GUEST)) + retained.orphans(observed.retained)
        try:
            if zone is None:
                raise Refused(Reason.ZONE_NOT_FOUND, f"NetworkZone {stack.spec.zone} is gone", stalled=False)
            claim = assign(
                stack,
                zone,
                nodes=cache.list(NODE),
                occupants=places,
                rules=self._settings.rules(),
                data_on=retained.home(observed.retained, stack),
            )
            guest = desired.guest(
                stack,
                zone,
                claim,
                document=prepared.rendering.document,
                secret_digest=prepared.secret_digest,
                id_base=self._id_base(
                    observed, claim.node, [each.id_base for each in places if each.node == claim.node]
                ),
            )
        except Refused as refused:
            return Desired(), Findings(verdict, claim_of(stack), Problem(Type.SCHEDULED, refused), notes)
        return Desired(claim, guest, prepared.secret_digest), Findings(verdict, claim, None, notes)

    def _id_base(self, observed: Observed, node: str, taken: list[int | None]) -> int:
        guest = observed.guest
        if guest is not None and node_of(guest.namespace) == node:
            return guest.spec.id_map.base
        return id_base(self._settings.guest_id_base, [each for each in taken if each is not None])

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
            )
        going_on = stack.model_copy(update={"spec": stack.spec.model_copy(update={"paused": None})})
        return len(plan(Observed(**{**vars(observed), "stack": going_on}), wanted))

    async def _act(self, key: Key, observed: Observed, findings: Findings, actions: list[Action]) -> None:
        async def one(action: Action) -> None:
            stack = self._runtime.cache.get(STACK, key) or observed.stack
            claimed = None
            if isinstance(action, WriteClaim) and stack is not None:
                claimed = status(observed, stack, findings)
                self._tell(stack, claimed.conditions)
            await self._actor.act(key, stack, claimed, action)

        await act_all(actions, one)

    async def _remove(self, key: Key, observed: Observed) -> Requeue | None:
        """Take everything away; the finalizer last."""
        actions = plan(observed, Desired())
        stack = observed.stack
        await self._act(key, observed, Findings(check_license(observed.licenses)), actions)
        if stack is None or any(isinstance(action, RemoveFinalizer) for action in actions):
            self._told.pop(stack.uid if stack is not None else "", None)
            return None
        await self._report(key, Findings(check_license(observed.licenses), claim_of(stack)))
        return None

    async def _report(self, key: Key, findings: Findings) -> None:
        observed = observe(self._runtime.cache, key)
        stack = observed.stack
        if stack is None:
            return
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


def _notes(stack: Stack, rendering: Rendering) -> tuple[str, ...]:
    """What can be had, but is probably not what was meant."""
    notes = [
        f"volume {volume.name} is used by no service"
        for volume in stack.spec.volumes
        if volume.name not in rendering.volumes
    ]
    notes += [
        f"port {each.port}/{each.protocol} is exposed, but published by no service"
        for each in stack.spec.expose
        if not rendering.reaches(each.port, str(each.protocol))
    ]
    return tuple(notes)
