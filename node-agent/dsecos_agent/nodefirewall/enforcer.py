"""Keeps the kernel's rules equal to what zones and guests ask for.

Whoever needs a rule in force (a guest before its start, a zone, an edited port) calls `sync()` and may rely
on the result when it returns. Calls that come while one is under way are served together by the next one, so
a hundred new guests cost a few replacements, not a hundred.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dsecos_runtime import get_logger

from dsecos_agent.firewall.model import Drift, Firewall, Policy
from dsecos_agent.links.protocol import Bridge, Transit
from dsecos_agent.nodefirewall.memory import LastKnown, load, save
from dsecos_agent.nodefirewall.render import Conflict, Forgotten, Rendered


class Wishes(Protocol):
    """Where the wish comes from."""

    def rendered(self, previous: Policy) -> Rendered | None:
        """What is wanted now; None while the API server was not read completely."""

    def bridges(self) -> tuple[Bridge, ...]:
        """The bridges of all zones of now."""

    def transits(self) -> tuple[Transit, ...]:
        """Their links to other nodes."""


class Enforcer:
    """The only caller of `Firewall.apply`."""

    def __init__(self, firewall: Firewall, wishes: Wishes, path: Path) -> None:
        self._firewall = firewall
        self._wishes = wishes
        self._path = path
        self._lock = asyncio.Lock()
        self._known = load(path) or LastKnown()
        self._applied = False
        self._conflicts: Mapping[str, Conflict] = {}
        self._repaired: list[str] = []

    @property
    def last_known(self) -> LastKnown:
        """What was in force when it was last written down."""
        return self._known

    @property
    def enforced(self) -> bool:
        """Whether the rules are in force that were wanted last."""
        return self._applied

    @property
    def conflicts(self) -> Mapping[str, Conflict]:
        """All of them, by guest."""
        return self._conflicts

    def conflict(self, guest: str) -> Conflict | None:
        """Why a guest does not have the rules that it asks for."""
        return self._conflicts.get(guest)

    def repaired(self) -> list[str]:
        """What others had changed and was put back since this was asked last, in words."""
        found, self._repaired = self._repaired, []
        return found

    def in_force(self, guest: str) -> bool:
        """Whether the rules that this guest asks for now are in force (as far as they do not conflict)."""
        rendered = self._wishes.rendered(self._known.policy)
        if rendered is None or not self._applied:
            return False
        wanted = [policy for policy in rendered.policy.guests if policy.name == guest]
        zones = {zone.bridge: zone for zone in rendered.policy.zones}
        return bool(wanted) and all(
            policy in self._known.policy.guests and zones[policy.bridge] in self._known.policy.zones
            for policy in wanted
        )

    def rules_of(self, guest: str) -> Forgotten | None:
        """The rules that a guest has, to be kept when its object goes."""
        zones = {zone.bridge: zone for zone in self._known.policy.zones}
        for policy in self._known.policy.guests:
            if policy.name == guest:
                return Forgotten(zones[policy.bridge], policy)
        return None

    async def restore(self, *, missing_only: bool) -> None:
        """Put into force what was last known, without asking the API server.

        With `missing_only` rules that are there are left as they are: they may be newer than what was written
        down before the agent was killed. Raises FirewallRefusedError.
        """
        async with self._lock:
            if self._applied:
                return
            drift = await self._firewall.drift(self._known.policy)
            if drift is Drift.CHANGED and missing_only:
                return
            if drift is not Drift.NONE:
                await self._apply(self._known.policy, drift)
            self._applied = True

    async def sync(self, *, verify: bool = False) -> bool:
        """Put into force what is wanted now; True when the rules were replaced.

        `verify` compares with the kernel even if nothing else is wanted than before. Raises
        FirewallRefusedError.
        """
        async with self._lock:
            rendered = self._wishes.rendered(self._known.policy)
            if rendered is None:
                return await self._enforce(self._known.policy, verify=verify)
            changed = await self._enforce(rendered.policy, verify=verify)
            self._conflicts = rendered.conflicts
            known = LastKnown(rendered.policy, self._wishes.bridges(), self._wishes.transits())
            if known != self._known:
                self._known = known
                await asyncio.to_thread(save, self._path, known)
            return changed

    async def _enforce(self, policy: Policy, *, verify: bool) -> bool:
        same = self._applied and policy == self._known.policy
        if same and not verify:
            return False
        drift = await self._firewall.drift(policy) if same or not self._applied else Drift.CHANGED
        if drift is not Drift.NONE:
            if same:
                self._applied = (
                    False  # until it is back; another policy that is refused leaves the former in force
                )
            changes = self._firewall.changes() if same else ()
            await self._apply(policy, drift)
            self._repaired.extend(changes)
        self._applied = True
        return drift is not Drift.NONE

    async def _apply(self, policy: Policy, drift: Drift) -> None:
        await self._firewall.apply(policy)
        get_logger().info(
            "firewall applied", zones=len(policy.zones), guests=len(policy.guests), drift=str(drift)
        )
