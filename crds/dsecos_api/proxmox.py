"""What an API token of Proxmox VE must be allowed to do for DsecOS, and what is missing. Pure.

For the agent, which names what it lacks, for `dsecos doctor`, which says how to mend it, and for the
documentation. Facts are from the schema of the API (8.4 and 9.1) and from a real node's answers.

A token with privilege separation has the intersection of its user's rights and its own: both need the ACL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dsecos_api.node import ProxmoxEngine

DEFAULT_STORAGE = "local-lvm"
DEFAULT_TEMPLATE_STORAGE = "local"
DEFAULT_VMIDS = "20000-29999"
DISK_CONTENT = frozenset({"rootdir", "images"})
"""Content types of a storage for guests: containers' disks, VMs' disks."""
TEMPLATE_CONTENT = frozenset({"vztmpl"})
VERSIONS = (8, 9)
"""Major versions of Proxmox VE that DsecOS knows."""


class Place(StrEnum):
    """Kind of path that a privilege is given on; its value is the role that we give there."""

    GUESTS = "DsecOSGuests"
    STORAGE = "DsecOSStorage"
    TEMPLATES = "DsecOSTemplates"
    BRIDGES = "DsecOSBridges"
    SDN = "DsecOSNetworks"
    NODE = "DsecOSNode"


class Feature(StrEnum):
    """What a privilege is for, when guests run without it."""

    ALWAYS = ""
    CLONES = "clones of a template"
    SNAPSHOTS = "snapshots"
    BACKUPS = "backups"
    MIGRATION = "moves to another node"
    VMS = "VMs"
    NETWORKS = "networks by SDN"
    FACTS = "facts about the node"


@dataclass(frozen=True, slots=True)
class Privilege:
    """One privilege: where, and what for."""

    name: str
    place: Place
    purpose: str
    feature: Feature = Feature.ALWAYS
    majors: tuple[int, ...] = VERSIONS
    """Major versions that have it."""


PRIVILEGES: tuple[Privilege, ...] = (
    Privilege("VM.Audit", Place.GUESTS, "see guests, their configuration, state and figures"),
    Privilege("VM.Allocate", Place.GUESTS, "make and destroy guests"),
    Privilege("VM.Config.CPU", Place.GUESTS, "set cores and their limit"),
    Privilege("VM.Config.Memory", Place.GUESTS, "set memory and swap"),
    Privilege("VM.Config.Disk", Place.GUESTS, "add and enlarge disks"),
    Privilege("VM.Config.Network", Place.GUESTS, "set interfaces, addresses and the host's name"),
    Privilege("VM.Config.Options", Place.GUESTS, "set tags, description, start order, nesting"),
    Privilege("VM.PowerMgmt", Place.GUESTS, "start, shut down, stop, suspend, resume"),
    Privilege("VM.Clone", Place.GUESTS, "clone a template", Feature.CLONES),
    Privilege("VM.Snapshot", Place.GUESTS, "take, roll back and remove snapshots", Feature.SNAPSHOTS),
    Privilege("VM.Backup", Place.GUESTS, "back up and restore", Feature.BACKUPS),
    Privilege("VM.Migrate", Place.GUESTS, "move a guest to another node", Feature.MIGRATION),
    Privilege("VM.Config.HWType", Place.GUESTS, "set a VM's display and serial port", Feature.VMS),
    Privilege("VM.Config.CDROM", Place.GUESTS, "give a VM its cloud-init drive", Feature.VMS),
    Privilege("VM.Config.Cloudinit", Place.GUESTS, "set a VM's address", Feature.VMS),
    Privilege("VM.Monitor", Place.GUESTS, "run commands in a VM by its guest agent", Feature.VMS, (8,)),
    Privilege(
        "VM.GuestAgent.Unrestricted",
        Place.GUESTS,
        "run commands in a VM by its guest agent",
        Feature.VMS,
        (9,),
    ),
    Privilege("Datastore.Audit", Place.STORAGE, "see room and content"),
    Privilege("Datastore.AllocateSpace", Place.STORAGE, "make disks, and backups where they go here"),
    Privilege("Datastore.Audit", Place.TEMPLATES, "see which templates are there"),
    Privilege("Datastore.AllocateTemplate", Place.TEMPLATES, "upload guest templates"),
    Privilege("SDN.Use", Place.BRIDGES, "plug a guest into a bridge of the node"),
    Privilege("SDN.Audit", Place.SDN, "see zones and virtual networks", Feature.NETWORKS),
    Privilege("SDN.Use", Place.SDN, "plug a guest into a virtual network", Feature.NETWORKS),
    Privilege("SDN.Allocate", Place.SDN, "make zones and virtual networks and apply them", Feature.NETWORKS),
    Privilege("Sys.Audit", Place.NODE, "see the node's processors, memory and load", Feature.FACTS),
)

LATER = frozenset({Feature.BACKUPS, Feature.NETWORKS})
"""What no controller of this version does yet, so that no token needs it."""

NO_TOKEN: Mapping[str, str] = {
    "keyctl and fuse": "features of a container other than nesting are for root@pam alone",
    "any feature of a privileged container": "nesting neither",
    "directories of the node in a container": "mount points of type bind are for root@pam alone",
    "devices of the node in a container": "device pass-through is for root@pam alone",
    "commands in a container": "the API has no call for it; `pct exec` on the node does it",
}
"""What Proxmox VE gives to no token, not even to one of root@pam -> why. The agent does it as root."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The paths that one node's token needs."""

    node: str
    storage: str
    template_storage: str
    resource_pool: str | None = None

    @classmethod
    def of(cls, engine: ProxmoxEngine) -> Scope:
        """As the Node says, with what it leaves out."""
        return cls(
            engine.node,
            engine.storage or DEFAULT_STORAGE,
            engine.template_storage or DEFAULT_TEMPLATE_STORAGE,
            engine.resource_pool,
        )

    def path(self, place: Place) -> str:
        """Where a privilege is to be given."""
        return {
            Place.GUESTS: f"/pool/{self.resource_pool}" if self.resource_pool else "/vms",
            Place.STORAGE: f"/storage/{self.storage}",
            Place.TEMPLATES: f"/storage/{self.template_storage}",
            Place.BRIDGES: "/sdn/zones/localnetwork",
            Place.SDN: "/sdn",
            Place.NODE: f"/nodes/{self.node}",
        }[place]


@dataclass(frozen=True, slots=True)
class Missing:
    """A privilege that the token does not have."""

    privilege: Privilege
    path: str

    def __str__(self) -> str:
        """For people: what is missing, where, and what for."""
        return f"{self.privilege.name} on {self.path}: {self.privilege.purpose}"


def vmid_range(text: str | None) -> range:
    """Ids of a Node's `vmids`."""
    first, _, last = (text or DEFAULT_VMIDS).partition("-")
    return range(int(first), int(last) + 1)


def wanted(
    major: int, places: Collection[Place] = tuple(Place), *, later: bool = False
) -> tuple[Privilege, ...]:
    """The privileges that a version of Proxmox VE has, in some places; with `later` those for LATER, too."""
    return tuple(
        privilege
        for privilege in PRIVILEGES
        if major in privilege.majors
        and privilege.place in places
        and (later or privilege.feature not in LATER)
    )


def missing(permissions: Mapping[str, Mapping[str, object]], scope: Scope, *, major: int) -> list[Missing]:
    """What `GET /access/permissions` lacks, in the order of PRIVILEGES."""
    found = []
    for privilege in wanted(major):
        paths = [scope.path(privilege.place)]
        # The right to all guests is one to those of a pool, too.
        paths += ["/vms"] if privilege.place is Place.GUESTS else []
        if not any(privilege.name in _held(permissions, path) for path in paths):
            found.append(Missing(privilege, paths[0]))
    return found


def _held(permissions: Mapping[str, Mapping[str, object]], path: str) -> Iterable[str]:
    """Privileges on a path: as listed, or what the nearest listed path above it hands down (1)."""
    if path in permissions:
        return permissions[path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        if path in permissions:
            return [name for name, handed_down in permissions[path].items() if str(handed_down) == "1"]
    return ()


def role_commands(major: int, verb: str = "add", places: Collection[Place] = tuple(Place)) -> list[str]:
    """`pveum` commands that make (add) or mend (modify) the roles."""
    names = {place: [p.name for p in wanted(major, (place,))] for place in Place if place in places}
    return [f'pveum role {verb} {place} --privs "{" ".join(held)}"' for place, held in names.items() if held]


def acl_commands(scope: Scope, token: str, places: Collection[Place] = tuple(Place)) -> list[str]:
    """`pveum` commands that give the roles to a token (`user@realm!name`) and to its user."""
    user = token.partition("!")[0]
    return [
        f"pveum acl modify {scope.path(place)} --roles {place} --users {user} --tokens '{token}'"
        for place in Place
        if place in places and wanted(VERSIONS[-1], (place,))
    ]


def mending(found: Collection[Missing], scope: Scope, token: str, *, major: int) -> list[str]:
    """`pveum` commands after which nothing of it is missing: the roles as they have to be, and their ACLs."""
    places = [place for place in Place if any(item.privilege.place is place for item in found)]
    return [*role_commands(major, "modify", places), *acl_commands(scope, token, places)]
