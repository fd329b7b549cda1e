"""Rules of the types and parts that several kinds have."""

from __future__ import annotations

from typing import Any

from tests.api.rules import (
    Pair,
    Rules,
    below,
    between,
    cel,
    enum,
    max_items,
    max_length,
    maximum,
    minimum,
    pattern,
    required,
    unique,
)

LABEL = (
    pattern(["a", "0", "rack1-a", "a--b"], ["", "A", "-a", "a-", "a.b", "a_b", "ä", "a\n"]),
    max_length(63),
)
NAME = (
    pattern(["a", "a.b", "compose.example", "x-1.y-2"], ["", "A", ".a", "a.", "a..b", "-a", "a/b"]),
    max_length(253),
)
KEY = (pattern(["key", "tls.crt", "A_b-c.1"], ["", "a/b", "a b", "ä"]), max_length(253))
UID = (pattern(["6f1f9c0e-8d3f-4f43-9f7a-0a1a2a3a4a5a", "1"], ["", "a b", "a/b"]), max_length(63))
ENGINE_ID = (
    pattern(["105", "web", "Web_1.old-a"], ["", "../etc", "a/b", "-a", ".a", "a.", "a b", "ä"]),
    max_length(63),
)
MAC = (
    pattern(["02:1a:2b:3c:4d:5e"], ["", "02:1A:2B:3C:4D:5E", "02-1a-2b-3c-4d-5e", "02:1a:2b:3c:4d"]),
    Pair("maxLength", ("02:1a:2b:3c:4d:5e",), ("02:1a:2b:3c:4d:5e:6f",), "Too long"),
)
PORT = between(1, 65535)
PROTOCOL = (enum("TCP", "UDP"),)
TIME = (
    Pair(
        "format",
        ("2026-11-20T02:00:41Z", "2026-11-20T02:00:41.5+01:00"),
        ("yesterday", "2026-11-20", ""),
        "must be of type date-time",
    ),
)

ADDRESS = (
    Pair("maxLength", ("0064:ff9b:0000:0000:0000:0000:255.255.255.255",), ("1" * 46,), "Too long"),
    cel(
        "must be an IPv4 or IPv6 address, for example 10.20.0.5",
        ["10.20.0.5", "::1", "fd00:20::5"],
        ["", "10.20.0", "10.20.0.256", "10.20.0.5/24", "010.0.0.1", "fe80::1%eth0", "example.com"],
    ),
)


def cidr(longest: str, host: str) -> tuple[Pair, ...]:
    """Rules of a network; `longest` has as many characters as one may have, `host` is the smallest one."""
    return (
        Pair("maxLength", (longest,), ("1" * 50,), "Too long"),
        cel(
            "must be a network in CIDR form without host bits, for example 10.20.0.0/24 or fd00:20::/64",
            ["10.0.0.0/8", "0.0.0.0/0", host, "fd00:20::/64"],
            ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "fd00::1/64", "all"],
        ),
    )


CIDR = cidr("0064:ff9b:0000:0000:0000:0000:255.255.255.255/128", host="10.20.0.5/32")
SMALL_CIDRS = [f"10.20.{third}.0/24" for third in range(100)]


def quantity(floor: Pair | None = None, usual: str = "1Gi") -> tuple[Pair, ...]:
    """Rules of a quantity; `usual` is one that passes the floor."""
    return (
        pattern([usual, "1.5Ti", 2**30], ["1 Gi", "-1Gi", "1e9", "1.2345", "lots", "", "1gi"]),
        Pair("maxLength", ("1" * 18 + ".123" + "Mi",), ("1" * 19 + ".123" + "Mi",), "Too long"),
        minimum(0, accept=0 if floor is None else 2**30),
        maximum(10**15),
        *([floor] if floor else []),
    )


def floor(least: str, less: list[Any], example: str) -> Pair:
    return cel(f"must be at least {least}; write for example {example}", [least, "1Gi"], less)


SECRET_KEY_REF: Rules = {"": required("name", "key"), ".name": NAME, ".key": KEY}


def _secret_values(names: list[str]) -> list[Any]:
    return [{"name": name, "secretKeyRef": {"name": "s", "key": "k"}} for name in names]


SECRET_VALUES: Rules = {
    "": (
        max_items(_secret_values([f"n{number}" for number in range(65)]), 64),
        unique(_secret_values(["a", "b"]), _secret_values(["a", "a"])),
    ),
    "[]": required("name", "secretKeyRef"),
    "[].name": (
        pattern(["a", "_", "Upper_1"], ["", "1a", "a-b", "a.b", "$a"]),
        max_length(63),
    ),
    **below("[].secretKeyRef", SECRET_KEY_REF),
}

RESOURCES: Rules = {
    "": required("cpu", "memory", "disk"),
    ".cpu": quantity(floor("10m", ["9m", 0, "0"], "2 or 500m"), usual="500m"),
    ".memory": quantity(floor("16Mi", [2, "2", "2k", "16777215"], "2Gi"), usual="512M"),
    ".disk": quantity(floor("16Mi", [10, "10", "15Mi"], "10Gi")),
}


def _ports(count: int) -> list[Any]:
    return [{"port": number + 1, "protocol": "TCP"} for number in range(count)]


TWO_PROTOCOLS = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
PORT_TWICE = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "TCP"}]
PORT_TWICE_BY_DEFAULT = [{"port": 53}, {"port": 53, "protocol": "TCP"}]

PORTS: Rules = {
    "": (
        max_items(_ports(33), 32),
        Pair("unique", (TWO_PROTOCOLS,), (PORT_TWICE, PORT_TWICE_BY_DEFAULT), "Duplicate value"),
    ),
    "[]": required("port"),
    "[].port": PORT,
    "[].protocol": PROTOCOL,
}

NETWORKS: Rules = {
    "": (
        max_items(SMALL_CIDRS[:33], 32),
        unique(["10.0.0.0/8", "10.0.0.0/16"], ["10.0.0.0/8", "10.0.0.0/8"]),
    ),
    "[]": CIDR,
}

EXPOSE: Rules = {**PORTS, **below("[].from", NETWORKS), "[].hostPort": PORT}


def _volumes(count: int) -> list[Any]:
    return [{"name": f"v{number}", "size": "1Gi"} for number in range(count)]


VOLUMES: Rules = {
    "": (max_items(_volumes(33), 32), unique(_volumes(2), [*_volumes(1), {"name": "v0", "size": "2Gi"}])),
    "[]": required("name", "size"),
    "[].name": LABEL,
    "[].size": quantity(floor("1Mi", [5, "5", "1023Ki"], "5Gi")),
    "[].pool": LABEL,
    "[].deletionPolicy": (enum("Delete", "Retain", "Orphan"),),
}

EGRESS: Rules = {
    "": (
        *required("mode"),
        cel(
            "with mode Deny nothing can be listed in `to`",
            [{"mode": "Deny"}, {"mode": "Deny", "to": []}, {"mode": "NAT", "to": [{"cidr": "10.0.0.0/8"}]}],
            [{"mode": "Deny", "to": [{"cidr": "10.0.0.0/8"}]}],
        ),
    ),
    ".mode": (Pair("enum", ("NAT", "Allow"), ("nat", "", "Masquerade"), "Unsupported value"),),
    ".to": (
        max_items([{"cidr": cidr} for cidr in SMALL_CIDRS[:65]], 64),
        unique([{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/16"}], [{"cidr": "10.0.0.0/8"}] * 2),
    ),
    ".to[]": required("cidr"),
    ".to[].cidr": CIDR,
    **below(".to[].ports", PORTS),
}

HOST_FIREWALL: Rules = {
    "": (
        cel(
            "nobody could log in: name managementNetworks",
            [{"managementNetworks": ["10.0.0.0/8"]}, {"allow": [{"port": 22}]}],
            [{}, {"managementNetworks": []}, {"egress": [{"cidr": "10.0.0.0/8"}]}],
        ),
    ),
    ".managementNetworks": (
        max_items(SMALL_CIDRS[:65], 64),
        unique(["10.0.0.0/8", "fd00::/64"], ["10.0.0.0/8", "10.0.0.0/8"]),
    ),
    ".managementNetworks[]": CIDR,
    ".allow": (
        max_items(_ports(65), 64),
        Pair("unique", (TWO_PROTOCOLS,), (PORT_TWICE, PORT_TWICE_BY_DEFAULT), "Duplicate value"),
    ),
    ".allow[]": (
        *required("port"),
        cel(
            "port is above endPort",
            [{"port": 80}, {"port": 80, "endPort": 80}, {"port": 80, "endPort": 81}],
            [{"port": 81, "endPort": 80}],
        ),
    ),
    ".allow[].port": PORT,
    ".allow[].endPort": PORT,
    ".allow[].protocol": PROTOCOL,
    **below(".allow[].from", NETWORKS),
    ".egress": (
        Pair("minItems", ([{"cidr": "10.0.0.0/8"}],), ([],), "at least 1 items"),
        max_items([{"cidr": cidr} for cidr in SMALL_CIDRS[:65]], 64),
        unique([{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/16"}], [{"cidr": "10.0.0.0/8"}] * 2),
    ),
    ".egress[]": required("cidr"),
    ".egress[].cidr": CIDR,
    **below(".egress[].ports", PORTS),
}

UPLINKS: Rules = {
    "": (
        max_items([{"interface": f"eth{number}"} for number in range(17)], 16),
        unique([{"interface": "eth0"}, {"interface": "eth1"}], [{"interface": "eth0"}] * 2),
        cel(
            "only one uplink has the gateway",
            [[{"interface": "a", "gateway": "10.0.0.1"}, {"interface": "b", "gateway6": "fe80::1"}]],
            [[{"interface": name, "gateway": "10.0.0.1"} for name in "ab"]],
        ),
        cel(
            "only one uplink has the gateway6",
            [[{"interface": "a", "gateway6": "fe80::1"}, {"interface": "b"}]],
            [[{"interface": name, "gateway6": "fe80::1"} for name in "ab"]],
        ),
    ),
    "[]": required("interface"),
    "[].interface": (
        pattern(["eth0", "bond0.100", "a_b-c"], ["", "-a", ".a", "a/b", "a b", "a:1", "ä"]),
        max_length(15),
        cel("lo is no uplink", ["lo0", "eth0"], ["lo"]),
    ),
    "[].mtu": between(1280, 65535),
    "[].addresses": (
        Pair("minItems", (["10.0.0.5/24"],), ([],), "at least 1 items"),
        max_items([f"10.0.0.{number}/24" for number in range(33)], 32),
        unique(["10.0.0.5/24", "10.0.0.6/24"], ["10.0.0.5/24", "10.0.0.5/24"]),
    ),
    "[].addresses[]": (
        Pair("maxLength", ("0064:ff9b:0000:0000:0000:0000:255.255.255.255/128",), ("1" * 50,), "Too long"),
        cel(
            "must be an address with its prefix length, for example 10.0.0.5/24",
            ["10.0.0.5/24", "10.0.0.5/32", "fd00:2::5/64"],
            ["", "10.0.0.5", "10.0.0.5/33", "10.0.0/24", "eth0"],
        ),
    ),
    "[].gateway": (
        Pair("maxLength", ("255.255.255.255",), ("1" * 16,), "Too long"),
        cel(
            "must be an IPv4 address, for example 10.0.0.1",
            ["10.0.0.1"],
            ["", "fe80::1", "10.0.0.1/24", "router"],
        ),
    ),
    "[].gateway6": (
        Pair("maxLength", ("0064:ff9b:0000:0000:0000:0000:255.255.255.255",), ("1" * 46,), "Too long"),
        cel(
            "must be an IPv6 address, for example fe80::1",
            ["fe80::1", "fd00:1::1"],
            ["", "10.0.0.1", "fe80::1%eth0", "fe80::1/64"],
        ),
    ),
}

ENCAPSULATION: Rules = {
    "": (
        *required("type"),
        cel("a local zone has no id", [{"type": "local"}], [{"type": "local", "id": 5}]),
        cel(
            "an 802.1Q id lies between 1 and 4094",
            [
                {"type": "vlan", "id": 4094},
                {"type": "vlan", "id": 1},
                {"type": "vlan"},
                {"type": "vxlan", "id": 4095},
            ],
            [{"type": "vlan", "id": 4095}],
        ),
    ),
    ".type": (Pair("enum", ("vxlan",), ("VXLAN", "", "gre"), "Unsupported value"),),
    ".id": between(1, 16777215),
}


def _conditions(types: list[str]) -> list[Any]:
    return [{"type": each, "status": "True", "reason": "Ready"} for each in types]


WORD = (
    pattern(["Ready", "A", "Ipv4Ready"], ["", "ready", "Not ready", "Ready.", "Réady"]),
    max_length(63, "A"),
)

STATUS: Rules = {
    "status.observedGeneration": (minimum(0),),
    "status.conditions": (
        max_items(_conditions([f"Step{number}" for number in range(33)]), 32),
        unique(_conditions(["Ready", "Stalled"]), _conditions(["Ready", "Ready"])),
    ),
    "status.conditions[]": required("type", "status", "reason"),
    "status.conditions[].type": WORD,
    "status.conditions[].status": (enum("True", "False", "Unknown"),),
    "status.conditions[].reason": WORD,
    "status.conditions[].message": (max_length(32768),),
    "status.conditions[].observedGeneration": (minimum(0),),
    "status.conditions[].lastTransitionTime": TIME,
}


def _services(count: int) -> list[Any]:
    return [{"name": f"s{number}"} for number in range(count)]


SERVICES: Rules = {
    "status.services": (
        max_items(_services(129), 128),
        unique(_services(2), [{"name": "web"}, {"name": "web", "state": "running"}]),
    ),
    "status.services[]": required("name"),
    "status.services[].restarts": (minimum(0),),
}

STARTUP: Rules = {
    ".order": between(0, 9999),
    ".delaySeconds": between(0, 3600),
}
LIFECYCLE_STATE = enum(
    "Creating", "Starting", "Running", "Suspended", "Stopping", "Stopped", "Migrating", "Destroying"
)
CAUSE = enum(
    "Created",
    "RunPolicy",
    "RestartRequested",
    "ConfigurationChanged",
    "Boot",
    "Died",
    "Outside",
    "Maintenance",
    "Migration",
    "Failed",
    "Adopted",
    "Deleted",
)
