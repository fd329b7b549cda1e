"""A policy as nftables text. Pure: the same policy in any order gives the same text.

Two tables, named after the instance (nft(8)):

`table bridge` is about ports. A frame from a guest passes only if link, MAC and IPv4 address belong together
(ARP alike); nothing passes from port to port, so whatever a guest sends goes through the host; everything
else on a guest's port is dropped, and so is whatever comes from a guest's port that no set names.

`table inet` is about connections. Zones' bridges are default drop in all directions. Rules do not grow with
guests: who may reach what stands in sets and maps.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, collapse_addresses

from dsecos_agent.firewall.model import (
    Denied,
    Direction,
    EgressMode,
    GuestPolicy,
    Policy,
    ZonePolicy,
)
from dsecos_agent.firewall.validate import Names, validate
from dsecos_agent.links.protocol import LINK_GROUP

EVERYWHERE = IPv4Network("0.0.0.0/0")
Counters = Mapping[tuple[str, Direction], Denied]


def counter_name(guest: str, direction: Direction) -> str:
    """Of the named counter; nft's identifiers begin with a letter, guests' names may not."""
    return f"{direction}-{guest}"


def render(policy: Policy, names: Names, counters: Counters | None = None) -> str:
    """Text that replaces both tables when it is loaded; `counters` are the values that they begin with.

    Raises InvalidPolicyError.
    """
    validate(policy, names)
    zones = sorted(policy.zones, key=lambda zone: zone.bridge)
    guests = sorted(policy.guests, key=lambda guest: guest.name)
    begin = counters or {}
    lines = [
        *_replace("bridge", names.instance, _bridge_table(guests, names, begin)),
        *_replace("inet", names.instance, _inet_table(policy, zones, guests, names, begin)),
    ]
    return "\n".join(lines) + "\n"


def removal(names: Names) -> str:
    """Text that deletes both tables, also when they are not there."""
    return "".join(
        f"add table {family} {names.instance}\ndelete table {family} {names.instance}\n"
        for family in ("bridge", "inet")
    )


def _replace(family: str, instance: str, body: Iterable[str]) -> Iterator[str]:
    yield f"add table {family} {instance}"
    yield f"delete table {family} {instance}"
    yield f"table {family} {instance} {{"
    yield from (f"    {line}" for line in body)
    yield "}"


def _collection(
    kind: str, name: str, of: str, elements: Iterable[str], *, interval: bool = False
) -> Iterator[str]:
    yield f"{kind} {name} {{"
    yield f"    type {of}"
    if interval:
        yield "    flags interval"
    if ordered := sorted(set(elements)):
        yield "    elements = {"
        yield from (f"        {element}," for element in ordered)
        yield "    }"
    yield "}"


def _chain(name: str, rules: Iterable[str], hook: str = "") -> Iterator[str]:
    yield f"chain {name} {{"
    if hook:
        yield f"    type {hook}; policy accept;"
    yield from (f"    {rule}" for rule in rules)
    yield "}"


def _counters(guests: list[GuestPolicy], direction: Direction, begin: Counters) -> Iterator[str]:
    for guest in guests:
        value = begin.get((guest.name, direction), Denied(0, 0))
        name = counter_name(guest.name, direction)
        yield f"counter {name} {{ packets {value.packets} bytes {value.bytes} }}"


def _bridge_table(guests: list[GuestPolicy], names: Names, begin: Counters) -> Iterator[str]:
    yield from _counters(guests, Direction.SPOOFED, begin)
    identities = (f'"{g.link}" . {g.mac} . {g.address}' for g in guests)
    yield from _collection("set", "identities", "ifname . ether_addr . ipv4_addr", identities)
    counts = (f'"{g.link}" : "{counter_name(g.name, Direction.SPOOFED)}"' for g in guests)
    yield from _collection("map", "spoofed", "ifname : counter", counts)
    named = _named_by_engines(guests, names)
    yield from _engine_ports(named)
    yield from _chain(
        "from_port",
        [
            f"iifname != {names.ports} {'iifname != @engine_ports ' * bool(named)}accept",
            "iifname . ether saddr . ip saddr @identities accept",
            # The frame's sender and the sender that ARP speaks of are both the guest.
            "iifname . ether saddr . arp saddr ip @identities "
            "iifname . arp saddr ether . arp saddr ip @identities accept",
            # Every guest asks for IPv6 routers when it starts: zones have none, and no attempt to deceive is
            # made by that, so it is not counted.
            "ether type ip6 drop",
            "counter name iifname map @spoofed",
            "drop",
        ],
        "filter hook prerouting priority -300",
    )
    yield from _chain(
        "between_ports",
        [
            f"iifname != {names.ports} oifname != {names.ports} "
            f"{'iifname != @engine_ports oifname != @engine_ports ' * bool(named)}accept",
            # A broadcast is offered to every port: no attempt to reach a neighbour, so it is not counted.
            "meta pkttype other counter name iifname map @spoofed",
            "drop",
        ],
        "filter hook forward priority -200",
    )


def _inet_table(
    policy: Policy, zones: list[ZonePolicy], guests: list[GuestPolicy], names: Names, begin: Counters
) -> Iterator[str]:
    yield from _counters(guests, Direction.INGRESS, begin)
    yield from _counters(guests, Direction.EGRESS, begin)
    yield from _sets(zones, guests)
    for zone in zones:
        yield from _zone(zone)
    yield from _chain(
        "from_zone",
        [
            # Cloud metadata and all else that is on the link, whatever the zone allows.
            "ip daddr != { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 } iifname vmap @egress",
            "counter name ip saddr map @denied_egress",
            "drop",
        ],
    )
    yield from _chain(
        "to_zone",
        [
            "ip daddr . meta l4proto . th dport @exposed accept",
            "ip daddr . meta l4proto . th dport . ip saddr @exposed_from accept",
            "counter name ip daddr map @denied_ingress",
            "drop",
        ],
    )
    named = _named_by_engines(guests, names)
    yield from _engine_ports(named)
    yield from _early(names, engine_ports=bool(named))
    yield from _filters(policy, names)
    yield from _nat(names)


def _sets(zones: list[ZonePolicy], guests: list[GuestPolicy]) -> Iterator[str]:
    yield from _collection(
        "set", "gateways", "ifname . ipv4_addr", (f'"{z.bridge}" . {z.gateway.ip}' for z in zones)
    )
    networks = collapse_addresses(zone.gateway.network for zone in zones)
    yield from _collection("set", "networks", "ipv4_addr", map(str, networks), interval=True)
    translated = collapse_addresses(zone.gateway.network for zone in zones if zone.egress is EgressMode.NAT)
    yield from _collection("set", "translated", "ipv4_addr", map(str, translated), interval=True)
    open_zones = (z for z in zones if z.egress is not EgressMode.DENY)
    targets = (f'"{z.bridge}" : goto egress_{z.bridge}' for z in open_zones)
    yield from _collection("map", "egress", "ifname : verdict", targets)
    for direction in (Direction.INGRESS, Direction.EGRESS):
        counts = (f'{g.address} : "{counter_name(g.name, direction)}"' for g in guests)
        yield from _collection("map", f"denied_{direction}", "ipv4_addr : counter", counts)
    anybody: list[str] = []
    some: list[str] = []
    ports: list[str] = []
    for guest in guests:
        for exposed in guest.exposed:
            key = f"{guest.address} . {exposed.protocol} . {exposed.port}"
            if exposed.host_port is not None:
                ports.append(f"{exposed.protocol} . {exposed.host_port} : {guest.address} . {exposed.port}")
            # Elements of a set of intervals may not overlap.
            sources = list(collapse_addresses(_sources_of(guest, key)))
            if EVERYWHERE in sources:
                anybody.append(key)
            else:
                some.extend(f"{key} . {source}" for source in sources)
    yield from _collection("set", "exposed", "ipv4_addr . inet_proto . inet_service", anybody)
    four = "ipv4_addr . inet_proto . inet_service . ipv4_addr"
    yield from _collection("set", "exposed_from", four, some, interval=True)
    yield from _collection("map", "host_ports", "inet_proto . inet_service : ipv4_addr . inet_service", ports)


def _sources_of(guest: GuestPolicy, key: str) -> Iterator[IPv4Network]:
    # The same port may be exposed twice, for instance at two host ports.
    for exposed in guest.exposed:
        if key == f"{guest.address} . {exposed.protocol} . {exposed.port}":
            yield from exposed.sources


def _zone(zone: ZonePolicy) -> Iterator[str]:
    """What a zone's guests may begin: two sets and a chain, none when the zone is closed."""
    if zone.egress is EgressMode.DENY:
        return
    whole = [rule.cidr for rule in zone.egress_to if not rule.ports]
    if not zone.egress_to:
        whole = [EVERYWHERE]
    by_port: dict[tuple[str, int], list[IPv4Network]] = {}
    for rule in zone.egress_to:
        for protocol, port in rule.ports:
            by_port.setdefault((protocol, port), []).append(rule.cidr)
    some = [
        f"{cidr} . {protocol} . {port}"
        for (protocol, port), cidrs in by_port.items()
        for cidr in collapse_addresses(cidrs)
    ]
    everywhere = EVERYWHERE in whole
    if not everywhere:
        cidrs = map(str, collapse_addresses(whole))
        yield from _collection("set", f"to_{zone.bridge}", "ipv4_addr", cidrs, interval=True)
        three = "ipv4_addr . inet_proto . inet_service"
        yield from _collection("set", f"to_ports_{zone.bridge}", three, some, interval=True)
    yield from _chain(
        f"egress_{zone.bridge}",
        [
            "accept" if everywhere else f"ip daddr @to_{zone.bridge} accept",
            *([] if everywhere else [f"ip daddr . meta l4proto . th dport @to_ports_{zone.bridge} accept"]),
            *([] if everywhere else ["counter name ip saddr map @denied_egress", "drop"]),
        ],
    )


def _named_by_engines(guests: list[GuestPolicy], names: Names) -> list[str]:
    """Guests' links whose names are not ours to choose: no pattern of ours matches them."""
    return [guest.link for guest in guests if not names.is_port(guest.link)]


def _engine_ports(links: list[str]) -> Iterator[str]:
    if links:
        yield from _collection("set", "engine_ports", "ifname", (f'"{link}"' for link in links))


def _early(names: Names, *, engine_ports: bool) -> Iterator[str]:
    yield from _chain(
        "early",
        [
            # A guest's link that hangs in no bridge.
            f"iifname {names.ports} drop",
            *(["iifname @engine_ports drop"] if engine_ports else []),
            f"iifname {names.bridges} ip daddr 127.0.0.0/8 counter name ip saddr map @denied_egress",
            f"iifname {names.bridges} ip daddr 127.0.0.0/8 drop",
            f"iifname {names.bridges} meta nfproto ipv6 drop",
            # From elsewhere nobody comes with an address of a zone.
            f'iifname != {names.bridges} iifname != "lo" ip saddr @networks drop',
        ],
        "filter hook prerouting priority -300",
    )


def _filters(policy: Policy, names: Names) -> Iterator[str]:
    neither = f"iifname != {names.bridges} oifname != {names.bridges}"
    # Another instance's zones are its own business.
    foreign = f"meta iifgroup != {LINK_GROUP} meta oifgroup != {LINK_GROUP}"
    yield from _chain(
        "forward",
        [
            *([] if policy.host_forwards else [f"{foreign} meta nfproto ipv4 drop"]),
            f"{neither} accept",
            "ct state established,related accept",
            f"iifname {names.bridges} oifname {names.bridges} counter name ip saddr map @denied_egress",
            f"iifname {names.bridges} oifname {names.bridges} drop",
            f"iifname {names.bridges} goto from_zone",
            "goto to_zone",
        ],
        "filter hook forward priority 0",
    )
    registry = "" if policy.registry_port is None else f"tcp dport {policy.registry_port}"
    yield from _chain(
        "input",
        [
            f"iifname != {names.bridges} accept",
            "ct state established,related accept",
            "iifname . ip daddr @gateways icmp type echo-request accept",
            *([f"iifname . ip daddr @gateways {registry} accept"] if registry else []),
            "counter name ip saddr map @denied_egress",
            "drop",
        ],
        "filter hook input priority 0",
    )
    yield from _chain(
        "output",
        [
            f"oifname != {names.bridges} accept",
            # Never send a guest straight to its neighbour.
            "icmp type redirect drop",
            "ct state established,related accept",
            "icmp type echo-request accept",
            "ip daddr . meta l4proto . th dport @exposed accept",
            "ct status dnat accept",
            "goto to_zone",
        ],
        "filter hook output priority 0",
    )


def _nat(names: Names) -> Iterator[str]:
    translate = "fib daddr type local dnat ip to meta l4proto . th dport map @host_ports"
    yield from _chain(
        "host_ports_from_outside",
        [f"iifname != {names.bridges} {translate}"],
        "nat hook prerouting priority -100",
    )
    yield from _chain("host_ports_from_here", [translate], "nat hook output priority -100")
    yield from _chain(
        "leaving",
        [
            f"oifname {names.bridges} ip saddr 127.0.0.0/8 masquerade",
            f"oifname != {names.bridges} ip saddr @translated masquerade",
        ],
        "nat hook postrouting priority 100",
    )
