"""How far a node is emptied, as its status says it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dsecos_api import Reason
from dsecos_api.node import DrainStatus

from dsecos_operator.maintenance.drain import UNDER_WAY, Drain, Resident, Standing

MOST_WAITING = 16


class Outcome(NamedTuple):
    """Condition Drained."""

    done: bool
    reason: Reason
    message: str


def progress(residents: Sequence[Resident], drain: Drain) -> DrainStatus:
    """Counts, and who waits for what."""
    names = {each.uid: each.name for each in residents}
    waiting = sorted(f"{names[uid]}: {why}"[:1024] for uid, why in drain.waiting.items())
    return DrainStatus(
        total=len(residents),
        stopped=_count(residents, Standing.DOWN),
        moving=_count(residents, *UNDER_WAY),
        remaining=_count(residents, Standing.RUNS, Standing.PAUSED, Standing.GOING),
        waiting=waiting[:MOST_WAITING],
    )


def outcome(residents: Sequence[Resident], drain: Drain) -> Outcome:
    """Whether nothing of DsecOS runs on the node any more."""
    rest = [each for each in residents if each.standing not in (Standing.DOWN, Standing.OFF)]
    if not rest:
        return Outcome(True, Reason.DRAINED, "no guest runs here")
    if all(each.uid in drain.left for each in rest):
        names = ", ".join(sorted(each.name for each in rest)[:5])
        return Outcome(False, Reason.MAINTENANCE, f"left as they are: {names}; status.drain.waiting says why")
    return Outcome(False, Reason.DRAINING, "guests are moved or stopped; status.drain says how far")


def _count(residents: Sequence[Resident], *standings: Standing) -> int:
    return sum(each.standing in standings for each in residents)
