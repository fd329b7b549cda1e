"""Where a guest is in its life: from what was last known, what is being done and what was seen. Pure.

Three things move a guest on:

    begin      an action that takes time is about to be done (Creating, Starting, Stopping, ...)
    done       it was done
    settle     the engine was looked at, and tells another state than the one that is known

What is done follows the table of `dsecos_api.lifecycle`. What is only seen may be anything; it is told with a
cause of `SEEN`, so whoever reads the transitions knows what was ours.
"""

from collections.abc import Iterable

from dsecos_api.lifecycle import MAX_TRANSITIONS, TRANSITIONS, Cause, Lifecycle, LifecycleState, Transition
from dsecos_api.types import RunPolicy

from dsecos_agent.engines.model import GuestState

STATES: dict[GuestState, LifecycleState] = {
    GuestState.CREATING: LifecycleState.CREATING,
    GuestState.STOPPED: LifecycleState.STOPPED,
    GuestState.STARTING: LifecycleState.STARTING,
    GuestState.RUNNING: LifecycleState.RUNNING,
    GuestState.SUSPENDED: LifecycleState.SUSPENDED,
    GuestState.STOPPING: LifecycleState.STOPPING,
    GuestState.MIGRATING: LifecycleState.MIGRATING,
}
"""What an engine sees, in the words of a life; an unknown state says nothing."""

SEEN = frozenset({Cause.OUTSIDE, Cause.DIED, Cause.FAILED, Cause.BOOT, Cause.ADOPTED})
"""Causes of transitions that nobody ordered; only these may lead off the table. What is taken over is in
whichever state it is found in.
"""

UNDERWAY = frozenset(
    {
        LifecycleState.CREATING,
        LifecycleState.STARTING,
        LifecycleState.STOPPING,
        LifecycleState.MIGRATING,
        LifecycleState.DESTROYING,
    }
)
"""States that an action is meant to end."""

_UP = frozenset({LifecycleState.RUNNING, LifecycleState.SUSPENDED})
_DOWN = frozenset({LifecycleState.STOPPED, LifecycleState.STOPPING})


def enter(life: Lifecycle | None, state: LifecycleState, cause: Cause, message: str, now: str) -> Lifecycle:
    """The life with one more transition, the same where it is in that state already; `now` in RFC 3339."""
    if life is not None and life.state is state:
        return life
    before = None if life is None else life.state
    step = Transition(from_=before, to=state, cause=cause, message=message, time=now)
    past = [] if life is None else life.transitions
    return Lifecycle(state=state, since=now, cause=cause, transitions=[step, *past][:MAX_TRANSITIONS])


def begin(
    life: Lifecycle | None, state: LifecycleState, cause: Cause, message: str, now: str
) -> Lifecycle | None:
    """An action is about to be done that goes through `state`.

    What has failed and is tried again stays as it is until it comes off: a life tells what happened, not how
    often it was tried.
    """
    if life is not None and life.cause is Cause.FAILED and life.transitions[0].from_ is state:
        return life
    if state is LifecycleState.DESTROYING:
        if life is None:
            return None  # what was never there, or only half, leaves no life
        if life.state is not LifecycleState.DESTROYING:
            life = enter(life, LifecycleState.STOPPED, cause, message, now)
    return enter(life, state, cause, message, now)


def done(
    life: Lifecycle | None,
    through: LifecycleState | None,
    to: LifecycleState | None,
    why: tuple[Cause, str],
    now: str,
) -> Lifecycle | None:
    """The action has ended, in `to` where that is known; what `begin` passed over is made up for."""
    if through is LifecycleState.DESTROYING:
        return life
    if through is not None and (life is None or life.state not in (through, to)):
        life = enter(life, through, *why, now)
    return life if to is None else enter(life, to, *why, now)


def failed(life: Lifecycle | None, message: str, now: str) -> Lifecycle | None:
    """The action has failed for good: the guest is where it was before, or stopped where it was to start."""
    if life is None or life.state not in (LifecycleState.STARTING, LifecycleState.MIGRATING):
        return life
    back = life.transitions[0].from_ if life.state is LifecycleState.MIGRATING else LifecycleState.STOPPED
    return enter(life, back or LifecycleState.STOPPED, Cause.FAILED, message, now)


def settle(
    life: Lifecycle | None,
    found: GuestState | None,
    *,
    run: RunPolicy,
    repeated: Iterable[LifecycleState] = (),
    rebooted: bool = False,
    arrived: bool = False,
    now: str,
) -> Lifecycle | None:
    """The life after a look at the engine; None: there is no guest and never was one.

    `run` is what is wanted, `repeated` the states that the actions to come go through (what a crash has cut
    short is not told as a failure while it is done again), `rebooted` whether the host was started since,
    `arrived` whether a guest that was never looked at here was another node's before.
    """
    state = None if found is None else STATES.get(found)
    if state is None or (life is not None and (life.state is state or life.state in repeated)):
        return life
    made = life is not None and life.state is LifecycleState.CREATING and life.cause is not Cause.ADOPTED
    if made and state is LifecycleState.STOPPED and run is RunPolicy.RUNNING:
        return life  # on its way to its first start
    cause, message = _why(life, state, run, rebooted=rebooted)
    if life is None and arrived:
        cause, message = Cause.MIGRATION, "it was moved here"
    return enter(life, state, cause, message, now)


def _why(
    life: Lifecycle | None, state: LifecycleState, run: RunPolicy, *, rebooted: bool
) -> tuple[Cause, str]:
    if life is None:
        return Cause.OUTSIDE, "it was there when it was first looked at"
    if life.state in UNDERWAY:
        return _cut_short(life, state)
    if rebooted:
        return Cause.BOOT, "the host was started anew"
    if life.state in _UP and state in _DOWN:
        return Cause.DIED, "its init has ended, and nobody had asked for it"
    policies = {RunPolicy.SUSPENDED: LifecycleState.SUSPENDED, RunPolicy.RUNNING: LifecycleState.RUNNING}
    if life.state in _UP and policies.get(run) is state:
        return Cause.RUN_POLICY, f"runPolicy is {run.value}"  # ours: killed before it was written down
    return Cause.OUTSIDE, f"somebody else made it {state.value}"


def _cut_short(life: Lifecycle, state: LifecycleState) -> tuple[Cause, str]:
    """What came of an action that nobody has seen the end of."""
    if life.state is LifecycleState.STARTING and state is LifecycleState.STOPPED:
        return Cause.FAILED, "it did not come up"
    taken_over = life.state is LifecycleState.CREATING and life.cause is Cause.ADOPTED
    if taken_over or state in TRANSITIONS[life.state]:
        return life.cause, life.transitions[0].message
    return Cause.FAILED, f"{life.state.value} was not carried out"


def moved(life: Lifecycle, source: str, target: str, now: str) -> Lifecycle:
    """The guest was found on another node of the engine's cluster, and nobody of ours had moved it."""
    message = f"somebody else moved it from {source} to {target}"
    back = life.state if life.state in (*_UP, LifecycleState.STOPPED) else LifecycleState.RUNNING
    passing = enter(life, LifecycleState.MIGRATING, Cause.OUTSIDE, message, now)
    return enter(passing, back, Cause.OUTSIDE, message, now)
