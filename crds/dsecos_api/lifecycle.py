"""The life of a guest: its states, the orders that may be given in each, and the transitions between them.

Container and VM live the same life. What a guest is ordered to do is checked against its state before
anything is done; what is observed is never refused, only told, with its cause and time.

    Creating -> Starting -> Running <-> Suspended
                   ^           |  \\-> Migrating -> Running
                Stopped <- Stopping
                   |-> Destroying -> gone
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from dsecos_api.base import ApiModel
from dsecos_api.types import Time

MAX_TRANSITIONS = 10
"""Transitions that a status remembers."""


class LifecycleState(StrEnum):
    """Where a guest is in its life. Running and Suspended are the two ways of being up."""

    CREATING = "Creating"
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    MIGRATING = "Migrating"
    DESTROYING = "Destroying"


class Cause(StrEnum):
    """Why a guest went from one state to another."""

    CREATED = "Created"
    RUN_POLICY = "RunPolicy"
    RESTART_REQUESTED = "RestartRequested"
    CONFIGURATION_CHANGED = "ConfigurationChanged"
    BOOT = "Boot"
    """The host was started, and the guest with it."""
    DIED = "Died"
    """Its init ended, and nobody of ours had asked for it."""
    OUTSIDE = "Outside"
    """Somebody changed it past DsecOS: by hand, by the engine's own tools, by its high availability."""
    MAINTENANCE = "Maintenance"
    MIGRATION = "Migration"
    FAILED = "Failed"
    ADOPTED = "Adopted"
    DELETED = "Deleted"


class Order(StrEnum):
    """What a guest may be told to do."""

    START = "Start"
    STOP = "Stop"
    SUSPEND = "Suspend"
    RESUME = "Resume"
    RESTART = "Restart"
    MIGRATE = "Migrate"
    DESTROY = "Destroy"


TRANSITIONS: dict[LifecycleState | None, frozenset[LifecycleState]] = {
    None: frozenset({LifecycleState.CREATING}),
    LifecycleState.CREATING: frozenset({LifecycleState.STARTING, LifecycleState.STOPPED}),
    LifecycleState.STARTING: frozenset(
        {LifecycleState.RUNNING, LifecycleState.STOPPING, LifecycleState.STOPPED}
    ),
    LifecycleState.RUNNING: frozenset(
        {LifecycleState.SUSPENDED, LifecycleState.STOPPING, LifecycleState.STOPPED, LifecycleState.MIGRATING}
    ),
    LifecycleState.SUSPENDED: frozenset(
        {LifecycleState.RUNNING, LifecycleState.STOPPING, LifecycleState.STOPPED}
    ),
    LifecycleState.STOPPING: frozenset({LifecycleState.STOPPED}),
    LifecycleState.STOPPED: frozenset(
        {LifecycleState.STARTING, LifecycleState.MIGRATING, LifecycleState.DESTROYING}
    ),
    LifecycleState.MIGRATING: frozenset({LifecycleState.RUNNING, LifecycleState.STOPPED}),
    LifecycleState.DESTROYING: frozenset(),
}
"""The legal transitions; None: there is no guest.

A guest that dies goes from any state of being up to Stopped, and a stopped one may be moved as well as a
running one.
"""

_ORDERS: dict[Order, frozenset[LifecycleState]] = {
    Order.START: frozenset({LifecycleState.CREATING, LifecycleState.STOPPED}),
    Order.STOP: frozenset({LifecycleState.STARTING, LifecycleState.RUNNING, LifecycleState.SUSPENDED}),
    Order.SUSPEND: frozenset({LifecycleState.RUNNING}),
    Order.RESUME: frozenset({LifecycleState.SUSPENDED}),
    Order.RESTART: frozenset({LifecycleState.RUNNING}),
    Order.MIGRATE: frozenset({LifecycleState.RUNNING, LifecycleState.STOPPED}),
    Order.DESTROY: frozenset({LifecycleState.CREATING, LifecycleState.STOPPED}),
}
"""The states in which an order can be carried out at once."""


def refusal(state: LifecycleState, order: Order) -> str | None:
    """Why an order cannot be carried out in this state, and what to do first; None when it can."""
    if state in _ORDERS[order]:
        return None
    legal = " or ".join(each.value for each in LifecycleState if each in _ORDERS[order])
    return f"{order.value} is for a guest that is {legal}; it is {state.value}"


class Transition(ApiModel):
    """One step of a guest's life."""

    from_: LifecycleState | None = Field(
        default=None, alias="from", description="State before. Unset: there was no guest."
    )
    to: LifecycleState = Field(description="State after.")
    cause: Cause = Field(description="Why, as one word for programs.")
    message: str = Field(default="", max_length=1024, description="Why, for people.")
    time: Time = Field(description="When it was done or seen.")


class Lifecycle(ApiModel):
    """Where a guest is in its life, and how it came there."""

    state: LifecycleState = Field(
        description="Creating, Starting, Running, Suspended, Stopping, Stopped, Migrating or Destroying."
    )
    since: Time = Field(description="Since when.")
    cause: Cause = Field(description="Why it is in this state, as one word for programs.")
    transitions: list[Transition] = Field(
        default_factory=list,
        max_length=MAX_TRANSITIONS,
        description="The last transitions, the newest first.",
    )
