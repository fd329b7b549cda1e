"""What a node's maintenance means for one guest. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Guest
from dsecos_api.types import RunPolicy


@dataclass(frozen=True, slots=True)
class Upkeep:
    """`active`: the node is in maintenance. `starts`: what does not run there may be started all the same.
    `stop`: it is this guest's turn to be stopped. `move_to`: it is its turn to be moved there.
    """

    active: bool = False
    starts: bool = True
    stop: bool = False
    move_to: str | None = None

    def applied(self, guest: Guest, present: Guest | None) -> Guest:
        """The guest with the run policy that the maintenance leaves it; `present`: as it is now.

        One that was stopped for the maintenance stays so until the end of it.
        """
        if not self._stopped(guest, present):
            return guest
        update = {"maintenance": True, "run_policy": RunPolicy.STOPPED}
        return guest.model_copy(update={"spec": guest.spec.model_copy(update=update)})

    def _stopped(self, guest: Guest, present: Guest | None) -> bool:
        if not self.active or guest.spec.run_policy == RunPolicy.STOPPED:
            return False
        idle = present is None or present.spec.run_policy == RunPolicy.STOPPED
        kept = present is not None and bool(present.spec.maintenance)
        return self.stop or kept or (idle and not self.starts)


NO_MAINTENANCE = Upkeep()
