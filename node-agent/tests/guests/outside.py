"""An engine in memory with guests that somebody else has made: what taking over and giving up do there."""

from dataclasses import dataclass, field, replace

from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.engines.model import GuestState, Limits, ObservedGuest
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.state import Observed

from .model import Model

ID = "104"


@dataclass
class Outside(Model):
    """The guest that is taken over is `theirs` before, `engine` while it is ours, and `theirs` again."""

    theirs: dict[str, GuestState] = field(default_factory=lambda: {ID: GuestState.RUNNING})
    """State of those without our marks, by id."""
    taken: list[str] = field(default_factory=list)
    limits: Limits | None = None
    """In force in the running guest; None: those that it had."""

    def seen(self, wanted: Wanted) -> Observed:
        # The observer neither looks into such a guest nor for a port of it.
        return replace(super().seen(wanted), services=None, port_lost=False)

    def carry_out(self, wanted: Wanted, action: do.Action) -> None:
        owner = wanted.owner_uid
        match action:
            case do.Adopt(config=config, digest=digest):
                self.update(owner, applied=(digest,))
                self._take(wanted)
                self.update(owner, adopted=True, autostart=config.startup.autostart)
            case do.SetLimits(limits=limits):
                assert self.engine is not None
                assert self.engine.state is GuestState.RUNNING
                self.limits = limits
            case do.WriteConfig(config=config, digest=digest):
                assert self.engine is not None
                self.engine = replace(self.engine, config_digest=digest)
                autostart = config.startup.autostart
                self.update(owner, applied=(digest,), autostart=autostart, adopted=True)
            case do.ResizeDisk(size=size):
                assert self.engine is not None
                self.engine = replace(self.engine, disk_bytes=size)
            case do.Start():
                assert self.engine is not None
                assert self.engine.state is GuestState.STOPPED, "two starts"
                self.boots += 1
                self.limits = wanted.config.limits
                self.engine = replace(self.engine, state=GuestState.RUNNING, booted_digest=wanted.digest.boot)
            case do.Stop() | do.Freeze() | do.Unfreeze():
                super().carry_out(wanted, action)
            case do.Release():
                if self.engine is not None:
                    self.theirs[self.engine.engine_id] = self.engine.state
                self.engine = None
            case do.Destroy():
                self.destroyed += [] if self.engine is None else [self.engine.engine_id]
                self.stop()
                self.engine = None
            case do.BeginRemoval() | do.EndRemoval() | do.Forget() | do.RemoveFinalizer():
                super().carry_out(wanted, action)
            case _:
                raise AssertionError(f"{action} is nothing for a guest that was taken over")

    def _take(self, wanted: Wanted) -> None:
        if self.engine is not None:
            return
        assert wanted.adopt is not None
        if wanted.adopt not in self.theirs:
            raise NotFoundError(f"there is no guest {wanted.adopt}")
        state = self.theirs.pop(wanted.adopt)
        self.taken.append(wanted.adopt)
        self.limits = wanted.config.limits
        self.engine = ObservedGuest(
            name=wanted.name,
            owner_uid=wanted.owner_uid,
            state=state,
            init_pid=None,
            config_digest=wanted.digest.full,
            booted_digest=None if state is GuestState.STOPPED else wanted.digest.boot,
            id_map=None,
            engine_id=wanted.adopt,
            adopted=True,
        )
