"""/cluster/sdn: an apply makes what is staged real on every node; lock and rollback of 9.1; nodes' zones."""

from __future__ import annotations

import secrets
from collections.abc import Generator

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.access import ROOT, Identity
from dsecos_proxmox_simulator.errors import ApiError, TaskError, failure
from dsecos_proxmox_simulator.model import Node
from dsecos_proxmox_simulator.privileges import ANYBODY, needs, needs_any
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.staging import check_token
from dsecos_proxmox_simulator.tasks import Task, Work
from dsecos_proxmox_simulator.world import World

routes = Routes()


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
