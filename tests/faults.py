"""Fault points that are one to a test."""

from __future__ import annotations

BY_WHOEVER_IS_FIRST = (
    {"guest-bridge", "zone-bridge"},
    {"guest-firewall", "zone-firewall", "firewall-apply"},
)
"""Bridges and rules are made by the first who needs them: the pass of a guest, of its zone or of the
firewall. The others find them there and never come to their own point.
"""


def alike(point: str) -> str:
    """The point, and those that may come in its stead, with commas between them."""
    return ",".join(sorted(next((each for each in BY_WHOEVER_IS_FIRST if point in each), {point})))
