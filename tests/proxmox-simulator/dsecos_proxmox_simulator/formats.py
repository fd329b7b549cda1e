"""The named formats of Proxmox VE that the simulator checks (PVE::JSONSchema, register_format)."""

from __future__ import annotations

import ipaddress
import re

_PATTERNS = {
    "pve-node": (
        r"[A-Za-z0-9]([A-Za-z0-9\-]{0,61}[A-Za-z0-9])?",
        "value does not look like a valid node name",
    ),
    "pve-storage-id": (r"[A-Za-z][A-Za-z0-9\-_.]*[A-Za-z0-9]", "storage ID '{}' contains illegal characters"),
    "pve-configid": (r"[A-Za-z][A-Za-z0-9_-]+", "invalid configuration ID '{}'"),
    "pve-poolid": (
        r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}",
        "value '{}' does not look like a valid pool name",
    ),
    "pve-userid": (r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid user name"),
    "pve-roleid": (r"[A-Za-z0-9._-]+", "value '{}' does not look like a valid role name"),
    "pve-sdn-zone-id": (r"[a-z][a-z0-9]{0,7}", "zone ID '{}' contains illegal characters"),
    "dns-name": (
        r"([A-Za-z0-9]([A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9\-]{0,61}[A-Za-z0-9])?",
        "value does not look like a valid DNS name",
    ),
    "pve-tag": (r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*", "invalid characters in tag"),
    "pve-volume-id": (r"[A-Za-z][A-Za-z0-9\-_.]*:.+", "unable to parse volume ID '{}'"),
    "mac-addr": (
        r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}",
        "value does not look like a valid unicast MAC address",
    ),
    "disk-size": (r"\d+(\.\d+)?[KMGT]?", "value does not look like a valid disk size: {}"),
    "pve-startup-order": (
        r"(\d+|order=\d+|up=\d+|down=\d+)(,(order=\d+|up=\d+|down=\d+))*",
        "unable to parse startup options",
    ),
    "pve-ha-resource-or-vm-id": (r"((ct|vm):)?[1-9]\d{2,8}", "unable to parse ha resource '{}'"),
    "urlencoded": (r"[-%a-zA-Z0-9_.!~*'()]*", "format error - value is not URL encoded"),
    "pve-lxc-mp-string": (r"[^,]+", "mount point path '{}' is invalid"),
}


def check_format(name: str, text: str) -> None:
    """Raise ValueError in Proxmox's words if the text has not this format. Formats unknown here pass."""
    if name.endswith("-list") and name.removesuffix("-list") in _PATTERNS:
        for part in filter(None, re.split(r"[,;\s\0]+", text)):
            check_format(name.removesuffix("-list"), part)
        return
    if name == "pve-sdn-vnet-id":
        _check_vnet(text)
    elif name in ("ipv4", "ip"):
        _check_address(text, name)
    elif name == "pve-ipv4-config" and text not in ("dhcp", "manual"):
        _check_network(text)
    elif name in _PATTERNS:
        pattern, message = _PATTERNS[name]
        if not re.fullmatch(pattern, text):
            raise ValueError(f"invalid format - {message.format(text)}\n")


def _check_vnet(text: str) -> None:
    """The words of the first error were seen on a real node."""
    if not re.fullmatch(r"[a-z][a-z0-9]*", text, re.IGNORECASE):
        raise ValueError(f"invalid format - vnet ID '{text}' contains illegal characters\n")
    if len(text) > 8:
        raise ValueError(f"invalid format - vnet ID '{text}' can't be more length than 8 characters\n")


def _check_address(text: str, name: str) -> None:
    try:
        ipaddress.ip_address(text) if name == "ip" else ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"invalid format - value does not look like a valid {name} address\n") from None


def _check_network(text: str) -> None:
    try:
        if "/" not in text:
            raise ValueError
        ipaddress.IPv4Interface(text)
    except ValueError:
        raise ValueError(
            "invalid format - value does not look like a valid ipv4 network configuration\n"
        ) from None
