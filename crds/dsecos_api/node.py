"""Node: a server. Applied by administrators; its agent fills in the status."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import ApiModel, KindInfo, KubeObject, PrinterColumn, label_name, rule, schema
from dsecos_api.hostpolicy import HostFirewall, Uplinks
from dsecos_api.shared import CheckedAddress, SecretKeyRef, Status
from dsecos_api.types import DnsLabel, Port, Quantity, Time

StorageName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]$")]
"""Name of a storage or a resource pool in Proxmox VE (format pve-storage-id)."""


class EngineType(StrEnum):
    """What runs the guests."""

    LXC = "lxc"
    PROXMOX = "proxmox"


class ProxmoxEngine(ApiModel):
    """A Proxmox VE node, driven through its API."""

    url: str = Field(
        description="Address of the API, for example https://10.0.0.5:8006.",
        pattern=r"^https://",
        max_length=253,
    )
    node: DnsLabel = Field(description="Name of the node in Proxmox VE.")
    token_secret_ref: SecretKeyRef = Field(
        description="API token as user@realm!name=value, in a Secret of the node's namespace."
    )
    fingerprint: str | None = Field(
        default=None,
        description="SHA-256 fingerprint of the API's certificate, as Proxmox VE shows it. Unset: the"
        " certificate is verified against the system's authorities.",
        pattern=r"^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$",
    )
    storage: StorageName | None = Field(
        default=None, description="Storage of the guests' disks. Unset: local-lvm."
    )
    template_storage: StorageName | None = Field(
        default=None, description="Storage of guest templates (content vztmpl). Unset: local."
    )
    resource_pool: StorageName | None = Field(
        default=None, description="Resource pool that guests are made in; the token's rights may end there."
    )
    vmids: str | None = Field(
        default=None,
        description="Range of ids that DsecOS may use, for example 20000-29999. Unset: 20000-29999.",
        pattern=r"^[1-9][0-9]{2,8}-[1-9][0-9]{2,8}$",
        json_schema_extra=schema(
            rule(
                "!self.matches('^[0-9]+-[0-9]+$') || int(self.split('-')[0]) <= int(self.split('-')[1])",
                "the range's first id is above its last",
            )
        ),
    )


class Engine(ApiModel):
    """What runs the guests."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "(self.type == 'proxmox') == has(self.proxmox)",
                "engine.proxmox goes with type proxmox, and only with it",
            )
        )
    )

    type: EngineType = Field(description="lxc or proxmox.")
    proxmox: ProxmoxEngine | None = Field(default=None, description="Settings of type proxmox.")


class PoolType(StrEnum):
    """What a storage pool is made of."""

    DIR = "dir"
    BTRFS = "btrfs"
    ZFS = "zfs"
    RBD = "rbd"


class Pool(ApiModel):
    """A storage pool on the node."""

    name: DnsLabel = Field(description="Name by which volumes refer to it.")
    type: PoolType = Field(description="dir, btrfs, zfs or rbd. This version drives dir and btrfs.")
    path: str = Field(description="Directory on the node.", pattern=r"^/", max_length=1024)
    size: Quantity | None = Field(
        default=None, description="Size of the sparse file behind a btrfs pool that has no file system yet."
    )


class Addresses(ApiModel):
    """The node's addresses."""

    management: CheckedAddress | None = Field(default=None, description="Where users reach exposed ports.")
    tunnel: CheckedAddress | None = Field(
        default=None,
        description="Where other nodes send zones' traffic: the source of VXLAN, on the link with the VLANs.",
    )


class Reserved(ApiModel):
    """What guests cannot have, because the node itself needs it."""

    cpu: Quantity | None = Field(default=None, description="CPU cores.")
    memory: Quantity | None = Field(default=None, description="Memory in bytes.")


class DrainPolicy(StrEnum):
    """What becomes of a node's guests in maintenance."""

    MOVE_OR_STOP = "MoveOrStop"
    MOVE = "Move"
    STOP = "Stop"
    STAY = "Stay"


class Drain(ApiModel):
    """How a node is emptied for maintenance."""

    policy: DrainPolicy | None = Field(
        default=None,
        description="MoveOrStop: what cannot be moved is stopped. Move: what cannot be moved keeps running."
        " Stop: everything is stopped. Stay: everything keeps running. Unset: MoveOrStop.",
    )
    max_unavailable: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Guests that are moved or stopped at the same time. Unset: 1.",
    )
    ignore_disruption_groups: bool | None = Field(
        default=None, description="True: disruption groups of Stacks are not waited for."
    )


class PortRange(ApiModel):
    """Ports from `port` to `endPort`, both included."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule("!has(self.endPort) || self.port <= self.endPort", "port is above endPort")
        )
    )

    port: Port = Field(description="The port, or the first of a range.")
    end_port: Port | None = Field(default=None, description="The range's last port. Unset: port alone.")

    def __contains__(self, port: int) -> bool:
        """Whether a port is in the range."""
        return self.port <= port <= (self.end_port or self.port)

    def __str__(self) -> str:
        """As people write it: 80 or 1024-65535."""
        return f"{self.port}" if self.end_port is None else f"{self.port}-{self.end_port}"


class NodeSpec(ApiModel):
    """What the server is for."""

    engine: Engine = Field(
        description="What runs the guests; its type cannot change.",
        json_schema_extra=schema(
            rule("self.type == oldSelf.type", "engine.type cannot change; remove the Node and join it again")
        ),
    )
    pools: list[Pool] = Field(
        default_factory=list,
        max_length=16,
        description="Storage pools; the first is the default.",
        json_schema_extra=schema(list_map=("name",)),
    )
    addresses: Addresses | None = Field(default=None, description="Addresses. Unset: found by the agent.")
    reserved: Reserved | None = Field(
        default=None, description="What guests cannot have. Unset: 250m and 512Mi."
    )
    host_ports: list[PortRange] | None = Field(
        default=None,
        max_length=64,
        description="Ports of the node that Stacks may take as hostPort. Unset: 1024-65535. Empty: none."
        " A Stack that has a port keeps it.",
        json_schema_extra=schema(list_map=("port",)),
    )
    firewall: HostFirewall | None = Field(
        default=None,
        description="The node's own firewall. Unset: DsecOS leaves the node's own connections alone.",
    )
    uplinks: Uplinks = Field(
        default_factory=list,
        description="The node's own interfaces: MTU, addresses, default routes. Not named: left alone.",
    )
    maintenance: bool | None = Field(
        default=None,
        description="True: nothing new is placed here, and guests are moved or stopped as spec.drain says."
        " Undone by removing it.",
    )
    drain: Drain | None = Field(default=None, description="How the node is emptied for maintenance.")
    paused: bool | None = Field(
        default=None, description="True: controllers look, report and change nothing."
    )


class ResourceCount(ApiModel):
    """Amounts of resources."""

    cpu: Quantity = Field(description="CPU cores.")
    memory: Quantity = Field(description="Memory in bytes.")
    guests: Quantity = Field(description="Number of guests.")
    disk: Quantity | None = Field(default=None, description="Bytes in the default pool.")


class NodeInfo(ApiModel):
    """Facts about the server, read by its agent."""

    kernel: str = Field(default="", description="Kernel release.")
    os_image: str = Field(default="", description="PRETTY_NAME of os-release(5).")
    agent: str = Field(default="", description="Version of the agent.")
    engine: str = Field(default="", description="Engine and its version.")
    boot_time: Time | None = Field(default=None, description="When the kernel started.")
    security_modules: list[str] = Field(
        default_factory=list,
        max_length=32,
        description="Active Linux security modules, from /sys/kernel/security/lsm.",
    )


class DrainStatus(ApiModel):
    """How far a node is emptied."""

    total: int = Field(ge=0, description="Guests that were on the node when it was looked at last.")
    stopped: int = Field(ge=0, description="Guests that are stopped for the maintenance.")
    moving: int = Field(ge=0, description="Guests on their way to another node or to a stop.")
    remaining: int = Field(ge=0, description="Guests that still run here.")
    waiting: list[str] = Field(
        default_factory=list,
        max_length=16,
        description="Why those that remain do: namespace/name of the Stack and the reason.",
        json_schema_extra=schema(list_set=True),
    )


class NodeStatus(Status):
    """What was seen."""

    agent_namespace: str | None = Field(
        default=None, description="Namespace that holds what the node needs to know."
    )
    addresses: Addresses | None = Field(default=None, description="Addresses in use.")
    tunnel_mtu: int | None = Field(
        default=None,
        ge=68,
        le=65535,
        description="Largest packet in bytes of the interface that has the tunnel address.",
    )
    capacity: ResourceCount | None = Field(default=None, description="What the server has.")
    allocatable: ResourceCount | None = Field(default=None, description="What guests can have.")
    node_info: NodeInfo | None = Field(default=None, description="Facts about the server.")
    guest_images: list[str] = Field(
        default_factory=list, max_length=64, description="Guest templates that the node holds."
    )
    engine_cluster: str | None = Field(
        default=None,
        max_length=253,
        description="Cluster of the node's engine; guests can be moved between nodes of the same one.",
    )
    capabilities: list[str] = Field(
        default_factory=list,
        max_length=64,
        description="What the node can do: its engine as type/capability, for example container/Snapshot, and"
        " its kernel as zone/encapsulation, for example zone/vxlan.",
        json_schema_extra=schema(list_set=True),
    )
    drain: DrainStatus | None = Field(
        default=None, description="How far the node is emptied, while it is in maintenance."
    )


class Node(KubeObject):
    """A server that runs guests."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="nodes",
        singular="node",
        short_names=("dn",),
        namespaced=False,
        description="A server that runs guests. Applying it registers the server; its agent fills in the"
        " status.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Engine", ".status.nodeInfo.engine"),
            PrinterColumn("CPU", ".status.allocatable.cpu"),
            PrinterColumn("Memory", ".status.allocatable.memory"),
            PrinterColumn("Address", ".status.addresses.management"),
            PrinterColumn("Maintenance", ".spec.maintenance", "boolean", priority=1),
            PrinterColumn("Drained", '.status.conditions[?(@.type=="Drained")].reason', priority=1),
            PrinterColumn("Remaining", ".status.drain.remaining", "integer", priority=1),
            PrinterColumn("Kernel", ".status.nodeInfo.kernel", priority=1),
            PrinterColumn("Agent", ".status.nodeInfo.agent", priority=1),
            PrinterColumn("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        # The node's namespace is dsecos-node-<name>, and a namespace's name has at most 63 characters.
        name_rules=(label_name("Node", most=51),),
    )

    kind: str = "Node"
    spec: NodeSpec
    status: NodeStatus = Field(default_factory=NodeStatus)
