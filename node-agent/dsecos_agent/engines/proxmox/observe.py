"""A guest as found: what the listing, its configuration and its node say, put together."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dsecos_agent.engines.errors import EngineUnreachableError, GuestNotRunningError
from dsecos_agent.engines.model import GuestState, Metrics, ObservedGuest, Snapshot
from dsecos_agent.engines.proxmox import options
from dsecos_agent.engines.proxmox.access import Access, Found, Now
from dsecos_agent.engines.proxmox.places import TYPES, Listing, Place
from dsecos_agent.engines.proxmox.refusals import GuestGoneError

LOCKED_STATES = {
    "create": GuestState.CREATING,
    "clone": GuestState.CREATING,
    "migrate": GuestState.MIGRATING,
    "suspended": GuestState.SUSPENDED,
}


def state_of(now: Now, lock: str) -> GuestState:
    """What a guest is doing, from its status and who holds it. Pure."""
    if lock in LOCKED_STATES:
        return LOCKED_STATES[lock]
    if now.is_suspended:
        return GuestState.SUSPENDED
    known = {"running": GuestState.RUNNING, "stopped": GuestState.STOPPED}
    return known.get(str(now.data.get("status")), GuestState.UNKNOWN)


def observed(found: Found, now: Now, *, is_here: bool) -> ObservedGuest:
    """One guest; `is_here` says that its processes are this host's."""
    place, raw, form = found.place, found.raw, found.form
    owner = options.owner_of(raw)
    state = state_of(now, found.lock)
    boot = options.marks_of(raw).boot or None
    pid = now.data.get("pid")
    return ObservedGuest(
        name=owner.guest if owner else foreign_name(place),
        owner_uid=owner.owner_uid if owner else None,
        state=state,
        init_pid=int(pid) if pid and is_here and now.runs else None,
        config_digest=found.digests.full,
        booted_digest=boot if now.runs else None,
        id_map=None,
        kind=place.kind,
        engine_id=str(place.vmid),
        engine_node=place.node,
        ports=form.ports(place.vmid, raw),
        lock=found.lock,
        settings=form.found_settings(raw),
        disk_bytes=form.disk_bytes(raw),
        adopted=bool(options.marks_of(raw).adopted),
    )


def unknown(place: Place) -> ObservedGuest:
    """A guest whose node does not answer: all that is known is that it exists."""
    marks = place.marks
    name, uid = (marks.guest, marks.owner_uid) if marks else (foreign_name(place), None)
    return _bare(place, GuestState.UNKNOWN, name, uid)


def foreign(place: Place) -> ObservedGuest:
    """Somebody else's guest, as listed."""
    known = {"running": GuestState.RUNNING, "stopped": GuestState.STOPPED}
    return _bare(place, known.get(place.status, GuestState.UNKNOWN), foreign_name(place), None)


def foreign_name(place: Place) -> str:
    """A name that none of ours can have: theirs mean nothing to us, and may be the same as ours."""
    return f"{place.vmid}/{place.name}"


def _bare(place: Place, state: GuestState, name: str, owner_uid: str | None) -> ObservedGuest:
    return ObservedGuest(
        name=name,
        owner_uid=owner_uid,
        state=state,
        init_pid=None,
        config_digest=None,
        booted_digest=None,
        id_map=None,
        kind=place.kind,
        engine_id=str(place.vmid),
        engine_node=place.node,
        lock=place.lock,
    )


def metrics_of(name: str, now: Now) -> Metrics:
    """Counters of `status/current`. Raises GuestNotRunningError."""
    data = now.data
    if not now.runs:
        raise GuestNotRunningError(f"guest {name} does not run")

    def whole(key: str) -> int | None:
        return int(data[key]) if data.get(key) is not None else None

    cpu, cpus = data.get("cpu"), data.get("cpus")
    return Metrics(
        # Told as a share of all the CPUs that the guest has.
        cpu_share=float(cpu) * float(cpus or 1) if cpu is not None else None,
        memory_bytes=whole("mem"),
        # Nobody looks into a VM's file system, and it is told as 0.
        disk_bytes=whole("disk") or None,
        network_in_bytes=whole("netin"),
        network_out_bytes=whole("netout"),
        uptime_seconds=float(data["uptime"]) if data.get("uptime") is not None else None,
    )


def snapshots_of(entries: list[Mapping[str, Any]]) -> list[Snapshot]:
    """The oldest first; `current` is what Proxmox calls the present.

    Their times are whole seconds, so of two in one second the parent is the older.
    """
    parents = {str(entry["name"]): str(entry.get("parent", "")) for entry in entries}

    def depth(name: str) -> int:
        above = set[str]()
        while (name := parents.get(name, "")) and name not in above:
            above.add(name)
        return len(above)

    found = [
        Snapshot(
            name=str(entry["name"]),
            created=datetime.fromtimestamp(int(entry.get("snaptime", 0)), UTC),
            description=str(entry.get("description", "")).strip(),
        )
        for entry in entries
        if entry["name"] != "current"
    ]
    return sorted(found, key=lambda snapshot: (snapshot.created, depth(snapshot.name)))


class Looking:
    """`get` and `list_guests`."""

    def __init__(self, access: Access, *, is_here: bool) -> None:
        """`is_here`: this agent runs on the node that it drives."""
        self._access = access
        self._is_here = is_here

    async def get(self, name: str) -> ObservedGuest | None:
        """One guest of ours, None when there is none."""

        listing = await self._access.places.listing()
        claim = self._access.claims.of(name)
        place = listing.find(name, None, claim.vmid if claim else None)
        if place is not None:
            return await self._look(place, listing)
        if claim is not None and (place := listing.places.get(claim.vmid)) and place.lock == "create":
            return await self._in_the_making(listing, name, claim.owner_uid)
        return None

    async def place(self, name: str) -> Place | None:
        """Where a guest of ours is."""
        claim = self._access.claims.of(name)
        return (await self._access.places.listing()).find(name, None, claim.vmid if claim else None)

    async def all(self) -> list[ObservedGuest]:
        """Every guest that is listed, ours read in full, sorted by name."""
        listing = await self._access.places.listing()
        statuses = await self._statuses(listing)
        found = []
        for place in listing.places.values():
            if place.template:
                continue
            if place.marks is None or self._is_copy(place, listing):
                found.append(foreign(place))
            elif (guest := await self._look(place, listing, statuses.get(place.vmid))) is not None:
                found.append(guest)
        return sorted(found, key=lambda guest: guest.name)

    def _is_copy(self, place: Place, listing: Listing) -> bool:
        """Somebody copied a guest of ours, marks and all."""
        same = [other for other in listing.places.values() if other.marks == place.marks]
        claim = self._access.claims.of(place.marks.guest) if place.marks and len(same) > 1 else None
        return claim is not None and claim.vmid != place.vmid

    def show(self, found: Found, now: Now) -> ObservedGuest:
        """One that was read already."""
        return observed(found, now, is_here=self._is_here and found.place.node == self._access.settings.node)

    async def _look(self, place: Place, listing: Listing, now: Now | None = None) -> ObservedGuest | None:
        if place.node in listing.away:
            return unknown(place)
        try:
            found = Found(place, await self._access.config(place))
            return self.show(found, now or await self._access.now(place))
        except EngineUnreachableError:
            return unknown(place)
        except GuestGoneError:
            # It may have moved between the two looks.
            again = (await self._access.places.listing()).places.get(place.vmid)
            if again is None or again.node == place.node or again.marks != place.marks:
                return None
            return await self._look(again, listing)

    async def _statuses(self, listing: Listing) -> dict[int, Now]:
        """What all guests do now, two calls a node: the cluster's listing may be seconds old."""
        ours = {place.node for place in listing.places.values() if place.marks} - listing.away
        found: dict[int, Now] = {}
        for node in ours:
            for name in TYPES.values():
                try:
                    entries = await self._access.client.get(f"/nodes/{node}/{name}")
                except EngineUnreachableError:
                    continue
                # A paused VM is told only by its own status.
                found |= {
                    int(e["vmid"]): Now(e) for e in entries if name == "lxc" or e["status"] == "stopped"
                }
        return found

    async def _in_the_making(self, listing: Listing, name: str, owner_uid: str) -> ObservedGuest | None:
        leftover = await self._access.leftover(listing, name, owner_uid)
        if leftover is None:
            return None
        return _bare(leftover.place, GuestState.CREATING, name, owner_uid)
