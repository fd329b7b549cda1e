"""The staged configuration of software defined networks: read, write, take back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.model import SdnObject
from dsecos_proxmox_simulator.properties import digest
from dsecos_proxmox_simulator.routing import Request

Kind = Literal["zone", "vnet", "subnet"]
NOT_STORED = {"lock-token", "delete", "digest", "pending", "running"}


def check_token(request: Request) -> None:
    """Raises ApiError 500 if somebody else holds the lock of the staged configuration (9.1)."""
    if request.world.sdn_lock_token and request.text("lock-token") != request.world.sdn_lock_token:
        raise failure("invalid lock token provided")


def find(request: Request, kind: Kind, name: str) -> SdnObject:
    """Raises ApiError 500 for an object that is not staged."""
    found = request.world.sdn.get((kind, name))
    if found is None or found.wanted is None:
        raise failure(f"sdn '{name}' does not exist")
    return found


def shown(thing: SdnObject, *, pending: bool, running: bool) -> dict[str, object] | None:
    """As it is staged; with `pending` beside what runs; with `running` only what runs."""
    base: dict[str, object] = {thing.kind: thing.name}
    if running:
        return base | _values(thing, thing.running) if thing.running is not None else None
    if not pending:
        return (
            base | _values(thing, thing.wanted) | {"digest": digest_of(thing)}
            if thing.wanted is not None
            else None
        )
    row = base | _values(thing, thing.running or {}) | {"digest": None}
    row["type"] = (thing.running or thing.wanted or {}).get("type", thing.kind)
    if thing.state:
        wanted, runs = thing.wanted or {}, thing.running or {}
        changed = {
            k: v for k, v in _values(thing, wanted).items() if wanted.get(k) != runs.get(k) and k != "type"
        }
        row |= {"state": thing.state, "pending": changed}
    return row


def _values(thing: SdnObject, values: Mapping[str, str] | None) -> dict[str, object]:
    found: dict[str, object] = {
        k: int(v) if k in ("tag", "mtu", "snat") else v for k, v in (values or {}).items()
    }
    found.setdefault("type", thing.kind)
    if thing.kind == "subnet" and values:
        found["dhcp-range"] = [part for part in values.get("dhcp-range", "").split(" ") if part]
    return found


def digest_of(thing: SdnObject) -> str:
    return digest(thing.wanted or {})


def stage(request: Request, kind: Kind, name: str, extra: Mapping[str, str] | None = None) -> None:
    """Write what is asked for into the staged configuration."""
    values = {
        key: " ".join(value) if isinstance(value, list) else str(value)
        for key, value in request.parameters.items()
        if key not in NOT_STORED and key != kind
    }
    present = request.world.sdn.setdefault((kind, name), SdnObject(kind, name))
    deleted = request.text("delete").split(",")
    kept = {key: value for key, value in (present.wanted or {}).items() if key not in deleted}
    present.wanted = kept | values | dict(extra or {})


def unstage(request: Request, thing: SdnObject) -> None:
    """It is gone with the next apply, at once if it never ran."""
    thing.wanted = None
    if thing.running is None:
        del request.world.sdn[thing.kind, thing.name]


def listed(request: Request, kind: Kind, path: str) -> list[dict[str, object]]:
    rows = [
        shown(thing, pending=request.flag("pending"), running=request.flag("running"))
        for (of, _name), thing in sorted(request.world.sdn.items())
        if of == kind and request.may(_path(thing, path), "SDN.Audit", "SDN.Allocate", any_of=True)
    ]
    return [row for row in rows if row is not None]


def _path(thing: SdnObject, path: str) -> str:
    values = thing.wanted or thing.running or {}
    return path.format(zone=thing.name if thing.kind == "zone" else values.get("zone", ""), name=thing.name)


def zone_of_vnet(request: Request, vnet: str) -> str:
    """The zone that a vnet lies in."""
    thing = request.world.sdn.get(("vnet", vnet))
    return ((thing.wanted or thing.running or {}) if thing else {}).get("zone", "")


def require_vnet(request: Request, vnet: str, privilege: str = "SDN.Allocate") -> None:
    """Raises ApiError 403 without the right on the vnet."""
    request.require(f"/sdn/zones/{zone_of_vnet(request, vnet)}/{vnet}", privilege)
