"""What an engine is told of a guest: its disks, mounts, network and limits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from dsecos_api import Guest
from dsecos_api.guest import GuestNetwork
from dsecos_api.names import REGISTRY_HOST, VOLUME_MOUNT_ROOT
from dsecos_api.quantity import to_bytes, to_millicores
from dsecos_api.types import DeletionPolicy, RunPolicy

from dsecos_agent.compose.protocol import InGuest, Where
from dsecos_agent.engines.model import (
    Adopted,
    Capabilities,
    Capability,
    DiskMount,
    GuestConfig,
    GuestKind,
    IdMap,
    Limits,
    Mount,
    NetworkInterface,
    RootDirectory,
    RootImage,
    Startup,
)
from dsecos_agent.links.protocol import Bridge
from dsecos_agent.storage.protocol import VolumeRef
from dsecos_agent.zones.naming import port_name

DOCKER_ROOT = "/var/lib/docker"
SHARED = "/run/dsecos"
"""Where a guest sees its shared directory; its dockerd listens there too."""

TRUST = "/etc/dsecos/registry-trust"
"""Where a guest of an engine with OwnDisks and HostMounts sees the registry's authority: no colon goes into a
mount point's path, so `inside` makes a link to it where Docker looks.
"""

DEFAULT_ORDER = 100


@dataclass(frozen=True, slots=True)
class WantedVolume:
    """One volume."""

    ref: VolumeRef
    pool: str
    quota: int
    policy: DeletionPolicy

    @property
    def name(self) -> str:
        """Its name in the Stack."""
        return self.ref.volume


@dataclass(frozen=True, slots=True)
class Node:
    """What of this node goes into a guest's configuration."""

    prefix: str
    trust: Path
    """Directory with the certificate that guests trust the registry by."""
    run: Path
    """Below it a guest whose disk the engine makes has its shared directory."""
    registry_port: int
    pids: int
    pools: Mapping[str, Path]
    """Root of each storage pool, by name."""
    named_pools: frozenset[str]
    """Pools that this node should have, also those that cannot be used now."""
    default_pool: str
    templates: Mapping[str, str]
    """Digest of each guest template that can be cloned, by name."""
    template_pools: Mapping[str, frozenset[str]]
    """Digests that each pool holds."""
    capabilities: Capabilities
    """What the node's engine can do."""
    engine_node: str | None = None
    """Name of this node in the engine's cluster; None where an engine has one node only."""
    names: bool = False
    """Whether guests find names at their gateway."""

    def owns_disks(self, guest: Guest) -> bool:
        """Whether no pool of ours has the guest's disks: its engine makes them, or they were there before."""
        kind = GuestKind(guest.spec.type)
        return guest.spec.adopt is not None or self.capabilities.has(kind, Capability.OWN_DISKS)


def config_of(
    guest: Guest, bridge: Bridge | None, volumes: tuple[WantedVolume, ...], pool: str, node: Node
) -> GuestConfig:
    """The whole configuration."""
    spec = guest.spec
    if spec.adopt is not None:
        return _adopted(guest, spec.adopt)
    kind = GuestKind(spec.type)
    own_disks = node.owns_disks(guest)
    mounts: tuple[Mount, ...] = (
        Mount(shared_of(guest, pool, node), SHARED, executable=False, idmapped=not own_disks),
        Mount(
            node.trust,
            TRUST if own_disks else trust_directory(node.registry_port),
            read_only=True,
            idmapped=False,
            executable=False,
        ),
    )
    if not own_disks:
        docker = Mount(disk_of(node, pool, guest.name) / "docker", DOCKER_ROOT)
        mounts = (docker, *mounts, *(_mount(volume, node) for volume in volumes))
    elif not node.capabilities.has(kind, Capability.HOST_MOUNTS):
        mounts = ()
    quota = to_bytes(spec.resources.disk)
    return GuestConfig(
        name=guest.name,
        owner_uid=spec.stack_ref.uid,
        kind=kind,
        root=RootImage(spec.image or "", quota)
        if own_disks
        else RootDirectory(disk_of(node, pool, guest.name) / "rootfs"),
        id_map=None if own_disks or spec.id_map is None else IdMap(spec.id_map.base, spec.id_map.count),
        hostname=spec.hostname,
        interfaces=()
        if bridge is None or spec.network is None
        else (_interface(guest, spec.network, bridge, node),),
        mounts=mounts,
        disks=tuple(
            DiskMount(volume.name, volume.quota, f"{VOLUME_MOUNT_ROOT}/{volume.name}") for volume in volumes
        )
        if own_disks
        else (),
        limits=Limits(
            cpu_millis=to_millicores(spec.resources.cpu),
            memory_bytes=to_bytes(spec.resources.memory),
            pids=node.pids,
        ),
        startup=startup_of(guest),
    )


def _adopted(guest: Guest, engine_id: str) -> GuestConfig:
    """Of a guest that was there before: limits and start order alone. Its processes are not counted: it was
    never meant to have such a limit.
    """
    resources = guest.spec.resources
    return GuestConfig(
        name=guest.name,
        owner_uid=guest.spec.stack_ref.uid,
        kind=GuestKind(guest.spec.type),
        root=Adopted(engine_id, to_bytes(resources.disk)),
        id_map=None,
        limits=Limits(cpu_millis=to_millicores(resources.cpu), memory_bytes=to_bytes(resources.memory)),
        startup=startup_of(guest),
    )


def shared_of(guest: Guest, pool: str, node: Node) -> Path:
    """The directory that host and guest share: on the guest's disk where a pool of ours holds it."""
    if node.owns_disks(guest):
        return node.run / "guests" / guest.name
    return disk_of(node, pool, guest.name) / "shared"


def docker_of(guest: Guest, pool: str, node: Node) -> Where:
    """Where its dockerd is asked."""
    if node.owns_disks(guest) and not node.capabilities.has(
        GuestKind(guest.spec.type), Capability.HOST_MOUNTS
    ):
        return InGuest(guest.name, guest.spec.stack_ref.uid)
    return shared_of(guest, pool, node)


def disk_of(node: Node, pool: str, guest: str) -> Path:
    """Where a guest's trees are (`storage.protocol`)."""
    return _root(node, pool) / "guests" / guest


def trust_directory(registry_port: int) -> str:
    """Where Docker looks for the authority of the node's registry (dockerd(8), `/etc/docker/certs.d`)."""
    return f"/etc/docker/certs.d/{REGISTRY_HOST}:{registry_port}"


def startup_of(guest: Guest) -> Startup:
    """When the host starts the guest."""
    wish = guest.spec.startup
    runs = guest.spec.run_policy == RunPolicy.RUNNING and not (wish and wish.autostart is False)
    return Startup(
        autostart=runs,
        order=DEFAULT_ORDER if wish is None or wish.order is None else wish.order,
        delay=0 if wish is None or wish.delay_seconds is None else wish.delay_seconds,
    )


def _mount(volume: WantedVolume, node: Node) -> Mount:
    ref = volume.ref
    source = _root(node, volume.pool) / "volumes" / ref.namespace / ref.stack / ref.volume / "data"
    return Mount(source, f"{VOLUME_MOUNT_ROOT}/{volume.name}")


def _root(node: Node, pool: str) -> Path:
    return node.pools.get(pool, Path("/nonexistent"))  # blocked: see `desired`


def _interface(guest: Guest, network: GuestNetwork, bridge: Bridge, node: Node) -> NetworkInterface:
    return NetworkInterface(
        host_name=port_name(node.prefix, guest.name),
        bridge=bridge.name,
        mac=network.mac,
        # /32: neighbours are reached through the gateway, where the rules are, or not at all.
        address=IPv4Interface(f"{network.address}/32"),
        gateway=IPv4Address(network.gateway),
        mtu=bridge.mtu,
        address6=None if network.address6 is None else IPv6Interface(f"{network.address6}/128"),
        gateway6=None if network.gateway6 is None else IPv6Address(network.gateway6),
    )
