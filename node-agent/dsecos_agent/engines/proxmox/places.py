"""Where the guests are: one listing of the cluster, shared by all who ask at the same time.

A guest is found by its marks, never by a remembered id: ids are given to others, and guests move.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsecos_agent.adapter_errors import AdapterError, NotOursError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import properties
from dsecos_agent.engines.proxmox.client import Client

KINDS = {"lxc": GuestKind.CONTAINER, "qemu": GuestKind.VM}
TYPES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """One guest as the cluster lists it. Its status may be ten seconds old (pvestatd), the rest is not."""

    vmid: int
    kind: GuestKind
    node: str
    status: str = ""
    name: str = ""
    """Its hostname, which means nothing to us."""
    tags: str = ""
    lock: str = ""
    template: bool = False

    @property
    def path(self) -> str:
        """Of its calls."""
        return f"/nodes/{self.node}/{TYPES[self.kind]}/{self.vmid}"

    @property
    def sid(self) -> str:
        """What the HA manager calls it."""
        return f"{'ct' if self.kind is GuestKind.CONTAINER else 'vm'}:{self.vmid}"

    @property
    def marks(self) -> properties.Ownership | None:
        """Whose its tags say that it is."""
        return properties.listed_ownership(self.tags)


@dataclass(frozen=True, slots=True)
class Listing:
    """The cluster at one moment."""

    places: Mapping[int, Place]
    """By VMID; templates included."""
    away: frozenset[str] = frozenset()
    """Nodes that do not answer."""
    nodes: frozenset[str] = frozenset()

    def find(self, name: str, owner_uid: str | None, claimed: int | None) -> Place | None:
        """Our guest of that name; `owner_uid` None: anybody's. `claimed` decides where a copy has its marks.

        Raises NotOursError when only others have one of that name, AdapterError when nothing decides.
        """
        named = [p for p in self.places.values() if not p.template and p.marks and p.marks.guest == name]
        ours = [p for p in named if owner_uid is None or _has_owner(p, owner_uid)]
        if named and not ours and owner_uid is not None:
            raise NotOursError("guest", name, wanted=owner_uid, found=_uid(named[0]))
        if len(ours) > 1:
            chosen = [place for place in ours if place.vmid == claimed]
            if not chosen:
                ids = ", ".join(str(place.vmid) for place in ours)
                raise AdapterError(
                    f"guests {ids} all carry the marks of {name}: take the tags {properties.TAG}* away from "
                    "those that are copies"
                )
            return chosen[0]
        return ours[0] if ours else None


def _uid(place: Place) -> str | None:
    return place.marks.owner_uid if place.marks else None


def _has_owner(place: Place, owner_uid: str) -> bool:
    return (_uid(place) or "").lower() == owner_uid.lower()


def read_listing(resources: Sequence[Mapping[str, Any]]) -> Listing:
    """Read the answer of /cluster/resources."""
    guests = [
        Place(
            vmid=int(entry["vmid"]),
            kind=KINDS[entry["type"]],
            node=str(entry["node"]),
            status=str(entry.get("status", "")),
            name=str(entry.get("name", "")),
            tags=str(entry.get("tags", "")),
            lock=str(entry.get("lock", "")),
            template=properties.is_true(entry.get("template", 0)),
        )
        for entry in resources
        if entry.get("type") in KINDS
    ]
    nodes = {str(entry["node"]): entry.get("status") for entry in resources if entry.get("type") == "node"}
    return Listing(
        places={place.vmid: place for place in guests},
        away=frozenset(node for node, status in nodes.items() if status == "offline"),
        nodes=frozenset(nodes),
    )


class Places:
    """Lists the cluster. Who asks gets a listing that was begun after he asked, and shares it."""

    def __init__(self, client: Client) -> None:
        """Reads nothing yet."""
        self._client = client
        self._next: asyncio.Task[Listing] | None = None
        self._running: asyncio.Task[Listing] | None = None

    async def listing(self) -> Listing:
        """All guests and nodes that the credential may see. Raises EngineUnreachableError."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def _after(self, running: "asyncio.Task[Listing] | None") -> Listing:
        if running is not None:
            await asyncio.wait([running])
        # From here on this listing is under way: whoever asks now needs the one after it.
        self._running, self._next = self._next, None
        return read_listing(await self._client.get("/cluster/resources"))
