"""Which of a Guest's services have names. Each document is read once, as a zone looks at all its Guests each
time.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict

from dsecos_api import Guest

MOST_SERVICES = 128
"""What the schema takes: names of one Guest's services. Beyond them come those that sort last."""
KEPT = 8192
"""Guests whose services are remembered."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_known: OrderedDict[str, tuple[str, tuple[str, ...]]] = OrderedDict()
"""Digest of the document, and what is in it, by UID of the Stack: nobody's Guest speaks for another one."""


def is_label(name: str) -> bool:
    """Whether it can be a part of a name (RFC 1123)."""
    return _LABEL.fullmatch(name) is not None


def services(guest: Guest) -> tuple[str, ...]:
    """The services of its compose document whose names are DNS labels, sorted."""
    compose, uid = guest.spec.compose, guest.spec.stack_ref.uid
    if compose is None:
        return ()
    digest, found = _known.get(uid, ("", ()))
    if digest != compose.digest:
        found = read(compose.document)
        _known[uid] = compose.digest, found
        if len(_known) > KEPT:
            _known.popitem(last=False)
    _known.move_to_end(uid)
    return found


def read(document: str) -> tuple[str, ...]:
    """The same of a document as it was rendered, which is JSON. Anything else has no services."""
    try:
        tree = json.loads(document)
    except (ValueError, RecursionError):
        return ()
    named = tree.get("services") if isinstance(tree, dict) else None
    return tuple(sorted(filter(is_label, named)))[:MOST_SERVICES] if isinstance(named, dict) else ()
