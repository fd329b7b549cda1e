"""What tells guests of a node apart: their ranges of user ids and their link-layer addresses. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused

ID_COUNT = 65_536
"""User and group ids of one guest."""
_LAST_ID = 2**32 - 2
"""user_namespaces(7): (uid_t) -1 is no id."""


def id_base(base: int, taken: Iterable[int]) -> int:
    """First host id of the lowest range that no guest of the node has. Raises Refused."""
    used = set(taken)
    candidate = base
    while candidate in used:
        candidate += ID_COUNT
    if candidate + ID_COUNT - 1 > _LAST_ID:
        raise Refused(Reason.NO_NODE_FITS, "the node has no range of user ids left for another guest")
    return candidate


@lru_cache(maxsize=4096)
def mac(uid: str) -> str:
    """A stable address from the Stack's UID: locally administered (bit 1 of the first octet), unicast."""
    digest = hashlib.sha256(uid.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))
