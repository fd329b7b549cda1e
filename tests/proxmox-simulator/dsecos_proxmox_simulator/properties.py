"""Property strings, `name=eth0,bridge=vmbr0`, and sizes, as Proxmox VE reads and writes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from dsecos_proxmox_simulator.parameters import Parameter

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def split(text: str, default_key: str = "") -> dict[str, str]:
    """The keys and values of a property string, without a check."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if equals:
            found[key] = value
        elif default_key:
            found[default_key] = part
    return found


def text_of(values: Mapping[str, str], parameter: Parameter) -> str:
    """The property string as Proxmox prints it: default key, required keys, then the others by name."""
    first = [key for key in (parameter.default_key,) if key in values]
    required = [k for k, p in parameter.properties.items() if p.required and k in values and k not in first]
    rest = sorted(set(values) - set(first) - set(required))
    parts = [values[key] for key in first] + [f"{key}={values[key]}" for key in (*required, *rest)]
    return ",".join(parts)


def to_bytes(text: str) -> int:
    """`2G` in bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if not match:
        raise ValueError(f"unable to parse size '{text}'")
    return int(float(match[1]) * UNITS[match[2]])


def to_size(amount: int) -> str:
    """Bytes as Proxmox writes them into a configuration, `2G`; no size is `0T`, as a subvolume without
    quota shows."""
    for unit in "TGMK":
        if amount % UNITS[unit] == 0:
            return f"{amount // UNITS[unit]}{unit}"
    return str(amount)


def digest(config: Mapping[str, object]) -> str:
    """The SHA-1 that tells whether a configuration was changed."""
    text = "\n".join(f"{key}: {value}" for key, value in sorted(config.items()))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def unique_tags(text: str) -> str:
    """Tags as they are stored: lower case, sorted, without repetition (PVE::GuestHelpers)."""
    return ";".join(sorted({tag.lower() for tag in re.split(r"[,;\s]+", text) if tag}))
