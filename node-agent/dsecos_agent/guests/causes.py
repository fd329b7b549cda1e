"""Why a guest is restarted, and with which cause an action moves its life on. Pure."""

from dsecos_api.lifecycle import Cause, Lifecycle
from dsecos_api.types import RunPolicy

from dsecos_agent.guests import actions as do
from dsecos_agent.guests import adoption, drift
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.state import Observed

Why = tuple[Cause, str]
"""As one word for programs, and for people."""

_AGAIN: dict[Cause, str] = {
    Cause.DIED: "started again: it had ended, and nobody had asked for it",
    Cause.OUTSIDE: "started again: somebody else had stopped it",
    Cause.FAILED: "tried again",
    Cause.MAINTENANCE: "the maintenance is over",
}


def restart(wanted: Wanted, seen: Observed) -> Why | None:
    """Why the running guest has to be started anew; None when it has not."""
    if not seen.running or seen.engine is None or wanted.run is not RunPolicy.RUNNING:
        return None
    if seen.engine.booted_digest != wanted.digest.boot and not drift.held(wanted, seen):
        if drift.found(wanted, seen):
            return Cause.OUTSIDE, "somebody else had changed its configuration"
        return Cause.CONFIGURATION_CHANGED, "its configuration had changed"
    if seen.port_lost:
        return Cause.OUTSIDE, "its network port was gone"
    if restart_asked(wanted, seen):
        return Cause.RESTART_REQUESTED, f"restart {wanted.restart} was asked for"
    return None


def restart_asked(wanted: Wanted, seen: Observed) -> bool:
    """Whether a restart is asked for that was neither carried out nor refused.

    What was asked for before the guest was seen for the first time is as good as carried out.
    """
    record = seen.record
    if wanted.restart is None or record is None or record.life is None:
        return False
    return wanted.restart not in (record.restart, record.restart_refused)


def of(action: do.Action, wanted: Wanted | None, seen: Observed | None, life: Lifecycle | None) -> Why:
    """Why an action is done; without a wish it ends a guest whose object is gone."""
    if wanted is None or wanted.deleting:
        return Cause.DELETED, "it was deleted"
    why = policy = (Cause.RUN_POLICY, f"runPolicy is {wanted.run.value}")
    match action:
        case do.CloneRoot() | do.Create():
            why = (Cause.CREATED, "") if life is None else (Cause.OUTSIDE, "somebody else had removed it")
        case do.Adopt():
            why = Cause.ADOPTED, adoption.TAKEN_OVER
        case do.Migrate(target=target):
            why = Cause.MIGRATION, f"to {target}"
        case do.Stop():
            at_rest = (Cause.MAINTENANCE, "its node is in maintenance") if wanted.maintenance else policy
            why = (seen and restart(wanted, seen)) or at_rest
        case do.Start():
            why = (seen and restart(wanted, seen)) or _start(life, policy)
    return why


def _start(life: Lifecycle | None, policy: Why) -> Why:
    if life is None or life.cause in (Cause.RUN_POLICY, Cause.MIGRATION, Cause.ADOPTED):
        return policy
    message = life.transitions[0].message if life.transitions else ""
    return life.cause, _AGAIN.get(life.cause, message)
