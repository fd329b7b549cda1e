"""Which zones, virtual networks and subnets of Proxmox VE's SDN have to change. Pure.

A network of ours is one zone and one virtual network (vnet) in it, both named after its owner's UID, because
an id has at most 8 characters. Its owner stands in the vnet's alias; a zone has no room for one, so a zone is
ours when it has our name and no vnet but ours. What is not named in the call is left alone, also what looks
like ours: other agents of the cluster may need it. What is to go is named by its owner's UID.
"""

import base64
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from dsecos_agent.adapter_errors import NotOursError, UnsupportedError
from dsecos_agent.engines.proxmox import properties

ALIAS = "dsecos "
Parameters = Mapping[str, str | int]


class ZoneKind(StrEnum):
    """How a network is carried between nodes (`type` of a zone)."""

    SIMPLE = "simple"
    """On each node for itself."""
    VLAN = "vlan"
    VXLAN = "vxlan"


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is to be there."""

    owner_uid: str
    kind: ZoneKind
    tag: int | None = None
    """VLAN id or VNI; a simple zone has none."""
    bridge: str = ""
    """That VLANs are carried on."""
    peers: tuple[IPv4Address, ...] = ()
    """Nodes at the ends of the VXLAN."""
    mtu: int | None = None
    cidr: IPv4Network | None = None
    gateway: IPv4Address | None = None
    """Address of each node in a simple zone."""

    @property
    def name(self) -> str:
        """Of the zone, of the vnet, and of the bridge that guests are plugged into."""
        return name_of(self.owner_uid)


@dataclass(frozen=True, slots=True)
class Found:
    """What is configured, staged changes included."""

    zones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vnets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    subnets: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By vnet."""
    staged: Mapping[str, str] = field(default_factory=dict)
    """Zone or vnet -> new, changed or deleted, but not applied yet."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call that stages a change."""

    method: str
    path: str
    parameters: Parameters = field(default_factory=dict)


def name_of(owner_uid: str) -> str:
    """Eight characters: d and 35 bits of the UID's hash."""
    digest = hashlib.sha256(owner_uid.encode()).digest()
    return "d" + base64.b32encode(digest).decode()[:7].lower()


def plan(wanted: Collection[Network], gone: Collection[str], found: Found) -> list[Step]:
    """What to stage so that the wanted networks are there and those of the UIDs in `gone` are not.

    Raises NotOursError before anything is planned for what carries one of our names and another's mark, and
    UnsupportedError for a change that takes a new zone.
    """
    ordered = sorted(wanted, key=lambda network: network.name)
    for uid in (*(network.owner_uid for network in ordered), *gone):
        properties.checked("owner", uid, properties.UID)
        _check_owner(uid, found)
    steps = [step for network in ordered for step in _ensure(network, found)]
    return steps + [step for uid in sorted(gone) for step in _remove(name_of(uid), found)]


def names(wanted: Collection[Network], gone: Collection[str]) -> frozenset[str]:
    """Zones and vnets that the call is about."""
    return frozenset({*(network.name for network in wanted), *map(name_of, gone)})


def _check_owner(uid: str, found: Found) -> None:
    name = name_of(uid)
    vnet = found.vnets.get(name)
    if vnet is not None and vnet.get("alias") != f"{ALIAS}{uid}":
        raise NotOursError("SDN vnet", name, wanted=uid, found=str(vnet.get("alias") or "") or None)
    beside = sorted(
        other for other, vnet in found.vnets.items() if vnet.get("zone") == name and other != name
    )
    if beside:
        raise NotOursError("SDN zone", name, wanted=uid, found=f"the vnet {beside[0]} in it")


def _ensure(network: Network, found: Found) -> Iterator[Step]:
    name = network.name
    zone, there = _zone(network), found.zones.get(name)
    if there is None:
        yield Step("POST", "/cluster/sdn/zones", {"zone": name, "type": network.kind, **zone})
    elif there.get("type") != network.kind:
        raise UnsupportedError(
            f"SDN zone {name} is of type {there.get('type')}, not {network.kind}: it has to be removed first"
        )
    elif change := _differing(zone, there):
        yield Step("PUT", f"/cluster/sdn/zones/{name}", change)
    vnet = {"zone": name, "alias": f"{ALIAS}{network.owner_uid}", **_tag(network)}
    if (found_vnet := found.vnets.get(name)) is None:
        yield Step("POST", "/cluster/sdn/vnets", {"vnet": name, **vnet})
    elif change := _differing(vnet, found_vnet):
        yield Step("PUT", f"/cluster/sdn/vnets/{name}", change)
    if network.cidr is not None:
        yield from _subnet(network, network.cidr, found.subnets.get(name, ()))


def _subnet(network: Network, cidr: IPv4Network, found: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    path = f"/cluster/sdn/vnets/{network.name}/subnets"
    gateway = {"gateway": f"{network.gateway}"} if network.gateway is not None else {}
    there = next((subnet for subnet in found if subnet.get("cidr") == f"{cidr}"), None)
    if there is None:
        yield Step("POST", path, {"subnet": f"{cidr}", "type": "subnet", **gateway})
    elif change := _differing(gateway, there):
        yield Step("PUT", f"{path}/{there['subnet']}", change)


def _remove(name: str, found: Found) -> Iterator[Step]:
    # A zone with a vnet, and a vnet with a subnet, cannot be removed.
    for subnet in found.subnets.get(name, ()):
        yield Step("DELETE", f"/cluster/sdn/vnets/{name}/subnets/{subnet['subnet']}")
    if name in found.vnets:
        yield Step("DELETE", f"/cluster/sdn/vnets/{name}")
    if name in found.zones:
        yield Step("DELETE", f"/cluster/sdn/zones/{name}")


def _zone(network: Network) -> dict[str, str | int]:
    mtu: dict[str, str | int] = {"mtu": network.mtu} if network.mtu is not None else {}
    if network.kind is ZoneKind.VLAN:
        if not network.bridge:
            raise UnsupportedError(f"SDN zone {network.name}: VLANs need a bridge")
        return {"bridge": network.bridge, **mtu}
    if network.kind is ZoneKind.VXLAN:
        if not network.peers:
            raise UnsupportedError(f"SDN zone {network.name}: a VXLAN needs peers")
        return {"peers": ",".join(f"{peer}" for peer in sorted(network.peers)), **mtu}
    return mtu


def _tag(network: Network) -> dict[str, str | int]:
    if network.kind is ZoneKind.SIMPLE:
        return {}
    if network.tag is None:
        raise UnsupportedError(f"SDN vnet {network.name}: a {network.kind} needs a tag")
    return {"tag": network.tag}


def _differing(wanted: Parameters, found: Mapping[str, Any]) -> dict[str, str | int]:
    return {key: value for key, value in wanted.items() if _canonical(found.get(key)) != _canonical(value)}


def _canonical(value: object) -> str:
    return ",".join(sorted(f"{value if value is not None else ''}".replace(" ", "").split(",")))
