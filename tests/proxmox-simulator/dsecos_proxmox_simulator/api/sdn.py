"""/cluster/sdn: zones, vnets and subnets; all changes are staged only."""

from __future__ import annotations

from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import SdnObject
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.staging import (
    check_token,
    digest_of,
    find,
    listed,
    require_vnet,
    shown,
    stage,
    unstage,
    zone_of_vnet,
)

routes = Routes()
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
PLUGIN = "/usr/share/perl5/PVE/Network/SDN/Zones/Plugin.pm line 159."


# Zones.


@routes.add("GET", "/cluster/sdn/zones", f"type string ={ZONE_TYPES}\n{READ}")
def zones(request: Request) -> object:
    """The zones that one may see."""
    wanted = request.text("type")
    return [r for r in listed(request, "zone", "/sdn/zones/{zone}") if wanted in ("", r["type"])]


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
    if request.has("digest") and request.text("digest") != digest_of(thing):
        raise failure("detected modified configuration - file changed by other user? Try again.")


# Vnets.


@routes.add("GET", "/cluster/sdn/vnets", READ)
def vnets(request: Request) -> object:
    """The vnets that one may see."""
    return listed(request, "vnet", "/sdn/zones/{zone}/{name}")


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
