"""Guests for the tests of what Proxmox VE is told, and what it would tell then."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from dsecos_agent.engines.model import (
    DiskMount,
    GuestConfig,
    GuestKind,
    Limits,
    NetworkInterface,
    RootImage,
    Startup,
)
from dsecos_agent.engines.proxmox import options, properties
from hypothesis import strategies as st

UID = "6f1c2d3e-0000-4000-8000-000000000001"
GIB = 2**30
TEMPLATE = "local:vztmpl/dsecos-debian-13-docker-0123456789ab.tar.zst"

ETH0 = NetworkInterface(
    host_name="dsg0001",
    bridge="dsz0001",
    mac="02:ab:00:00:00:01",
    address=IPv4Interface("10.80.0.2/32"),
    gateway=IPv4Address("10.80.0.1"),
    mtu=1450,
)
WEB = GuestConfig(
    name="web-1a2b3c4d",
    owner_uid=UID,
    root=RootImage("debian-13-docker", 8 * GIB),
    id_map=None,
    interfaces=(ETH0,),
    limits=Limits(cpu_millis=1500, memory_bytes=512 * 2**20, pids=100),
    startup=Startup(autostart=True, order=20, delay=5),
)

LABELS = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
SIZES = st.integers(1, 4096).map(lambda mib: mib * 2**20)


@st.composite
def interfaces(draw: st.DrawFn) -> NetworkInterface:
    return NetworkInterface(
        host_name="",
        bridge=draw(LABELS),
        mac=":".join(["02", *(f"{draw(st.integers(0, 255)):02x}" for _ in range(5))]),
        address=IPv4Interface((draw(st.integers(2**24, 2**32 - 1)), draw(st.integers(8, 32)))),
        gateway=draw(st.none() | st.builds(IPv4Address, st.integers(1, 2**32 - 1))),
        name=draw(LABELS),
        mtu=draw(st.none() | st.integers(576, 9000)),
    )


@st.composite
def guests(draw: st.DrawFn, kind: GuestKind = GuestKind.CONTAINER) -> GuestConfig:
    nets = draw(st.lists(interfaces(), max_size=3, unique_by=lambda interface: interface.name))
    names = draw(st.lists(LABELS, max_size=4, unique=True)) if kind is GuestKind.CONTAINER else []
    return GuestConfig(
        name=draw(LABELS),
        owner_uid=draw(st.uuids().map(str)),
        root=RootImage("debian-13-docker", draw(SIZES)),
        id_map=None,
        kind=kind,
        hostname=draw(st.just("") | LABELS),
        interfaces=tuple(nets),
        disks=tuple(DiskMount(name, draw(SIZES), f"/srv/volumes/{name}") for name in names),
        limits=Limits(
            draw(st.none() | st.integers(1, 64000)), draw(st.none() | st.integers(1, 64 * GIB)), None
        ),
        nesting=draw(st.booleans()),
        startup=Startup(draw(st.booleans()), draw(st.integers(0, 9999)), draw(st.integers(0, 600))),
    )


def told(vmid: int, current: Mapping[str, Any], to_set: Mapping[str, Any], delete: object = ()) -> Any:
    """The configuration that Proxmox VE tells after that change, in its own way of writing.

    A double of what a real node does (transcripts of 8.4): volumes get their names and sizes, interfaces
    their type, numbers are numbers, a description ends with a line feed, and `pool` and the like are no part
    of it.
    """
    raw = {key: value for key, value in current.items() if key not in set(delete)}  # type: ignore[call-overload]
    for key, value in to_set.items():
        if key in {"vmid", "ostemplate", "pool", "newid", "full", "storage"}:
            continue
        raw[key] = _told(vmid, key, value)
    return raw


def _told(vmid: int, key: str, value: Any) -> Any:
    kind = key.rstrip("0123456789")
    if kind in {"rootfs", "mp"}:
        parts = properties.parse(str(value), "volume")
        storage, _, size = parts["volume"].partition(":")
        if size.replace(".", "").isdigit():
            mib = properties.mebibytes(properties.parse_size(size + "G"))
            shown = f"{mib // 1024}G" if mib % 1024 == 0 else f"{mib}M"
            parts |= {"volume": f"{storage}:{vmid}/vm-{vmid}-{key}.raw", "size": shown}
        return properties.render(parts, "volume")
    if kind == "ide" and str(value).endswith(":cloudinit"):
        return f"{str(value).partition(':')[0]}:vm-{vmid}-cloudinit,media=cdrom,size=4M"
    if key in {"cores", "memory", "swap", "onboot", "unprivileged", "balloon"}:
        return int(value)
    if key == "description":
        return str(value).strip() + "\n"
    if key == "tags":
        return ";".join(options.properties.parse_tags(str(value)))
    return value
