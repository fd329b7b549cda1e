"""/cluster/sdn: zones, vnets and subnets are staged, and an apply makes them real on every node."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from typing import Literal

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.access import ROOT, Identity
from dsecos_proxmox_simulator.errors import ApiError, TaskError, failure
from dsecos_proxmox_simulator.privileges import ANYBODY, needs, needs_any
from dsecos_proxmox_simulator.properties import digest
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.tasks import Task, Work
from dsecos_proxmox_simulator.world import Node, SdnObject, World

routes = Routes()
Kind = Literal["zone", "vnet", "subnet"]
LOCK = "lock-token string since:9.1\n"
READ = "pending boolean\nrunning boolean"
ZONE_TYPES = "evpn|faucet|qinq|simple|vlan|vxlan"
ZONE_OPTIONS = """
    bridge     string
    dhcp       string =dnsmasq
    ipam       string
    mtu        integer
    nodes      string format:pve-node-list
    peers      string format:ip-list
    tag        integer 0..
    vxlan-port integer 1..65536
"""
VNET_OPTIONS = """
    alias         string len:..256 /[-()_.\\w\\d\\s]{0,256}/
    isolate-ports boolean
    tag           integer
    vlanaware     boolean
"""
VNET_TAG = "tag integer 1..16777215"
SUBNET_OPTIONS = """
    dhcp-dns-server string format:ip
    dhcp-range      array
    gateway         string format:ip
    snat            boolean
"""
UPDATE = "delete string len:..4096 format:pve-configid-list\ndigest string len:..64\n"
NOT_STORED = {"lock-token", "delete", "digest", "pending", "running"}
PLUGIN = "/usr/share/perl5/PVE/Network/SDN/Zones/Plugin.pm line 159."


def check_token(request: Request) -> None:
    """Raises ApiError 500 if somebody else holds the lock of the staged configuration (9.1)."""
    if request.world.sdn_lock_token and request.text("lock-token") != request.world.sdn_lock_token:
        raise failure("invalid lock token provided")


def find(request: Request, kind: Kind, name: str) -> SdnObject:
    """Raises ApiError 500 for an object that is not staged."""
    found = request.world.sdn.get((kind, name))
    if found is None or found.wanted is None:
        raise failure(f"sdn '{name}' does not exist")
    return found


def shown(thing: SdnObject, *, pending: bool, running: bool) -> dict[str, object] | None:
    """As it is staged; with `pending` beside what runs; with `running` only what runs."""
    base: dict[str, object] = {thing.kind: thing.name}
    if running:
        return base | _values(thing, thing.running) if thing.running is not None else None
    if not pending:
        return (
            base | _values(thing, thing.wanted) | {"digest": _digest(thing)}
            if thing.wanted is not None
            else None
        )
    row = base | _values(thing, thing.running or {}) | {"digest": None}
    row["type"] = (thing.running or thing.wanted or {}).get("type", thing.kind)
    if thing.state:
        wanted, runs = thing.wanted or {}, thing.running or {}
        changed = {
            k: v for k, v in _values(thing, wanted).items() if wanted.get(k) != runs.get(k) and k != "type"
        }
        row |= {"state": thing.state, "pending": changed}
    return row


def _values(thing: SdnObject, values: Mapping[str, str] | None) -> dict[str, object]:
    found: dict[str, object] = {
        k: int(v) if k in ("tag", "mtu", "snat") else v for k, v in (values or {}).items()
    }
    found.setdefault("type", thing.kind)
    if thing.kind == "subnet" and values:
        found["dhcp-range"] = [part for part in values.get("dhcp-range", "").split(" ") if part]
    return found


def _digest(thing: SdnObject) -> str:
    return digest(thing.wanted or {})


def stage(request: Request, kind: Kind, name: str, extra: Mapping[str, str] | None = None) -> None:
    """Write what is asked for into the staged configuration."""
    values = {
        key: " ".join(value) if isinstance(value, list) else str(value)
        for key, value in request.parameters.items()
        if key not in NOT_STORED and key != kind
    }
    present = request.world.sdn.setdefault((kind, name), SdnObject(kind, name))
    deleted = request.text("delete").split(",")
    kept = {key: value for key, value in (present.wanted or {}).items() if key not in deleted}
    present.wanted = kept | values | dict(extra or {})


def unstage(request: Request, thing: SdnObject) -> None:
    """It is gone with the next apply, at once if it never ran."""
    thing.wanted = None
    if thing.running is None:
        del request.world.sdn[thing.kind, thing.name]


def _listed(request: Request, kind: Kind, path: str) -> list[dict[str, object]]:
    rows = [
        shown(thing, pending=request.flag("pending"), running=request.flag("running"))
        for (of, _name), thing in sorted(request.world.sdn.items())
        if of == kind and request.may(_path(thing, path), "SDN.Audit", "SDN.Allocate", any_of=True)
    ]
    return [row for row in rows if row is not None]


def _path(thing: SdnObject, path: str) -> str:
    values = thing.wanted or thing.running or {}
    return path.format(zone=thing.name if thing.kind == "zone" else values.get("zone", ""), name=thing.name)


def zone_of_vnet(request: Request, vnet: str) -> str:
    """The zone that a vnet lies in."""
    thing = request.world.sdn.get(("vnet", vnet))
    return ((thing.wanted or thing.running or {}) if thing else {}).get("zone", "")


def require_vnet(request: Request, vnet: str, privilege: str = "SDN.Allocate") -> None:
    """Raises ApiError 403 without the right on the vnet."""
    request.require(f"/sdn/zones/{zone_of_vnet(request, vnet)}/{vnet}", privilege)


# Zones.


@routes.add("GET", "/cluster/sdn/zones", f"type string ={ZONE_TYPES}\n{READ}")
def zones(request: Request) -> object:
    """The zones that one may see."""
    wanted = request.text("type")
    return [r for r in _listed(request, "zone", "/sdn/zones/{zone}") if wanted in ("", r["type"])]


@routes.add("GET", "/cluster/sdn/zones/{zone}", READ, check=needs("/sdn/zones/{zone}", "SDN.Allocate"))
def zone(request: Request) -> object:
    """One zone."""
    thing = find(request, "zone", request.text("zone"))
    return shown(thing, pending=request.flag("pending"), running=request.flag("running"))


@routes.add(
    "POST",
    "/cluster/sdn/zones",
    "zone! string format:pve-sdn-zone-id\n"
    f"type! string ={ZONE_TYPES} format:pve-configid\n{LOCK}{ZONE_OPTIONS}",
    check=needs("/sdn/zones", "SDN.Allocate"),
)
def add_zone(request: Request) -> object:
    """Staged only."""
    check_token(request)
    name, kind = request.text("zone"), request.text("type")
    if (thing := request.world.sdn.get(("zone", name))) and thing.wanted is not None:
        raise failure(f"create sdn zone object failed: sdn zone object ID '{name}' already defined")
    needed = {"vxlan": "peers", "vlan": "bridge", "qinq": "bridge"}.get(kind, "")
    if needed and not request.has(needed):
        raise failure("create sdn zone object failed: 400 Parameter verification failed.")
    stage(request, "zone", name)
    return None


@routes.add(
    "PUT",
    "/cluster/sdn/zones/{zone}",
    UPDATE + LOCK + ZONE_OPTIONS,
    check=needs("/sdn/zones/{zone}", "SDN.Allocate"),
)
def change_zone(request: Request) -> object:
    """Staged only."""
    check_token(request)
    thing = find(request, "zone", request.text("zone"))
    _check_digest(request, thing)
    stage(request, "zone", thing.name)
    return None


@routes.add("DELETE", "/cluster/sdn/zones/{zone}", LOCK, check=needs("/sdn/zones/{zone}", "SDN.Allocate"))
def delete_zone(request: Request) -> object:
    """One that a vnet uses is refused."""
    check_token(request)
    thing = find(request, "zone", request.text("zone"))
    for (kind, name), other in request.world.sdn.items():
        if kind == "vnet" and (other.wanted or {}).get("zone") == thing.name:
            raise failure(
                f"delete sdn zone object failed: zone {thing.name} is used by vnet {name} at {PLUGIN}"
            )
    unstage(request, thing)
    return None


def _check_digest(request: Request, thing: SdnObject) -> None:
    if request.has("digest") and request.text("digest") != _digest(thing):
        raise failure("detected modified configuration - file changed by other user? Try again.")


# Vnets.


@routes.add("GET", "/cluster/sdn/vnets", READ)
def vnets(request: Request) -> object:
    """The vnets that one may see."""
    return _listed(request, "vnet", "/sdn/zones/{zone}/{name}")


@routes.add("GET", "/cluster/sdn/vnets/{vnet}", READ)
def vnet(request: Request) -> object:
    """One vnet."""
    name = request.text("vnet")
    require_vnet(request, name, "SDN.Audit")
    return shown(
        find(request, "vnet", name), pending=request.flag("pending"), running=request.flag("running")
    )


@routes.add(
    "POST",
    "/cluster/sdn/vnets",
    f"vnet! string format:pve-sdn-vnet-id\nzone! string\ntype string =vnet\n{LOCK}{VNET_OPTIONS}",
    check=needs("/sdn/zones/{zone}", "SDN.Allocate"),
    changes_91=VNET_TAG,
)
def add_vnet(request: Request) -> object:
    """Staged only; one of a vxlan or vlan zone needs a tag."""
    check_token(request)
    name = request.text("vnet")
    if (thing := request.world.sdn.get(("vnet", name))) and thing.wanted is not None:
        raise failure(f"create sdn vnet object failed: sdn vnet object ID '{name}' already defined")
    of = request.world.sdn.get(("zone", request.text("zone")))
    if of is None or of.wanted is None:
        raise failure(f"create sdn vnet object failed: zone {request.text('zone')} doesn't exist")
    if of.wanted["type"] in ("vxlan", "vlan", "qinq", "evpn") and not request.has("tag"):
        raise failure("create sdn vnet object failed: 400 Parameter verification failed.")
    stage(request, "vnet", name)
    return None


@routes.add(
    "PUT", "/cluster/sdn/vnets/{vnet}", f"zone string\n{UPDATE}{LOCK}{VNET_OPTIONS}", changes_91=VNET_TAG
)
def change_vnet(request: Request) -> object:
    """Staged only."""
    check_token(request)
    require_vnet(request, request.text("vnet"))
    thing = find(request, "vnet", request.text("vnet"))
    _check_digest(request, thing)
    stage(request, "vnet", thing.name)
    return None


@routes.add("DELETE", "/cluster/sdn/vnets/{vnet}", LOCK)
def delete_vnet(request: Request) -> object:
    """One that a subnet uses is refused."""
    check_token(request)
    name = request.text("vnet")
    require_vnet(request, name)
    thing = find(request, "vnet", name)
    if any(k == "subnet" and (s.wanted or {}).get("vnet") == name for (k, _), s in request.world.sdn.items()):
        raise failure("delete sdn vnet object failed: Can't delete vnet if subnets exists")
    unstage(request, thing)
    return None


# Subnets.


def _subnet_name(request: Request) -> str:
    """`zone-10.0.0.0-24` of `10.0.0.0/24`."""
    text = request.text("subnet")
    return f"{zone_of_vnet(request, request.text('vnet'))}-{text.replace('/', '-')}" if "/" in text else text


def _subnet_row(request: Request, thing: SdnObject) -> dict[str, object] | None:
    row = shown(thing, pending=request.flag("pending"), running=request.flag("running"))
    if row is not None:
        zone_name, network, mask = thing.name.rsplit("-", 2)
        row |= {
            "id": thing.name,
            "zone": zone_name,
            "network": network,
            "mask": mask,
            "cidr": f"{network}/{mask}",
        }
    return row


@routes.add("GET", "/cluster/sdn/vnets/{vnet}/subnets", READ)
def subnets(request: Request) -> object:
    """The subnets of a vnet."""
    name = request.text("vnet")
    require_vnet(request, name, "SDN.Audit")
    rows = [
        _subnet_row(request, thing)
        for (kind, _), thing in sorted(request.world.sdn.items())
        if kind == "subnet" and (thing.wanted or thing.running or {}).get("vnet") == name
    ]
    return [row for row in rows if row is not None]


@routes.add("GET", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", READ)
def subnet(request: Request) -> object:
    """One subnet."""
    require_vnet(request, request.text("vnet"), "SDN.Audit")
    return _subnet_row(request, find(request, "subnet", _subnet_name(request)))


@routes.add(
    "POST",
    "/cluster/sdn/vnets/{vnet}/subnets",
    f"subnet! string format:pve-sdn-subnet-id\ntype! string =subnet\n{LOCK}{SUBNET_OPTIONS}",
)
def add_subnet(request: Request) -> object:
    """Staged only."""
    check_token(request)
    name = request.text("vnet")
    require_vnet(request, name)
    find(request, "vnet", name)
    full = _subnet_name(request)
    if (thing := request.world.sdn.get(("subnet", full))) and thing.wanted is not None:
        raise failure(f"create sdn subnet object failed: sdn subnet object ID '{full}' already defined")
    stage(request, "subnet", full)
    return None


@routes.add("PUT", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", UPDATE + LOCK + SUBNET_OPTIONS)
def change_subnet(request: Request) -> object:
    """Staged only."""
    check_token(request)
    require_vnet(request, request.text("vnet"))
    stage(request, "subnet", find(request, "subnet", _subnet_name(request)).name)
    return None


@routes.add("DELETE", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", LOCK)
def delete_subnet(request: Request) -> object:
    """Staged only."""
    check_token(request)
    require_vnet(request, request.text("vnet"))
    unstage(request, find(request, "subnet", _subnet_name(request)))
    return None


# Apply, lock, rollback.


@routes.add("GET", "/cluster/sdn", check=needs("/sdn", "SDN.Audit"))
def index(_request: Request) -> object:
    """What there is below."""
    return [{"id": name} for name in ("vnets", "zones", "controllers", "ipams", "dns")]


@routes.add(
    "PUT",
    "/cluster/sdn",
    "lock-token string since:9.1\nrelease-lock boolean since:9.1",
    check=needs("/sdn", "SDN.Allocate"),
)
def apply(request: Request) -> object:
    """OK even where a node's own reload fails: see the child task srvreload and the zones of the
    resources."""
    check_token(request)
    world, cluster = request.world, request.cluster
    for thing in list(world.sdn.values()):
        if thing.wanted is None:
            del world.sdn[thing.kind, thing.name]
        else:
            thing.running = dict(thing.wanted)
    if request.flag("release-lock", default=True):
        world.sdn_lock_token = ""

    def work(task: Task) -> Generator[float, None, None]:
        for node in world.nodes.values():
            task.log.append(f"{node.name}: reloading network config")
            if not node.online:
                task.log.append(f"{node.name}: error: 595 No route to host")
                continue
            cluster.tasks.spawn(node.name, "srvreload", "networking", Identity(ROOT), _reload(world, node))
            if node.reload_fails:
                task.log.append(f"command 'pvesh set /nodes/{node.name}/network' failed: exit code 255")
        yield guests.DURATIONS["network"]

    return request.spawn("reloadnetworkall", "", work, node=next(iter(world.nodes)))


def _reload(world: World, node: Node) -> Work:
    def work(task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["network"] / 2
        if node.reload_fails:
            task.log.append("incompatible 'ifupdown2' package version")
            raise TaskError("command 'ifreload -a' failed: exit code 1")
        running = {
            name: thing for (kind, name), thing in world.sdn.items() if thing.running and kind == "vnet"
        }
        node.bridges -= node.vnets
        node.vnets = set(running)
        node.bridges |= node.vnets
        node.zones = {name for (kind, name), thing in world.sdn.items() if kind == "zone" and thing.running}

    return work


@routes.add(
    "POST", "/cluster/sdn/lock", "allow-pending boolean", check=needs("/sdn", "SDN.Allocate"), since="9.1"
)
def lock(request: Request) -> object:
    """A token that alone may change the staged configuration from now on."""
    world = request.world
    if world.sdn_lock_token:
        raise failure("SDN configuration is already locked")
    if not request.flag("allow-pending") and any(thing.state for thing in world.sdn.values()):
        raise failure("configuration has pending changes")
    world.sdn_lock_token = secrets.token_hex(16)
    return world.sdn_lock_token


@routes.add(
    "DELETE",
    "/cluster/sdn/lock",
    "force boolean\nlock-token string",
    check=needs("/sdn", "SDN.Allocate"),
    since="9.1",
)
def unlock(request: Request) -> object:
    """With the token, or by force."""
    if not request.flag("force"):
        check_token(request)
    request.world.sdn_lock_token = ""
    return None


@routes.add(
    "POST",
    "/cluster/sdn/rollback",
    "lock-token string\nrelease-lock boolean",
    check=needs("/sdn", "SDN.Allocate"),
    since="9.1",
)
def rollback(request: Request) -> object:
    """What is staged becomes what runs."""
    check_token(request)
    for thing in list(request.world.sdn.values()):
        if thing.running is None:
            del request.world.sdn[thing.kind, thing.name]
        else:
            thing.wanted = dict(thing.running)
    if request.flag("release-lock", default=True):
        request.world.sdn_lock_token = ""
    return None


# What a node says.


@routes.add("GET", "/nodes/{node}/sdn/zones", check=ANYBODY)
def node_zones(request: Request) -> object:
    """available, or pending where the node did not reload."""
    node = request.world.nodes[request.node]
    return [
        {"zone": name, "status": "available" if name in node.zones else "pending"}
        for (kind, name), thing in sorted(request.world.sdn.items())
        if kind == "zone" and thing.running and request.may(f"/sdn/zones/{name}", "SDN.Audit")
    ]


@routes.add(
    "GET",
    "/nodes/{node}/sdn/zones/{zone}/content",
    check=needs_any("/sdn/zones/{zone}", "SDN.Audit"),
    check_91=needs("/sdn/zones/{zone}", "SDN.Audit"),
)
def node_zone_content(request: Request) -> object:
    """The vnets of a zone on a node."""
    name, node = request.text("zone"), request.world.nodes[request.node]
    if ("zone", name) not in request.world.sdn:
        raise ApiError(500, f"zone '{name}' does not exist")
    waiting = "local sdn network configuration is not yet generated, please reload"
    return [
        {"vnet": vnet_name, "status": "available"}
        if vnet_name in node.vnets
        else {"vnet": vnet_name, "status": "pending", "statusmsg": waiting}
        for (kind, vnet_name), thing in sorted(request.world.sdn.items())
        if kind == "vnet" and (thing.running or {}).get("zone") == name
    ]
