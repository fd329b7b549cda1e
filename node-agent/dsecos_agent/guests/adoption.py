"""A guest that was there before: what of it is its own, and that it is taken over once. Pure.

    never seen        looked for by its id, and marked as ours
    taken over        found by our marks, wherever it is
    removed           by somebody else: told, and left at that

Whoever has the id of a guest that was removed is another guest, and nobody has asked for it. What was
known of the taking over is in the record; the object's status and its epoch tell it where the record is lost
or another node's.
"""

from dsecos_api.conditions import Type
from dsecos_api.lifecycle import Lifecycle, LifecycleState

from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.state import Observed

TAKEN_OVER = "taken over as it was"

OWN: dict[Type, str] = {
    Type.VOLUMES_READY: "its disks are its own",
    Type.NETWORK_READY: "its network is its own: no rules of a zone hold for it",
    Type.DOCKER_READY: "what runs in it is its own: nothing is looked at",
    Type.SERVICES_READY: "what runs in it is its own: nothing is looked at",
}
"""The steps that are not taken for such a guest, and why."""

RUNS = "it runs; what is in it is its own and not looked at"

INSTEAD = (
    "what has that id now may be another guest and is left alone;"
    " delete the Stack, and let another one adopt the guest that is meant"
)


def lost(wanted: Wanted, seen: Observed) -> str:
    """Why the guest is not looked for by its id any more; empty: it is there, or was never taken over."""
    if wanted.adopt is None or wanted.deleting or seen.engine is not None:
        return ""
    if seen.record is not None and seen.record.adopted:
        text = f"somebody else removed the guest that was taken over as {wanted.adopt}, or our marks on it"
    elif wanted.epoch > 1:
        text = f"it was placed before, and what was taken over as {wanted.adopt} carries its name no more"
    else:
        return ""
    return f"{text}: {INSTEAD}"


def was_taken_over(life: Lifecycle | None) -> bool:
    """Whether a life that the object tells is one of a guest that had been taken over."""
    return life is not None and life.state is not LifecycleState.CREATING
