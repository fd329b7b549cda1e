"""What others changed in a guest's configuration. Pure.

The engine tells a digest of what is configured; the record knows which digests are of our doing. One that is
neither those nor the one that is wanted was made by somebody else.
"""

from collections.abc import Mapping

from dsecos_api.lifecycle import LifecycleState

from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.state import Observed

REMOVED = "guest"
"""The setting that is told where the whole guest was removed."""

MOST = 64
"""Settings that a status names (GuestStatus.drift)."""


def found(wanted: Wanted, seen: Observed) -> bool:
    """Whether somebody else changed the guest's configuration. What a write of ours left half done, as after
    a crash, is nobody else's.
    """
    record = seen.record
    if seen.engine is None or record is None or len(record.applied) != 1:
        return False
    if record.life is not None and record.life.state is LifecycleState.CREATING:
        return False
    return seen.engine.config_digest not in (*record.applied, wanted.digest.full)


def removed(seen: Observed) -> bool:
    """Whether somebody else removed the guest: it had been made, and nothing of ours has ended it."""
    record = seen.record
    if seen.engine is not None or record is None or record.removal is not None:
        return False
    made = record.life is not None and record.life.state is not LifecycleState.CREATING
    return bool(record.applied) and made


def held(wanted: Wanted, seen: Observed) -> bool:
    """Whether it is only reported: driftPolicy says so, and the wish is the one that was carried out."""
    known = seen.record is not None and wanted.digest.full in seen.record.applied
    return wanted.report_drift and known and (found(wanted, seen) or removed(seen))


def names(wanted: Mapping[str, str], seen: Mapping[str, str]) -> tuple[str, ...]:
    """The settings that differ, by name."""
    differing = {key for key in (*wanted, *seen) if wanted.get(key) != seen.get(key)}
    return tuple(sorted(differing))[:MOST]
