"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def age(timestamp: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in kubectl's short form: 45s, 12m, 3h, 4d.

    Empty if there is none.
    """
    if not timestamp:
        return ""
    try:
        then = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return ""
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def utcnow() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)
