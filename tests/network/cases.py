"""Clouds of any shape: zones with peers and egress, Stacks that expose ports, two or three nodes.

What users write is drawn; what controllers write of it comes from the operator's own planning.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from typing import Any

from dsecos_api import Guest, NetworkZone, Node, Stack, ZoneAttachment
from dsecos_api.names import guest_name
from dsecos_cli.explaining.objects import Objects
from dsecos_operator.stacks.claim import claim_of
from dsecos_operator.stacks.desired import guest
from dsecos_operator.zones.whole import settle
from hypothesis import strategies as st

OUTSIDE = ("192.0.2.100", "2001:db8:1::100")
"""Somebody on the nodes' own network ..."""
FAR = ("198.51.100.9", "2001:db8:2::9")
"""... and somebody behind it."""
METADATA = ("169.254.169.254", "fd00:ec2::254")

Drawn = dict[str, Any]
PORTS: tuple[Drawn, ...] = (
    {"port": 80, "protocol": "TCP"},
    {"port": 81, "protocol": "TCP"},
    {"port": 53, "protocol": "UDP"},
)
HOST_PORTS = (8080, 8081, 8082)

some_ports = st.lists(st.sampled_from(PORTS), max_size=2, unique_by=str)
targets = st.sampled_from(
    [
        "0.0.0.0/0",
        "::/0",
        "192.0.2.0/24",
        f"{FAR[0]}/32",
        f"{OUTSIDE[1]}/128",
        "2001:db8:2::/48",
        "10.0.0.0/8",
    ]
)
sources = st.sampled_from(
    ["0.0.0.0/0", "::/0", f"{OUTSIDE[0]}/32", f"{FAR[0]}/32", "2001:db8:1::/64", "192.0.2.0/30", "10.0.0.0/8"]
)
rules: st.SearchStrategy[Drawn] = st.fixed_dictionaries({"cidr": targets, "ports": some_ports})
egresses: st.SearchStrategy[Drawn | None] = st.one_of(
    st.none(),
    st.just({"mode": "Deny"}),
    st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["NAT", "Allow"]),
            "to": st.lists(rules, max_size=3, unique_by=lambda rule: str(rule["cidr"])),
        }
    ),
)


@dataclass(frozen=True)
class Cloud:
    """Everything that the API holds when all is settled."""

    zones: list[NetworkZone]
    stacks: list[Stack]
    guests: list[Guest]
    nodes: list[Node]
    attachments: list[ZoneAttachment]

    @cached_property
    def objects(self) -> Objects:
        """What `explain` reads."""
        return Objects(self.zones, self.stacks, self.guests, self.nodes)


@st.composite
def peers(draw: st.DrawFn, names: list[tuple[str, str]]) -> list[list[Drawn]]:
    """Of each zone: those that agree, those that do not, and itself."""
    found: list[list[Drawn]] = [[] for _ in names]
    for one in range(len(names)):
        for other in range(one, len(names)):
            for zone, peer in sorted({(one, other), (other, one)}):
                form = draw(st.sampled_from(["all", "ports", "all", "ports", "outboundOnly", "none"]))
                if form == "none":
                    continue
                entry: Drawn = {"namespace": names[peer][0], "zone": names[peer][1]}
                if form == "ports":
                    entry["ports"] = draw(some_ports)
                if form == "outboundOnly":
                    entry["outboundOnly"] = True
                found[zone].append(entry)
    return found


def exposures(draw: st.DrawFn, free: list[int]) -> list[Drawn]:
    """Of a Stack; a hostPort is given once."""
    found: list[Drawn] = []
    for port in draw(st.lists(st.sampled_from(PORTS), max_size=2, unique_by=str)):
        entry = {**port, "from": draw(st.lists(sources, max_size=2, unique=True))}
        if free and draw(st.booleans()):
            entry["hostPort"] = free.pop()
        found.append(entry)
    return found


@st.composite
def clouds(draw: st.DrawFn) -> Cloud:
    """One of them."""
    names = [("acme", "a"), ("acme", "b"), ("shop", "c"), ("shop", "d")][
        : draw(st.sampled_from([2, 3, 4, 1]))
    ]
    nodes = [_node(number) for number in range(1, draw(st.integers(2, 3)) + 1)]
    zones = [
        _zone(
            number,
            name,
            six=draw(st.sampled_from([True, True, False])),
            encapsulation=draw(st.sampled_from(["vxlan", "vxlan", "vxlan", "local"])),
            egress=draw(egresses),
            peers=entries,
        )
        for number, (name, entries) in enumerate(zip(names, draw(peers(names)), strict=True), start=1)
    ]
    free = list(HOST_PORTS)
    stacks = [
        _stack(
            number,
            draw(st.sampled_from(zones)),
            draw(st.sampled_from(nodes)),
            exposures(draw, free),
        )
        for number in range(draw(st.sampled_from([5, 4, 3, 2])))
    ]
    return settled(zones, stacks, nodes)


def settled(zones: list[NetworkZone], stacks: list[Stack], nodes: list[Node]) -> Cloud:
    """What the operator makes of it."""
    zones, attachments = settle(zones, stacks, [], nodes)
    by_name = {(zone.namespace, zone.name): zone for zone in zones}
    guests = []
    for number, stack in enumerate(stacks):
        claim = claim_of(stack)
        assert claim is not None
        zone = by_name[stack.namespace, stack.spec.zone or ""]
        made = guest(stack, zone, claim, document="", secret_digest=None, id_base=1_000_000 + number * 65_536)
        guests.append(made)
    # Once more: now the zones' statuses tell where they are.
    zones, attachments = settle(zones, stacks, guests, nodes, attachments)
    return Cloud(zones, stacks, guests, nodes, attachments)


def two_zones(*, ports: list[Drawn]) -> Cloud:
    """On two nodes: all guests may connect to all others, at these ports."""
    nodes = [_node(1), _node(2)]
    names = [("acme", "a"), ("shop", "c")]
    entries = [{"namespace": namespace, "zone": name, "ports": ports} for namespace, name in names]
    zones = [
        _zone(number, name, six=True, encapsulation="vxlan", egress={"mode": "Allow"}, peers=entries)
        for number, name in enumerate(names, start=1)
    ]
    places = [(zone, node) for zone in zones for node in nodes]
    return settled(zones, [_stack(number, *place, []) for number, place in enumerate(places)], nodes)


def strangers() -> Cloud:
    """Two zones that know nothing of each other, each on its node, let out, and exposing to everybody."""
    nodes = [_node(1), _node(2)]
    zones = [
        _zone(number, name, six=True, encapsulation="vxlan", egress={"mode": mode}, peers=[])
        for number, (name, mode) in enumerate([(("acme", "a"), "NAT"), (("shop", "c"), "Allow")], start=1)
    ]
    expose = [{**port, "from": ["0.0.0.0/0", "::/0"]} for port in PORTS]
    pairs = zip(zones, nodes, strict=True)
    return settled(zones, [_stack(number, *pair, expose) for number, pair in enumerate(pairs)], nodes)


def _node(number: int) -> Node:
    addresses = {"management": f"2001:db8:1::{number}", "tunnel": f"192.0.2.{number}"}
    return Node.parse(
        {
            "metadata": {"name": f"n{number}", "uid": f"node-{number}"},
            "spec": {"engine": {"type": "lxc"}},
            "status": {
                "addresses": addresses,
                "tunnelMtu": 1500,
                "capabilities": ["zone/vxlan", "zone/ipv6"],
            },
        }
    )


def _zone(
    number: int,
    name: tuple[str, str],
    *,
    six: bool,
    encapsulation: str,
    egress: Drawn | None,
    peers: list[Drawn],
) -> NetworkZone:
    spec: Drawn = {
        "cidrs": [f"10.30.{number}.0/24", *([f"fd00:30:{number}::/64"] if six else [])],
        "encapsulation": {"type": encapsulation},
        "peers": peers,
    }
    if egress is not None:
        spec["egress"] = egress
    created = f"2026-11-20T10:00:0{number}Z"
    metadata = {"namespace": name[0], "name": name[1], "uid": f"zone-{number}", "creationTimestamp": created}
    return NetworkZone.parse({"metadata": {**metadata, "generation": 1}, "spec": spec})


def _stack(number: int, zone: NetworkZone, node: Node, expose: list[Drawn]) -> Stack:
    uid, name = f"stack-{number}", f"s{number}"
    offset = number + 2
    told = {"address": str(ip_network(zone.spec.cidrs[0])[offset])}
    if len(zone.spec.cidrs) > 1:
        told["address6"] = str(ip_network(zone.spec.cidrs[1])[offset])
    return Stack.parse(
        {
            "metadata": {"namespace": zone.namespace, "name": name, "uid": uid, "generation": 1},
            "spec": {
                "compose": {"inline": "services: {}"},
                "zone": zone.name,
                "resources": {"cpu": "1", "memory": "1Gi", "disk": "1Gi"},
                "expose": expose,
            },
            "status": {
                **told,
                "node": node.name,
                "guest": guest_name(zone.namespace, name, uid),
                "epoch": 1,
                "state": "Running",
            },
        }
    )
