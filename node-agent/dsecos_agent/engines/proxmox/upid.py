"""Ids of tasks: UPID:node:pid:pstart:starttime:type:id:user: (PVE::Tools::upid_decode).

The user may be a token (`probe@pve!t1`); the id may be empty, a VMID, or something like `101@local`.
"""

import re
from dataclasses import dataclass

_UPID = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):"
    r"(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<start>[0-9A-Fa-f]{8}):(?P<kind>[^:\s]+):(?P<id>[^:\s]*):"
    r"(?P<user>[^:\s]+):"
)


@dataclass(frozen=True, slots=True)
class Upid:
    """One task of one node."""

    node: str
    kind: str
    """Type of its worker, for instance vzcreate."""
    id: str
    start: int
    """Seconds since 1970, by the node's clock."""
    user: str


def parse(text: str) -> Upid:
    """Read one. Raises ValueError."""
    found = _UPID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:200]!r} is no task id")
    return Upid(found["node"], found["kind"], found["id"], int(found["start"], 16), found["user"])


def is_upid(text: object) -> bool:
    """Whether an answer is a task's id."""
    return isinstance(text, str) and _UPID.fullmatch(text) is not None
