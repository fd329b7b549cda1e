"""`table inet`: connections.

Zones' bridges and transit links are default drop in all directions. Rules do not grow with guests: who may
reach what stands in sets and maps (`inet_sets`).
"""

from collections.abc import Iterator

from dsecos_agent.firewall.addresses import FAMILIES
from dsecos_agent.firewall.inet_sets import peers_set, sets, tunnel_sets, zone_egress
from dsecos_agent.firewall.model import Direction, GuestPolicy, Policy, Tunnel, ZonePolicy
from dsecos_agent.firewall.text import Counters, chain, counters, engine_ports, named_by_engines
from dsecos_agent.firewall.validate import Names
from dsecos_agent.links.protocol import VXLAN_PORT

SIDES = {Direction.INGRESS: ("daddr", "saddr"), Direction.EGRESS: ("saddr", "daddr")}
"""Where a packet names the guest, and where it names whom it speaks with."""

PEER_PORTS = (("{ tcp, udp }", "th dport"), ("!= { tcp, udp }", "0"))


def inet_table(
    policy: Policy, zones: list[ZonePolicy], guests: list[GuestPolicy], names: Names, begin: Counters
) -> Iterator[str]:
    """The table's body."""
    yield from counters(guests, Direction.INGRESS, begin)
    yield from counters(guests, Direction.EGRESS, begin)
    yield from sets(policy, zones, guests)
    yield from _denials()
    for zone in zones:
        yield from zone_egress(zone)
    yield from _verdicts(names)
    named = named_by_engines(guests, names)
    yield from engine_ports(named)
    yield from _early(names, engine_ports=bool(named))
    if policy.tunnel is not None:
        yield from _tunnel(policy.tunnel)
    if any(zone.transit for zone in zones):
        yield from _fitting(names)
    yield from _forward(names)
    yield from _input(policy, names)
    yield from _output(names)
    yield from _nat(names)


def _denials() -> Iterator[str]:
    """Where every way ends that is none: counted for the guest, and for whom it speaks with."""
    for direction, (guest, peer) in SIDES.items():
        rules = []
        for family in FAMILIES:
            own, other = f"{family.ip} {guest}", f"{family.ip} {peer}"
            count = f"counter name {own} map @denied_{direction}{family.suffix}"
            for protocols, port in PEER_PORTS:
                key = f"{own} . {other} . meta l4proto . {port}"
                update = f"update @{peers_set(direction, family)} {{ {key} }}"
                rules.append(f"meta l4proto {protocols} {count} {update}")
        yield from chain(f"deny_{direction}", [*rules, "drop"])


def _exposed() -> list[str]:
    return [f"{f.ip} daddr . meta l4proto . th dport @exposed{f.suffix} accept" for f in FAMILIES]


def _verdicts(names: Names) -> Iterator[str]:
    """Where the ways of `_forward` end: what is decided by tables of who may reach whom."""
    yield from chain(
        "from_zone",
        [
            *(f"{f.ip} daddr != @unreachable{f.suffix} iifname vmap @egress{f.suffix}" for f in FAMILIES),
            "goto deny_egress",
        ],
    )
    yield from chain(
        "to_zone",
        [
            *_exposed(),
            *(
                f"{f.ip} daddr . meta l4proto . th dport . {f.ip} saddr @exposed_from{f.suffix} accept"
                for f in FAMILIES
            ),
            "goto deny_ingress",
        ],
    )
    yield from chain(
        "between_zones",
        [
            *(f"{f.ip} saddr . {f.ip} daddr @crossings{f.suffix} accept" for f in FAMILIES),
            *(
                f"{f.ip} saddr . {f.ip} daddr . meta l4proto . th dport @crossing_ports{f.suffix} accept"
                for f in FAMILIES
            ),
            f"iifname {names.transits} goto deny_ingress",
            "goto deny_egress",
        ],
    )


def _early(names: Names, *, engine_ports: bool) -> Iterator[str]:
    yield from chain(
        "early",
        [
            # A guest's link that hangs in no bridge.
            f"iifname {names.ports} drop",
            *(["iifname @engine_ports drop"] if engine_ports else []),
            f"iifname {names.bridges} ip daddr 127.0.0.0/8 goto deny_egress",
            f"iifname {names.bridges} iifname != @zones6 meta nfproto ipv6 drop",
            f"iifname {names.transits} iifname . ether saddr != @senders drop",
            # Another node brings packets of its own guests only, never of one that is here: the way back to
            # a sender leads to other nodes. (It need not be the same link: answers come by their receiver's.)
            f"iifname {names.transits} fib saddr oifname != {names.transits} drop",
            *(f"iifname {names.transits} {f.ip} saddr != @networks{f.suffix} drop" for f in FAMILIES),
            # From elsewhere nobody comes with an address of a zone.
            *(
                f'{names.neither_from} iifname != "lo" {f.ip} saddr @networks{f.suffix} drop'
                for f in FAMILIES
            ),
        ],
        "filter hook prerouting priority -300",
    )


def _tunnel(tunnel: Tunnel) -> Iterator[str]:
    """Other nodes' packets in their envelope."""
    yield from tunnel_sets(tunnel)
    yield from chain("tunnel", [f"ip daddr {tunnel.address} ip saddr @tunnel_peers accept", "drop"])


def _fitting(names: Names) -> Iterator[str]:
    """Who learns by "packet too big" alone what fits does not learn it where that is dropped on the way."""
    fit = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
    yield from chain(
        "fitting",
        [f"oifname {names.transits} {fit}", f"iifname {names.transits} {fit}"],
        "filter hook forward priority -150",
    )


def _forward(names: Names) -> Iterator[str]:
    yield from chain(
        "forward",
        [
            # What others forward is theirs, also where the host was no router before us (decision 24).
            f"{names.neither_from} {names.neither_to} accept",
            # What a zone's transit link brings is for its own guests here, not to be passed on.
            f"iifname {names.transits} iifname . oifname != @arrivals drop",
            "ct state established,related accept",
            f"iifname {names.transits} goto between_zones",
            f"iifname {names.bridges} oifname {names.bridges} goto between_zones",
            f"iifname {names.bridges} oifname {names.transits} goto between_zones",
            f"oifname {names.transits} drop",
            f"iifname {names.bridges} goto from_zone",
            "goto to_zone",
        ],
        "filter hook forward priority 0",
    )


def _input(policy: Policy, names: Names) -> Iterator[str]:
    at_gateway = [f"iifname . {f.ip} daddr @gateways{f.suffix}" for f in FAMILIES]
    four, six = at_gateway
    served = [] if policy.registry_port is None else [f"tcp dport {policy.registry_port} accept"]
    served += ["meta l4proto { tcp, udp } th dport 53 accept"] if policy.name_server else []
    ours = [f"udp dport {VXLAN_PORT} @th,96,24 @tunnel_ids goto tunnel"] if policy.tunnel else []
    yield from chain(
        "input",
        [
            *ours,
            f"iifname {names.transits} drop",
            f"iifname != {names.bridges} accept",
            "ct state established,related accept",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
            f"{four} icmp type echo-request accept",
            f"{six} icmpv6 type echo-request accept",
            *(f"{each} {rule}" for each in at_gateway for rule in served),
            "goto deny_egress",
        ],
        "filter hook input priority 0",
    )


def _output(names: Names) -> Iterator[str]:
    yield from chain(
        "output",
        [
            f"oifname {names.transits} drop",
            f"oifname != {names.bridges} accept",
            # Never send a guest straight to its neighbour.
            "icmp type redirect drop",
            "icmpv6 type nd-redirect drop",
            "ct state established,related accept",
            "icmp type echo-request accept",
            "icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept",
            *_exposed(),
            "ct status dnat accept",
            "goto to_zone",
        ],
        "filter hook output priority 0",
    )


def _nat(names: Names) -> Iterator[str]:
    translate = [
        f"fib daddr type local dnat {f.ip} to meta l4proto . th dport map @host_ports{f.suffix}"
        for f in FAMILIES
    ]
    yield from chain(
        "host_ports_from_outside",
        [f"{names.neither_from} {each}" for each in translate],
        "nat hook prerouting priority -100",
    )
    four, six = translate
    # There is no route_localnet of IPv6: from [::1] nothing would ever come back.
    here = [four, f"ip6 daddr != ::1 {six}"]
    yield from chain("host_ports_from_here", here, "nat hook output priority -100")
    yield from chain(
        "leaving",
        [
            f"oifname {names.bridges} ip saddr 127.0.0.0/8 masquerade",
            *(f"{names.neither_to} {f.ip} saddr @translated{f.suffix} masquerade" for f in FAMILIES),
        ],
        "nat hook postrouting priority 100",
    )
