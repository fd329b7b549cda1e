"""Rules of ZoneAttachment."""

from __future__ import annotations

from tests.api.rules import Pair, Table, below, between, fixed, max_items, required, unique
from tests.api.rules.parts import ADDRESS, CIDR, EGRESS, ENCAPSULATION, LABEL, STATUS, UID

ZONE_REF = {"namespace": "acme", "name": "backend", "uid": "6f1f9c0e-8d3f-4f43-9f7a-0a1a2a3a4a5a"}

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
            "spec.cidrs": (
                Pair("minItems", (["10.0.0.0/8"],), ([],), "at least 1 items"),
                max_items(["10.0.0.0/8", "fd00::/64", "fd01::/64"], 2),
                unique(["10.0.0.0/8", "fd00::/64"], ["10.0.0.0/8", "10.0.0.0/8"]),
            ),
            "spec.cidrs[]": CIDR,
            "spec.gateway": ADDRESS,
            "spec.prefixLength": between(1, 128),
            **below("spec.encapsulation", ENCAPSULATION),
            "spec.mtu": between(576, 65535),
            **below("spec.egress", EGRESS),
            **STATUS,
        },
    ),
)
