"""From a Guest, its ZoneAttachment and facts about this node to what the adapters are to make so. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsecos_api import Guest, ZoneAttachment
from dsecos_api.conditions import Reason, Type
from dsecos_api.quantity import to_bytes
from dsecos_api.types import DeletionPolicy, DriftPolicy, RunPolicy

from dsecos_agent.compose.protocol import Where
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.model import Capability, ConfigDigest, GuestConfig, GuestKind
from dsecos_agent.guests.config import Node, WantedVolume, config_of, docker_of
from dsecos_agent.guests.record import Removal, VolumeFate
from dsecos_agent.guests.resolver import resolv_conf
from dsecos_agent.guests.services import Expected, expected
from dsecos_agent.links.protocol import Bridge
from dsecos_agent.storage.protocol import VolumeRef
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of, port_name

NO_VOLUMES = (
    "a VM has one disk and no volumes beside it: remove spec.volumes, and let named volumes of the compose"
    " document hold the data, which then lies on that disk and goes with it"
)


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
class Wanted:
    """One guest, complete."""

    name: str
    owner_uid: str
    stack: tuple[str, str]
    """Namespace and name of the Stack; its volumes lie under it."""
    epoch: int
    """Above 1: it was placed before."""
    adopt: str | None
    """Id in the engine of the guest that is taken over; None: it is made by us."""
    run: RunPolicy
    maintenance: bool
    """`run` is Stopped because of the node's maintenance."""
    restart: str | None
    """The restart request, if any."""
    report_drift: bool
    """What others changed is told and left as it is."""
    migrate: str | None
    """Node of the engine's cluster that it is to be moved to."""
    engine_node: str | None
    """The one that this agent is on."""
    paused: bool
    deleting: bool
    removal: Removal
    own_disks: bool
    """The engine makes its disks, or they were there before; no pool of ours has them."""
    live_limits: bool
    cannot_suspend: str
    """Why it cannot be suspended; empty: it can."""
    cannot_migrate: str
    pool: str
    template: str | None
    """Digest to clone, None when the node does not have it. A VM is made from a template in its engine."""
    quota: int
    volumes: tuple[WantedVolume, ...]
    port: str | None
    """Host's end of its network interface; None: the engine has not told it yet, or it is none of ours."""
    bridge: Bridge | None
    gateway: str
    resolver: str
    """Its resolv.conf(5) when it is new; empty: that of its template."""
    config: GuestConfig
    digest: ConfigDigest
    docker: Where
    """Where its dockerd is asked."""
    document: str
    compose_digest: str
    secret_name: str | None
    services: tuple[Expected, ...]
    blocks: tuple[Block, ...]

    @property
    def adopted(self) -> bool:
        """Whether it is taken over: disks, network and what runs in it are its own."""
        return self.adopt is not None

    @property
    def shared(self) -> Path | None:
        """The directory that host and guest share, to be made before the guest; None: its disk has one, or it
        sees none.
        """
        if isinstance(self.docker, Path) and self.own_disks and not self.adopted:
            return self.docker
        return None

    @property
    def needs_template(self) -> bool:
        """Whether it is made from a guest template of this node."""
        return not self.adopted and self.config.kind is not GuestKind.VM

    @property
    def order(self) -> int:
        """Of its start; lower numbers first."""
        return self.config.startup.order


def wanted(
    guest: Guest,
    attachment: ZoneAttachment | None,
    node: Node,
    digest: Callable[[GuestConfig], ConfigDigest],
    link: str | None = None,
) -> Wanted:
    """Resolve one guest. What cannot be resolved becomes a `Block`, never an exception.

    `link` is the host's end of its network interface, where the engine has named it.
    """
    spec, kind = guest.spec, GuestKind(guest.spec.type)
    own_disks, can = node.owns_disks(guest), node.capabilities
    blocks = [Block(Type.GUEST_READY, Reason.UNSUPPORTED, text) for text in _impossible(guest, kind, node)]
    volumes = tuple(_volumes(guest, node, blocks))
    pool = _pool(spec.pool, node, [] if own_disks else blocks, Type.GUEST_READY)
    template = None if spec.image is None else node.templates.get(spec.image)
    if template is not None and not own_disks and template not in node.template_pools.get(pool, ()):
        template = None
    bridge = _bridge(guest, attachment, node, blocks)
    config = config_of(guest, bridge, volumes, pool, node)
    return Wanted(
        name=guest.name,
        owner_uid=spec.stack_ref.uid,
        stack=(spec.stack_ref.namespace, spec.stack_ref.name),
        epoch=spec.epoch,
        adopt=spec.adopt,
        run=spec.run_policy,
        maintenance=bool(spec.maintenance),
        restart=spec.restart,
        report_drift=spec.drift_policy == DriftPolicy.REPORT,
        migrate=None if spec.migrate is None else spec.migrate.engine_node,
        engine_node=node.engine_node,
        paused=bool(spec.paused),
        deleting=guest.deleting,
        removal=_removal(guest, pool, volumes, node),
        own_disks=own_disks,
        live_limits=can.has(kind, Capability.LIVE_LIMITS),
        cannot_suspend=can.why_not(kind, Capability.SUSPEND),
        cannot_migrate=can.why_not(kind, Capability.MIGRATE),
        pool=pool,
        template=template,
        quota=to_bytes(spec.resources.disk),
        volumes=volumes,
        port=_port(guest, node, link),
        bridge=bridge,
        gateway="" if spec.network is None else spec.network.gateway,
        resolver=resolv_conf(spec.network, spec.stack_ref.namespace) if node.names and spec.network else "",
        config=config,
        digest=_digest(config, digest, blocks),
        docker=docker_of(guest, pool, node),
        document="" if spec.compose is None else spec.compose.document,
        compose_digest="" if spec.compose is None else spec.compose.digest,
        secret_name=None if spec.compose is None else spec.compose.secret_name,
        services=_services(guest, blocks),
        blocks=tuple(blocks),
    )


def _impossible(guest: Guest, kind: GuestKind, node: Node) -> list[str]:
    """What the engine would have to do for the guest, and cannot."""
    if guest.spec.adopt is not None:
        why = node.capabilities.why_not(kind, Capability.ADOPT)
        return [why] if why else []
    if kind not in node.capabilities.kinds:
        return [node.capabilities.why_not(kind, Capability.EXEC)]
    if node.capabilities.has(kind, Capability.EXEC):
        return []
    why = "services are brought up by commands in the guest"
    return [f"{node.capabilities.why_not(kind, Capability.EXEC)}; {why}"]


def _removal(guest: Guest, pool: str, volumes: tuple[WantedVolume, ...], node: Node) -> Removal:
    """What a deletion means. Nothing can lie in a pool that this node never had, nor in one of ours where
    the engine makes the disks.
    """
    if node.owns_disks(guest):
        return Removal(guest.spec.deletion_policy, None, adopted=guest.spec.adopt is not None)
    fates = tuple(VolumeFate(each.ref, each.pool, each.policy) for each in volumes)
    return Removal(
        guest.spec.deletion_policy,
        pool if pool in node.named_pools else None,
        tuple(fate for fate in fates if fate.pool in node.named_pools),
    )


def _volumes(guest: Guest, node: Node, blocks: list[Block]) -> list[WantedVolume]:
    owner = guest.spec.stack_ref
    own_disks = node.owns_disks(guest)
    found: list[WantedVolume] = []
    if guest.spec.adopt is not None:
        return found
    if own_disks and guest.spec.volumes and GuestKind(guest.spec.type) is GuestKind.VM:
        blocks.append(Block(Type.VOLUMES_READY, Reason.UNSUPPORTED, NO_VOLUMES))
        return found
    for volume in sorted(guest.spec.volumes, key=lambda volume: volume.name):
        policy = volume.deletion_policy or DeletionPolicy.RETAIN
        if own_disks and policy is not DeletionPolicy.DELETE:
            text = (
                f"volume {volume.name} has deletionPolicy {policy.value}, but {node.capabilities.engine}"
                " keeps a volume on a disk of its guest, which goes with the guest:"
                " set deletionPolicy: Delete, and back it up"
            )
            blocks.append(Block(Type.VOLUMES_READY, Reason.UNSUPPORTED, text))
        found.append(
            WantedVolume(
                ref=VolumeRef(owner.namespace, owner.name, volume.name),
                pool=_pool(volume.pool, node, [] if own_disks else blocks, Type.VOLUMES_READY),
                quota=to_bytes(volume.size),
                policy=policy,
            )
        )
    return found


def _pool(name: str | None, node: Node, blocks: list[Block], step: Type) -> str:
    pool = name or node.default_pool
    if pool not in node.pools:
        blocks.append(Block(step, Reason.POOL_NOT_FOUND, f"this node has no storage pool {pool}"))
    return pool


def _bridge(
    guest: Guest, attachment: ZoneAttachment | None, node: Node, blocks: list[Block]
) -> Bridge | None:
    network = guest.spec.network
    if network is None:
        return None
    if attachment is None:
        text = f"waits for ZoneAttachment {network.attachment}"
        blocks.append(Block(Type.NETWORK_READY, Reason.ZONE_NOT_READY, text, stalled=False))
        return None
    try:
        return bridge_of(node.prefix, attachment)
    except UnsupportedZoneError as error:
        blocks.append(Block(Type.NETWORK_READY, Reason.UNSUPPORTED, str(error)))
        return None


def _port(guest: Guest, node: Node, link: str | None) -> str | None:
    if guest.spec.network is None:
        return None
    return link if node.owns_disks(guest) else port_name(node.prefix, guest.name)


def _digest(
    config: GuestConfig, digest: Callable[[GuestConfig], ConfigDigest], blocks: list[Block]
) -> ConfigDigest:
    try:
        return digest(config)
    except UnsafeConfigError as error:
        blocks.append(Block(Type.GUEST_READY, Reason.UNSUPPORTED, str(error)))
        return ConfigDigest(full="", boot="")


def _services(guest: Guest, blocks: list[Block]) -> tuple[Expected, ...]:
    if guest.spec.compose is None:
        return ()
    try:
        return expected(guest.spec.compose.document)
    except ValueError as error:
        blocks.append(Block(Type.SERVICES_READY, Reason.COMPOSE_INVALID, str(error)))
        return ()
