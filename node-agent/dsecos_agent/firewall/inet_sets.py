"""Sets and maps of `table inet`: who is who and who may reach what, in both families."""

from collections.abc import Iterable, Iterator

from dsecos_agent.firewall.addresses import FAMILIES, IPV6, Address, Family, Network, pieces
from dsecos_agent.firewall.model import (
    Crossing,
    Direction,
    EgressMode,
    ExposedPort,
    GuestPolicy,
    Policy,
    Tunnel,
    ZonePolicy,
)
from dsecos_agent.firewall.text import chain, collection, counter_name
from dsecos_agent.links.entries import link_local

PORT = "inet_proto . inet_service"

MOST_PEERS = 4096
"""Of all guests, in one direction and family."""

PEERS_FOR = "10m"
"""How long one is remembered who did not try again."""


def gateway(zone: ZonePolicy, family: Family) -> Address | None:
    """Of the zone in this family."""
    if family.version == 4:
        return zone.gateway.ip
    return None if zone.gateway6 is None else zone.gateway6.ip


def network(zone: ZonePolicy, family: Family) -> Network | None:
    """Of the zone in this family."""
    if family.version == 4:
        return zone.gateway.network
    return None if zone.gateway6 is None else zone.gateway6.network


def address(guest: GuestPolicy, family: Family) -> Address | None:
    """Of the guest in this family."""
    return guest.address if family.version == 4 else guest.address6


def sets(policy: Policy, zones: list[ZonePolicy], guests: list[GuestPolicy]) -> Iterator[str]:
    """All of them but those of one zone's egress."""
    for family in FAMILIES:
        yield from _networks(policy, zones, family)
        yield from _denied(guests, family)
        yield from _exposures(guests, family)
        yield from _crossings(policy.crossings, family)
    yield from collection("set", "zones6", "ifname", (f'"{z.bridge}"' for z in zones if z.gateway6))
    arrivals = (f'"{z.transit}" . "{z.bridge}"' for z in zones if z.transit)
    yield from collection("set", "arrivals", "ifname . ifname", arrivals)
    senders = (f'"{z.transit}" . {mac}' for z in zones if z.transit for mac in z.senders)
    yield from collection("set", "senders", "ifname . ether_addr", senders)


def tunnel_sets(tunnel: Tunnel) -> Iterator[str]:
    """Who may send what to the tunnel address. A VNI are three octets at this place of a VXLAN packet (RFC
    7348, 5), for which nft 1.0.6 has no name.
    """
    yield from collection("set", "tunnel_ids", "typeof @th,96,24", map(str, tunnel.ids))
    yield from collection("set", "tunnel_peers", "ipv4_addr", map(str, tunnel.peers))


def zone_egress(zone: ZonePolicy) -> Iterator[str]:
    """What a zone's guests may begin to the outside: in each family two sets and a chain, none when the zone
    is closed.
    """
    if zone.egress is EgressMode.DENY:
        return
    for family in FAMILIES:
        if network(zone, family) is not None:
            yield from _egress(zone, family)


def _networks(policy: Policy, zones: list[ZonePolicy], family: Family) -> Iterator[str]:
    suffix = family.suffix
    gateways = (f'"{z.bridge}" . {gateway(z, family)}' for z in zones if gateway(z, family))
    yield from collection("set", f"gateways{suffix}", f"ifname . {family.type}", gateways)
    own = [found for zone in zones if (found := network(zone, family))]
    known = [*own, *(end for each in policy.crossings for end in (each.source, each.destination))]
    yield from _intervals(f"networks{suffix}", family, known)
    yield from _intervals(
        f"unreachable{suffix}", family, [*family.never, *known, *policy.protected, *policy.elsewhere]
    )
    translated = [
        found for z in zones if z.egress is EgressMode.NAT and (found := network(z, family)) is not None
    ]
    yield from _intervals(f"translated{suffix}", family, translated)
    targets = (
        f'"{z.bridge}" : goto egress{suffix}_{z.bridge}'
        for z in zones
        if z.egress is not EgressMode.DENY and network(z, family)
    )
    yield from collection("map", f"egress{suffix}", "ifname : verdict", targets)


def _denied(guests: list[GuestPolicy], family: Family) -> Iterator[str]:
    for direction in (Direction.INGRESS, Direction.EGRESS):
        owners = [(found, guest) for guest in guests if (found := address(guest, family)) is not None]
        if family is IPV6 and direction is Direction.EGRESS:
            # What it says to the node it may say under this address as well.
            owners += [(link_local(guest.mac), guest) for _, guest in owners]
        counts = (f'{found} : "{counter_name(guest.name, direction)}"' for found, guest in owners)
        name = f"denied_{direction}{family.suffix}"
        yield from collection("map", name, f"{family.type} : counter", counts)
        yield from _peers(direction, family)


def peers_set(direction: Direction, family: Family) -> str:
    """Name of the set of whom guests did not reach, or who did not reach them."""
    return f"{direction}_peers{family.suffix}"


def _peers(direction: Direction, family: Family) -> Iterator[str]:
    """Filled by the kernel: guest, the other, protocol, port. A full one takes no more and stops nothing."""
    yield f"set {peers_set(direction, family)} {{"
    yield f"    type {family.type} . {family.type} . {PORT}"
    yield f"    size {MOST_PEERS}"
    yield "    flags dynamic,timeout"
    yield f"    timeout {PEERS_FOR}"
    yield "    counter"
    yield "}"


def _exposures(guests: list[GuestPolicy], family: Family) -> Iterator[str]:
    anybody: list[str] = []
    some: list[str] = []
    ports: list[str] = []
    for guest in guests:
        found = address(guest, family)
        if found is None:
            continue
        # The same port may be exposed twice, for instance at two host ports.
        sources: dict[str, list[Network]] = {}
        for exposed in guest.exposed:
            of_family = family.collapsed(exposed.sources)
            if not of_family:
                continue
            sources.setdefault(f"{found} . {exposed.protocol} . {exposed.port}", []).extend(of_family)
            if exposed.host_port is not None:
                ports.append(f"{_host_port(exposed)} : {found} . {exposed.port}")
        for key, networks in sources.items():
            collapsed = family.collapsed(networks)
            if family.everywhere in collapsed:
                anybody.append(key)
            else:
                some.extend(f"{key} . {source}" for source in collapsed)
    one, suffix = family.type, family.suffix
    yield from collection("set", f"exposed{suffix}", f"{one} . {PORT}", anybody)
    yield from collection("set", f"exposed_from{suffix}", f"{one} . {PORT} . {one}", some, interval=True)
    yield from collection("map", f"host_ports{suffix}", f"{PORT} : {one} . inet_service", ports)


def _host_port(exposed: ExposedPort) -> str:
    return f"{exposed.protocol} . {exposed.host_port}"


def _crossings(crossings: Iterable[Crossing], family: Family) -> Iterator[str]:
    ours = [each for each in crossings if each.source.version == family.version]
    parts = pieces(end for each in ours for end in (each.source, each.destination))
    whole: set[str] = set()
    some: set[str] = set()
    for each in ours:
        pairs = {f"{a} . {b}" for a in parts[each.source] for b in parts[each.destination]}
        if each.ports:
            some |= {f"{pair} . {protocol} . {port}" for pair in pairs for protocol, port in each.ports}
        else:
            whole |= pairs
    one, suffix = family.type, family.suffix
    yield from collection("set", f"crossings{suffix}", f"{one} . {one}", whole, interval=True)
    yield from collection("set", f"crossing_ports{suffix}", f"{one} . {one} . {PORT}", some, interval=True)


def _egress(zone: ZonePolicy, family: Family) -> Iterator[str]:
    name = f"{family.suffix}_{zone.bridge}"
    rules = [rule for rule in zone.egress_to if rule.cidr.version == family.version]
    whole = family.collapsed(rule.cidr for rule in rules if not rule.ports)
    if not zone.egress_to or family.everywhere in whole:
        yield from chain(f"egress{name}", ["accept"])
        return
    by_port: dict[tuple[str, int], list[Network]] = {}
    for rule in rules:
        for protocol, port in rule.ports:
            by_port.setdefault((protocol, port), []).append(rule.cidr)
    some = (
        f"{cidr} . {protocol} . {port}"
        for (protocol, port), cidrs in by_port.items()
        for cidr in family.collapsed(cidrs)
    )
    yield from _intervals(f"to{name}", family, whole)
    yield from collection("set", f"to_ports{name}", f"{family.type} . {PORT}", some, interval=True)
    yield from chain(
        f"egress{name}",
        [
            f"{family.ip} daddr @to{name} accept",
            f"{family.ip} daddr . meta l4proto . th dport @to_ports{name} accept",
            "goto deny_egress",
        ],
    )


def _intervals(name: str, family: Family, networks: Iterable[Address | Network]) -> Iterator[str]:
    yield from collection("set", name, family.type, map(str, family.collapsed(networks)), interval=True)
