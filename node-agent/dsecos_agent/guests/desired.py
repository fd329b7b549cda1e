"""From a Guest, its ZoneAttachment and facts about this node to what the adapters are to make so. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason, Type
from dsecos_api.names import REGISTRY_HOST, VOLUME_MOUNT_ROOT
from dsecos_api.quantity import to_bytes, to_millicores
from dsecos_api.types import DeletionPolicy, GuestType, RunPolicy

from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import (
    ConfigDigest,
    GuestConfig,
    IdMap,
    Limits,
    Mount,
    NetworkInterface,
    RootDirectory,
    Startup,
)
from dsecos_agent.guests.record import Removal, VolumeFate
from dsecos_agent.guests.services import Expected, expected
from dsecos_agent.links.protocol import Bridge
from dsecos_agent.storage.protocol import VolumeRef
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of, port_name

DOCKER_ROOT = "/var/lib/docker"
SHARED = "/run/dsecos"
"""Where a guest sees its shared directory; its dockerd listens there too."""


@dataclass(frozen=True, slots=True)
class Block:
    """Why a guest cannot be made so until somebody changes something."""

    type: Type
    """The step that is blocked."""
    reason: Reason
    message: str
    stalled: bool = True
    """False: it will come by itself (the operator or the agent is still at it)."""


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """One guest, complete."""

    name: str
    owner_uid: str
    stack: tuple[str, str]
    """Namespace and name of the Stack; its volumes lie under it."""
    run: RunPolicy
    paused: bool
    deleting: bool
    removal: Removal
    pool: str
    template: str | None
    """Digest to clone, None when the node does not have it."""
    quota: int
    volumes: tuple[WantedVolume, ...]
    port: str
    bridge: Bridge | None
    gateway: str
    config: GuestConfig
    digest: ConfigDigest
    shared: Path
    document: str
    compose_digest: str
    secret_name: str | None
    services: tuple[Expected, ...]
    blocks: tuple[Block, ...]


def wanted(
    guest: Guest,
    attachment: ZoneAttachment | None,
    node: Node,
    digest: Callable[[GuestConfig], ConfigDigest],
) -> Wanted:
    """Resolve one guest. What cannot be resolved becomes a `Block`, never an exception."""
    spec = guest.spec
    blocks: list[Block] = []
    if spec.type != GuestType.CONTAINER:
        text = f"type {spec.type} has no engine on this node; use container"
        blocks.append(Block(Type.GUEST_READY, Reason.UNSUPPORTED, text))
    volumes = tuple(_volumes(guest, node, blocks))
    pool = _pool(spec.pool, node, blocks, Type.GUEST_READY)
    template = node.templates.get(spec.image)
    if template is not None and template not in node.template_pools.get(pool, frozenset()):
        template = None
    bridge = _bridge(guest, attachment, node, blocks)
    config = _config(guest, bridge, volumes, pool, node)
    return Wanted(
        name=guest.name,
        owner_uid=spec.stack_ref.uid,
        stack=(spec.stack_ref.namespace, spec.stack_ref.name),
        run=spec.run_policy,
        paused=bool(spec.paused),
        deleting=guest.deleting,
        removal=_removal(guest, pool, volumes, node),
        pool=pool,
        template=template,
        quota=to_bytes(spec.resources.disk),
        volumes=volumes,
        port=port_name(node.prefix, guest.name),
        bridge=bridge,
        gateway=spec.network.gateway,
        config=config,
        digest=_digest(config, digest, blocks),
        shared=disk_of(node, pool, guest.name) / "shared",
        document=spec.compose.document,
        compose_digest=spec.compose.digest,
        secret_name=spec.compose.secret_name,
        services=_services(guest, blocks),
        blocks=tuple(blocks),
    )


def _removal(guest: Guest, pool: str, volumes: tuple[WantedVolume, ...], node: Node) -> Removal:
    """What a deletion means. Nothing can lie in a pool that this node never had."""
    fates = tuple(VolumeFate(each.ref, each.pool, each.policy) for each in volumes)
    return Removal(
        guest.spec.deletion_policy,
        pool if pool in node.named_pools else None,
        tuple(fate for fate in fates if fate.pool in node.named_pools),
    )


def _volumes(guest: Guest, node: Node, blocks: list[Block]) -> list[WantedVolume]:
    owner = guest.spec.stack_ref
    return [
        WantedVolume(
            ref=VolumeRef(owner.namespace, owner.name, volume.name),
            pool=_pool(volume.pool, node, blocks, Type.VOLUMES_READY),
            quota=to_bytes(volume.size),
            policy=volume.deletion_policy or DeletionPolicy.RETAIN,
        )
        for volume in sorted(guest.spec.volumes, key=lambda volume: volume.name)
    ]


def _pool(name: str | None, node: Node, blocks: list[Block], step: Type) -> str:
    pool = name or node.default_pool
    if pool not in node.pools:
        blocks.append(Block(step, Reason.POOL_NOT_FOUND, f"this node has no storage pool {pool}"))
    return pool


def _bridge(
    guest: Guest, attachment: ZoneAttachment | None, node: Node, blocks: list[Block]
) -> Bridge | None:
    if attachment is None:
        text = f"waits for ZoneAttachment {guest.spec.network.attachment}"
        blocks.append(Block(Type.NETWORK_READY, Reason.ZONE_NOT_READY, text, stalled=False))
        return None
    try:
        return bridge_of(node.prefix, attachment)
    except UnsupportedZoneError as error:
        blocks.append(Block(Type.NETWORK_READY, Reason.UNSUPPORTED, str(error)))
        return None


def _digest(
    config: GuestConfig, digest: Callable[[GuestConfig], ConfigDigest], blocks: list[Block]
) -> ConfigDigest:
    try:
        return digest(config)
    except UnsafeConfigError as error:
        blocks.append(Block(Type.GUEST_READY, Reason.UNSUPPORTED, str(error)))
        return ConfigDigest(full="", boot="")


def _services(guest: Guest, blocks: list[Block]) -> tuple[Expected, ...]:
    try:
        return expected(guest.spec.compose.document)
    except ValueError as error:
        blocks.append(Block(Type.SERVICES_READY, Reason.COMPOSE_INVALID, str(error)))
        return ()


def _config(
    guest: Guest, bridge: Bridge | None, volumes: tuple[WantedVolume, ...], pool: str, node: Node
) -> GuestConfig:
    spec = guest.spec
    disk = disk_of(node, pool, guest.name)
    trust = trust_directory(node.registry_port)
    mounts = [
        Mount(disk / "docker", DOCKER_ROOT),
        Mount(disk / "shared", SHARED, executable=False),
        Mount(node.trust, trust, read_only=True, idmapped=False, executable=False),
    ]
    for volume in volumes:
        ref = volume.ref
        source = _root(node, volume.pool) / "volumes" / ref.namespace / ref.stack / ref.volume / "data"
        mounts.append(Mount(source, f"{VOLUME_MOUNT_ROOT}/{volume.name}"))
    return GuestConfig(
        name=guest.name,
        owner_uid=spec.stack_ref.uid,
        root=RootDirectory(disk / "rootfs"),
        id_map=IdMap(spec.id_map.base, spec.id_map.count),
        hostname=spec.hostname,
        interfaces=() if bridge is None else (_interface(guest, bridge, node),),
        mounts=tuple(mounts),
        limits=Limits(
            cpu_millis=to_millicores(spec.resources.cpu),
            memory_bytes=to_bytes(spec.resources.memory),
            pids=node.pids,
        ),
        startup=Startup(autostart=spec.run_policy == RunPolicy.RUNNING),
    )


def disk_of(node: Node, pool: str, guest: str) -> Path:
    """Where a guest's trees are (`storage.protocol`)."""
    return _root(node, pool) / "guests" / guest


def _root(node: Node, pool: str) -> Path:
    return node.pools.get(pool, Path("/nonexistent"))  # blocked: see `_pool`


def _interface(guest: Guest, bridge: Bridge, node: Node) -> NetworkInterface:
    network = guest.spec.network
    return NetworkInterface(
        host_name=port_name(node.prefix, guest.name),
        bridge=bridge.name,
        mac=network.mac,
        # /32: neighbours are reached through the gateway, where the rules are, or not at all.
        address=IPv4Interface(f"{network.address}/32"),
        gateway=IPv4Address(network.gateway),
        mtu=bridge.mtu,
    )


def trust_directory(registry_port: int) -> str:
    """Where Docker looks for the authority of the node's registry (dockerd(8), `/etc/docker/certs.d`)."""
    return f"/etc/docker/certs.d/{REGISTRY_HOST}:{registry_port}"
