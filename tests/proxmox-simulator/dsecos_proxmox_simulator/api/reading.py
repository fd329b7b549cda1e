"""Reading guests: lists, configuration, status, pending values, figures, interfaces."""

from __future__ import annotations

from dsecos_proxmox_simulator import guests, lxc, properties
from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import Guest, Kind
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes

routes = Routes()
AUDIT = needs("/vms/{vmid}", "VM.Audit")


def _declare(kind: Kind) -> None:
    one = f"/nodes/{{node}}/{kind}/{{vmid}}"

    @routes.add("GET", f"/nodes/{{node}}/{kind}", "full boolean" if kind == "qemu" else "")
    def list_guests(request: Request) -> object:
        return [
            guests.figures(request, guest)
            for guest in sorted(request.world.guests.values(), key=lambda g: g.vmid)
            if guest.node == request.node
            and guest.kind == kind
            and request.may(f"/vms/{guest.vmid}", "VM.Audit")
        ]

    @routes.add(
        "GET", f"{one}/config", "current boolean\nsnapshot string len:..40 format:pve-configid", check=AUDIT
    )
    def config(request: Request) -> object:
        guest = request.guest(kind)
        if not request.has("snapshot"):
            return guests.shown_config(guest, with_pending=not request.flag("current"))
        snapshot = guest.snapshots.get(request.text("snapshot"))
        if snapshot is None:
            raise failure(f"snapshot '{request.text('snapshot')}' does not exist")
        shown = guests.shown_config(Guest(guest.vmid, kind, guest.node, snapshot.config), with_pending=False)
        return shown | {"digest": guest.digest}

    @routes.add("GET", f"{one}/status/current", check=AUDIT)
    def current(request: Request) -> object:
        guest = request.guest(kind)
        shown = guests.figures(request, guest) | {"ha": ha_of(request, guest)}
        if kind == "qemu":
            shown["qmpstatus"] = "paused" if guest.paused else guest.status
            if properties.split(guest.config.get("agent", "0"), "enabled").get("enabled") == "1":
                shown["agent"] = 1
        return shown

    @routes.add("GET", f"{one}/pending", check=AUDIT)
    def pending(request: Request) -> object:
        guest = request.guest(kind)
        rows: list[dict[str, object]] = []
        for key, value in guests.shown_config(guest, with_pending=False).items():
            row: dict[str, object] = {"key": key, "value": value}
            if key in guest.pending:
                waiting = guest.pending[key]
                row |= {"delete": 1} if waiting is None else {"pending": guests.typed(kind, key, waiting)}
            rows.append(row)
        rows += [
            {"key": key, "pending": guests.typed(kind, key, value)}
            for key, value in guest.pending.items()
            if key not in guest.config and value is not None
        ]
        return rows

    @routes.add(
        "GET",
        f"{one}/rrddata",
        "timeframe! string =hour|day|week|month|year\ncf string =AVERAGE|MAX",
        check=AUDIT,
    )
    def rrddata(request: Request) -> object:
        guest, now = request.guest(kind), request.cluster.now() // 60 * 60
        names = ("cpu", "mem", "maxmem", "disk", "maxdisk", "netin", "netout", "diskread", "diskwrite")
        shown = guests.figures(request, guest)
        figures = {name: shown[name] for name in names} | {"maxcpu": shown["cpus"]}
        return [{"time": now - 60 * age} | figures for age in range(3, 0, -1)]

    @routes.add(
        "GET",
        f"{one}/feature",
        "feature! string =snapshot|clone|copy\nsnapname string len:..40 format:pve-configid",
        check=AUDIT,
    )
    def feature(request: Request) -> object:
        guest = request.guest(kind)
        name = request.text("feature")
        has = name == "copy" or (can_snapshot(request, guest) and (name == "snapshot" or guest.template))
        answer: dict[str, object] = {"hasFeature": int(has)}
        return answer if kind == "lxc" else answer | {"nodes": [guest.node]}


def can_snapshot(request: Request, guest: Guest) -> bool:
    """Whether all of the guest's storages can; a virtual machine's disk may also be a qcow2 file."""
    for _key, value in guest.owned_disks():
        volid = value.split(",")[0]
        storage = request.world.storages.get(volid.split(":", 1)[0])
        if storage is None or not (storage.can_snapshot or volid.endswith(".qcow2")):
            return False
    return True


def ha_of(request: Request, guest: Guest) -> dict[str, object]:
    """What status/current says of high availability."""
    resource = request.world.ha.get(f"{'ct' if guest.kind == 'lxc' else 'vm'}:{guest.vmid}")
    if resource is None:
        return {"managed": 0}
    return {"managed": 1, "state": resource.service_state, "group": resource.group or None}


_declare("lxc")
_declare("qemu")


@routes.add("GET", "/nodes/{node}/lxc/{vmid}/interfaces", check=AUDIT)
def interfaces(request: Request) -> object:
    """Links inside a running container."""
    guest = request.guest("lxc")
    if guest.status != "running":
        return []
    found = [_interface("lo", "00:00:00:00:00:00", "127.0.0.1/8")]
    for key, value in guest.config.items():
        if lxc.stem(key) == "net":
            values = properties.split(value)
            found.append(_interface(values["name"], values["hwaddr"].lower(), values.get("ip", "")))
    return found


def _interface(name: str, mac: str, address: str) -> dict[str, object]:
    shown: dict[str, object] = {"name": name, "hwaddr": mac, "hardware-address": mac, "ip-addresses": []}
    if "/" in address:
        ip, _, prefix = address.partition("/")
        shown["inet"] = address
        shown["ip-addresses"] = [{"ip-address": ip, "ip-address-type": "inet", "prefix": int(prefix)}]
    return shown
