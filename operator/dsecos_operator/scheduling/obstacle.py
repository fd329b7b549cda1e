"""What keeps a Stack from a node."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api import Reason


@dataclass(frozen=True)
class Obstacle:
    """What keeps a Stack from a node. `passing`: it may go away without a change to either."""

    why: str
    passing: bool
    reason: Reason = Reason.NO_NODE_FITS
