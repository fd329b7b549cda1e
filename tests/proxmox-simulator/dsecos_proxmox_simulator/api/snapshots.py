"""Snapshots of guests: made, listed, rolled back to, deleted."""

from __future__ import annotations

from collections.abc import Generator

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.api.reading import AUDIT, can_snapshot
from dsecos_proxmox_simulator.errors import TaskError, failure
from dsecos_proxmox_simulator.model import Guest, Kind, Snapshot
from dsecos_proxmox_simulator.privileges import needs, needs_any
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.tasks import Task

routes = Routes()
TAKE = needs("/vms/{vmid}", "VM.Snapshot")
NOT_IN_SNAPSHOT = {"lock", "template"}


def take(guest: Guest, name: str, description: str, now: int, *, vmstate: bool = False) -> None:
    """Keep the configuration of this moment."""
    config = {k: v for k, v in guest.config.items() if k not in NOT_IN_SNAPSHOT}
    guest.snapshots[name] = Snapshot(name, config, now, description, guest.current_parent, vmstate)
    guest.current_parent = name


def remove(guest: Guest, name: str) -> None:
    """Those that followed it follow what it followed."""
    gone = guest.snapshots.pop(name)
    for other in guest.snapshots.values():
        if other.parent == name:
            other.parent = gone.parent
    if guest.current_parent == name:
        guest.current_parent = gone.parent


def _declare(kind: Kind) -> None:
    many = f"/nodes/{{node}}/{kind}/{{vmid}}/snapshot"
    prefix = guests.PREFIX[kind]

    @routes.add("GET", many, check=AUDIT)
    def list_snapshots(request: Request) -> object:
        guest = request.guest(kind)
        shown: list[dict[str, object]] = []
        for snapshot in guest.snapshots.values():
            row: dict[str, object] = {
                "name": snapshot.name,
                "description": f"{snapshot.description}\n" if snapshot.description else "",
                "snaptime": snapshot.time,
            }
            if snapshot.parent:
                row["parent"] = snapshot.parent
            if kind == "qemu":
                row["vmstate"] = int(snapshot.vmstate)
            shown.append(row)
        now: dict[str, object] = {
            "name": "current",
            "description": "You are here!",
            "digest": guest.digest,
            "running": int(guest.status == "running"),
        }
        if guest.current_parent:
            now["parent"] = guest.current_parent
        return [*shown, now]

    extra = "\nvmstate boolean" if kind == "qemu" else ""

    @routes.add(
        "POST",
        many,
        "snapname! string len:..40 format:pve-configid\ndescription string" + extra,
        check=TAKE,
    )
    def create(request: Request) -> object:
        name, vmid, node = request.text("snapname"), request.vmid, request.node
        if name in ("current", "pending"):
            raise failure(f"unable to use snapshot name '{name}' (reserved name)")

        def work(task: Task) -> Generator[float, None, None]:
            yield 0.1
            guest = request.world.guest_at(node, kind, vmid)
            guests.check_lock(guest)
            if name in guest.snapshots:
                raise TaskError(f"snapshot name '{name}' already used")
            if not can_snapshot(request, guest):
                raise TaskError("snapshot feature is not available")
            with guests.held(guest, "snapshot"):
                yield guests.DURATIONS["snapshot"]
                guests.still_there(request.world, guest)
                state = request.flag("vmstate") and guest.status == "running"
                take(guest, name, request.text("description"), request.cluster.now(), vmstate=state)

        return request.spawn(f"{prefix}snapshot", vmid, work)

    one = f"{many}/{{snapname}}"

    @routes.add("DELETE", one, "force boolean", check=TAKE)
    def delete(request: Request) -> object:
        name, vmid, node = request.text("snapname"), request.vmid, request.node

        def work(task: Task) -> Generator[float, None, None]:
            yield 0.1
            guest = request.world.guest_at(node, kind, vmid)
            guests.check_lock(guest)
            if name not in guest.snapshots:
                raise TaskError(f"snapshot '{name}' does not exist")
            with guests.held(guest, "snapshot-delete"):
                yield guests.DURATIONS["delete snapshot"]
                guests.still_there(request.world, guest)
                remove(guest, name)

        return request.spawn(f"{prefix}delsnapshot", vmid, work)

    @routes.add(
        "POST",
        f"{one}/rollback",
        "start boolean",
        check=needs_any("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback"),
    )
    def rollback(request: Request) -> object:
        name, vmid, node = request.text("snapname"), request.vmid, request.node

        def work(task: Task) -> Generator[float, None, None]:
            yield 0.1
            guest = request.world.guest_at(node, kind, vmid)
            guests.check_lock(guest)
            snapshot = guest.snapshots.get(name)
            if snapshot is None:
                raise TaskError(f"snapshot '{name}' does not exist")
            with guests.held(guest, "rollback"):
                guests.end(guest)
                yield guests.DURATIONS["rollback"]
                guests.still_there(request.world, guest)
                kept = {k: v for k, v in guest.config.items() if k in NOT_IN_SNAPSHOT}
                guest.config.clear()
                guest.config.update(snapshot.config | kept)
                guest.current_parent = name
            if snapshot.vmstate:
                guests.begin(request.world, guest, request.cluster.clock())
            elif request.flag("start"):
                again = guests.start_work(request.cluster, node, kind, vmid)
                request.cluster.tasks.spawn(node, f"{prefix}start", str(vmid), request.identity, again)

        return request.spawn(f"{prefix}rollback", vmid, work)

    @routes.add(
        "GET",
        f"{one}/config",
        check=needs_any("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"),
    )
    def config(request: Request) -> object:
        snapshot = _find(request.guest(kind), request.text("snapname"))
        shown: dict[str, object] = {k: guests.typed(kind, k, v) for k, v in snapshot.config.items()}
        return shown | {"snaptime": snapshot.time, "description": snapshot.description}

    @routes.add("PUT", f"{one}/config", "description string", check=TAKE)
    def describe(request: Request) -> object:
        guest = request.guest(kind)
        guests.check_lock(guest)
        _find(guest, request.text("snapname")).description = request.text("description")
        return None


def _find(guest: Guest, name: str) -> Snapshot:
    found = guest.snapshots.get(name)
    if found is None:
        raise failure(f"snapshot '{name}' does not exist")
    return found


_declare("lxc")
_declare("qemu")
