"""Taking over a guest that somebody else has made, and giving it back.

Both are one change of its configuration each, with the digest of what was read: there is no moment in which
it is half ours, and of two who want it one finds it taken.
"""

import re

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import EngineUnreachableError
from dsecos_agent.engines.model import Adopted, GuestConfig
from dsecos_agent.engines.proxmox import adopted, options, properties
from dsecos_agent.engines.proxmox.access import Access, Found
from dsecos_agent.engines.proxmox.places import Listing, Place
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.tasks import Resumed

VMID = re.compile(r"[1-9][0-9]{2,8}")


async def candidate(access: Access, config: GuestConfig, root: Adopted, listing: Listing) -> Found:
    """The guest of that id, which is nobody's yet.

    Raises NotFoundError, NotOursError, UnsupportedError, EngineUnreachableError.
    """
    place = _place(access.settings, config, root.engine_id, listing)
    raw = await access.config(place)
    if properties.is_marked(str(raw.get("tags", "")), str(raw.get("description", ""))):
        owner = options.owner_of(raw)
        raise NotOursError(
            "guest",
            f"{place.vmid}",
            wanted=f"{config.owner_uid} ({config.name})",
            found=f"{owner.owner_uid} ({owner.guest})" if owner else _damaged(raw),
        )
    return Found(place, raw)


async def release(access: Access, name: str, owner_uid: str) -> None:
    """Give it up. Raises NotOursError, UnsupportedError."""

    async def step(_: Resumed | None) -> None:
        found = await access.ours(name, owner_uid)
        if found is not None:
            if not options.marks_of(found.raw).adopted:
                raise UnsupportedError(f"guest {name} was made here, not adopted, so it is nobody else's")
            found.check_lock()
            await access.put(found, *adopted.released(found.raw))
            get_logger().info("guest released", guest=name, vmid=found.place.vmid)
        access.claims.release(name)

    await access.settled(name, step)


def _place(settings: ProxmoxSettings, config: GuestConfig, engine_id: str, listing: Listing) -> Place:
    if not VMID.fullmatch(engine_id):
        raise NotFoundError(f"{engine_id} is no VMID of Proxmox VE, so there is no guest of that id")
    place = listing.places.get(int(engine_id))
    if place is None:
        pool = f" {settings.resource_pool}" if settings.resource_pool else ""
        raise NotFoundError(
            f"there is no guest {engine_id} that {settings.identity} may see: if there is one, put it into"
            f" the resource pool{pool} that it has its rights on"
        )
    if place.template:
        raise UnsupportedError(f"guest {engine_id} is a template, which never runs")
    if place.kind is not config.kind:
        raise UnsupportedError(f"guest {engine_id} is a {place.kind}, not a {config.kind}")
    if place.node in listing.away:
        raise EngineUnreachableError(f"guest {engine_id} is on node {place.node}, which does not answer")
    if place.node != settings.node:
        raise NotFoundError(
            f"guest {engine_id} is not on node {settings.node} but on {place.node}: adopt it there"
        )
    return place


def _damaged(raw: options.Raw) -> str:
    claim = options.claim_of(raw)
    whose = f"{claim.owner_uid} ({claim.guest})" if claim else "a guest of DsecOS"
    return f"{whose} by half (its tags and the lines {properties.MARK} of its description disagree)"
