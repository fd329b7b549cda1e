"""Telling the API server how guests are: their status when it is worth it, events for what happened."""

import time
from collections.abc import Sequence

from dsecos_api import Guest
from dsecos_api.conditions import Reason, Type
from dsecos_api.types import DriftPolicy
from dsecos_runtime import GUEST, Runtime, is_true

from dsecos_agent.guests import actions as do
from dsecos_agent.guests.desired import Block, Wanted
from dsecos_agent.guests.record import Record
from dsecos_agent.guests.report import status, unseen
from dsecos_agent.guests.state import Observed, Phase

QUIET = 10.0
"""Seconds for which neither the wait for a started guest's dockerd nor an engine that does not answer is
worth a status of its own.
"""


class Teller:
    """Writes statuses and events of Guests."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pending_since: dict[str, float] = {}
        self._blind_since: dict[str, float] = {}

    def forget(self, guest: str) -> None:
        """The guest is gone."""
        self._pending_since.pop(guest, None)
        self._blind_since.pop(guest, None)

    def worth(self, guest: Guest, seen: Observed) -> bool:
        """A guest on its way is told of when its services are being brought up, not at every step before."""
        self._blind_since.pop(guest.name, None)
        now = time.monotonic()
        on_its_way = seen.bring_up is not None and seen.bring_up.phase is Phase.WAITING
        if not on_its_way or is_true(guest.status, Type.READY):
            self._pending_since[guest.name] = now
            return True
        return now - self._pending_since.setdefault(guest.name, now) > QUIET

    async def tell(self, guest: Guest, wish: Wanted, seen: Observed, failure: Block | None = None) -> None:
        """The status, and an event if something has come about. Raises ClusterError."""
        told = status(guest, wish, seen, failure)
        await self._runtime.status.write(GUEST, guest, told)
        before = next((each for each in guest.status.conditions if each.type == Type.READY), None)
        now = next(each for each in told.conditions if each.type == Type.READY)
        moving = is_true(told, Type.RECONCILING)
        told_before = now.status == "True" and now.reason == Reason.DRIFTED  # by `drifted`
        if before is None or before.reason == now.reason or moving or told_before:
            return
        if now.status == "True":
            self._runtime.events.normal(GUEST, guest, now.reason, now.message or "as wanted")
        elif now.reason != Reason.PAUSED:
            self._runtime.events.warning(GUEST, guest, now.reason, now.message)

    async def leaving(self, guest: Guest, wish: Wanted, seen: Observed) -> None:
        """It is about to be stopped or moved. Raises ClusterError."""
        await self._runtime.status.write(GUEST, guest, status(guest, wish, seen, leaving=True))

    async def blind(self, guest: Guest, block: Block) -> None:
        """The guest cannot be looked at: told when that lasts. Raises ClusterError."""
        since = self._blind_since.setdefault(guest.name, time.monotonic())
        if time.monotonic() - since >= QUIET:
            await self._runtime.status.write(GUEST, guest, unseen(guest, block))

    def started(
        self, guest: Guest, before: Observed, record: Record | None, actions: Sequence[do.Action]
    ) -> None:
        """Actions were taken; a start among them is an event."""
        if not any(isinstance(action, do.Start) for action in actions):
            return
        life = None if record is None else record.life
        why = life.transitions[0].message if life is not None and life.transitions else ""
        if any(isinstance(action, do.Stop) for action in actions):
            self._runtime.events.normal(GUEST, guest, "Restarted", f"restarted: {why}")
        elif before.record is not None and before.record.started and before.record.autostart:
            text = "the guest had stopped and was started again"
            self._runtime.events.warning(GUEST, guest, "Restarted", text)
        else:
            self._runtime.events.normal(GUEST, guest, "Started", "the guest was started")

    def drifted(self, guest: Guest, before: Record | None, after: Record | None) -> None:
        """What others changed is an event once."""
        drift = () if after is None else after.drift
        if drift and (before is None or before.drift != drift):
            left = guest.spec.drift_policy == DriftPolicy.REPORT
            text = f"changed past DsecOS: {', '.join(drift)}; {'left as it is' if left else 'put right'}"
            self._runtime.events.warning(GUEST, guest, Reason.DRIFTED, text)
