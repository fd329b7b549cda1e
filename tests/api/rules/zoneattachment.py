"""Rules of ZoneAttachment."""

from __future__ import annotations

from tests.api.rules import Pair, Table, below, between, fixed, max_items, required, unique
from tests.api.rules.parts import ADDRESS, CIDR, EGRESS, ENCAPSULATION, LABEL, MAC, PORTS, STATUS, UID

ZONE_REF = {"namespace": "acme", "name": "backend", "uid": "6f1f9c0e-8d3f-4f43-9f7a-0a1a2a3a4a5a"}

INGRESS = [{"namespace": "acme", "zone": f"z{number}", "cidrs": ["10.0.0.0/8"]} for number in range(66)]
REMOTES = [
    {"node": f"n{number}", "address": "192.0.2.1", "mac": "02:1a:2b:3c:4d:5e"} for number in range(1025)
]
CIDRS = (
    Pair("minItems", (["10.0.0.0/8"],), ([],), "at least 1 items"),
    max_items(["10.0.0.0/8", "fd00::/64", "fd01::/64"], 2),
    unique(["10.0.0.0/8", "fd00::/64"], ["10.0.0.0/8", "10.0.0.0/8"]),
)
TEXT_ADDRESS = (Pair("maxLength", ("192.0.2.1",), ("1" * 46,), "Too long"),)
NAMES = [{"namespace": "acme", "stack": f"s{number}", "addresses": ["10.20.0.5"]} for number in range(4097)]
ADDRESSES = [f"10.20.{number // 256}.{number % 256}" for number in range(8193)]

TABLES = (
    Table(
        "ZoneAttachment",
        "backend-9f8e7d6c",
        {
            "": required("spec"),
            "spec": required("zoneRef", "cidrs", "gateway", "prefixLength", "encapsulation", "mtu", "egress"),
            "spec.zoneRef": (
                *required("namespace", "name", "uid"),
                fixed("zoneRef cannot change", [ZONE_REF], [{**ZONE_REF, "uid": "another"}]),
            ),
            "spec.zoneRef.namespace": LABEL,
            "spec.zoneRef.name": LABEL,
            "spec.zoneRef.uid": UID,
            "spec.cidrs": CIDRS,
            "spec.cidrs[]": CIDR,
            "spec.gateway": ADDRESS,
            "spec.prefixLength": between(1, 128),
            **below("spec.encapsulation", ENCAPSULATION),
            "spec.mtu": between(576, 65535),
            **below("spec.egress", EGRESS),
            "spec.gateway6": ADDRESS,
            "spec.mac": MAC,
            "spec.ingress": (max_items(INGRESS, 65), unique(INGRESS[:2], [INGRESS[0], INGRESS[0]])),
            "spec.ingress[]": required("namespace", "zone", "cidrs"),
            "spec.ingress[].namespace": LABEL,
            "spec.ingress[].zone": LABEL,
            "spec.ingress[].cidrs": CIDRS,
            "spec.ingress[].cidrs[]": CIDR,
            **below("spec.ingress[].ports", PORTS),
            "spec.transit": required("id", "address", "mac"),
            "spec.transit.id": between(1, 16777215),
            "spec.transit.address": ADDRESS,
            "spec.transit.mac": MAC,
            "spec.transit.remotes": (max_items(REMOTES, 1024), unique(REMOTES[:2], [REMOTES[0], REMOTES[0]])),
            "spec.transit.remotes[]": required("node", "address", "mac"),
            "spec.transit.remotes[].node": LABEL,
            "spec.transit.remotes[].address": TEXT_ADDRESS,
            "spec.transit.remotes[].mac": MAC,
            "spec.transit.remotes[].guests": (
                max_items(ADDRESSES, 8192),
                unique(["10.20.0.5", "fd00:20::5"], ["10.20.0.5", "10.20.0.5"]),
            ),
            "spec.transit.remotes[].guests[]": TEXT_ADDRESS,
            "spec.names": (max_items(NAMES, 4096), unique(NAMES[:2], [NAMES[0], NAMES[0]])),
            "spec.names[]": required("namespace", "stack", "addresses"),
            "spec.names[].namespace": LABEL,
            "spec.names[].stack": LABEL,
            "spec.names[].addresses": (
                Pair("minItems", (["10.20.0.5"],), ([],), "at least 1 items"),
                max_items(["10.20.0.5", "fd00:20::5", "10.20.0.6"], 2),
                unique(["10.20.0.5", "fd00:20::5"], ["10.20.0.5", "10.20.0.5"]),
            ),
            "spec.names[].addresses[]": TEXT_ADDRESS,
            "spec.names[].services": (
                max_items([f"s{number}" for number in range(129)], 128),
                unique(["web", "db"], ["web", "web"]),
            ),
            "spec.names[].services[]": LABEL,
            **STATUS,
        },
    ),
)
