"""What outlives its Stack on a node: volumes that are kept, guests that are left running.

A Stack that is created again under its old name meets its old volumes, which lie on one node; and a guest
that was orphaned goes on using its address and its range of ids. No object tells of either any more, so both
are written into ConfigMap `retained` in the node's namespace before the Guest is deleted: an entry
`<namespace>.<stack>`. Removing an entry gives it up as far as placing is concerned; what is on the node stays
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dsecos_api import Guest, Stack
from dsecos_api.names import LABEL_ZONE
from dsecos_api.types import DeletionPolicy

from dsecos_operator.kinds import ConfigMapStamp, node_of
from dsecos_operator.scheduling import Occupant
from dsecos_operator.stacks.guests import address_of, id_base_of

CONFIG_MAP = "retained"


def entry_key(stack: Stack) -> str:
    """Unambiguous: a namespace holds no dot."""
    return f"{stack.namespace}.{stack.name}"


def policy(stack: Stack, own: DeletionPolicy | None) -> DeletionPolicy:
    """What becomes of a volume when its Stack goes: its own word, the Stack's, or Retain."""
    return own or stack.spec.deletion_policy or DeletionPolicy.RETAIN


def guest_policy(stack: Stack) -> DeletionPolicy:
    """What becomes of the guest when its Stack goes: one that was there before stays unless it is said."""
    unsaid = DeletionPolicy.ORPHAN if stack.spec.adopt is not None else DeletionPolicy.DELETE
    return stack.spec.deletion_policy or unsaid


def entry(stack: Stack, guest: Guest, known: str | None) -> str | None:
    """What is to be remembered when the Stack goes; None for nothing. `known`: the entry of its earlier
    lives. One that was adopted is given up with all that is its own: it leaves nothing, and forgets nothing.
    """
    if stack.spec.adopt is not None:
        return known
    volumes = [
        {"name": volume.name, "pool": volume.pool}
        for volume in stack.spec.volumes
        if policy(stack, volume.deletion_policy) != DeletionPolicy.DELETE
    ]
    guests = [each for each in _read(known)["guests"] if each.get("name") != guest.name]
    if stack.spec.deletion_policy == DeletionPolicy.ORPHAN:
        guests.append(
            {
                "name": guest.name,
                "zone": guest.metadata.labels.get(LABEL_ZONE, ""),
                "address": address_of(guest),
                "idBase": id_base_of(guest),
            }
        )
    if not volumes and not guests:
        return None
    return json.dumps({"volumes": volumes, "guests": guests}, sort_keys=True)


def entries(config_maps: Iterable[ConfigMapStamp], stack: Stack) -> Mapping[str, str]:
    """By node, what is remembered of a Stack of this name."""
    return {
        node_of(each.namespace): each.data[entry_key(stack)]
        for each in config_maps
        if each.name == CONFIG_MAP and entry_key(stack) in each.data
    }


def home(config_maps: Iterable[ConfigMapStamp], stack: Stack) -> str | None:
    """The node that holds data which the Stack's volumes would meet."""
    wanted = {volume.name for volume in stack.spec.volumes}
    for node, text in sorted(entries(config_maps, stack).items()):
        if wanted & {each.get("name") for each in _read(text)["volumes"]}:
            return node
    return None


def orphans(config_maps: Iterable[ConfigMapStamp]) -> list[Occupant]:
    """Guests that were left running. What they use of a node's memory and ports is not counted any more."""
    return [
        Occupant(
            namespace=key.partition(".")[0],
            stack=key.partition(".")[2],
            uid=str(each.get("name")),
            node=node_of(config_map.namespace),
            zone=str(each.get("zone")),
            address=str(each.get("address")),
            cpu=0,
            memory=0,
            host_ports=frozenset(),
            id_base=each.get("idBase"),
            orphan=True,
        )
        for config_map in config_maps
        if config_map.name == CONFIG_MAP
        for key, text in sorted(config_map.data.items())
        for each in _read(text)["guests"]
    ]


def _read(text: str | None) -> dict[str, list[dict[str, Any]]]:
    """An entry; whatever somebody made of it by hand, it has both lists."""
    try:
        raw = json.loads(text or "{}")
    except ValueError:
        raw = {}
    found = raw if isinstance(raw, dict) else {}
    lists = {part: found.get(part) for part in ("volumes", "guests")}
    return {
        part: [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
        for part, value in lists.items()
    }
