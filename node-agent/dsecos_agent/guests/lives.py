"""Keeps each guest's life in its record: what an action begins and ends, and what a look tells.

The state that an action goes through is written before it, so that a crash shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dsecos_api.lifecycle import Cause, Lifecycle, LifecycleState
from dsecos_api.types import RunPolicy
from dsecos_runtime import timestamp, utcnow

from dsecos_agent.engines.errors import GuestFailedError
from dsecos_agent.engines.model import GuestState
from dsecos_agent.guests import actions as do
from dsecos_agent.guests import adoption, causes, drift, lifecycle
from dsecos_agent.guests.blocks import refused_restart
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.record import Record, Records
from dsecos_agent.guests.state import Observed

MESSAGE = 1024
"""Characters of a transition's message (dsecos_api.lifecycle)."""

Settings = Callable[[], Mapping[str, str]]
"""The engine's settings as they should be; asked for only where something has drifted."""


class Lives:
    """All guests' lives on this node."""

    def __init__(self, records: Records, boot: str, *, now: Callable[[], datetime] = utcnow) -> None:
        """`boot` is the id of the host's present boot."""
        self._records = records
        self._boot = boot
        self._clock = now

    def now(self) -> str:
        """The present time, as it is told."""
        return timestamp(self._clock())

    def begin(
        self, name: str, owner: str, action: do.Action, wanted: Wanted | None, seen: Observed | None
    ) -> None:
        """Before an action. Raises OSError."""
        if action.through is None:
            return
        record = self._of(name, owner)
        cause, message = causes.of(action, wanted, seen, record.life)
        changes: dict[str, Any] = {}
        if record.life is None and wanted is not None:
            changes["restart"] = wanted.restart
        if isinstance(action, do.Start):
            changes |= {"started": True, "started_at": self.now(), "boot": self._boot}
            if wanted is not None and wanted.restart not in (None, record.restart_refused):
                changes["restart"] = wanted.restart
        life = lifecycle.begin(record.life, action.through, cause, message, self.now())
        self._records.update(name, owner, life=life, **changes)

    def done(
        self, name: str, owner: str, action: do.Action, wanted: Wanted | None, seen: Observed | None
    ) -> None:
        """After an action that came off. Raises OSError."""
        record = self._records.get(name)
        if record is None or (action.through is None and action.to is None):
            return
        begun = record.life is not None and record.life.state is action.through
        why = causes.of(action, wanted, seen, record.life)
        if begun and record.life is not None:
            why = (record.life.cause, record.life.transitions[0].message)
        life = lifecycle.done(record.life, action.through, action.to, why, self.now())
        self._records.update(name, owner, life=life)

    def failed(self, name: str, owner: str, error: Exception) -> None:
        """After an action that did not: only the engine's own word that it failed counts. Raises OSError."""
        if isinstance(error, GuestFailedError):
            life = lifecycle.failed(self._of(name, owner).life, str(error)[:MESSAGE], self.now())
            self._records.update(name, owner, life=life)

    def looked(
        self, wanted: Wanted, seen: Observed, actions: Sequence[do.Action], settings: Settings
    ) -> Record | None:
        """After a look: remember what it told, and return the record. Nothing is written where nothing is
        new. Raises OSError.
        """
        if seen.engine is None or seen.engine.owner_uid != wanted.owner_uid:
            return seen.record
        record = self._of(wanted.name, wanted.owner_uid)
        fresh = remembered(record, wanted, seen, actions, settings, boot=self._boot, now=self.now())
        self._records.put(wanted.name, fresh)
        return fresh

    def recall(self, name: str, owner: str, told: Lifecycle | None) -> None:
        """A guest that was taken over, as its object tells, and of which the record is lost: nobody may look
        for it by its id again. Raises OSError.
        """
        if adoption.was_taken_over(told) and not self._of(name, owner).adopted:
            self._records.update(name, owner, life=told, adopted=True)

    def started_at_boot(self, name: str, owner: str) -> None:
        """A guest that does not run is about to be started as last known. Raises OSError."""
        record, now = self._of(name, owner), self.now()
        down = lifecycle.settle(
            record.life,
            GuestState.STOPPED,
            run=RunPolicy.RUNNING,
            rebooted=record.boot not in ("", self._boot),
            now=now,
        )
        died = down is not None and down.cause is Cause.DIED
        why = (Cause.DIED, "started again: it had ended") if died else (Cause.BOOT, "started as last known")
        life = lifecycle.begin(down, LifecycleState.STARTING, *why, now)
        self._records.update(name, owner, life=life, started=True, started_at=now, boot=self._boot)

    def up(self, name: str, owner: str) -> None:
        """It runs. Raises OSError."""
        life = lifecycle.done(
            self._of(name, owner).life, None, LifecycleState.RUNNING, (Cause.BOOT, ""), self.now()
        )
        self._records.update(name, owner, life=life)

    def _of(self, name: str, owner: str) -> Record:
        record = self._records.get(name)
        return record if record is not None and record.owner_uid == owner else Record(owner)


def remembered(
    record: Record,
    wanted: Wanted,
    seen: Observed,
    actions: Sequence[do.Action],
    settings: Settings,
    *,
    boot: str,
    now: str,
) -> Record:
    """The record after a look. Pure but for `settings`."""
    engine = seen.engine
    if engine is None:
        return record
    life = lifecycle.settle(
        record.life,
        engine.state,
        run=wanted.run,
        repeated={action.through for action in actions if action.through is not None},
        rebooted=record.boot not in ("", boot),
        arrived=wanted.epoch > 1,
        now=now,
    )
    told = record.life is not None and record.life.state is LifecycleState.MIGRATING
    source, target = record.engine_node, engine.engine_node
    if life is not None and source and target and source != target and not told:
        life = lifecycle.moved(life, source, target, now)
    changed = drift.found(wanted, seen)
    first = record.life is None
    return replace(
        record,
        life=life,
        adopted=record.adopted or wanted.adopted,
        started=record.started or (wanted.adopted and seen.alive),
        boot=boot if seen.running or seen.frozen else record.boot,
        applied=record.applied or ((engine.config_digest,) if engine.config_digest else ()),
        drift=drift.names(settings(), engine.settings) if changed else (),
        restart=wanted.restart if first else record.restart,
        restart_refused=wanted.restart if refused_restart(wanted, seen) else record.restart_refused,
        link=engine.ports[0] if engine.ports and not wanted.adopted else record.link,
        engine_node=engine.engine_node or record.engine_node,
    )
