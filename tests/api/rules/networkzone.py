"""Rules of NetworkZone."""

from __future__ import annotations

from tests.api.objects import ABSENT
from tests.api.rules import Pair, Table, below, cel, fixed, max_items, minimum, required, unique
from tests.api.rules.parts import EGRESS, ENCAPSULATION, LABEL, PORTS, STATUS, cidr

FIXED = "encapsulation cannot change; create another NetworkZone"
PEERS = [{"namespace": "acme", "zone": f"z{number}"} for number in range(65)]

HTTP = {"port": 80, "protocol": "TCP"}

TABLES = (
    Table(
        "NetworkZone",
        "backend",
        {
            "": (
                *required("spec"),
                cel(
                    "the name of a NetworkZone is an RFC 1123 label (a-z, 0-9 and -)"
                    " of at most 63 characters",
                    ["a", "a" * 63],
                    ["a" * 64, "a.b"],
                    field="metadata.name",
                ),
            ),
            "spec": (
                *required("cidrs"),
                fixed(
                    FIXED,
                    [{"type": "vxlan", "id": 10042}],
                    [ABSENT, {"type": "vxlan"}, {"type": "vxlan", "id": 1}, {"type": "vlan", "id": 1}],
                    field="encapsulation",
                ),
            ),
            "spec.cidrs": (
                Pair("minItems", (["10.0.0.0/8"],), ([],), "at least 1 items"),
                max_items(["10.0.0.0/8", "fd00::/64", "fd01::/64"], 2),
                unique(["10.0.0.0/8", "fd00::/64"], ["10.0.0.0/8", "10.0.0.0/8"]),
                fixed(
                    "cidrs cannot change; create another NetworkZone",
                    [["10.20.0.0/24", "fd00:20::/64"]],
                    [["10.20.0.0/24"], ["10.20.0.0/16", "fd00:20::/64"]],
                ),
                cel(
                    "name at most one IPv4 and one IPv6 network",
                    [["10.0.0.0/8"], ["fd00::/64"], ["fd00::/64", "10.0.0.0/8"]],
                    [["10.0.0.0/16", "10.1.0.0/16"], ["fd00::/64", "fd01::/64"]],
                ),
                cel(
                    "a zone needs room for its gateway and a guest: a prefix of at most /30 (IPv4)"
                    " or /126 (IPv6)",
                    [["10.0.0.0/30", "fd00::/126"]],
                    [["10.0.0.0/31"], ["10.0.0.0/32"], ["10.0.0.0/24", "fd00::/127"]],
                ),
            ),
            **below("spec.encapsulation", ENCAPSULATION),
            **below("spec.egress", EGRESS),
            "spec.peers": (max_items(PEERS, 64), unique(PEERS[:2], [PEERS[0], PEERS[0]])),
            "spec.peers[]": (
                *required("namespace", "zone"),
                cel(
                    "with outboundOnly nothing may connect from there: remove the ports",
                    [
                        {**PEERS[0], "outboundOnly": True},
                        {**PEERS[0], "outboundOnly": False, "ports": [HTTP]},
                    ],
                    [{**PEERS[0], "outboundOnly": True, "ports": [HTTP]}],
                ),
            ),
            "spec.peers[].namespace": LABEL,
            "spec.peers[].zone": LABEL,
            **below("spec.peers[].ports", PORTS),
            **STATUS,
            "status.nodes": (
                max_items([{"name": f"n{number}"} for number in range(1025)], 1024),
                unique([{"name": "a"}, {"name": "b"}], [{"name": "a"}, {"name": "a", "ready": True}]),
            ),
            "status.nodes[]": required("name"),
            "status.addresses": required("allocated", "available"),
            "status.addresses.allocated": (minimum(0),),
            "status.addresses.available": (minimum(0),),
        },
    ),
    Table(
        "NetworkZone",
        "closed",
        {
            "spec": (fixed(FIXED, [ABSENT, {"type": "local"}], [{"type": "vxlan"}], field="encapsulation"),),
            "spec.cidrs[]": cidr("0064:ff9b:0000:0000:0000:0000:255.255.255.252/126", host="10.20.0.4/30"),
        },
    ),
)
