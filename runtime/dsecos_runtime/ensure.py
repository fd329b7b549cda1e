"""Applying an object only where that changes something.

A controller says on each pass all that it wants. The API server would find out by itself that nothing
differs, but each such call costs both sides some milliseconds and counts as a write.
"""

from __future__ import annotations

import json
from typing import TypeVar

from dsecos_runtime.cache import Cache
from dsecos_runtime.cluster import Cluster, to_apply
from dsecos_runtime.errors import NotFound
from dsecos_runtime.ownership import changes
from dsecos_runtime.resources import Key, Object, Resource
from dsecos_runtime.store import applied_fields

T = TypeVar("T")


async def ensure(
    cluster: Cluster, cache: Cache, resource: Resource[T], obj: T | Object, *, field_manager: str = ""
) -> T:
    """Server-side apply, unless the newest version that is known shows that nothing would change.

    A kind that is not watched is read first. Returns the object as it is then. Raises ClusterError.
    """
    wanted = to_apply(resource, obj)
    key = Key.of(wanted)
    manager = (field_manager or cluster.field_manager, "")
    present: T | None
    if cache.watches_all(resource, key.namespace):
        entry = cache.entry(resource, key)
        present, applied = (entry.obj, entry.applied) if entry else (None, {})
    else:
        try:
            raw = await cluster.get_raw(resource, key.name, key.namespace)
            present, applied = (
                resource.decode(raw),
                applied_fields(raw["metadata"].get("managedFields") or ()),
            )
        except NotFound:
            present, applied = None, {}
    if present is None or manager not in applied:
        return await cluster.apply(resource, obj, field_manager=field_manager)
    if not changes(resource.encode(present), wanted, json.loads(applied[manager])):
        return present
    return await cluster.apply(resource, obj, field_manager=field_manager)
