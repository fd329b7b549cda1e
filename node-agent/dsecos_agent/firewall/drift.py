"""Whether the kernel's rules are the ones that we put there: a digest of what it lists, without what changes
by itself.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from dsecos_agent.processes.files import write_atomically

VOLATILE = frozenset({"handle", "packets", "bytes"})

VOLATILE_SETS = frozenset({"ingress_peers", "ingress_peers6", "egress_peers", "egress_peers6"})
"""Sets that the kernel fills by itself."""


def canonical(value: Any) -> Any:
    """Without handles and counts; elements of sets in order, whatever order the kernel's hash gives them."""
    if isinstance(value, dict):
        if value.get("name") in VOLATILE_SETS:
            value = {key: inner for key, inner in value.items() if key != "elem"}
        return {
            key: sorted((canonical(one) for one in inner), key=_key)
            if key in {"elem", "set"} and isinstance(inner, list)
            else canonical(inner)
            for key, inner in value.items()
            if key not in VOLATILE
        }
    if isinstance(value, list):
        return [canonical(one) for one in value]
    return value


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def digest_of_listing(listing: list[dict[str, Any]]) -> str:
    """Of what `nft -j list table` says."""
    return digest_of_text(_key(canonical([one for one in listing if "metainfo" not in one])))


def digest_of_text(text: str) -> str:
    """Of a rendered policy."""
    return hashlib.sha256(text.encode()).hexdigest()


class Applied:
    """What was applied last, kept in a file so that a restart need not apply it again; a lost file costs one
    apply.
    """

    def __init__(self, memory: Path) -> None:
        """Nothing is read before it is asked for."""
        self._memory = memory

    def listing_for(self, text: str) -> str | None:
        """What the kernel should list if `text` is in force; None when that is not what was applied last."""
        try:
            known = json.loads(self._memory.read_text())
            return str(known["listing"]) if known["text"] == digest_of_text(text) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def remember(self, text: str, listing: str) -> None:
        """After a successful apply."""
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._memory, json.dumps({"text": digest_of_text(text), "listing": listing}))

    def forget(self) -> None:
        """Before an apply, so that a crash in between is seen as drift; and after a removal."""
        self._memory.unlink(missing_ok=True)
