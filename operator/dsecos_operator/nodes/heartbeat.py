"""Whether an agent is alive, judged by when we saw its Lease change: no two clocks are compared."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_runtime import Object

MISSED = 3
"""An agent is lost after this many durations of its Lease without a renewal."""
DEFAULT_DURATION = 40.0
"""Seconds, where the Lease says nothing."""


@dataclass(frozen=True)
class Seen:
    """A renewal and when it was first seen (monotonic seconds)."""

    renewal: str
    at: float


def see(before: Seen | None, lease: Object | None, now: float) -> Seen:
    """What is known after a look at the Lease. A missing Lease is one that is not renewed."""
    renewal = str(((lease or {}).get("spec") or {}).get("renewTime") or "")
    return before if before is not None and before.renewal == renewal else Seen(renewal, now)


def patience(lease: Object | None) -> float:
    """Seconds without a renewal after which the agent is lost."""
    duration = ((lease or {}).get("spec") or {}).get("leaseDurationSeconds")
    return MISSED * float(duration or DEFAULT_DURATION)
