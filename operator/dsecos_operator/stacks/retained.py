"""Where data lies that outlived its Stack.

A Stack that is created again under its old name meets its old volumes, which lie on one node. When a Stack
goes and data stays, that is written into ConfigMap `retained-volumes` in the node's namespace, before the
guest is deleted: an entry `<namespace>.<stack>` that names the volumes. Deleting an entry gives the data up
as far as placing is concerned; the data itself stays on the node.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from dsecos_api import Stack
from dsecos_api.types import DeletionPolicy

from dsecos_operator.kinds import ConfigMapStamp, node_of

CONFIG_MAP = "retained-volumes"


def entry_key(stack: Stack) -> str:
    """Unambiguous: a namespace holds no dot."""
    return f"{stack.namespace}.{stack.name}"


def policy(stack: Stack, own: DeletionPolicy | None) -> DeletionPolicy:
    """What becomes of a volume when its Stack goes: its own word, the Stack's, or Retain."""
    return own or stack.spec.deletion_policy or DeletionPolicy.RETAIN


def entry(stack: Stack) -> str | None:
    """What is to be remembered when the Stack goes; None if nothing of it stays."""
    kept = [
        {"name": volume.name, "pool": volume.pool}
        for volume in stack.spec.volumes
        if policy(stack, volume.deletion_policy) != DeletionPolicy.DELETE
    ]
    return json.dumps(kept, sort_keys=True) if kept else None


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
        try:
            names = {each["name"] for each in json.loads(text)}
        except (ValueError, TypeError, KeyError):
            continue  # somebody edited it by hand
        if names & wanted:
            return node
    return None
