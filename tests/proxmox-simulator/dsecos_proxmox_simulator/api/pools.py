"""/pools."""

from __future__ import annotations

import re

from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import Pool
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes

routes = Routes()
CHANGE = needs("/pool/{poolid}", "Pool.Allocate")
OPTIONS = """
    allow-move boolean
    comment    string
    delete     boolean
    storage    string format:pve-storage-id-list
    vms        string format:pve-vmid-list
"""


def find(request: Request) -> Pool:
    """Raises ApiError 500 for a pool that is not there."""
    name = request.text("poolid")
    if name not in request.world.pools:
        raise failure(f"pool '{name}' does not exist")
    return request.world.pools[name]


def shown(request: Request, pool: Pool, *, members: bool) -> dict[str, object]:
    """A pool, with what is in it."""
    row: dict[str, object] = {"poolid": pool.name}
    if pool.comment:
        row["comment"] = pool.comment
    if members:
        row["members"] = _members(request, pool)
    return row


def _members(request: Request, pool: Pool) -> list[dict[str, object]]:
    wanted = request.text("type")
    found: list[dict[str, object]] = []
    for vmid in sorted(pool.guests):
        guest = request.world.guests.get(vmid)
        if guest is not None and wanted in ("", guest.kind):
            found.append(
                {
                    "id": f"{guest.kind}/{vmid}",
                    "type": guest.kind,
                    "vmid": vmid,
                    "node": guest.node,
                    "name": guest.name,
                    "status": guest.status,
                }
            )
    if wanted in ("", "storage"):
        found += [
            {"id": f"storage/{node}/{name}", "type": "storage", "storage": name, "node": node}
            for name in sorted(pool.storages)
            for node in request.world.nodes
        ]
    return found


@routes.add("GET", "/pools", "poolid string format:pve-poolid\ntype string =qemu|lxc|storage requires:poolid")
def pools(request: Request) -> object:
    """Pools that one may see; one of them with its members."""
    if request.has("poolid"):
        request.require(f"/pool/{request.text('poolid')}", "Pool.Audit")
        return [shown(request, find(request), members=True)]
    return [
        shown(request, pool, members=False)
        for pool in request.world.pools.values()
        if request.may(f"/pool/{pool.name}", "Pool.Audit")
    ]


@routes.add(
    "GET", "/pools/{poolid}", "type string =qemu|lxc|storage", check=needs("/pool/{poolid}", "Pool.Audit")
)
def pool(request: Request) -> object:
    """One pool with its members."""
    row = shown(request, find(request), members=True)
    del row["poolid"]
    return row


@routes.add("POST", "/pools", "poolid! string format:pve-poolid\ncomment string", check=CHANGE)
def create(request: Request) -> object:
    """A pool without members."""
    name = request.text("poolid")
    if name in request.world.pools:
        raise failure(f"pool '{name}' already exists")
    request.world.add_pool(name, request.text("comment"))
    return None


def change(request: Request) -> object:
    """Members join, or leave with `delete`."""
    found = find(request)
    if request.has("comment"):
        found.comment = request.text("comment")
    for vmid in map(int, _list(request.text("vms"))):
        if vmid not in request.world.guests:
            raise failure(f"VM {vmid} does not exist")
        request.require(f"/vms/{vmid}", "VM.Allocate")
        _change_guest(request, found, vmid)
    for name in _list(request.text("storage")):
        request.require(f"/storage/{name}", "Datastore.Allocate")
        found.storages.discard(name) if request.flag("delete") else found.storages.add(name)
    return None


def _change_guest(request: Request, found: Pool, vmid: int) -> None:
    present = request.world.pool_of(vmid)
    if request.flag("delete"):
        if present != found.name:
            raise failure(f"VM {vmid} is not a pool member")
        found.guests.remove(vmid)
        return
    if present and not request.flag("allow-move"):
        raise failure(f"VM {vmid} belongs already to pool '{present}' and allow-move is not set")
    if present:
        request.world.pools[present].guests.remove(vmid)
    found.guests.add(vmid)


routes.add("PUT", "/pools", "poolid! string format:pve-poolid\n" + OPTIONS, check=CHANGE)(change)
routes.add("PUT", "/pools/{poolid}", OPTIONS, check=CHANGE)(change)


def delete(request: Request) -> object:
    """Only an empty one."""
    found = find(request)
    if found.guests or found.storages:
        raise failure(f"pool '{found.name}' is not empty")
    del request.world.pools[found.name]
    return None


routes.add("DELETE", "/pools", "poolid! string format:pve-poolid", check=CHANGE)(delete)
routes.add("DELETE", "/pools/{poolid}", check=CHANGE)(delete)


def _list(text: str) -> list[str]:
    return [part for part in re.split(r"[,;\s]+", text) if part]
