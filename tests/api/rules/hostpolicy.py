"""Rules of HostPolicy."""

from __future__ import annotations

from tests.api.rules import Table, below, max_items, max_length, required, unique
from tests.api.rules.parts import HOST_FIREWALL, STATUS, UPLINKS

ADDRESSES = [f"10.{number // 256}.{number % 256}.1" for number in range(4097)]
NETWORKS = [f"10.{number // 256}.{number % 256}.0/24" for number in range(8193)]

TABLES = (
    Table(
        "HostPolicy",
        "host",
        {
            "": required("spec"),
            "spec.nodes": (
                max_items(ADDRESSES, 4096),
                unique(["10.0.0.5", "fd00::5"], ["10.0.0.5", "10.0.0.5"]),
            ),
            "spec.nodes[]": (max_length(45),),
            "spec.zones": (
                max_items(NETWORKS, 8192),
                unique(["10.20.0.0/24", "fd00:20::/64"], ["10.20.0.0/24", "10.20.0.0/24"]),
            ),
            "spec.zones[]": (max_length(49),),
            **below("spec.firewall", HOST_FIREWALL),
            **below("status.enforced", HOST_FIREWALL),
            **below("spec.uplinks", UPLINKS),
            **below("status.uplinks", UPLINKS),
            **STATUS,
        },
    ),
)
